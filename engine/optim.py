"""Optimisers and learning-rate schedules a recipe can name; the optimisers are timm's and torch's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

import engine.torchvision_ops  # noqa: F401 - before timm, which imports torchvision

import timm.optim  # isort: skip


@runtime_checkable
class Schedule(Protocol):
    """The learning rate over training, after the warm-up, as a share of its peak."""

    def share(self, epoch: float, epochs: float) -> float:
        """The share at a point of training, both counted in epochs since the warm-up's end."""
        ...


@dataclass(frozen=True, slots=True)
class Cosine:
    """Half a cosine from 1 to `final`, a share of the peak.

    Raises:
        ValueError: `final` is not in 0..1.
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.final <= 1:
            raise ValueError(f"Cosine: final (={self.final}) must be in 0..1; it is a share of the peak")

    def share(self, epoch: float, epochs: float) -> float:
        done = min(epoch / epochs, 1.0) if epochs > 0 else 1.0
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True, slots=True)
class CosineRestarts:
    """Rises from 0 to 1 and falls by half a cosine to 0, and starts again at some shares of the training.

    After SGDR (Loshchilov and Hutter, ICLR 2017), with a rise as a run of its own would have: one run then goes from
    one task to another as pre-training and fine-tuning do. Without `warmup_epochs` its shares are those of task
    weights.

    Args:
        at: Shares at which it starts again, rising, between 0 and 1.
        rise: Share of each cycle in which it rises linearly.

    Raises:
        ValueError: A field is out of its range.
    """

    at: tuple[float, ...]
    rise: float = 0.1

    def __post_init__(self) -> None:
        if not all(a < b for a, b in pairwise((0.0, *self.at, 1.0))):
            raise ValueError(f"CosineRestarts: at (={self.at}) must rise between 0 and 1; (0.4,) starts again once")
        if not 0 <= self.rise < 1:
            raise ValueError(f"CosineRestarts: rise (={self.rise}) must be 0 or more and below 1; e.g. 0.1")

    def share(self, epoch: float, epochs: float) -> float:
        done = min(epoch / epochs, 1.0) if epochs > 0 else 1.0
        start = max(mark for mark in (0.0, *self.at) if mark <= done)
        stop = min((mark for mark in self.at if mark > done), default=1.0)
        done = (done - start) / (stop - start)
        if done < self.rise:
            return done / self.rise
        return (1 + math.cos(math.pi * (done - self.rise) / (1 - self.rise))) / 2


@dataclass(frozen=True, slots=True)
class Steps:
    """Multiplied by `factor` at each of the epochs `at` since the warm-up's end (authors: 0.1 at 15 and 40).

    Raises:
        ValueError: The epochs do not rise from 0 on, or the factor is not above 0.
    """

    at: tuple[float, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        at = self.at if isinstance(self.at, tuple) else ()  # of another type, the recipe says so
        if not all(a < b for a, b in pairwise((-1e-9, *at))):
            raise ValueError(f"Steps: at (={self.at}) must rise from 0 on; they are epochs, e.g. (15, 40)")
        if not self.factor > 0:
            raise ValueError(f"Steps: factor (={self.factor}) must be above 0; e.g. 0.1")

    def share(self, epoch: float, epochs: float) -> float:
        return float(self.factor ** sum(epoch >= mark for mark in self.at))


@dataclass(frozen=True, slots=True)
class Constant:
    """The peak, unchanged."""

    def share(self, epoch: float, epochs: float) -> float:
        return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    """What all optimisers have in common.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled for AdamW and AdaBelief; biases and normalisation layers are left out.
        warmup_epochs: The rate rises linearly from 0 over so many epochs; fractions are allowed.
        schedule: The rate after the warm-up.
        clip: Greatest norm of the gradient, None for no limit.
        lookahead: Slow weights that follow the fast ones every 6 steps by half (Zhang et al. 2019, timm).
    """

    lr: float
    weight_decay: float = 0.0
    warmup_epochs: float = 0.0
    schedule: Schedule = Cosine()
    clip: float | None = None
    lookahead: bool = False

    def __post_init__(self) -> None:
        where = type(self).__name__
        if not self.lr > 0:
            raise ValueError(f"{where}: lr (={self.lr}) must be above 0; e.g. 1e-3")
        if self.weight_decay < 0:
            raise ValueError(f"{where}: weight_decay (={self.weight_decay}) must be 0 or more")
        if self.warmup_epochs < 0:
            raise ValueError(f"{where}: warmup_epochs (={self.warmup_epochs}) must be 0 or more")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"{where}: clip (={self.clip}) must be above 0, or None for no limit")

    def rate(self, epoch: float, epochs: float) -> float:
        """The learning rate at a point of training, both counted in epochs."""
        if epoch < self.warmup_epochs:
            return self.lr * epoch / self.warmup_epochs
        return self.lr * self.schedule.share(epoch - self.warmup_epochs, epochs - self.warmup_epochs)

    def build(self, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
        """The optimiser over the parameters of some modules."""
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for module in modules:
            for parameter in module.parameters():
                if parameter.requires_grad:
                    (decayed if parameter.ndim > 1 else free).append(parameter)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": free, "weight_decay": 0.0}]
        optimiser = self._build([group for group in groups if group["params"]])
        if not self.lookahead:
            return optimiser
        lookahead: torch.optim.Optimizer = timm.optim.Lookahead(optimiser, alpha=0.5, k=6)
        return lookahead

    def _build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        raise NotImplementedError


def _check_moments(where: str, betas: tuple[float, ...], eps: float) -> None:
    """Refuses decay rates of the gradient's moments, and a term of the denominator, that an update has no use for."""
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{where}: betas (={betas}) must be 0 or more and below 1; e.g. (0.9, 0.999)")
    if not eps > 0:
        raise ValueError(f"{where}: eps (={eps}) must be above 0; e.g. 1e-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaBelief(Optim):
    """AdaBelief with rectification (Zhuang et al. 2020, timm); the authors' optimiser."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-16

    def __post_init__(self) -> None:
        Optim.__post_init__(self)
        _check_moments("AdaBelief", self.betas, self.eps)

    def _build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        optimiser: torch.optim.Optimizer = timm.optim.AdaBelief(
            groups, lr=self.lr, betas=self.betas, eps=self.eps, foreach=True
        )
        return optimiser


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW(Optim):
    """AdamW (Loshchilov and Hutter 2019, torch)."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        Optim.__post_init__(self)
        _check_moments("AdamW", self.betas, self.eps)

    def _build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(Optim):
    """Stochastic gradient descent with momentum (torch)."""

    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        Optim.__post_init__(self)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"SGD: momentum (={self.momentum}) must be 0 or more and below 1; e.g. 0.9")

    def _build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Gives all parameter groups one learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
