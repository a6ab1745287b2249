"""Runs the package `triton-augment` on the steps that it shares with `render_views`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import view_cases as cases
from benchmarks.compare_views import gray_levels
from benchmarks.view_cases import MEAN, STD, Inputs


class TritonAugment:
    """Runs triton-augment's fused module on the steps that both have: mirror, turn, scale, contrast, normalise.

    It takes floats, which are made before the clock starts: reading the stored bytes is ours alone to pay.
    """

    def __init__(self) -> None:
        os.environ.setdefault("TRITON_AUGMENT_SUPPRESS_FIRST_RUN_MESSAGE", "1")
        import triton_augment

        self.package = triton_augment
        self.floats: tuple[Inputs, torch.dtype, Tensor] | None = None
        self.modules = {
            "identity": self.module(),
            "weak": self.module((-15, 15), (1 / 0.99, 1 / 0.69), 0.5, (0.6, 1.4)),
        }

    def module(
        self,
        degrees: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        flip: float = 0.0,
        contrast: tuple[float, float] | float = 0,
    ) -> Callable[[Tensor], Tensor]:
        made: Callable[[Tensor], Tensor] = self.package.TritonFusedAugment(
            horizontal_flip_p=flip,
            degrees=0 if degrees is None else degrees,
            scale=scale,
            contrast=contrast,
            interpolation=self.package.transforms.InterpolationMode.BILINEAR,
            mean=MEAN,
            std=STD,
        )
        return made

    def floats_of(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        if self.floats is None or self.floats[0] is not inputs or self.floats[1] != dtype:
            stored = inputs.store[inputs.row].permute(0, 3, 1, 2)
            self.floats = inputs, dtype, (stored.float() / 255).to(dtype).contiguous()
        return self.floats[2]

    def __call__(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        return self.modules[inputs.case](self.floats_of(inputs, dtype))[None]

    def difference(self, inputs: Inputs) -> float:
        """Measures the largest difference from ours in the middle of the view in gray levels, its ranges closed."""
        turned, size, one = inputs.case != "identity", inputs.size, torch.ones(inputs.batch)
        module = self.module((10, 10), (1.25, 1.25), 0.0, (1.2, 1.2)) if turned else self.module()
        where = cases.affine(
            flip=one,
            rotation=one * (10 if turned else 0),
            crop=one,
            scale=one * (1.25 if turned else 1),
            aspect=one,
            shift_x=one * 0,
            shift_y=one * 0,
            store=(size, size),
            size=size,
        )
        colour = cases.colour_matrix(
            contrast=one * (1.2 if turned else 1),
            brightness_factor=one,
            brightness=one * 0,
            saturation=one,
            hue=one * 0,
            gray=one < 0,
            mean=torch.full((inputs.batch, 3), 127.5),
        )
        device = inputs.store.device
        closed = dataclasses.replace(inputs, where=where[None].to(device), colour=colour[None].to(device))
        levels = [gray_levels(views.cpu()) for views in (
            module(self.floats_of(closed, torch.float32))[None],
            cases.ours(closed, torch.float32),
        )]  # fmt: skip
        middle = slice(size // 4, size - size // 4)
        return float((levels[0] - levels[1])[..., middle, middle].abs().max())
