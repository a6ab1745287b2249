"""The GPU table of views: what of it needs no GPU, and one row of it on the CPU by a clock that is not one."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest
import torch
from typer.main import get_command

from benchmarks import compare_views_gpu as gpu
from benchmarks import device_timer, everything_gpu, views_table
from benchmarks import view_cases as cases
from benchmarks.views_table import DRAWN, OURS
from engine import run
from engine.recipe import file as recipe_file

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")


def instant(run) -> float:
    run()
    return 1.0


def test_without_a_gpu_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"compare_views_gpu: a CUDA device must be there .*; run it on a machine"):
        gpu.main([])


def test_times_are_quantiles_of_turns_that_opponents_take():
    clock = iter(range(1, 1000))
    order = []
    runs = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    found = gpu.measure(runs, lambda run: (run(), float(next(clock)))[1], seconds=0.0)
    assert order == ["a", "b"] * gpu.FEWEST
    # a has 1, 3, ..., 19 and b has 2, 4, ..., 20.
    assert found["a"] == pytest.approx((4.6, 10.0, 15.4))
    assert found["b"] == pytest.approx((5.6, 11.0, 16.4))


def test_an_opponent_runs_no_more_often_than_the_most(monkeypatch):
    monkeypatch.setattr(device_timer, "MOST", 12)
    count = [0]
    gpu.measure({"a": lambda: count.__setitem__(0, count[0] + 1)}, instant, seconds=100.0)
    assert count == [12]


def test_a_row_is_timed_after_green_checks_and_names_who_differs():
    inputs = cases.make("weak + puzzle", 3, 24)
    wrong = lambda given, dtype: cases.ours(given, dtype) + 1  # noqa: E731
    all_of = {OURS: cases.ours, DRAWN: cases.drawn_and_ours, "reference, eager": cases.eager, "batched": wrong}
    notes = []
    row, count = gpu.compare(inputs, torch.float32, all_of, instant, CPU, 0.0, {}, notes)
    assert row[OURS] == row["clone"] == (1.0, 1.0, 1.0)
    assert row["batched"] is None
    assert len(notes) == 1
    assert notes[0].startswith("weak + puzzle, 24 px, batch 3: not timed: ")
    assert count == 3 * 24 * 24 * 3 * (1 + 4)
    with pytest.raises(SystemExit, match="ours"):
        gpu.compare(inputs, torch.float32, {OURS: wrong}, instant, CPU, 0.0, {}, [])


def test_who_was_slow_is_not_waited_for_at_the_next_batch():
    inputs = cases.make("identity", 2, 16)
    last = {"batched": (gpu.SLOWEST,) * 3, OURS: (1e-3,) * 3}
    all_of = {OURS: cases.ours, "batched": cases.batched}
    row, _ = gpu.compare(inputs, torch.float32, all_of, instant, CPU, 0.0, last, [])
    assert row["batched"] is None
    assert row[OURS] is not None


def test_goals_take_the_worst_row_of_those_they_are_about():
    def row(**times):
        return {name: (0.0, seconds, 0.0) for name, seconds in times.items()}, 1

    rows = {
        (112, 64, "identity"): row(**{OURS: 1.0, "clone": 0.9, gpu.RIVAL: 4.0}),
        (224, 64, "identity"): row(**{OURS: 1.0, "clone": 0.8, gpu.RIVAL: 3.5}),
        (112, 64, "weak + puzzle"): row(**{OURS: 2.0, DRAWN: 4.0, "clone": 1.2, "reference, compiled": 3.0}),
    }
    assert list(gpu.goals(rows)) == [
        "- identity, share of clone's speed: 0.80 to 0.90 × (goal 0.85 ×, missed)",
        "- weak + puzzle, share of clone's speed: 0.60 to 0.60 × (goal 0.5 ×, met)",
        "- triton-augment on the steps both have: 3.50 to 4.00 × (goal 3 ×, met)",
        "- compiled reference: 1.50 to 1.50 × (goal 1 ×, met)",
        "- compiled reference against weak + puzzle with drawing: 0.75 to 0.75 × (goal 1.3 ×, missed)",
    ]


def test_the_table_is_named_after_day_and_gpu(tmp_path):
    day = datetime.date.today()
    assert gpu.result_file(tmp_path, "NVIDIA H100 80GB HBM3") == tmp_path / f"{day}-views-nvidia-h100-80gb-hbm3.md"
    assert gpu.result_file(tmp_path, "A100", "224 px").name == f"{day}-views-a100-224-px.md"
    views_table.write(tmp_path / "new" / "table.md", "text")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["table.md"]


def test_only_packages_that_are_there_are_opponents():
    def absent():
        raise ModuleNotFoundError("kornia")

    assert gpu.installed(absent) is None
    assert gpu.version("no-such-package") == "not installed"
    found = gpu.opponents("weak", cases.Compiled(), None, None)
    assert OURS in found
    assert "kornia" not in found
    assert gpu.RIVAL not in found


@pytest.mark.skipif(torch.cuda.is_available(), reason="interprets the kernel on CPU tensors: needs no CUDA device")
def test_the_sweep_times_every_configuration_and_checks_its_pixels(monkeypatch):
    monkeypatch.setattr(device_timer, "FEWEST", 1)
    monkeypatch.setattr(gpu, "CASES", ("identity",))
    (line,) = gpu.sweep(instant, CPU, torch.float32, 6, 1)
    assert line.startswith("identity: ")
    assert line.count("1000.000") == line.count(",") + 1 == 12


def test_one_call_runs_every_step_and_names_those_that_failed(tmp_path, monkeypatch, capsys):
    steps = {
        "good": ("-c", "print('well in {out}')"),
        "bad": ("-c", "raise SystemExit(3)"),
        "slow": ("-c", "import time; time.sleep(60)"),
    }
    monkeypatch.setattr(everything_gpu, "STEPS", steps)
    with pytest.raises(
        SystemExit, match=r"everything_gpu: bad failed with exit status 3; slow stopped after 3 s; read"
    ):
        everything_gpu.main(["--out", str(tmp_path), "--limit", "3", "--steps", "bad", "slow", "good"])
    assert (tmp_path / "good.log").read_text() == f"well in {tmp_path}\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.failed.log", "good.log", "slow.failed.log"]
    assert "good: done, " in capsys.readouterr().out
    steps["bad"] = steps["slow"] = ("-c", "")
    everything_gpu.main(["--out", str(tmp_path)])
    assert "good: done before" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.log", "good.log", "slow.log"]


def test_every_step_is_a_command_that_exists():
    assert everything_gpu.LIMIT < 600
    for step, (_, module, *arguments) in everything_gpu.STEPS.items():
        if module == everything_gpu.TABLE[1]:
            gpu.parser().parse_args(arguments)
        elif module == "engine.run":
            parsed = get_command(run.app).make_context("run", arguments).params
            assert parsed["out"].name == step
            assert recipe_file.read(parsed["recipe"]).recipe is not None
        else:
            assert module == "pytest"


@pytest.mark.slow
def test_the_steps_of_tests_collect_what_needs_a_gpu_and_no_more():
    def collected(*arguments: str) -> str:
        command = [sys.executable, *(part for part in arguments if part not in ("-n", "12")), "--collect-only"]
        return subprocess.run(command, cwd=views_table.ROOT, capture_output=True, text=True, check=True).stdout

    steps = everything_gpu.STEPS
    kernels = collected(*steps["kernels"])
    assert steps["loaders"][:-1] == steps["engine"][:-1]  # so one collection does for both
    others = collected(*steps["loaders"], steps["engine"][-1])
    for name in ("test_triton_gpu", "test_triton_views", "test_triton_tables", "test_triton_hidden"):
        assert f"{name}.py::" in kernels
    assert "test_compare_views_gpu" not in kernels
    assert "compiles_without_spills" not in kernels
    for test in ("test_every_tier_delivers_the_same_on_a_gpu", "test_batches_arrive_on_the_gpu_equal"):
        assert test in others
    assert "test_a_cpu_maps_the_file" not in others
    assert "test_optim.py::test_steps_on_cuda" in others
    assert "test_one_rate_for_all_groups" not in others
