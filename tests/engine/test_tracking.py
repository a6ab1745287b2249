"""`--track`: trackers are told of a training, and whatever befalls them does not touch it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import engine.run
from engine.recipe.file import RecipeFile
from engine.tracking import TRACKERS, Tracking, opened, telling
from engine.training.loop import StoppedError, Trainer
from engine.training.train import train
from loaders.terminal import Terminal
from tests.engine import tiny
from tests.engine.ranks_trial import launch
from tests.engine.test_resume import contents


class Fake:
    """A tracker that keeps what it is told, one list for all of its kind, and does something at one of the calls."""

    told: list[tuple[str, Any]]

    def __init__(self, at: str = "", act: Callable[[], object] = lambda: None) -> None:
        self._at, self._act = at, act

    def begin(self, name: str, settings: Mapping[str, Any]) -> None:
        self._keep("begin", (name, dict(settings)))

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        self._keep("figures", (step, dict(values)))

    def report(self, page: str) -> None:
        self._keep("report", page)

    def end(self, *, finished: bool) -> None:
        self._keep("end", finished)

    def _keep(self, name: str, what: Any) -> None:
        if name == self._at:
            self._act()
        self.told.append((name, what))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What fake trackers are told in place of MLflow."""
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(Fake, "told", told, raising=False)
    monkeypatch.setitem(TRACKERS, "mlflow", Fake)
    return told


def run(
    out: Path,
    capsys: pytest.CaptureFixture[str],
    track: tuple[str, ...] = ("mlflow",),
    *,
    resume: bool = False,
) -> str:
    """Trains, and gives what was printed."""
    file = RecipeFile("tiny", tiny.recipe(), "")
    cpu = torch.device("cpu")
    capsys.readouterr()
    train(file, out, device=cpu, resume=resume, deterministic=False, console=Terminal(), track=track)
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run leaves that no tracker is told of."""
    return contents(tiny.trained(tiny.recipe(), tmp_path_factory.mktemp("untracked") / "run"))


def test_a_tracker_is_told_settings_figures_each_epoch_and_the_report(
    told: list[tuple[str, Any]], untracked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "warning" not in run(tmp_path / "run", capsys)
    assert contents(tmp_path / "run") == untracked
    assert [name for name, _ in told] == ["begin", "figures", "figures", "figures", "report", "end"]
    (name, settings), first, last, end, page, finished = (what for _, what in told)
    assert re.fullmatch("run-[0-9a-f]{8}", name)
    assert (settings["optim.lr"], settings["epochs"], settings["tasks.puzzle.weight"]) == (1e-3, 2, 0.3)
    assert settings["views.puzzle.kind"] == "Puzzle"
    assert (first[0], last[0], end[0]) == (4, 8, 8)
    assert {"epoch", "lr", "train/loss", "val/expression/accuracy"} <= last[1].keys()
    assert "step" not in last[1]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert end[1]["best/test/expression/accuracy"] == result["best"]["test"]["expression/accuracy"]
    assert page.startswith("<!doctype html>")
    assert "data:image/png" in page
    assert finished is True


def test_a_run_that_is_gone_on_with_goes_on_in_its_tracker(
    told: list[tuple[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    after_step = Trainer.step

    def stopping(trainer: Trainer, batches: Any) -> None:
        after_step(trainer, batches)
        trainer.stop = trainer.at.total == 6

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(StoppedError):
        run(tmp_path / "run", capsys)
    assert [name for name, _ in told] == ["begin", "figures", "end"]
    assert told[-1] == ("end", False)
    monkeypatch.setattr(Trainer, "step", after_step)
    run(tmp_path / "run", capsys, resume=True)
    assert [name for name, _ in told[3:]] == ["begin", "figures", "figures", "report", "end"]
    assert told[0] == told[3]


def fail() -> None:
    raise ConnectionError("no route to [host]\nat all")


@pytest.mark.parametrize(
    ("at", "act"), [("begin", fail), ("figures", fail), ("report", fail), ("end", fail), ("figures", sys.exit)]
)
def test_a_tracker_that_fails_is_told_of_once_and_the_run_is_the_same(
    at: str,
    act: Callable[[], object],
    told: list[tuple[str, Any]],
    untracked: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TRACKERS, "mlflow", lambda: Fake(at, act))
    monkeypatch.setitem(TRACKERS, "trackio", Fake)
    printed = run(tmp_path / "run", capsys, ("mlflow", "trackio"))
    why = "ConnectionError: no route to [host] at all" if act is fail else "SystemExit"
    assert printed.count("warning") == 1
    assert (
        f"warning: mlflow does not keep all of this run ({why}); the run itself is not touched, its figures and report "
        "are in its folder"
    ) in printed
    assert contents(tmp_path / "run") == untracked
    assert [what for name, what in told if name == "end"][-1] is True  # the other one


def test_a_tracker_that_does_not_answer_is_not_waited_for(
    told: list[tuple[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "mlflow", lambda: Fake("begin", lambda: time.sleep(3600)))
    monkeypatch.setattr(telling, "SECONDS", 0.2)
    printed = run(tmp_path / "run", capsys)
    assert printed.count("warning: mlflow does not keep all of this run (no answer for 0 s)") == 1
    assert told == []


RANK = """import json, os, sys
from pathlib import Path
from engine.run import app
from engine.tracking import TRACKERS
from tests.engine.test_tracking import Fake, fail

