"""`--format folder`: PNG files and a manifest that every reader of pictures gets the same faces and labels from."""

from __future__ import annotations

import csv
import errno
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import DALI, Classes, Folder, Loader, Numbers, Packed
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders, Fer2013, Importer, ManifestFile, Pointing04, pictures_in
from loaders.prepare import prepare
from loaders.store.opening import open_store
from tests.loaders.data_sets import fer_rows, fer_text, picture, write_folders
from tests.loaders.imported import save
from tests.loaders.test_fer2013 import plus_text, votes

LABELLED = """path,split,mood,pose.yaw,age,pose.pitch
0.png,train,sad,1.5,old,-2
1.png,val,,,young,
2.png,train,a/b,0.1,,0
3.png,odd split,..,-1e-7,old,89.999999
"""


def of_folders(root: Path) -> Importer:
    return ClassFolders(write_folders(root))


def of_labels(root: Path) -> Importer:
    for place in range(4):
        save(root / f"{place}.png", picture(0, place))
    (root / "manifest.csv").write_text(LABELLED)
    return ManifestFile(root, classes=("mood=sad,nobody has it,a/b,..",))


def of_votes(root: Path) -> Importer:
    root.mkdir()
    (root / "fer2013.csv").write_text(fer_text(fer_rows()))
    (root / "fer2013new.csv").write_text(plus_text(votes()))
    return Fer2013(root)


def of_poses(root: Path) -> Importer:
    for person in range(1, 6):
        save(root / f"person{person:02}100-90+0.png", seed=person)
        save(root / f"person{person:02}101+15-30.png", seed=person + 10)
    return Pointing04(root, crop="none")


SOURCES = {"class folders": of_folders, "several labels": of_labels, "gray with votes": of_votes, "poses": of_poses}


def assert_same_store(one: Path, other: Path) -> None:
    a, b = open_store(one, check_pixels=True), open_store(other, check_pixels=True)
    np.testing.assert_array_equal(a.images, b.images)
    assert a.manifest.labels == b.manifest.labels
    assert a.manifest.splits == b.manifest.splits
    assert a.source["notes"] == b.source["notes"]
    for name, left, right in [
        ("split", a.manifest.split, b.manifest.split),
        ("mean", a.manifest.mean, b.manifest.mean),
        *((label, a.manifest.target[label], b.manifest.target[label]) for label in a.manifest.labels),
    ]:
        torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_plain_folder_is_read_back_bit_for_bit(tmp_path: Path, kind: str) -> None:
    source = SOURCES[kind](tmp_path / "in")
    prepare(source, tmp_path / "packed", Form())
    prepare(source, tmp_path / "folder", Form(), format="folder")
    prepare(ManifestFile(tmp_path / "folder"), tmp_path / "again", Form())
    assert_same_store(tmp_path / "packed", tmp_path / "again")
    # And once more through a plain folder: nothing is worn away.
    prepare(ManifestFile(tmp_path / "folder"), tmp_path / "second", Form(), format="folder")
    prepare(ManifestFile(tmp_path / "second"), tmp_path / "last", Form())
    assert_same_store(tmp_path / "packed", tmp_path / "last")


@pytest.mark.parametrize("kind", ["class folders", "several labels", "poses"])
def test_folder_shows_what_packed_shows(tmp_path: Path, kind: str) -> None:
    source = SOURCES[kind](tmp_path / "in")
    prepare(source, tmp_path / "packed", Form())
    prepare(source, tmp_path / "folder", Form(), format="folder")
    options: dict[str, Any] = {"batch_size": 2, "seed": 0, "device": "cpu"}
    with (
        closing(Loader.open(Packed(tmp_path / "packed"), "train", **options)) as packed,
        closing(Loader.open(Folder(tmp_path / "folder"), "train", **options)) as folder,
    ):
        assert folder.split.labels == packed.split.labels
        for a, b in zip(packed.epoch(0), folder.epoch(0), strict=True):
            assert torch.equal(a.sample, b.sample)
            assert torch.equal(a.store[a.row], b.store[b.row])
            for name in a.target:
                torch.testing.assert_close(a.target[name], b.target[name], rtol=0, atol=0, equal_nan=True)


def test_dali_reads_a_plain_folder(tmp_path: Path, dali: None) -> None:
    prepare(of_folders(tmp_path / "in"), tmp_path / "folder", Form(), format="folder")
    options: dict[str, Any] = {"batch_size": 7, "seed": 0, "device": "cpu"}
    with (
        closing(Loader.open(Folder(tmp_path / "folder"), "val", **options)) as folder,
        closing(Loader.open(DALI(tmp_path / "folder"), "val", **options)) as other,
    ):
        a, b = next(iter(folder.epoch(0))), next(iter(other.epoch(0)))
        assert torch.equal(a.store[a.row], b.store[b.row])


def test_pictures_lie_in_the_class_folders_of_the_first_label(tmp_path: Path) -> None:
    prepare(of_labels(tmp_path / "in"), tmp_path / "out", Form(), format="folder")
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert found == [
        "odd split/%2E./00003.png",
        "train/a%2Fb/00002.png",
        "train/sad/00000.png",
        "val/(missing)/00001.png",
    ]
    with (tmp_path / "out" / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["path"], row["source_path"]) for row in rows[:2]] == [
        ("train/sad/00000.png", "0.png"),
        ("val/(missing)/00001.png", "1.png"),
    ]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / found[2])), picture(0, 0))


