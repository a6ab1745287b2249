"""Holds the pretext task of masked autoencoders: reconstruct the patches that the encoder was not given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

import engine.torchvision_ops  # noqa: F401 - before timm, which imports torchvision
from engine.figures import Figure
from engine.tasks.base import Criterion, Features, Look, Pretext, Rows, Shape, Task
from engine.views import Masked, View
from loaders.base import Split

from timm.layers import build_sincos2d_pos_embed  # isort: skip
from timm.models.vision_transformer import Block  # isort: skip

_EPSILON = 1e-6  # of a variance, as the authors' code has it


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPatches(Pretext):
    """Reconstructs the patches that were left out before the encoder (He et al., CVPR 2022; SSAT, Das et al., 2024).

    The decoder is a small transformer: the encoder's tokens are brought to `width`, one token that is learned stands
    for each patch left out, sines of the position are added. The loss is the mean squared error over the pixels of
    these patches, each patch brought to mean 0 and variance 1 (MAE, section 3, "reconstruction target"). Unlike there
    the decoder is not given the class token (ours).

    Args:
        on: Views `Masked`, all of one grid.
        width: Numbers of a token in the decoder, a multiple of 4 and of `heads` (SSAT: 128; ours 64, half of a small
            encoder's).
        depth: Blocks of the decoder (SSAT: 2; MAE: 8).
        heads: Heads of its attention.
        normalise: Whether each patch is brought to mean 0 and variance 1; else the loss is on the pixels as they are.
    """

    on: tuple[str, ...] = ("masked",)
    width: int = 64
    depth: int = 2
    heads: int = 4
    normalise: bool = True
    name: str = "patches"

    @property
    def needs_whole(self) -> bool:
        return True

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        for name in self.on:
            if not isinstance(views[name], Masked):
                raise ValueError(
                    f"{self}: on names {name!r} (={views[name]}), which leaves out no patches; "
                    "give the recipe a view Masked() and name that"
                )
        if len({views[name].grid for name in self.on}) > 1:
            raise ValueError(f"{self}: on (={self.on}) names views of different grids; give them one grid")
        if self.heads < 1 or self.width < 4 or self.width % 4 or self.width % self.heads:
            raise ValueError(
                f"{self}: width (={self.width}) must be a multiple of 4 and of heads (={self.heads}); e.g. 64 and 4"
            )
        if self.depth < 1:
            raise ValueError(f"{self}: depth (={self.depth}) must be 1 or more blocks; e.g. 2")

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return PatchDecoder(shape, views[self.on[0]].grid, self.width, self.depth, self.heads)

    def criterion(self, split: Split) -> Criterion:
        return HiddenPatches(self.normalise)

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return (Figure("mse", label="MSE"),)

    def measure(self, rows: Rows) -> dict[str, float]:
        return {"mse": float(rows["error"].mean())}

    def painted(self, output: Tensor, look: Look) -> Float[Tensor, "b 3 size size"]:
        """The patches left out as they are guessed; normalised ones with the mean and variance of the true patch."""
        assert look.whole is not None
        guess, grid = output.float(), _side(look)
        if self.normalise:
            mean, deviation = _moments(patches_of(look.whole.float(), grid))
            guess = guess * deviation + mean
        filled = torch.where(_hidden(look), guess, patches_of(look.picture.float(), grid))
        return picture_of(filled, grid)


class PatchDecoder(nn.Module):
    """Guesses the pixels of all patches from the tokens of some; see `MaskedPatches`."""

    position: Tensor

    def __init__(self, shape: Shape, grid: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(shape.channels, width)
        self.absent = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.absent, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, 3 * shape.stride**2)
        self.register_buffer("position", build_sincos2d_pos_embed([grid, grid], width), persistent=False)

    def forward(self, features: Features) -> Float[Tensor, "b n pixels"]:
        assert features.drawn is not None
        hidden = (features.drawn.shows < 0).unsqueeze(2)
        tokens = self.embed(features.map.flatten(2).transpose(1, 2))  # (b, n, width)
        tokens = torch.where(hidden, self.absent.to(tokens.dtype), tokens)
        guess: Tensor = self.pixels(self.norm(self.blocks(tokens + self.position)))
        return guess


class HiddenPatches(Criterion):
    """Mean squared error over the pixels of the patches that the encoder was not given; see `MaskedPatches`."""

    def __init__(self, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        return self.errors(output, look).mean()

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"error": self.errors(output, look)}

    def errors(self, output: Tensor, look: Look) -> Float32[Tensor, " b"]:
        """Gives the error of each sample; all have as many patches left out."""
        assert look.whole is not None
        truth = patches_of(look.whole.float(), _side(look))
        if self.normalise:
            mean, deviation = _moments(truth)
            truth = (truth - mean) / deviation
        hidden = _hidden(look)
        error = (output.float() - truth).square().mean(dim=2, keepdim=True) * hidden  # (b, n, 1)
        return error.sum(dim=(1, 2)) / hidden.sum(dim=(1, 2))


def patches_of(pictures: Float[Tensor, "b 3 size size"], grid: int) -> Float[Tensor, "b n pixels"]:
    """Cuts pictures into grid x grid patches, row by row, each of which lists its pixels by channel, row and column."""
    side = pictures.shape[-1] // grid
    cut: Tensor = pictures.unflatten(3, (grid, side)).unflatten(2, (grid, side))  # (b, 3, grid, side, grid, side)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def picture_of(patches: Float[Tensor, "b n pixels"], grid: int) -> Float[Tensor, "b 3 size size"]:
    """Puts patches together again; the inverse of `patches_of`."""
    side = math.isqrt(patches.shape[2] // 3)
    cut: Tensor = patches.unflatten(2, (3, side, side)).unflatten(1, (grid, grid))  # (b, grid, grid, 3, side, side)
    return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def _hidden(look: Look) -> Tensor:
    """Says which patches the encoder was not given: bool "b n 1"."""
    return (look.cells.shows < 0).unsqueeze(2)


def _side(look: Look) -> int:
    return math.isqrt(look.cells.shows.shape[1])


def _moments(patches: Float32[Tensor, "b n pixels"]) -> tuple[Float32[Tensor, "b n 1"], Float32[Tensor, "b n 1"]]:
    """Gives mean and standard deviation of each patch, the latter above 0."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return mean, (variance + _EPSILON).sqrt()
