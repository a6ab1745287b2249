"""Times on a GPU by CUDA events.

Before each run the L2 cache is filled with other bytes, read and not written, since dirty lines would be written back
while the clock runs; and the device is kept busy for a moment, so that launches are queued when the clock starts and
the time of a launch on the host is counted only where the host cannot keep up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.views_table import Row

AHEAD = 2_000_000
"""Clock cycles, about a millisecond, that the device is kept busy before the clock starts."""
FEWEST, MOST = 10, 200
"""Runs of an opponent in a row."""


class Timer(Protocol):
    def __call__(self, run: Callable[[], Tensor]) -> float:
        """Measures the seconds that one run takes."""
        ...


class DeviceTimer:
    """Times by CUDA events with a cold L2 cache and launches queued ahead."""

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        self.other = torch.zeros(2 * cache // 4, dtype=torch.int32, device="cuda")
        self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def __call__(self, run: Callable[[], Tensor]) -> float:
        self.other.max()
        torch.cuda._sleep(AHEAD)
        self.start.record()
        out = run()
        self.end.record()
        self.end.synchronize()
        del out
        return self.start.elapsed_time(self.end) / 1e3


class HostTimer:
    """Times by the clock of the host, for a dry run where there is no GPU."""

    def __call__(self, run: Callable[[], Tensor]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


def measure(runs: dict[str, Callable[[], Tensor]], timer: Timer, seconds: float) -> Row:
    """Measures p20, p50, p80 in seconds of each; turns are taken until each had its time, at least `FEWEST` times."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    waiting = dict(runs)
    began = dict.fromkeys(runs, 0.0)
    while waiting:
        for name in list(waiting):
            start = time.perf_counter()
            times[name].append(timer(waiting[name]))
            began[name] += time.perf_counter() - start
            if len(times[name]) >= MOST or (len(times[name]) >= FEWEST and began[name] > seconds):
                del waiting[name]
    quantiles = torch.tensor([0.2, 0.5, 0.8])
    return {name: tuple(torch.tensor(t).quantile(quantiles).tolist()) for name, t in times.items()}
