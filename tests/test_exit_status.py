"""Every command ends with the exit status that `loaders.exit_status` promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import engine.bench.__main__
import engine.compare
import engine.evaluate
import engine.export
import engine.labels
import engine.predict
import engine.report
import engine.robustness.__main__
import engine.run
import engine.table.__main__
import engine.tryout
import loaders.prepare
from engine.training.loop import StoppedError
from engine.training.meters import NonFiniteLossError

ROOT = Path(__file__).parents[1]

COMMANDS: dict[str, tuple[typer.Typer, list[str], list[str], str]] = {
    "engine.run": (engine.run.app, ["recipes/none.py"], ["recipes/demo.py"], "engine.run.train"),
    "engine.table": (
        engine.table.__main__.app,
        ["recipes/none.py"],
        ["recipes/e2_fer2013.py", "--list"],
        "engine.table.__main__.make_plan",
    ),
    "engine.compare": (engine.compare.app, ["nowhere"], ["runs/a"], "engine.compare.compare"),
    "engine.report": (engine.report.app, ["nowhere"], ["runs/a"], "engine.report.write_report"),
    "engine.predict": (engine.predict.app, ["nowhere", "x.png"], ["runs/a", "x.png"], "engine.predict.load"),
    "engine.tryout": (engine.tryout.app, ["nowhere"], ["runs/a"], "engine.tryout.load"),
    "engine.evaluate": (
        engine.evaluate.app,
        ["nowhere", "data"],
        ["runs/a", "data"],
        "engine.evaluate.evaluate",
    ),
    "engine.export": (
        engine.export.app,
        ["nowhere", "--to", "torch", "--out", "out"],
        ["runs/a", "--to", "torch", "--out", "out"],
        "engine.export.read_run",
    ),
    "engine.labels": (engine.labels.app, ["nowhere"], ["runs/a"], "engine.labels.read_answers"),
    "engine.robustness": (
        engine.robustness.__main__.app,
        ["nowhere"],
        ["runs/a"],
        "engine.robustness.__main__.measure",
    ),
    "engine.bench loaders": (
        engine.bench.__main__.app,
        ["loaders", "nowhere"],
        ["loaders", "data"],
        "engine.bench.__main__.find",
    ),
    "engine.bench step": (
        engine.bench.__main__.app,
        ["step", "recipes/none.py"],
        ["step", "recipes/demo.py"],
        "engine.bench.__main__.of_recipe",
    ),
    "loaders.prepare": (
        loaders.prepare.app,
        ["folder", "nowhere", "--out", "out"],
        ["folder", "faces", "--out", "out"],
        "loaders.prepare.prepare",
    ),
    "loaders.prepare --check": (
        loaders.prepare.app,
        ["--check", "nowhere"],
        ["--check", "faces"],
        "loaders.prepare.check_store",
    ),
}
"""Command to its app, bad input, words that reach its work, and the name of that work."""

FAIL_TRAINING = ("engine.run", "engine.bench step")
every_command = pytest.mark.parametrize("command", COMMANDS)


def call(command: str, words: list[str]) -> Result:
    return CliRunner().invoke(COMMANDS[command][0], words)


def fails(command: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """How a command ends whose work raises."""

    def work(*args: object, **options: object) -> None:
        raise error

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(COMMANDS[command][3], work)
    return call(command, COMMANDS[command][2])


def test_every_command_is_here() -> None:
    files = [path for room in ("engine", "loaders") for path in (ROOT / room).rglob("*.py")]
    commands = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in files
        if 'if __name__ == "__main__"' in path.read_text()
    }
    assert commands == {command.split()[0] for command in COMMANDS}


@every_command
def test_bad_input_ends_with_2_and_one_line(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(command, COMMANDS[command][1])
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@every_command
def test_an_unknown_option_ends_with_2(command: str) -> None:
    assert call(command, [*COMMANDS[command][2], "--no-such-option"]).exit_code == 2


@every_command
def test_what_fails_at_work_ends_with_1_and_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = fails(command, OSError(28, "No space left on device"), monkeypatch)
    assert (done.exit_code, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("command", FAIL_TRAINING)
def test_a_loss_that_is_not_finite_ends_with_1(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = fails(command, NonFiniteLossError(7), monkeypatch)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the loss was not finite at step 7")


@every_command
def test_a_mistake_of_ours_ends_with_1_and_shows_where_it_is(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = AssertionError("ours")
    done = fails(command, mistake, monkeypatch)
    assert (done.exit_code, done.exception) == (1, mistake)
    assert not COMMANDS[command][0].pretty_exceptions_enable  # or a traceback would hold a box of every variable


@every_command
def test_ctrl_c_ends_with_130(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fails(command, KeyboardInterrupt(), monkeypatch).exit_code == 130


def test_training_that_was_stopped_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    done = fails("engine.run", StoppedError("stopped; go on with --resume"), monkeypatch)
    assert (done.exit_code, done.stdout) == (130, "stopped; go on with --resume\n")
