"""`--profile N`: a trace of N training steps by torch's profiler, beside the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, schedule

from engine.training.loop import Trainer
from loaders.files import replacing

SKIPPED = 3
"""Steps before the profiler is switched on: they hold compilation and library start-up."""
WARM = 2
"""Steps that it records and throws away, since its first ones are slower."""
TRACE = "trace.json"


def check_profile(steps: int, trainer: Trainer) -> None:
    """Refuse a trace that the rest of the run could not fill.

    Raises:
        ValueError: `steps` is below 1, or more than the steps that are left after the warm-up.
    """
    left = trainer.recipe.epochs * trainer.steps - trainer.at.epoch * trainer.steps - trainer.at.step
    most = left - SKIPPED - WARM
    if not 1 <= steps <= most:
        raise ValueError(
            f"--profile: N (={steps}) must be 1 to {most}: {left} steps are left, and {SKIPPED + WARM} of them come "
            "before the trace; take fewer, or train for more epochs"
        )


@contextmanager
def profiled(trainer: Trainer, steps: int, path: Path) -> Iterator[None]:
    """Inside the block, N steps of training are traced and written to `path` as soon as they are done.

    The trace is in Chrome's format: open it in Perfetto or chrome://tracing. Training itself is not changed.

    Args:
        trainer: It must not have another `after_step`.
        steps: Steps of the trace, after `SKIPPED + WARM` others.
        path: File to write, whole or not at all.
    """

    def write(done: Any) -> None:
        with replacing(path) as temporary:
            done.export_chrome_trace(str(temporary))

    activities = [ProfilerActivity.CPU]
    if trainer.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    plan = schedule(wait=SKIPPED, warmup=WARM, active=steps, repeat=1)
    before = trainer.after_step
    with profile(activities=activities, schedule=plan, on_trace_ready=write, record_shapes=True) as running:
        trainer.after_step = running.step
        try:
            yield
        finally:
            trainer.after_step = before
