"""Steps that only a GPU can take are commands that exist, and each kind of them runs to its end without one."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from benchmarks import compare_views_gpu, everything_gpu
from benchmarks.everything_gpu import FULL, ROOT, STEPS
from engine import run
from engine.bench.__main__ import app as bench
from engine.recipe import file as recipe_file
from engine.recipe import settings

DRY = (
    "versions", "kernels", "loaders", "train-semi", "train-inpaint", "train-graphs", "check",
    "table-112-identity", "ncu-weak", "sweep-identity", "step-resnet10t-graphs", "profile-resnet10t", "bench-loaders",
    "fer2013-resnet18", "affectnet-size",
)  # fmt: skip
"""At least one of each kind; `check` shows every case of views."""


def kind(step: str) -> tuple[str, frozenset[str]]:
    """Which module a step runs with which options, whatever their values."""
    words = STEPS[step][STEPS[step].index("{python}") :]
    return words[2], frozenset(word for word in words if word.startswith("--"))


def test_every_kind_of_step_is_run_dry():
    assert {kind(step) for step in DRY} == {kind(step) for step in STEPS}
    # To collect all of tests/engine takes long: of this one step it is only seen that there is something to select.
    assert any("@pytest.mark.gpu" in path.read_text() for path in (ROOT / STEPS["engine"][-1]).glob("test_*.py"))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here: python -m benchmarks.everything_gpu")
def test_steps_run_dry_to_their_end(tmp_path):
    command = [sys.executable, "-m", "benchmarks.everything_gpu", "--out", str(tmp_path), "--dry", "--steps", *DRY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    logs = {path.name: path.read_text() for path in (tmp_path / "dry").glob("*.log")}
    failed = [text for name, text in logs.items() if name.endswith(".failed.log")]
    assert done.returncode == 0, "\n".join([done.stderr, *(text[-3000:] for text in failed)])
    assert not failed

    # Steps of tests collect what needs a GPU and no more.
    for name in ("test_triton_gpu", "test_triton_views", "test_triton_tables", "test_triton_hidden"):
        assert f"{name}.py::" in logs["kernels.log"]
    assert "test_compare_views_gpu" not in logs["kernels.log"]
    assert "compiles_without_spills" not in logs["kernels.log"]
    for test in ("test_every_tier_delivers_the_same_on_a_gpu", "test_batches_arrive_on_the_gpu_equal"):
        assert test in logs["loaders.log"]
    assert "test_a_cpu_maps_the_file" not in logs["loaders.log"]

    tables = {path.name: path.read_text() for path in (tmp_path / "dry").glob("*-views-dry-*.md")}
    assert len(tables) == 2
    for name, text in tables.items():
        assert text.startswith("# Views on a CPU: a dry run, which measured no GPU\n")
        assert ("reference, compiled" in text) == ("identity" in name)
        assert "not timed:" not in text
    assert "weak, 14 px, batch 2, float16: 3 launches" in logs["ncu-weak.log"]
    assert logs["sweep-identity.log"].count(" / ") >= 11
    for run_folder in ("train-semi", "train-inpaint", "train-graphs", "profile-resnet10t", "affectnet-size"):
        assert (tmp_path / "dry" / run_folder / "report.md").is_file()
    assert "expression_tta" in (tmp_path / "dry" / "fer2013-resnet18" / "result.json").read_text()
    assert list((tmp_path / "dry" / "profile-resnet10t").rglob("*trace*"))
    for name in ("bench-loaders/loaders.md", "step-resnet10t-graphs/step.md"):
        assert (tmp_path / "dry" / name).is_file()


def test_a_selection_that_is_empty_fails_the_step(tmp_path, monkeypatch):
    monkeypatch.setitem(
        STEPS, "kernels", ("{python}", "-m", "pytest", "-q", "-n", "12", "-k", "no_such", "tests/charts.py")
    )
    words = everything_gpu.dried(STEPS["kernels"])
    assert words == [*STEPS["kernels"][1:], "-n", "0", "--collect-only"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 5


def test_one_call_runs_every_step_and_names_those_that_failed(tmp_path, monkeypatch, capsys):
    steps = {
        "good": ("{python}", "-c", "print('well in {out}')"),
        "bad": ("{python}", "-c", "raise SystemExit(3)"),
        "slow": ("{python}", "-c", "import time; print('began', flush=True); time.sleep(60)"),
        "absent": ("no-such-profiler", "{python}"),
    }
    monkeypatch.setattr(everything_gpu, "STEPS", steps)
    found = r"bad failed with exit status 3; slow stopped after 3 s; absent failed with exit status 1; read"
    with pytest.raises(SystemExit, match=f"everything_gpu: {found}"):
        everything_gpu.main(["--out", str(tmp_path), "--limit", "3", "--steps", "bad", "slow", "absent", "good"])
    assert (tmp_path / "good.log").read_text() == f"well in {tmp_path}\n"
    logs = ["absent.failed.log", "bad.failed.log", "good.log", "slow.failed.log"]
    assert sorted(file.name for file in tmp_path.iterdir()) == logs
    assert "KeyboardInterrupt" in (tmp_path / "slow.failed.log").read_text()
    assert "no-such-profiler" in (tmp_path / "absent.failed.log").read_text()
    assert "good: done, " in capsys.readouterr().out
    steps["bad"] = steps["slow"] = steps["absent"] = ("{python}", "-c", "")
    everything_gpu.main(["--out", str(tmp_path)])
    assert "good: done before" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["absent.log", "bad.log", "good.log", "slow.log"]


def test_a_step_that_does_not_end_when_asked_is_killed_with_its_processes(tmp_path, monkeypatch):
    deaf = "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    deaf += "print(subprocess.Popen(['sleep', '300']).pid, flush=True); [signal.pause() for _ in range(9)]"
    monkeypatch.setattr(everything_gpu, "STEPS", {"deaf": ("{python}", "-c", deaf)})
    monkeypatch.setattr(everything_gpu, "GRACE", 1)
    start = time.perf_counter()
    assert everything_gpu.run(["deaf"], tmp_path, 3, tmp_path) == ["deaf stopped after 3 s"]
    assert time.perf_counter() - start < 60
    child = int((tmp_path / "deaf.failed.log").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"  # nobody asked how it ended


def test_a_store_that_is_not_there_is_asked_for_before_any_step(tmp_path):
    with pytest.raises(
        SystemExit, match=r"--store \(=.*none\) must be a prepared store of FER2013, which bench-loaders"
    ):
        everything_gpu.main(
            ["--out", str(tmp_path), "--store", str(tmp_path / "none"), "--steps", "check", "bench-loaders"]
        )
    assert not list(tmp_path.iterdir())


def test_every_step_is_a_command_that_exists():
    assert everything_gpu.LIMIT + everything_gpu.GRACE < 600
    for step, words in STEPS.items():
        filled = [word.format(python="python", out="/results", store="data/fer2013", **FULL) for word in words]
        module, *arguments = filled[filled.index("-m", filled.index("python")) + 1 :]
        if module == everything_gpu.TABLE[2]:
            compare_views_gpu.parser().parse_args(arguments)
        elif module == "engine.run":
            parsed = get_command(run.app).make_context("run", arguments).params
            assert parsed["out"].name == step
            settings.apply(recipe_file.read(parsed["recipe"]).recipe, parsed["set_"])
        elif module == "engine.bench":
            command = get_command(bench).commands[arguments[0]].make_context("bench", arguments[1:]).params
            assert command["out"].name == step
        else:
            assert re.fullmatch(r"pytest|torch\.utils\.collect_env", module)
