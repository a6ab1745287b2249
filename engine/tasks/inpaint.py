"""Holds the pretext task of in-painting: reconstruct what a view hides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

import kernels
from engine.figures import Figure
from engine.tasks.base import Criterion, Features, Look, Pretext, Rows, Shape, Task, mean_of_cut
from engine.tasks.perceptual import Colours, Perceptual, Teacher, compared_stages, distance
from engine.views import HiddenParts, Holes, View
from kernels.grid import over_pixels
from loaders.base import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Inpaint(Pretext):
    """A light decoder on feature maps; one mean absolute error over all hidden pixels (ours).

    Args:
        on: Views with hidden cells.
        maps: Feature maps that the decoder reads. With 1 it is the last one alone, with 3 those at strides 8, 16 and 32
            of most encoders: where faces are small, the last map has too few places to paint from (48 px: 2 x 2).
        weight: Weight of the pixel loss, which is measured on normalised pixels.
        width: Channels of the decoder's first step; halved at every doubling of the resolution, at least 16 (ours).
        perceptual: A perceptual loss beside the pixel loss, `Perceptual()` for the paper's in-painting-pl.
    """

    on: tuple[str, ...] = ("holes",)
    width: int = 128
    perceptual: Perceptual | None = None
    maps: int = 1
    name: str = "inpaint"

    @property
    def needs_whole(self) -> bool:
        return True

    @property
    def stages(self) -> tuple[int, ...]:
        return () if self.perceptual is None else (self.perceptual.from_epoch,)

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        for name in self.on:
            if not isinstance(views[name], Holes | HiddenParts):
                raise ValueError(
                    f"{self}: on names {name!r} (={views[name]}), which hides nothing; "
                    "give the recipe a view Holes() or HiddenParts() and name that"
                )
        if self.width < 16:
            raise ValueError(f"{self}: width (={self.width}) must be 16 or more")
        if self.maps < 1:
            raise ValueError(f"{self}: maps (={self.maps}) must be 1 or more; 1 reads the last feature map alone")
        if self.perceptual is not None:
            self.perceptual.check(str(self))

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return Decoder(shape, self.width, self.maps)

    def criterion(self, split: Split) -> Criterion:
        return HiddenL1() if self.perceptual is None else HiddenL1AndPerceptual(self.perceptual)

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        pixels = Figure("l1", label="L1")
        return (pixels,) if self.perceptual is None else (pixels, Figure("perceptual"))

    def measure(self, rows: Rows) -> dict[str, float]:
        found = {"l1": float(rows["error"].sum() / max(rows["hidden"].sum(), 1))}
        return found if self.perceptual is None else found | {"perceptual": float(rows["perceptual"].mean())}

    def painted(self, output: Tensor, look: Look) -> Float[Tensor, "b 3 size size"]:
        return completed(output, look)


class Decoder(nn.Module):
    """Makes a picture of feature maps: 3 x 3 convolutions, the resolution raised between them.

    It is raised to that of the next finer map, which is added, and doubled when none is left. The encoder has seen the
    view with its holes, so nothing of what is hidden is in any of its maps. Group normalisation, because batch
    statistics of half-hidden faces would leak between samples. The last doubling is done by a pixel shuffle, the
    cheapest step at full resolution.
    """

    def __init__(self, shape: Shape, width: int, maps: int = 1) -> None:
        super().__init__()
        finer = shape.finer[: maps - 1]
        doublings = max(math.ceil(math.log2(finer[-1].stride if finer else shape.stride)), 1)
        # of 8 groups of channels
        widths = [max((width >> step) // 8 * 8, 16) for step in range(len(finer) + doublings)]
        steps: list[nn.Module] = [nn.Conv2d(shape.channels, widths[0], 1)]
        for before, after in pairwise(widths):
            steps += [
                nn.GroupNorm(8, before),
                nn.GELU(),
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(before, after, 3, padding=1),
            ]
        steps += [nn.GroupNorm(8, widths[-1]), nn.GELU(), nn.Conv2d(widths[-1], 12, 3, padding=1), nn.PixelShuffle(2)]
        self.steps = nn.Sequential(*steps)
        self.added = nn.ModuleList(nn.Conv2d(of.channels, wide, 1) for of, wide in zip(finer, widths, strict=False))

    def forward(self, features: Features) -> Float[Tensor, "b 3 y x"]:
        picture = features.map
        finer = list(zip(self.added, features.finer, strict=False))
        for step in self.steps:
            if finer and isinstance(step, nn.Upsample):
                as_wide, read = finer.pop(0)
                picture = F.interpolate(picture, size=read.shape[-2:], mode="nearest") + as_wide(read)
            else:
                picture = step(picture)
        return picture


def completed(guess: Tensor, look: Look) -> Float[Tensor, "b 3 size size"]:
    """The view with its hidden cells filled from `guess`, known pixels kept."""
    hidden = hidden_pixels(look)
    return torch.where(hidden, fit(guess, look), look.picture)


def fit(guess: Tensor, look: Look) -> Float[Tensor, "b 3 size size"]:
    """The decoder's picture at the view's own size: sizes that the stride does not divide come out a little larger."""
    size = look.picture.shape[-2:]
    if guess.shape[-2:] == size:
        return guess
    return F.interpolate(guess.float(), size=size, mode="bilinear", align_corners=False)


def hidden_pixels(look: Look) -> Tensor:
    """Where the view hides its cells: bool "b 1 size size"."""
    return over_pixels(look.cells.shows < 0, look.picture.shape[-1]).unsqueeze(1)


class HiddenL1(Criterion):
    """One mean absolute error over the hidden pixels and channels of the batch."""

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        assert look.whole is not None
        return kernels.hidden_l1(fit(output, look), look.whole, look.cells.shows)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        assert look.whole is not None
        hidden = hidden_pixels(look)
        error = (fit(output, look).float() - look.whole.float()).abs() * hidden
        return {"error": error.sum(dim=(1, 2, 3)), "hidden": 3 * hidden.sum(dim=(1, 2, 3))}


class HiddenL1AndPerceptual(HiddenL1):
    """The pixel loss, and beside it the distance of the completed picture from the original as a teacher sees them."""

    teacher: Teacher

    def __init__(self, perceptual: Perceptual) -> None:
        super().__init__()
        self.perceptual = perceptual
        self.counts = perceptual.from_epoch == 0

    def attach(self, encoder: nn.Module, mean: Colours, std: Colours) -> None:
        device = next(encoder.parameters()).device
        self.teacher = self.perceptual.teacher.build(encoder, mean, std).to(device)
        self.stages = compared_stages(self.teacher.network, self.teacher.where, self.perceptual.strides)

    def begin(self, epoch: int) -> None:
        self.counts = epoch >= self.perceptual.from_epoch

    def follow(self, encoder: nn.Module) -> None:
        self.teacher.follow(encoder)

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        pixels = super().loss(output, look)
        if not self.counts:
            return pixels
        return pixels + self.perceptual.weight * mean_of_cut(self.distances(output, look), look)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {**super().rows(output, look), "perceptual": self.distances(output, look)}

    def distances(self, output: Tensor, look: Look) -> Float32[Tensor, " b"]:
        """Of each sample; the gradient flows through the teacher to `output`.

        Known pixels are those of the original: an augmentation's cut-out is not asked of the decoder.
        """
        assert look.whole is not None
        with torch.no_grad():  # the original needs no gradient, so nothing of it is kept
            original = self.teacher(look.whole, self.stages)
        filled = torch.where(hidden_pixels(look), fit(output, look), look.whole)
        return distance(self.teacher(filled, self.stages), original)
