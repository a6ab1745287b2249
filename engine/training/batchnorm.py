"""Normalises each view by its own batch statistics when several go through the encoder as one batch.

`joint` leaves batch normalisation as it is: one mean and variance over all views. `per_view` gives each view its own,
as one forward pass a view would (the authors' multi-view script), without giving up the joint convolution.
`per_view_plain` (ours) also lets only the plain views move the running statistics, since evaluation sees plain faces.

Of composed batches, a view counts the faces that it is of. `joint` mixes labelled and unlabelled faces as the views do,
each picture counting alike. With `per_view` a view of="labelled" is normalised by labelled faces alone, a view of="all"
by both kinds together, and each moves the running statistics by as much, however many pictures it has. With
`per_view_plain` evaluation is normalised by the statistics of the faces that the plain views are of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import engine.torchvision_ops  # noqa: F401 - before timm, which imports torchvision

from timm.layers import BatchNormAct2d  # isort: skip


@dataclass(slots=True)
class Parts:
    """Tells all normalisation layers of an encoder how the batch that is passing through divides into views."""

    lengths: tuple[int, ...] = ()
    """Pictures of each view."""
    tracked: tuple[bool, ...] = (True,)
    """Whether each view moves the running statistics."""


class _PerView(nn.modules.batchnorm._BatchNorm):
    """Normalises each part of the batch by its own statistics while training; elsewhere the layer it was."""

    parts: Parts

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.parts.tracked == (True,):
            result: Tensor = super().forward(x)
            return result
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(sum(self.parts.tracked))
        normalised = [
            F.batch_norm(
                part,
                self.running_mean if tracked else None,
                self.running_var if tracked else None,
                self.weight,
                self.bias,
                training=True,
                momentum=0.1 if self.momentum is None else self.momentum,
                eps=self.eps,
            )
            for part, tracked in zip(x.split(self.parts.lengths), self.parts.tracked, strict=True)
        ]
        return self.activate(torch.cat(normalised))

    def activate(self, x: Tensor) -> Tensor:
        return x


class PerViewBatchNorm2d(_PerView, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with statistics per view."""


class PerViewBatchNormAct2d(_PerView, BatchNormAct2d):  # type: ignore[misc]
    """timm's normalisation with activation, with statistics per view."""

    def activate(self, x: Tensor) -> Tensor:
        layer: Any = self
        result: Tensor = layer.act(layer.drop(x))
        return result


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Lists the running means, variances and counts of updates that a training step of a model moves."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    return [buffer for layer in layers for buffer in layer.buffers(recurse=False)]


_PER_VIEW: dict[type[Any], type[_PerView]] = {
    nn.BatchNorm2d: PerViewBatchNorm2d,
    BatchNormAct2d: PerViewBatchNormAct2d,
}


def normalise_per_view(encoder: nn.Module) -> Parts:
    """Gives every batch normalisation of an encoder statistics per view; returns what tells them of the views.

    The modules change their class and keep everything else, so that parameters, names and checkpoints stay the same.

    Raises:
        ValueError: The encoder has no batch normalisation, or a kind that is not known.
    """
    parts = Parts()
    found = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not found:
        raise ValueError(
            f"Recipe: batch_statistics per view need batch normalisation, {type(encoder).__name__} has none; "
            "use 'joint'"
        )
    for module in found:
        if type(module) not in _PER_VIEW:
            raise ValueError(
                f"Recipe: batch_statistics per view do not know {type(module).__name__}; "
                f"use 'joint', or a backbone with {', '.join(kind.__name__ for kind in _PER_VIEW)}"
            )
        module.__class__ = _PER_VIEW[type(module)]
        setattr(module, "parts", parts)  # noqa: B010 - nn.Module types attributes as tensors or modules
    return parts
