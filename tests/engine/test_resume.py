"""Killed at any moment and started again, a run ends with the weights and the folder of an uninterrupted one."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from engine.averaging import Averaging
from engine.losses import AnnealWeight, RampWeight, Uncertainty
from engine.mixing import CutMix
from engine.optim import SGD, AdaBelief, AdamW
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.run import app
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.training.later import Later
from engine.training.loop import StoppedError, Trainer
from engine.training.ranks import Ranks
from engine.training.train import train
from engine.views import Plain, Puzzle
from loaders import Composed, HideLabels, Phased, Synthetic
from loaders.files import hidden
from loaders.terminal import Terminal
from tests.engine import tiny
from tests.engine.scalars import read_scalars

QUIET = Terminal(quiet=True)
CPU = torch.device("cpu")
FADING = (Expression(SYNTHETIC_7), SolvePuzzle(weight=AnnealWeight(0.3, hold=0.25, end=0.85)))
"""The puzzle fades out over the steps 3 to 7 of 8; the last one trains expression alone."""
COMPOSED = {
    "data": HideLabels(Synthetic(train=40, val=12, test=12, size=32), keep=10),
    "sampler": Composed(labelled=3, unlabelled=5, label="expression"),
    "views": {"plain": Plain(of="labelled"), "puzzle": Puzzle(grid=2, of="unlabelled")},
}
"""2 epochs of 6 steps."""
PHASED = COMPOSED | {
    "sampler": Phased(
        (
            (0.0, Composed(labelled=0, unlabelled=8, label="expression")),
            (0.25, Composed(labelled=3, unlabelled=5, label="expression")),
        )
    ),
    "tasks": (Expression(SYNTHETIC_7, weight=RampWeight(1.0, start=0.25, end=0.25)), SolvePuzzle(weight=0.3)),
}
"""Labelled faces come with the fourth step, inside the first epoch."""
TIMES = {"seconds", "images_per_second", "wait_share"}


def run(recipe: Recipe, out: Path, *, resume: bool = False) -> None:
    train(RecipeFile("tiny", recipe, ""), out, device=CPU, resume=resume, deterministic=False, console=QUIET)


def weights_hash(out: Path) -> str:
    return hashlib.sha256((out / "checkpoints" / "last" / "weights.safetensors").read_bytes()).hexdigest()


def contents(out: Path) -> dict[str, Any]:
    """All that a run folder says, but for times."""
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    result = json.loads((out / "result.json").read_text())
    return {
        "weights": weights_hash(out),
        "log": [{key: value for key, value in line.items() if key != "time"} for line in log],
        "metrics": [{key: value for key, value in row.items() if key not in TIMES} for row in rows],
        "scalars": read_scalars(out),
        "result": {key: value for key, value in result.items() if key not in {"seconds", "speed"}},
        "predictions": {
            path.name: {name: array.tolist() for name, array in np.load(path).items()}
            for path in sorted((out / "predictions").iterdir())
        },
    }


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Makes the `steps`-th optimiser step from here on the last thing that happens."""
    taken = 0
    step = Trainer.step

    def counted(self: Trainer, batches: Any) -> None:
        nonlocal taken
        if taken == steps:
            raise KeyboardInterrupt
        taken += 1
        step(self, batches)

    monkeypatch.setattr(Trainer, "step", counted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 1),
        ({"optim": AdaBelief(lr=1e-3, lookahead=True, warmup_epochs=1), "batch_statistics": "per_view_plain"}, 3),
        ({"optim": SGD(lr=0.01, clip=1.0), "accumulate": 2, "ema": 0.9, "checkpoint_every": 1}, 3),
        ({"total": Uncertainty(), "optim": AdamW(lr=1e-3), "log_every": 2}, 5),
        ({"gradient_cosine_every": 1, "log_every": 3, "test_time": Averaging(crops=1)}, 3),
        ({"tasks": FADING, "log_every": 3}, 5),
        ({"mix": CutMix(alpha=1.0)}, 5),
        (COMPOSED, 3),
        (PHASED, 5),
    ],
    ids=[
        "before-any-checkpoint-of-the-epoch",
        "lookahead",
        "accumulate-ema-clip",
        "uncertainty-second-epoch",
        "gradient-cosine-averaging",
        "inside-the-ramp-of-a-weight",
        "mixed-pictures",
        "inside-a-composed-epoch",
        "inside-the-second-phase",
    ],
)
def test_interrupted_anywhere_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], steps: int
) -> None:
    recipe = tiny.recipe(**changes)
    run(recipe, tmp_path / "whole")
    # Nor does it matter that losses come from the device when the next ones are asked for.
    monkeypatch.setattr(Later, "ready", lambda _: False)
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "broken")
    run(recipe, tmp_path / "broken", resume=True)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_killed_again_and_again_the_weights_are_those_of_an_uninterrupted_run(tmp_path: Path, one_thread: None) -> None:
    """Kills with -9 in a step and while a checkpoint is written; what is not killed runs in this process."""
    recipe = tmp_path / "tiny_recipe.py"
    recipe.write_text("from tests.engine import tiny\nrecipe = tiny.recipe(epochs=4, checkpoint_every=1)\n")
    words = [str(recipe), "--device", "cpu", "--resume", "--out"]
    kills = 0
    for wait in (0.05, 0.3, 0.02):
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.run", *words, str(tmp_path / "killed")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_checkpoint(tmp_path / "killed", process)
        time.sleep(wait)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    for name in ("killed", "whole"):
        done = CliRunner().invoke(app, [*words, str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    hashes = {name: weights_hash(tmp_path / name) for name in ("whole", "killed")}
    print(f"\n{kills} kills; sha256 of the final weights:", json.dumps(hashes, indent=2))
    assert kills > 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def wait_for_checkpoint(out: Path, process: subprocess.Popen[Any]) -> None:
    """Waits until a run has written one more checkpoint, or has ended."""
    files = out / "checkpoints" / "last" / "files.json"

    def stamp() -> float:
        try:
            return files.stat().st_mtime
        except OSError:
            return 0.0

    before = stamp()
    while process.poll() is None and stamp() == before:
        time.sleep(0.01)


def test_asked_to_stop_it_writes_a_checkpoint_after_the_running_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(checkpoint_every=1000)
    run(recipe, tmp_path / "whole")
    step = Trainer.step

    def stopped(self: Trainer, batches: Any) -> None:
        step(self, batches)
        if self.at.total == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stopped)
        with pytest.raises(StoppedError, match="go on with --resume"):
            run(recipe, tmp_path / "stopped")
    run(recipe, tmp_path / "stopped", resume=True)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


class Noting(Ranks):
    """One rank, which keeps what it would compare with others."""

    compared: ClassVar[list[Mapping[str, str]]] = []

    def agree(self, facts: Callable[[], Mapping[str, str]]) -> None:
        self.compared.append(facts())


def test_a_run_goes_on_in_the_precision_it_began_with_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny.recipe(precision="auto")
    file, console = RecipeFile("tiny", recipe, ""), Terminal(width=300)

    def go(out: str, resume: bool = False) -> None:
        train(file, tmp_path / out, device=CPU, resume=resume, deterministic=False, console=console, ranks=Noting())

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    go("whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            go("moved")
    assert [facts["precision"] for facts in Noting.compared if "precision" in facts] == ["bf16", "bf16"]
    assert "precision" not in capsys.readouterr().out
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    Noting.compared.clear()
    go("moved", resume=True)
    assert "precision: bf16, in which the run began; 'auto' is fp32 here. To train in fp32," in capsys.readouterr().out
    assert not any("precision" in facts for facts in Noting.compared)
    assert contents(tmp_path / "moved") == contents(tmp_path / "whole")
    starts = json.loads((tmp_path / "moved" / "environment.json").read_text())
    assert [start["precision"] for start in starts] == ["bf16", "bf16"]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny.recipe()
    run(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "broken")
    (tmp_path / "broken" / "checkpoints" / "last" / "state.pt").write_bytes(b"cut")
    file = RecipeFile("tiny", recipe, "")
    train(file, tmp_path / "broken", device=CPU, resume=True, deterministic=False, console=Terminal(width=300))
    assert "is damaged (state.pt was cut or changed); going on from the one before" in capsys.readouterr().out
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_no_whole_checkpoint_left_is_an_error(tmp_path: Path) -> None:
    recipe = tiny.recipe(epochs=1)
    run(recipe, tmp_path / "run")
    for name in ("last", "before"):
        (tmp_path / "run" / "checkpoints" / name / "state.pt").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"no whole one is left .*; start again with another --out"):
        run(recipe, tmp_path / "run", resume=True)


def test_a_finished_run_resumed_changes_nothing(tmp_path: Path) -> None:
    recipe = tiny.recipe(epochs=1)
    run(recipe, tmp_path / "run")
    before, speed = contents(tmp_path / "run"), json.loads((tmp_path / "run" / "result.json").read_text())["speed"]
    run(recipe, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == before
    resumed = json.loads((tmp_path / "run" / "result.json").read_text())["speed"]
    assert resumed["images_per_second"] == speed["images_per_second"]


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    recipe = tiny.recipe(epochs=1)
    of_the_killed = hidden(tmp_path / "run", "partial")  # this process's own name, which nobody else can hold
    of_the_killed.mkdir()
    run(recipe, tmp_path / "run")
    for place in ("predictions/val-last.npz", "charts/views.png", "metrics.csv"):
        hidden(tmp_path / "run" / place, "partial").write_bytes(b"half")
    run(recipe, tmp_path / "run", resume=True)
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    run(tiny.recipe(epochs=1), tmp_path / "run")
    with pytest.raises(ValueError, match=r"started with another recipe(.|\n)*optim.lr: 0.001 -> 0.1"):
        run(tiny.recipe(epochs=1, optim=AdamW(lr=0.1)), tmp_path / "run", resume=True)


def test_a_run_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    run(tiny.recipe(epochs=1), tmp_path / "run")
    with pytest.raises(ValueError, match=r"is there already; go on with it by --resume, or choose another --out"):
        run(tiny.recipe(epochs=1), tmp_path / "run")


def test_a_folder_that_is_no_run_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(ValueError, match=r"is no run folder, it has no recipe.json"):
        run(tiny.recipe(epochs=1), tmp_path, resume=True)


def test_every_start_of_a_run_names_its_machine(tmp_path: Path) -> None:
    recipe = tiny.recipe(epochs=1)
    run(recipe, tmp_path / "run")
    run(recipe, tmp_path / "run", resume=True)
    starts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert [start["from_step"] for start in starts] == [0, 4]
    assert all(start[key] for start in starts for key in ("cpu", "torch", "date", "command", "threads"))


def test_a_resume_under_other_versions_or_another_commit_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = RecipeFile("tiny", tiny.recipe(epochs=1), "")
    for _ in range(2):
        train(file, tmp_path / "run", device=CPU, resume=True, deterministic=False, console=Terminal(width=300))
    assert "warning" not in capsys.readouterr().out
    environment = tmp_path / "run" / "environment.json"
    starts = json.loads(environment.read_text())
    environment.write_text(json.dumps([*starts[:-1], starts[-1] | {"torch": "1.0", "commit": "abc"}]))
    train(file, tmp_path / "run", device=CPU, resume=True, deterministic=False, console=Terminal(width=300))
    said = capsys.readouterr().out
    assert f"torch 1.0 -> {starts[-1]['torch']}" in said
    assert "commit abc -> " in said
