"""Checkpoints are whole or not there, carry what is needed to use them, and refuse another model."""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.runs.checkpoint import BEFORE, LAST, damaged, fill, load_state, load_weights, newest, save
from loaders import files

ABOUT = {"classes": {"expression": ["Sad", "Happy"]}, "epoch": 3}


def model(width: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, width)


def test_weights_come_back_with_what_they_are_of(tmp_path: Path) -> None:
    saved = model()
    save(tmp_path, LAST, saved.state_dict(), ABOUT, {"step": 4, "rng": torch.get_rng_state()})
    weights = load_weights(tmp_path / LAST)
    assert weights.about == ABOUT
    loaded = nn.Linear(3, 2)
    fill(loaded, weights, {"expression": ["Sad", "Happy"]}, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))
    assert load_state(tmp_path / LAST)["step"] == 4
    assert load_weights(tmp_path / LAST / "weights.safetensors").about == ABOUT


def test_the_one_before_is_kept_and_taken_when_the_last_is_cut(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, LAST, model().state_dict(), ABOUT, {"step": step})
    assert [load_state(tmp_path / name)["step"] for name in (LAST, BEFORE)] == [3, 2]
    assert newest(tmp_path) == (tmp_path / LAST, [])
    state = tmp_path / LAST / "state.pt"
    state.write_bytes(state.read_bytes()[:-10])
    path, notes = newest(tmp_path)
    assert path == tmp_path / BEFORE
    assert notes == [
        f"checkpoint: {tmp_path / LAST} is damaged (state.pt was cut or changed); going on from the one before"
    ]


@pytest.mark.parametrize("victim", ["weights.safetensors", "state.pt", "files.json"])
def test_a_missing_or_changed_file_is_noticed(tmp_path: Path, victim: str) -> None:
    save(tmp_path, LAST, model().state_dict(), ABOUT, {})
    assert damaged(tmp_path / LAST) is None
    (tmp_path / LAST / victim).write_bytes(b"{")
    assert damaged(tmp_path / LAST) is not None
    (tmp_path / LAST / victim).unlink()
    assert damaged(tmp_path / LAST) is not None


def test_a_kill_between_the_renames_leaves_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        save(tmp_path, LAST, model().state_dict(), ABOUT, {"step": step})
    renames: list[Path] = []
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if len(renames) == 1:
            raise KeyboardInterrupt
        renames.append(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, LAST, model().state_dict(), ABOUT, {"step": 3})
    monkeypatch.undo()
    path, notes = newest(tmp_path)
    assert path is not None
    assert (load_state(path)["step"], notes) == (3, [])
    save(tmp_path, LAST, model().state_dict(), ABOUT, {"step": 4})
    assert sorted(p.name for p in tmp_path.iterdir()) == [BEFORE, LAST]


def test_a_kill_while_writing_leaves_the_last_one(tmp_path: Path) -> None:
    save(tmp_path, LAST, model().state_dict(), ABOUT, {"step": 1})
    (tmp_path / f".{LAST}.partial").mkdir()
    (tmp_path / f".{LAST}.partial" / "weights.safetensors").write_bytes(b"half")
    assert newest(tmp_path) == (tmp_path / LAST, [])


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert newest(tmp_path) == (None, [])


@pytest.fixture
def little_room() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond so many bytes: a real write that fails half-way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("elements", "name"), [(2, "state.pt"), (1000, "weights.safetensors")])
def test_a_write_that_fails_half_way_keeps_what_was_there_and_says_so(
    tmp_path: Path, little_room: Callable[[int], None], elements: int, name: str
) -> None:
    save(tmp_path, LAST, model().state_dict(), ABOUT, {"step": 1})
    little_room(3000)
    with pytest.raises(OSError, match=rf"no space left to write .*{name}; free some .* what was there is kept"):
        save(tmp_path, LAST, model(elements).state_dict(), ABOUT, {"step": torch.zeros(1000)})
    gc.collect()  # Python 3.12 crashed here while the failed write's view of its bytes was still open
    assert sorted(p.name for p in tmp_path.iterdir()) == [LAST]
    assert load_state(tmp_path / LAST)["step"] == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"no space left to write .*weights.safetensors; free some") as raised:
        save(tmp_path, LAST, model().state_dict(), ABOUT, {})
    assert raised.value.errno == number
    assert list(tmp_path.iterdir()) == []


def test_other_classes_are_refused(tmp_path: Path) -> None:
    save(tmp_path, LAST, model().state_dict(), ABOUT, {})
    with pytest.raises(ValueError, match=r"was trained on the classes .*Sad.*, this model has .*Angry"):
        fill(model(), load_weights(tmp_path / LAST), {"expression": ["Angry", "Happy"]}, tmp_path / LAST)


def test_another_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path, LAST, model().state_dict(), ABOUT, {})
    weights = load_weights(tmp_path / LAST)
    classes = {"expression": ["Sad", "Happy"]}
    with pytest.raises(ValueError, match=r"of another model \(weight has shape \(2, 3\), here \(5, 3\); bias has"):
        fill(model(5), weights, classes, tmp_path / LAST)
    with pytest.raises(ValueError, match=r"0.weight is missing there; .*; use the recipe it was trained with"):
        fill(nn.Sequential(model()), weights, classes, tmp_path / LAST)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not there; give a run, or its checkpoints/last"):
        load_weights(tmp_path)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"is cut or damaged .*; take another copy"):
        load_weights(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"has no class names"):
        load_weights(file)


def test_a_state_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    save(tmp_path, LAST, model().state_dict(), ABOUT, {})
    torch.save({"step": Path("x")}, tmp_path / LAST / "state.pt")  # a class, which unpickling would call
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load_state(tmp_path / LAST)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"a": 1})

    def fail_half_way() -> None:
        with files.replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert json.loads(target.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
