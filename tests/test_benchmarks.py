"""The benchmarks run, small, and their checks are green."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import compare_views

ROOT = Path(__file__).resolve().parents[1]

pytest.importorskip("kornia", reason="the opponents are not installed: pip install -e '.[bench]'")


@pytest.mark.slow
def test_the_table_of_views_on_the_cpu_is_written(tmp_path):
    command = [sys.executable, "-m", "benchmarks.compare_views", "--quick", "--threads", "1"]
    places = ["--out", str(tmp_path), "--chart", str(tmp_path / "docs" / "chart.png")]
    done = subprocess.run([*command, *places], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [table] = tmp_path.glob("*-views-cpu.md")
    text = table.read_text()
    for case in ("identity", "weak", "strong", "weak + puzzle", "weak + holes", "two views"):
        assert f"| 56 | 3 | {case} |" in text
    for fact in ("torch 2", "numba 0", "commit", "1 threads", "torchvision", "kornia", "compare_views --quick"):
        assert fact in text
    assert (tmp_path / "docs" / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_an_opponent_that_shows_something_else_stops_the_run():
    inputs = compare_views.cases.make("weak", 2, 16)
    for name in ("ours", "batched", "torchvision"):
        with pytest.raises(SystemExit, match=f"{name} differs from the reference by"):
            compare_views.agree(
                name, inputs, lambda few, dtype: compare_views.cases.ours(few, dtype) + 0.1, torch.float32
            )
    compare_views.agree("ours", inputs, compare_views.cases.ours, torch.bfloat16)


def test_the_suite_is_collected():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/bench_views.py", "--collect-only", "-q"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "test_render_views[weak + puzzle-224-torch.bfloat16]" in done.stdout
