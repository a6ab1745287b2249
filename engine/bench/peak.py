"""Measures the most that a device computes, of which a training step reaches a share."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from engine.recipe import Recipe
from engine.training.cost import META, cost_of_step
from engine.training.precision import DTYPES, resolve

CHANNELS, SIDE = 256, 28
"""Of the convolution, 3 x 3 from as many channels to as many: large, and of the kind that a network is made of."""


@dataclass(frozen=True, slots=True)
class Work:
    """Holds what a training step computes, and how fast its device can."""

    flops: float
    """Of the first step of the run, forward and backward; see `engine.training.cost`."""
    peak: float
    """FLOP/s of a large convolution in the precision of the recipe."""

    def share(self, steps_a_second: float) -> float:
        """Gives the share of the peak that so many steps a second reach."""
        return steps_a_second * self.flops / self.peak


def work_of(recipe: Recipe, device: torch.device) -> Work:
    """Counts a step of a recipe and measures the peak of its device.

    Raises:
        ValueError: A loss cannot be computed on shapes alone, so that it is not known what a step computes.
    """
    flops = cost_of_step(recipe).flops
    assert flops is not None
    return Work(flops, measure_peak(device, DTYPES[resolve(recipe.precision, device)]))


@torch.no_grad()
def measure_peak(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Measures FLOP/s of a large convolution: the fastest of those that run in so many seconds, 3 at least."""
    batch = 16 if device.type == "cpu" else 512
    with FlopCounterMode(display=False) as counter:
        F.conv2d(*_given(batch, META, dtype), padding=1)
    pictures, weights = _given(batch, device, dtype)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        F.conv2d(pictures, weights, padding=1)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return float(counter.get_total_flops()) / min(times)


def _given(batch: int, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    shapes = (batch, CHANNELS, SIDE, SIDE), (CHANNELS, CHANNELS, 3, 3)
    pictures, weights = (torch.ones(shape, device=device, dtype=dtype) for shape in shapes)
    return pictures.contiguous(memory_format=torch.channels_last), weights.contiguous(memory_format=torch.channels_last)