def test_without_classes_there_are_no_class_folders(tmp_path: Path) -> None:
    prepare(of_poses(tmp_path / "in"), tmp_path / "out", Form(), format="folder")
    assert {len(path.relative_to(tmp_path / "out").parts) for path in (tmp_path / "out").rglob("*.png")} == {2}


def test_what_only_knows_class_folders_reads_the_first_label(tmp_path: Path) -> None:
    prepare(of_votes(tmp_path / "in"), tmp_path / "out", Form(), format="folder")
    contents = ClassFolders(tmp_path / "out").survey()
    assert contents.total == 70
    assert set(contents.labels["expression"].names) == {  # type: ignore[union-attr]
        "Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral",
    }  # fmt: skip


def test_equal_runs_write_equal_files_and_a_second_run_finds_them(tmp_path: Path) -> None:
    source = of_folders(tmp_path / "in")
    for name, workers in (("a", 1), ("b", 4)):
        prepare(source, tmp_path / name, Form(), format="folder", workers=workers)
    files = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    assert files == {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}
    before = (tmp_path / "a" / "source.json").stat().st_mtime_ns
    assert prepare(source, tmp_path / "a", Form(), format="folder")["format"] == "hmtl plain folder"
    assert (tmp_path / "a" / "source.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("manifest.csv", r"manifest.csv must have the hash of source.json; it was cut or edited, prepare it again wit"),
        ("train/sad/00019.png", r"train/sad/00019.png must be there; it is missing, prepare it again with --force"),
    ],
)
def test_a_damaged_folder_is_not_taken_for_finished(tmp_path: Path, what: str, message: str) -> None:
    source = of_folders(tmp_path / "in")
    prepare(source, tmp_path / "out", Form(), format="folder")
    (tmp_path / "out" / what).unlink()
    with pytest.raises(ValueError, match=message):
        prepare(source, tmp_path / "out", Form(), format="folder")
    prepare(source, tmp_path / "out", Form(), format="folder", force=True)
    assert (tmp_path / "out" / what).is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_other_formats_are_told_apart(tmp_path: Path) -> None:
    source = of_folders(tmp_path / "in")
    prepare(source, tmp_path / "out", Form(), format="folder")
    with pytest.raises(ValueError, match=r"it is a hmtl plain folder, prepare it again with --force and --format pack"):
        prepare(source, tmp_path / "out", Form())
    prepare(source, tmp_path / "packed", Form())
    with pytest.raises(ValueError, match=r"it is a hmtl packed store, prepare it again with --force and --format fold"):
        prepare(source, tmp_path / "packed", Form(), format="folder")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    source = of_folders(tmp_path / "in")
    calls = 0

    def full(image: Image.Image, path: Path, **_: Any) -> None:
        nonlocal calls
        calls += 1
        path.touch()
        if calls > 5:
            raise OSError(number, "no")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match=r"no$" if number == errno.EIO else "no space left to write"):
        prepare(source, tmp_path / "out", Form(), format="folder")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_an_edited_list_of_classes_is_refused(tmp_path: Path) -> None:
    prepare(of_folders(tmp_path / "in"), tmp_path / "out", Form(), format="folder")
    (tmp_path / "out" / "source.json").write_text("{")
    with pytest.raises(ValueError, match=r"source.json beside it must be JSON; it was cut or edited .* remove it, and"):
        ManifestFile(tmp_path / "out").survey()
    (tmp_path / "out" / "source.json").write_text(json.dumps({"format": "of another program"}))
    assert ManifestFile(tmp_path / "out").survey().notes == ("labels as the manifest gives them",)


def test_classes_may_still_be_put_in_another_order(tmp_path: Path) -> None:
    prepare(of_labels(tmp_path / "in"), tmp_path / "out", Form(), format="folder")
    labels = ManifestFile(tmp_path / "out", classes=("age=young,old",)).survey().labels
    assert labels == {
        "mood": Classes(("sad", "nobody has it", "a/b", "..")),
        "age": Classes(("young", "old")),
        "pose": Numbers(("yaw", "pitch")),
    }


def test_a_folder_is_read_by_its_manifest_where_it_has_one(folders: Path, tmp_path: Path) -> None:
    assert pictures_in(folders) == ClassFolders(folders)
    (tmp_path / "manifest.csv").touch()
    assert pictures_in(str(tmp_path)) == ManifestFile(tmp_path)


def test_a_store_of_another_format_is_no_folder_of_pictures(store: Path, ffcv_store: Path) -> None:
    for path, kind, source in ((store, "hmtl packed store", "Packed"), (ffcv_store, "hmtl ffcv store", "FFCV")):
        message = rf"folder .* must hold picture files; it is a {kind}, read it by {source}\('{path}'\), or prepare"
        with pytest.raises(ValueError, match=message):
            pictures_in(path)
        with pytest.raises(ValueError, match=message):
            Folder(path).open("train", "cpu")
