"""Disturbed at any moment and resumed, a training ends as an undisturbed one, bit for bit."""

from __future__ import annotations

import random
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.cases import SEED, some, tell
from tests.chaos.server import Ending, How, Server
from tests.engine.test_damaged_run import cut, empty, flip
from tests.engine.test_resume import contents

pytestmark = pytest.mark.slow

Record = Callable[[str, object], None]

MOMENTS = 50
TRAIN = ["train", "tiny_recipe.py", "--device", "cpu", "--resume", "--out", "run"]
STATUSES: dict[How, set[int]] = {
    "kill": {-signal.SIGKILL},
    "torn": {-signal.SIGXFSZ},
    "term": {130, -signal.SIGTERM, 0},  # in the last evaluation no step is left to stop after
    "int": {130, 0},
}
FILES = (
    "recipe.json",
    "recipe.py",
    "figures.json",
    "environment.json",
    "log.jsonl",
    "metrics.csv",
    "tensorboard/events.out.tfevents.run",
    *(
        f"checkpoints/{name}/{file}"
        for name in ("last", "before", "best")
        for file in ("weights.safetensors", "state.pt", "files.json")
    ),
    *(f"predictions/{split}-{which}.npz" for split in ("val", "test") for which in ("last", "best")),
    *(
        f"charts/{chart}.png"
        for chart in (
            "views",
            "learning-curves",
            "confusion-expression",
            "recall-expression",
            "calibration-expression",
            "answers-expression",
        )
    ),
    "report.md",
    "result.json",
)
"""Of a finished run."""
AT_THE_END = (
    "predictions/test",
    *(f"charts/{chart}" for chart in ("learning", "confusion", "recall", "calibration", "answers")),
    "report.md",
    "result.json",
)
"""How those files begin that a run writes after its last epoch."""
WRITES = 85
"""How often the training opens a file to write it, or writes to one that is open."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The training that nothing befell."""

    folder: Path
    moments: list[str]
    contents: dict[str, Any]


