"""Throughput, tracked while training: how fast, and how much of it was waiting for data."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch.profiler import record_function

T = TypeVar("T")


@dataclass(slots=True)
class Clock:
    """Host times of steps: of an epoch, or added up over a run. Nothing here asks the device.

    On a CUDA device a step's host time is the time to launch it, and waiting is what the host waits; over an epoch,
    which ends with a read from the device, both add up to the true time.
    """

    images: int = 0
    waited: float = 0.0
    first: float = 0.0
    """Host seconds of the first step of the process, which holds compilation."""
    steps: list[float] = field(default_factory=list)
    """Host seconds of each later step, data waiting included."""

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """Passes batches on and counts the time inside `next`."""
        batches = iter(batches)
        while True:
            start = time.perf_counter()
            try:
                with record_function("waiting for data"):
                    batch = next(batches)
            except StopIteration:
                return
            self.waited += time.perf_counter() - start
            yield batch

    def step(self, seconds: float, images: int, *, first: bool) -> None:
        """Counts one optimiser step."""
        if first:
            self.first, self.waited = seconds, 0.0
        else:
            self.steps.append(seconds)
            self.images += images

    @property
    def seconds(self) -> float:
        return sum(self.steps)

    def state_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "waited": self.waited,
            "first": self.first,
            "steps": torch.tensor(self.steps, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Times of the run before it was started again; this process has a first step of its own."""
        self.images, self.waited, self.steps = state["images"], state["waited"], state["steps"].tolist()

    def add(self, epoch: Clock) -> None:
        """Joins the times of one epoch to those of the run."""
        self.images += epoch.images
        self.waited += epoch.waited
        self.first = self.first or epoch.first
        self.steps += epoch.steps


def summarise(clock: Clock, device: torch.device, compiled: bool) -> dict[str, float | str | None]:
    """The speed table of a report.

    The first step is left out: it holds compilation, library start-up and, with `torch.compile`, is reported as
    `compile_seconds` (what it took beyond a median step).
    """
    steps = np.asarray(clock.steps)
    if not len(steps):
        return {}
    compute = max(clock.seconds - clock.waited, 1e-9)
    return {
        "images_per_second": clock.images / clock.seconds,
        "compute_images_per_second": clock.images / compute,
        "wait_share": clock.waited / clock.seconds,
        "wait_label": "time inside next()" if device.type == "cpu" else "host wait",
        "step_p50_ms": 1000 * float(np.percentile(steps, 50)),
        "step_p99_ms": 1000 * float(np.percentile(steps, 99)),
        "compile_seconds": max(clock.first - float(np.median(steps)), 0.0) if compiled else None,
        "peak_memory_mib": peak_memory(device) / 2**20,
    }


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak: of the device's allocator on CUDA, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