Fake.told = []
TRACKERS.update(mlflow=lambda: Fake("figures", fail), trackio=Fake)
folder = Path(sys.argv[1])
try:
    app([*sys.argv[2:], "--track", "mlflow", "--track", "trackio", "--out", str(folder / "two")])
finally:
    (folder / f"told-{os.environ['RANK']}.json").write_text(json.dumps(Fake.told))
"""


@pytest.mark.slow
def test_of_two_ranks_the_first_one_tells_and_a_tracker_that_fails_leaves_the_run_of_one(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.py"
    recipe.write_text("from tests.engine import tiny\nrecipe = tiny.recipe(batch_size=4, accumulate=2)\n")
    (tmp_path / "rank.py").write_text(RANK)
    both = launch(2, str(tmp_path / "rank.py"), str(tmp_path), str(recipe), "--device", "cpu", "--threads", "1")
    tiny.trained(tiny.recipe(batch_size=4, accumulate=2), tmp_path / "one")
    output, _ = both.communicate()
    assert both.returncode == 0, output
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert output.count("warning: mlflow does not keep all of this run (ConnectionError: ") == 1
    assert output.count("warning: trackio") == 0
    first, second = (json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in (0, 1))
    assert sorted(name for name, _ in first) == ["begin", "begin", "end", *["figures"] * 3, "report"]
    assert second == []


def test_a_name_that_is_none_and_a_missing_package_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(engine.run.app, ["demo", "--smoke", "--track", "wandb"])
    assert said.exit_code == 2
    assert "train: track (=wandb) must be one of mlflow, trackio; name one, or leave it out" in said.stderr
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
        said = CliRunner().invoke(engine.run.app, ["demo", "--smoke", "--track", name])
        assert said.exit_code == 2
        assert f"train: track: package (={name}) must be importable, and is not" in said.stderr or (
            name == "mlflow" and "package (=sqlalchemy)" in said.stderr
        )
        assert f"pip install 'hmtl[{name}]'" in said.stderr
    assert list(tmp_path.iterdir()) == []


# --- the real ones ------------------------------------------------------------------------------------------------


def kept(name: str, finished: bool) -> None:
    """Tells a real tracker of a run, in two parts."""
    result = {"best": {"epoch": 1, "test": {"expression/accuracy": 0.5}}, "last": {"epoch": 2}}
    for part in (1, 2):
        warnings: list[str] = []
        with Tracking(opened([name]), warnings.append) as tracking:
            tasks = [{"name": "a", "weight": None}]
            tracking.begin("run-1", {"optim": {"lr": 1e-3}, "tasks": tasks, "odd é": "x" * 9999})
            tracking.figures(4 * part, {"epoch": part, "step": 4 * part, "train/loss": 1.0 / part, "nan": float("nan")})
            if finished and part == 2:
                tracking.finish(8, result, "<!doctype html><p>a report</p>" + "x" * 5000)
        assert warnings == []


@pytest.mark.skipif(
    not all(map(find_spec, ("mlflow", "sqlalchemy"))), reason="needs the extra `mlflow`: pip install 'hmtl[mlflow]'"
)
@pytest.mark.slow
def test_mlflow_keeps_a_run_in_a_file_and_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "SECONDS", 600.0)  # a busy machine fails no test
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/kept.db")
    kept("mlflow", finished=True)
    import mlflow

    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("hmtl").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["optim.lr"] == "0.001"
    assert found.data.params["tasks.a.weight"] == "None"
    assert found.data.metrics["best/test/expression/accuracy"] == 0.5
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(4, 1.0), (8, 0.5)]
    page = Path(client.download_artifacts(found.info.run_id, "report.html"))
    assert "a report" in page.read_text()


@pytest.mark.skipif(find_spec("trackio") is None, reason="needs the extra `trackio`: pip install 'hmtl[trackio]'")
@pytest.mark.slow
def test_trackio_keeps_a_run_in_a_file_and_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "SECONDS", 600.0)  # a busy machine fails no test
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    kept("trackio", finished=True)
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (found,) = trackio.Api().runs("hmtl")
    assert found.name == "run-1"
    assert found.config is not None
    assert found.config["optim.lr"] == 1e-3
    rows = SQLiteStorage.get_logs("hmtl", "run-1")
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == [(4, 1.0), (8, 0.5)]
    assert [row["best/test/expression/accuracy"] for row in rows if "best/test/expression/accuracy" in row] == [0.5]
    (page,) = tmp_path.rglob("*.html")
    assert "a report" in page.read_text()
