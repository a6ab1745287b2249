"""RAF-DB and CK+48 on tiny copies of their layouts with their traps."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from loaders.importers import CkPlus48, RafDb
from tests.loaders.imported import faces, listed, save, splits

RAF = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
CK = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")


def write_raf(root: Path, extra: str = "") -> Path:
    """Ten faces of each expression in train and one in test, as the download holds them."""
    lines = [f"train_{10 * n + k:05}.jpg {n + 1}" for n in range(7) for k in range(10)]
    lines += [f"test_{n:04}.jpg {n + 1}" for n in range(7)]
    for line in lines:
        save(root / "Image" / "aligned" / f"{line.partition('.')[0]}_aligned.jpg")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n" + extra)
    return root


def test_raf_numbers_are_mapped_to_names(tmp_path: Path) -> None:
    importer = RafDb(write_raf(tmp_path), val_share=0.1)
    records, skipped = listed(importer)
    assert not skipped
    assert splits(records) == {"train": 63, "val": 7, "test": 7}
    assert [record.labels["expression"] for record in records[-7:]] == list(RAF)
    assert Counter(r.labels["expression"] for r in records if r.split == "val") == dict.fromkeys(RAF, 1)
    assert importer.survey().labels["expression"].names == RAF  # type: ignore[union-attr]


def test_raf_pictures_are_the_aligned_ones(tmp_path: Path) -> None:
    found, skipped = faces(RafDb(write_raf(tmp_path / "basic"), val_share=0), 12)
    assert len(found) == 77
    assert not skipped
    above, _ = listed(RafDb(tmp_path))  # the folder `basic` is found from above
    assert above[0].path == "basic/Image/aligned/train_00000_aligned.jpg"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            "train_09999.jpg 8\n",
            r"line 78: label \(=8\) must be 1 to 7; above 7 it is the compound set, take the basic",
        ),
        ("train_09999.jpg 0\n", r"line 78: label \(=0\) must be 1 to 7"),
        ("train_09999.jpg\n", r"line 78 \(='train_09999.jpg'\) must read NAME NUMBER; take the list as published"),
        ("val_09999.jpg 1\n", r"line 78: name \(='val_09999.jpg'\) must start with train_ or test_"),
    ],
)
def test_raf_refuses_what_is_not_the_basic_set(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RafDb(write_raf(tmp_path, extra)).survey()


def test_raf_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rafdb .*: must hold EmoLabel/list_patition_label.txt or .*; it has none"):
        RafDb(tmp_path).survey()
    (tmp_path / "list_patition_label.txt").write_text("")
    with pytest.raises(ValueError, match=r"rafdb .*: must hold Image/aligned or aligned; it has none"):
        RafDb(tmp_path).survey()
    (tmp_path / "aligned").mkdir()
    with pytest.raises(ValueError, match="must list pictures; it is empty, get it again"):
        RafDb(tmp_path).survey()
    with pytest.raises(ValueError, match=r"val_share \(=-1\) must be in 0\.\.1"):
        RafDb(tmp_path, val_share=-1).survey()


def write_ck(root: Path) -> Path:
    """20 people, each with one expression and some with a second, three frames of each."""
    for person in range(20):
        for turn in range(1 + person % 2):
            for frame in range(3):
                name = f"S{person + 10:03}_{turn + 1:03}_{17 + frame:08}.png"
                save(root / CK[(person + 3 * turn) % 7] / name)
    return root


def test_ck_keeps_the_frames_of_a_person_in_one_split(tmp_path: Path) -> None:
    records, skipped = listed(CkPlus48(write_ck(tmp_path)))
    assert not skipped
    assert len(records) == 90
    of = defaultdict(set)
    for record in records:
        of[Path(record.path).name.partition("_")[0]].add(record.split)
    assert all(len(found) == 1 for found in of.values())
    assert Counter(next(iter(found)) for found in of.values()) == {"train": 14, "test": 4, "val": 2}
    assert all(record.labels["person"] == Path(record.path).name[:4] for record in records)
    assert len(CkPlus48(tmp_path).survey().labels["person"].names) == 20  # type: ignore[union-attr]


def test_ck_classes_are_the_folders_in_their_order(tmp_path: Path) -> None:
    importer = CkPlus48(write_ck(tmp_path / "CK+48").parent)
    assert importer.survey().labels["expression"].names == CK  # type: ignore[union-attr]
    for record in listed(importer)[0]:
        assert record.labels["expression"] == Path(record.path).parent.name
    assert any("4 in test" in note for note in importer.survey().notes)


def test_ck_other_seeds_choose_other_people(tmp_path: Path) -> None:
    source = write_ck(tmp_path)
    chosen = {seed: {r.path for r in listed(CkPlus48(source, seed=seed))[0] if r.split == "test"} for seed in (0, 1)}
    assert chosen[0] != chosen[1]


def test_ck_lists_other_files(tmp_path: Path) -> None:
    source = write_ck(tmp_path)
    save(source / "anger" / "angry.png")
    (source / "fear" / "Thumbs.db").write_text("")
    assert [(s.path, s.reason) for s in listed(CkPlus48(source))[1]] == [
        ("anger/angry.png", "name without a person"),
        ("fear/Thumbs.db", "not a picture"),
    ]


def test_ck_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"ckplus48 .*: must hold anger\|contempt\|.*; there are none, name the folder"
    ):
        CkPlus48(tmp_path).survey()
    write_ck(tmp_path)
    (tmp_path / "neutral").mkdir()
    with pytest.raises(ValueError, match=r"folder \(='neutral'\) must be one of anger, .*; remove it or rename it"):
        CkPlus48(tmp_path).survey()
    with pytest.raises(ValueError, match="must add up to at most 1"):
        CkPlus48(tmp_path, val_share=0.6, test_share=0.6).survey()
