"""A run folder that is damaged, at work elsewhere, or was trained on other data: it ends whole, or says what to do.

Every file of a run under every damage is in `tests/chaos`; here is what is said of the odd ones.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.runs.folder import RunDir, end_of_lines, end_of_records
from engine.training.train import train
from loaders import ClassBalanced, Synthetic
from loaders.terminal import Terminal
from tests.engine import tiny
from tests.engine.scalars import read_scalars
from tests.engine.test_resume import CPU, interrupt_after, run

RECIPE = tiny.recipe()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(RECIPE, folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A run that was killed before its result."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (copy / "result.json").unlink()
    return copy


def resumed(folder: Path, recipe: Recipe = RECIPE) -> str:
    """Goes on with a run; gives what is printed."""
    said = io.StringIO()
    console = Terminal(said)
    train(RecipeFile("tiny", recipe, ""), folder, device=CPU, resume=True, deterministic=False, console=console)
    return said.getvalue()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


DAMAGES = [Path.unlink, cut, flip, empty]


@pytest.mark.parametrize("damage", DAMAGES, ids=["missing", "cut", "changed", "empty"])
def test_without_a_whole_best_the_best_epoch_is_chosen_anew(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "checkpoints" / "best" / "weights.safetensors")
    assert "checkpoints/best is not whole: the best epoch is chosen anew, from 2 on" in resumed(folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["best"] == result["last"] | {"epoch": 2}
    of = {which: np.load(folder / "predictions" / f"val-{which}.npz") for which in ("best", "last")}
    assert all(np.array_equal(of["best"][name], of["last"][name]) for name in of["last"].files)


def test_rows_that_are_no_text_are_named_and_the_run_can_be_opened_again(folder: Path) -> None:
    (folder / "metrics.csv").write_bytes(b"epoch,step\n1,\xff\xfe\n")
    with pytest.raises(ValueError, match=r"metrics.csv is damaged .*; delete it to go on without its rows, which log"):
        resumed(folder)
    (folder / "metrics.csv").unlink()
    resumed(folder)
    assert (folder / "result.json").is_file()


def test_a_best_checkpoint_that_was_never_written_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, evaluate_every=2, checkpoint_every=1)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)  # in the second of two epochs, of which the last one alone is evaluated
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "run")
    assert "is not whole" not in resumed(tmp_path / "run", recipe)
    assert (tmp_path / "run" / "result.json").is_file()


@pytest.mark.parametrize("damage", [cut, empty], ids=["cut", "empty"])
def test_a_recipe_that_is_damaged_is_named(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "recipe.json")
    with pytest.raises(ValueError, match=r"run: .*recipe.json is cut or edited .* start again with another --out"):
        resumed(folder)


@pytest.mark.parametrize("lost", [1, 37, 200])
def test_files_that_grow_are_cut_to_their_last_whole_line_and_never_lengthened(folder: Path, lost: int) -> None:
    log, events = folder / "log.jsonl", folder / "tensorboard" / "events.out.tfevents.run"
    before = log.read_text().splitlines(), read_scalars(folder)
    for file in (log, events):
        file.write_bytes(file.read_bytes()[:-lost])
    said = resumed(folder)
    assert re.search(r"log.jsonl has [\d,]+ of the [\d,]+ bytes that the checkpoint tells of: lines are lost", said)
    assert b"\0" not in log.read_bytes()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert 0 < len(lines) < len(before[0]) + 1
    assert read_scalars(folder)


def test_ends_are_those_of_lines_and_records(finished: Path, tmp_path: Path) -> None:
    events = (finished / "tensorboard" / "events.out.tfevents.run").read_bytes()
    (tmp_path / "events").write_bytes(events)
    assert end_of_records(tmp_path / "events") == len(events)
    (tmp_path / "events").write_bytes(events + b"\1\0\0\0\0\0\0\0cut")
    assert end_of_records(tmp_path / "events") == len(events)
    for text, end in ((b"", 0), (b"one", 0), (b"one\ntwo", 4), (b"one\ntwo\n", 8)):
        (tmp_path / "lines").write_bytes(text)
        assert end_of_lines(tmp_path / "lines") == end


def test_a_run_that_is_at_work_cannot_be_gone_on_with(folder: Path) -> None:
    other = RunDir.reopen(folder, [], [])
    log = (folder / "log.jsonl").read_bytes()
    with pytest.raises(
        ValueError, match=r"run .*: process \d+ on .* is at work on it; wait for its end, or stop it first"
    ):
        resumed(folder)
    other.close()
    assert (folder / "log.jsonl").read_bytes() == log
    resumed(folder)
    assert not (folder / ".lock").exists()


def test_a_run_is_not_gone_on_with_on_other_data(folder: Path) -> None:
    starts = json.loads((folder / "environment.json").read_text())
    starts[-1]["data"]["seed"] = 7
    (folder / "environment.json").write_text(json.dumps(starts))
    with pytest.raises(
        ValueError, match=r"was trained on other data, it cannot be resumed on this; .*\n.*seed: 7 -> 0"
    ):
        resumed(folder)
    assert json.loads((folder / "environment.json").read_text()) == starts


@pytest.mark.parametrize("role", ["select", "test"])
def test_evaluation_shows_every_sample_once_though_it_be_the_training_split(role: str, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE,
        data=Synthetic(train=37, val=12, test=12, size=32),
        sampler=ClassBalanced("expression"),
        **{role: "train"},
    )
    run(recipe, tmp_path / "run")
    shown = np.load(tmp_path / "run" / "predictions" / "train-last.npz")["sample"]
    assert sorted(shown.tolist()) == sorted(set(shown.tolist()))
    assert len(shown) == 37
    assert json.loads((tmp_path / "run" / "result.json").read_text())["counts"]["train"] == 37


def test_an_empty_folder_is_the_place_of_a_new_run(tmp_path: Path) -> None:
    for name, resume in (("new", False), ("resumed", True)):
        (tmp_path / name).mkdir()
        run(RECIPE, tmp_path / name, resume=resume)
        assert (tmp_path / name / "result.json").is_file()


def test_a_run_is_written_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "far")
    run(RECIPE, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "link"]
    assert (tmp_path / "far" / "result.json").is_file()
