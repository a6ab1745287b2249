"""What prepared stores say of themselves, for a report: notes, what was skipped, copies across splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loaders import Folds, Packed, Synthetic, Union, WithTest, store_notes
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders
from loaders.prepare import check_store, prepare
from loaders.terminal import Terminal
from tests.loaders.data_sets import write_folders


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one picture that is in train and in test, and two files that were skipped."""
    write_folders(tmp_path / "in", {"train": (3, 2, 2), "test": (1, 1, 1)})
    for split in ("train", "test"):
        for kind in ("angry", "happy", "sad"):
            for picture in (tmp_path / "in" / split / kind).glob("000.png"):
                picture.rename(picture.with_name(f"{split}.png"))
    shutil.copyfile(tmp_path / "in/train/angry/001.png", tmp_path / "in/test/angry/copy.png")
    for name in ("notes.txt", "broken.png"):
        (tmp_path / "in" / "train" / "sad" / name).write_text("no picture")
    prepare(ClassFolders(tmp_path / "in"), tmp_path / "store", Form())
    return tmp_path / "store"


def test_notes_what_was_skipped_and_what_a_check_found_are_read(store: Path) -> None:
    (said,) = store_notes(Packed(store))
    assert said["path"] == str(store)
    assert "the source has no val split; --val-share makes one from train" in said["notes"]
    assert said["skipped"] == {"unreadable picture": 1, "not a picture": 1}
    assert said["in_two_splits"] is None  # nobody has looked
    check_store(store, console=Terminal(quiet=True))
    (said,) = store_notes(Packed(store))
    assert said["in_two_splits"] == {"train and test": 4}  # the copy, and the first of each class, drawn alike


def test_a_check_of_another_store_at_that_place_is_not_believed(store: Path) -> None:
    check_store(store, console=Terminal(quiet=True))
    prepare(ClassFolders(store.parent / "in", label="mood"), store, Form(), force=True)
    assert store_notes(Packed(store))[0]["in_two_splits"] is None
    (store.parent / "store-check" / "check.json").write_text("{")
    assert store_notes(Packed(store))[0]["in_two_splits"] is None


def test_the_stores_of_sources_that_hold_others_are_found_once(store: Path) -> None:
    other = store.with_name("other")
    shutil.copytree(store, other)
    source = Union(labelled=(Folds(Packed(store)), WithTest(Packed(other), Packed(str(store)))), unlabelled=Synthetic())
    assert [said["path"] for said in store_notes(source)] == [str(store), str(other)]
    assert store_notes(Synthetic()) == []
