"""Follows a model's weights with a moving average."""

from __future__ import annotations

import torch
from torch import nn

import engine.torchvision_ops  # noqa: F401 - before timm, which imports torchvision

from timm.utils import ModelEmaV3  # isort: skip


class WeightAverage(ModelEmaV3):  # type: ignore[misc]
    """Averages as timm does, bit for bit, in two operators: it reads both state dicts once, not at every step.

    Args:
        model: What is followed, on its device; its tensors may change in place alone.
        decay: Share of the average that a step leaves as it is; less in the first steps, which forget the start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, decay=decay, use_warmup=True)
        pairs = list(zip(self.module.state_dict().values(), model.state_dict().values(), strict=True))
        self._moved = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        """Moves floating tensors towards the model's and copies the others; called by `update`."""
        averages, values = zip(*self._moved, strict=True)
        torch._foreach_lerp_(averages, values, weight=1.0 - decay)
        if self._copied:
            counts, values = zip(*self._copied, strict=True)
            torch._foreach_copy_(counts, values)
