"""The moving average of the weights is timm's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.training.ema import WeightAverage
from engine.training.parts import build_model
from tests.engine import tiny

from timm.utils import ModelEmaV3  # isort: skip


class Operators(TorchDispatchMode):
    """Lists the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_it_equals_timms_in_two_operators() -> None:
    model = build_model(tiny.recipe())
    ours, timms = WeightAverage(model, 0.9), ModelEmaV3(model, decay=0.9, use_warmup=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)
        timms.update(model, step)
        with Operators() as called:
            ours.update(model, step)
        assert called.names == ["aten._foreach_lerp_.Scalar", "aten._foreach_copy_.default"]
        expected = timms.module.state_dict()
        for name, tensor in ours.module.state_dict().items():
            assert torch.equal(tensor, expected[name]), name
