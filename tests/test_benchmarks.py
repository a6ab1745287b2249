"""The benchmarks run, small, and their checks are green."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import compare_views, ranks
from engine.training.ranks import Ranks
from tests.engine import tiny

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


def test_the_numbers_that_ranks_exchange_are_counted_as_a_step_sends_them(tmp_path, monkeypatch):
    recipe = tiny.recipe(accumulate=2)
    sent = []
    add_up = Ranks.add_up
    monkeypatch.setattr(Ranks, "add_up", lambda *args: sent.append(add_up(*args)) or sent[-1])
    tiny.trained(recipe, tmp_path / "run")
    assert {len(vector) for vector in sent} == {ranks.length_of(recipe)}


def test_the_table_of_what_ranks_cost_sets_turns_of_one_round_against_each_other():
    figures = {"step_p50_ms": 500.0, "wait_share": 0.0012}
    ways = [ranks.Way(1, 1), ranks.Way(1, 2), ranks.Way(2, 1)]
    for way, speeds in zip(ways, ((60, 70), (100, 140), (120, 140)), strict=True):
        way.steps.extend(figures | {"images_per_second": speed} for speed in speeds)
    text = "\n\n".join(ranks.report(ways, 1_000_000, 0.0275, "of a recipe.", "python -m benchmarks.ranks"))
    [line] = [line for line in text.splitlines() if line.startswith("| 2 ranks")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == ["130 (120 to 140)", "1.10 (1.00 to 1.20)", "500 (500 to 500)", "0.12 (0.12 to 0.12)"]
    assert "1,000,000 numbers in fp32 are added up: each of 2 ranks sends 4.0 MB." in text
    assert "between 2 ranks of this machine, that takes 27.5 ms" in text


def test_the_first_rank_prints_the_seconds_of_an_exchange(capsys):
    ranks.main(["--exchange", "1001", "--steps", "3"])
    assert float(capsys.readouterr().out) > 0
