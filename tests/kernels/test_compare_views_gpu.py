"""The GPU table of views: what of it needs no GPU, and one row of it on the CPU by a clock that is not one."""

from __future__ import annotations

import datetime

import pytest
import torch

from benchmarks import compare_views_gpu as gpu
from benchmarks import device_timer, views_table
from benchmarks import view_cases as cases
from benchmarks.views_table import DRAWN, OURS

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
    (line,) = gpu.sweep(instant, CPU, torch.float32, ("identity",), 6, 1)
    assert line.startswith("identity: ")
    assert line.count("1000.000") == line.count(",") + 1 == 12


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here: python -m benchmarks.compare_views_gpu")
def test_a_profiler_is_shown_launches_and_nothing_else(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(cases, "ours", lambda inputs, dtype: shown.append((inputs.size, inputs.batch, dtype)))
    gpu.main(["--device", "cpu", "--launches", "3", "--sizes", "6", "--batches", "2", "--cases", "weak"])
    assert shown == [(6, 2, torch.bfloat16)] * 3
    assert capsys.readouterr().out == "weak, 6 px, batch 2, bfloat16: 3 launches\n"
