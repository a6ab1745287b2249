"""`--profile N`: what the trace holds, and that training does not notice it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from engine.recipe.file import RecipeFile
from engine.training.train import train
from loaders.terminal import Terminal
from tests.engine import tiny


def run(out: Path, profile: int | None) -> str:
    """Hash of the weights after 8 steps."""
    file = RecipeFile("tiny", tiny.recipe(), '"""Tiny."""\n')
    console = Terminal(quiet=True)
    cpu = torch.device("cpu")
    train(file, out, device=cpu, resume=False, deterministic=False, profile=profile, console=console)
    return hashlib.sha256((out / "checkpoints" / "last" / "weights.safetensors").read_bytes()).hexdigest()


def test_a_trace_of_n_steps_is_written_and_the_weights_are_those_without_it(tmp_path: Path) -> None:
    without, with_trace = run(tmp_path / "without", None), run(tmp_path / "with", 2)
    assert without == with_trace
    assert not (tmp_path / "without" / "trace.json").exists()
    assert "`trace.json`: some steps under torch's profiler" in (tmp_path / "with" / "report.md").read_text()
    events = json.loads((tmp_path / "with" / "trace.json").read_text())["traceEvents"]
    names = [event.get("name", "") for event in events]
    steps = [name for name in names if name.startswith("ProfilerStep#")]
    assert len(set(steps)) == 2
    assert any("convolution_backward" in name for name in names)
    assert "waiting for data" in names


def test_a_trace_longer_than_the_run_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for steps in (0, 4):
        with pytest.raises(ValueError, match=rf"--profile: N \(={steps}\) must be 1 to 3: 8 steps are left"):
            run(tmp_path / "run", steps)
    assert list(tmp_path.iterdir()) == []
