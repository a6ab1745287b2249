"""Mixes each picture of a batch with another one: MixUp and CutMix, as options of a recipe for supervised tasks.

The partner of a sample, its share and its box are drawn by (seed, epoch, sample, occurrence), each sample on its own;
the mathematics are those of `timm.data.Mixup` in its mode "elem". A loss then learns both labels, each by its share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from scipy.special import betaincinv
from torch import Tensor

import kernels
from kernels import Key

_QUANTILES = 2**16


@dataclass(frozen=True, slots=True)
class Mixed:
    """Says what a batch of pictures was mixed of."""

    partner: Int64[Tensor, " b"]
    """Place in the batch of the sample that each one is mixed with."""
    share: Float32[Tensor, " b"]
    """How much of each picture is its own, 0 to 1; the rest is its partner's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix(ABC):
    """Mixes pictures; a subclass says how.

    Args:
        alpha: The share that a picture keeps is drawn from Beta(alpha, alpha): 1 draws all shares alike, a smaller one
            leaves most pictures nearly as they are, or nearly their partner.

    Raises:
        ValueError: `alpha` is not 0.01 to 100.
    """

    alpha: float

    def __post_init__(self) -> None:
        if not 0.01 <= self.alpha <= 100:
            raise ValueError(f"{type(self).__name__}: alpha (={self.alpha}) must be 0.01 to 100; e.g. 0.2, or 1.0")

    def __call__(
        self, key: Key, pictures: Float[Tensor, "b 3 size size"], parts: tuple[slice, ...] = (slice(None),)
    ) -> tuple[Float[Tensor, "b 3 size size"], Mixed]:
        """Mixes the pictures of a batch, each with one of the same part of it.

        Args:
            key: Of the samples, of the stream to draw from.
            parts: Where the samples stand that are mixed with each other; together all samples. A part of one sample
                stays as it is.
        """
        word = kernels.random_bits(key, 1)[:, 0]
        partner = torch.arange(len(word), device=word.device)
        for part in parts:
            order = partner[part][word[part].argsort(stable=True)]
            partner[order] = order.roll(-1)  # along a circle: nobody is left alone, or meets itself
        drawn = kernels.uniform(key, 4)[:, 1:]  # of words that the order has not read
        share = _quantiles(self.alpha, drawn.device)[(drawn[:, 0] * _QUANTILES).long()]
        pictures, share = self.join(pictures, pictures[partner], share, drawn[:, 1:])
        return pictures, Mixed(partner, share)

    @abstractmethod
    def join(
        self,
        own: Float[Tensor, "b 3 size size"],
        other: Float[Tensor, "b 3 size size"],
        share: Float32[Tensor, " b"],
        at: Float32[Tensor, "b 2"],
    ) -> tuple[Float[Tensor, "b 3 size size"], Float32[Tensor, " b"]]:
        """Joins pictures with others, and gives the share of each that is its own.

        Args:
            share: That share as it was drawn.
            at: Two uniform numbers a sample in [0, 1), for a place.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MixUp(Mix):
    """Blends each picture with another: share * own + (1 - share) * other.

    Zhang et al.: mixup: Beyond Empirical Risk Minimization, ICLR 2018 (alpha 0.1 to 0.4 on ImageNet).
    """

    def join(
        self,
        own: Float[Tensor, "b 3 size size"],
        other: Float[Tensor, "b 3 size size"],
        share: Float32[Tensor, " b"],
        at: Float32[Tensor, "b 2"],
    ) -> tuple[Float[Tensor, "b 3 size size"], Float32[Tensor, " b"]]:
        keeps = share[:, None, None, None]
        return (own.float() * keeps + other.float() * (1 - keeps)).to(own.dtype), share


@dataclass(frozen=True, slots=True, kw_only=True)
class CutMix(Mix):
    """Puts a box of another picture into each, of sides sqrt(1 - share), about a centre drawn uniformly.

    The box ends at the border, and the share is then what is left outside of it.

    Yun et al.: CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, ICCV 2019
    (alpha 1).
    """

    def join(
        self,
        own: Float[Tensor, "b 3 size size"],
        other: Float[Tensor, "b 3 size size"],
        share: Float32[Tensor, " b"],
        at: Float32[Tensor, "b 2"],
    ) -> tuple[Float[Tensor, "b 3 size size"], Float32[Tensor, " b"]]:
        size = own.shape[-1]
        side = (size * (1 - share).sqrt()).long()
        down, across = (_within((at[:, axis] * size).long(), side, size) for axis in range(2))
        inside = down[:, :, None] & across[:, None, :]
        return torch.where(inside[:, None], other, own), 1 - inside.float().mean((1, 2))


def _within(centre: Int64[Tensor, " b"], side: Int64[Tensor, " b"], size: int) -> Bool[Tensor, "b size"]:
    """Tells which of `size` pixels in a row lie in a stretch of `side` pixels about `centre`."""
    pixel = torch.arange(size, device=centre.device)
    return (pixel >= (centre - side // 2)[:, None]) & (pixel < (centre + (side + 1) // 2)[:, None])


@lru_cache(maxsize=8)
def _quantiles(alpha: float, device: torch.device) -> Float32[Tensor, " n"]:
    """Computes Beta(alpha, alpha) at the middles of equal steps of probability."""
    middle = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    with torch.inference_mode(False):
        return torch.from_numpy(betaincinv(alpha, alpha, middle)).float().to(device)