@pytest.fixture(scope="session")
def reference(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    write_recipe(folder)
    ending = server.run(TRAIN, folder)
    assert ending.status == 0, ending.output
    assert files_of(folder / "run") == sorted(FILES)
    return Reference(folder / "run", ending.moments, contents(folder / "run"))


def write_recipe(folder: Path) -> None:
    text = "from tests.engine import tiny\nrecipe = tiny.recipe(epochs=3, checkpoint_every=2, seed=1)\n"
    (folder / "tiny_recipe.py").write_text(text)


def files_of(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def ends_as(reference: Reference, folder: Path, ending: Ending) -> None:
    """Holds a run that was gone on with to its end against the undisturbed one."""
    assert ending.status == 0, ending.output
    assert contents(folder / "run") == reference.contents
    assert files_of(folder / "run") == sorted(FILES)
    assert sorted(path.name for path in folder.iterdir()) == ["run", "tiny_recipe.py"]


@pytest.mark.parametrize("case", some(range(MOMENTS), 13, 38))
def test_disturbed_at_any_moment_it_ends_the_same(
    case: int, server: Server, reference: Reference, tmp_path: Path, record_property: Record
) -> None:
    """Draws a moment from the case's own part of the run, so that all phases have some, and what comes."""
    draw = random.Random(f"{SEED} {case}")
    at = int((case + draw.random()) / MOMENTS * len(reference.moments))
    how: How = draw.choices(["kill", "torn", "term", "int"], [5, 2, 2, 2])[0]
    if how == "torn":
        at = next(i for i in (*range(at, len(reference.moments)), *range(at)) if is_write(reference.moments[i]))
    write_recipe(tmp_path)
    endings = [server.run(TRAIN, tmp_path, at, how)]
    if case % 3 == 0:  # the run that goes on is killed too, if it comes to that moment
        endings.append(server.run(TRAIN, tmp_path, draw.randrange(len(reference.moments)), "kill"))
    tell(record_property, f"training {case:2} seed {SEED} moment {at:3} {how}", *endings)
    assert endings[0].status in STATUSES[how], endings[0].output
    assert not any("Traceback" in ending.output for ending in endings)
    ends_as(reference, tmp_path, server.run(TRAIN, tmp_path))


@pytest.mark.parametrize("after", some([0, 1], 0))
@pytest.mark.parametrize(
    "moment",
    some([f"rename run/checkpoints/{name}" for name in ("best", ".best.partial", "last", ".last.partial")], 0),
)
def test_killed_between_the_names_of_a_checkpoint_it_ends_the_same(
    moment: str, after: int, server: Server, reference: Reference, tmp_path: Path, record_property: Record
) -> None:
    """Kills where a checkpoint takes the place of one for the last time, which chance seldom finds."""
    at = reference.moments.count(moment) - 1
    write_recipe(tmp_path)
    ending = server.run(TRAIN, tmp_path, at, "kill", of=moment, after=after)
    tell(record_property, f"names of a checkpoint, {moment} {at:3} kill {after} after", ending)
    ends_as(reference, tmp_path, server.run(TRAIN, tmp_path))


def is_write(moment: str) -> bool:
    return moment.startswith(("open ", "write "))


@pytest.mark.parametrize("write", some(range(WRITES), 3, 40))
def test_a_full_disk_ends_it_with_a_sentence_and_it_goes_on_when_there_is_room(
    write: int, server: Server, reference: Reference, tmp_path: Path, record_property: Record
) -> None:
    writes = [i for i, moment in enumerate(reference.moments) if is_write(moment)]
    assert len(writes) == WRITES
    write_recipe(tmp_path)
    ending = server.run(TRAIN, tmp_path, writes[write], "full")
    tell(record_property, f"full disk at write {write:2}, moment {writes[write]:3}", ending)
    assert ending.status == 1
    errors = [line for line in ending.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ending.output
    assert re.search(r"no space left to write run\S*; free some and start again", errors[0])
    assert "Traceback" not in ending.output
    ends_as(reference, tmp_path, server.run(TRAIN, tmp_path))


def to_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": empty,
    "cut": cut,
    "changed": flip,
    "a folder": to_folder,
}
STATES = {"finished": FILES, "interrupted": tuple(file for file in FILES if not file.startswith(AT_THE_END))}
DAMAGED = [(state, file, damage) for state in STATES for file in STATES[state] for damage in DAMAGES]


@pytest.fixture(scope="session")
def interrupted(server: Server, reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped before the last step of the third epoch: of its files those of the end are not there."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_recipe(folder)
    server.run(TRAIN, folder, reference.moments.count("step") - 2, "term", of="step")
    assert files_of(folder / "run") == sorted(STATES["interrupted"])
    return folder / "run"


@pytest.mark.parametrize(
    ("state", "file", "damage"),
    some(
        [(state, file, damage) for state in STATES for file in STATES[state] for damage in DAMAGES],
        27,
        83,
        129,
        145,
        172,
    ),
)
def test_a_damaged_file_is_made_again_or_named(
    state: str,
    file: str,
    damage: str,
    server: Server,
    reference: Reference,
    interrupted: Path,
    tmp_path: Path,
    record_property: Record,
) -> None:
    write_recipe(tmp_path)
    shutil.copytree({"finished": reference.folder, "interrupted": interrupted}[state], tmp_path / "run")
    DAMAGES[damage](tmp_path / "run" / file)
    ending = server.run(TRAIN, tmp_path)
    named = f"run/{Path(file).parent if file.startswith('checkpoints') else file}"
    lines = [line for line in ending.output.splitlines() if not line.startswith(("going on from ", "report: "))]
    told = [line for line in lines if named in line or (line.startswith("error: ") and Path(file).name in line)]
    record_property("chaos", f"{state} run, {damage}: {file} -> {ending.status}, {'named' if told else 'equal'}")
    assert "Traceback" not in ending.output
    if told:
        assert len(told) == 1, ending.output
        assert ending.status in (0, 2)
    else:
        ends_as(reference, tmp_path, ending)
