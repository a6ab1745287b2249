"""Class folders: layouts, classes, a val made from train, and what is refused."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loaders import Classes, Folder, Loader, Packed
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders, Record, Skipped
from loaders.prepare import Format, prepare
from loaders.store.checking import check
from tests.loaders.data_sets import CLASSES, COUNTS, picture, write_folders


def listed(source: ClassFolders) -> tuple[list[Record], list[Skipped]]:
    both = list(source.survey().records())
    return [r for r in both if isinstance(r, Record)], [s for s in both if isinstance(s, Skipped)]


def test_splits_come_in_the_usual_order_and_files_by_name(folders: Path) -> None:
    source = ClassFolders(folders)
    records, skipped = listed(source)
    assert [r.path for r in records] == [
        f"{split}/{name}/{place:03}.png"
        for split in ("train", "val", "test")
        for name, count in zip(CLASSES, COUNTS[split], strict=True)
        for place in range(count)
    ]
    assert all(r.split == r.path.split("/")[0] and r.labels == {"expression": r.path.split("/")[1]} for r in records)
    assert skipped == []
    survey = source.survey()
    assert survey.labels == {"expression": Classes(CLASSES)}
    assert survey.total == 33


def test_without_splits_everything_is_train(tmp_path: Path) -> None:
    source = ClassFolders(write_folders(tmp_path, {"": (2, 1, 1)}), label="mood")
    records, _ = listed(source)
    assert [(r.split, r.path, r.labels) for r in records] == [
        ("train", "angry/000.png", {"mood": "angry"}),
        ("train", "angry/001.png", {"mood": "angry"}),
        ("train", "happy/000.png", {"mood": "happy"}),
        ("train", "sad/000.png", {"mood": "sad"}),
    ]
    assert source.survey().labels == {"mood": Classes(CLASSES)}
    assert "the source has no splits: all pictures are train" in source.survey().notes


def test_other_names_of_the_splits_are_understood_and_noted(tmp_path: Path) -> None:
    write_folders(tmp_path, {"Training": (1, 1, 1), "validation": (1, 1, 1), "held_out": (1, 1, 1)})
    source = ClassFolders(tmp_path)
    assert list(dict.fromkeys(r.split for r in listed(source)[0])) == ["train", "val", "held_out"]
    assert source.survey().notes[:2] == (
        "the folder Training is the split train",
        "the folder validation is the split val",
    )


@pytest.mark.parametrize("classes", [("sad", "Angry", "happy"), ("sad,Angry,happy",)])
def test_given_classes_set_the_order_and_are_matched_whatever_their_case(
    folders: Path, classes: tuple[str, ...]
) -> None:
    source = ClassFolders(folders, classes=classes)
    assert source.survey().labels == {"expression": Classes(("sad", "Angry", "happy"))}
    assert {r.path.split("/")[1]: r.labels["expression"] for r in listed(source)[0]} == {
        "angry": "Angry",
        "happy": "happy",
        "sad": "sad",
    }


def test_a_val_is_made_from_train_in_proportion(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": (20, 10, 5), "test": (2, 2, 2)})
    records, _ = listed(ClassFolders(tmp_path, val_share=0.2, seed=1))
    count = Counter((r.split, str(r.labels["expression"])) for r in records)
    assert [count["val", name] for name in CLASSES] == [4, 2, 1]
    assert [count["train", name] for name in CLASSES] == [16, 8, 4]
    assert [count["test", name] for name in CLASSES] == [2, 2, 2]
    # The same files again for the same seed, others for another; the order of the manifest stays.
    again, other = (listed(ClassFolders(tmp_path, val_share=0.2, seed=seed))[0] for seed in (1, 2))
    assert [r.split for r in again] == [r.split for r in records]
    assert [r.split for r in other] != [r.split for r in records]
    assert [r.path for r in other] == [r.path for r in records] == [r.path for r in listed(ClassFolders(tmp_path))[0]]


def test_a_test_is_made_from_train_and_does_not_move_with_val(tmp_path: Path) -> None:
    write_folders(tmp_path, {"": (20, 10, 10)})

    def held(val: float, test: float = 0.2) -> dict[str, set[str]]:
        records, _ = listed(ClassFolders(tmp_path, val_share=val, test_share=test, seed=5))
        return {split: {r.path for r in records if r.split == split} for split in ("train", "val", "test")}

    for val in (0.0, 0.1, 0.4, 0.79):
        assert held(val)["test"] == held(0.0)["test"]
        assert not held(val)["val"] & held(val)["test"]
        assert sum(map(len, held(val).values())) == 40
    assert {split: len(paths) for split, paths in held(0.1).items()} == {"train": 28, "val": 4, "test": 8}
    assert Counter(path.split("/")[0] for path in held(0.1)["test"]) == {"angry": 4, "happy": 2, "sad": 2}


def test_a_test_share_beside_a_test_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"test_share \(=0.1\) must be 0 where the source has a test split; it has t"):
        ClassFolders(folders, test_share=0.1).survey()
    with pytest.raises(ValueError, match=r"test_share \(=1.0\) must be 0 to below 1"):
        ClassFolders(folders, test_share=1.0).survey()
    write_folders(tmp_path, {"": (4, 4, 4)})
    with pytest.raises(
        ValueError, match=r"shares \(=test_share 0.6, val_share 0.6\) must add up to at most 1; lower one"
    ):
        ClassFolders(tmp_path, test_share=0.6, val_share=0.6).survey()


def test_what_is_no_picture_is_reported(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": (1, 1, 1)})
    (tmp_path / "readme.txt").touch()
    (tmp_path / "train" / "labels.csv").touch()
    (tmp_path / "train" / "sad" / "Thumbs.db").touch()
    (tmp_path / "train" / "sad" / "more.png").mkdir()
    (tmp_path / "empty").mkdir()
    records, skipped = listed(ClassFolders(tmp_path))
    assert len(records) == 3
    assert {(s.path, s.reason) for s in skipped} == {
        ("readme.txt", "file outside the class folders"),
        ("train/labels.csv", "file outside the class folders"),
        ("train/sad/Thumbs.db", "not a picture"),
        ("train/sad/more.png", "folder where none is expected"),
        ("empty", "folder where none is expected"),
    }


def test_endings_are_matched_whatever_their_case(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("x.JPG", "y.Jpeg", "z.PNG"):
        Image.fromarray(picture(0, 0)).save(tmp_path / "a" / name)
    assert len(listed(ClassFolders(tmp_path))[0]) == 3


def test_missing_and_empty_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a folder of pictures; there is none"):
        ClassFolders(tmp_path / "none").survey()
    with pytest.raises(ValueError, match=r"must hold <split>/<class>/\* or <class>/\*; it is empty, give the folder"):
        ClassFolders(tmp_path).survey()
    (tmp_path / "list.txt").touch()
    with pytest.raises(ValueError, match=r"must hold <split>/<class>/\* or <class>/\*; it has no folder$"):
        ClassFolders(tmp_path).survey()
    Image.fromarray(picture(0, 0)).save(tmp_path / "face.png")
    with pytest.raises(
        ValueError, match=r"; its pictures \(=1\) lie in no class folder, sort them, or read them as unlabelled"
    ):
        ClassFolders(tmp_path).survey()
    (tmp_path / "train" / "angry").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"class folders must hold pictures \(.apng, .*\); there are none"):
        ClassFolders(tmp_path).survey()


@pytest.mark.parametrize(
    ("counts", "empty"),
    [({"": (2, 1, 0)}, "sad"), ({"train": (0, 3, 0), "val": (0, 1, 0)}, "angry, sad")],
)
def test_a_class_without_a_picture_in_any_split_is_refused_unless_it_is_named(
    counts: dict[str, tuple[int, ...]], empty: str, tmp_path: Path
) -> None:
    write_folders(tmp_path, counts)
    with pytest.raises(
        ValueError,
        match=rf"class folders \(={empty}\) must each hold a picture .*; .* by --classes angry,happy,sad, in P",
    ) as refused:
        Folder(tmp_path, workers=0).open("train", "cpu")
    assert str(refused.value).endswith(f" by ClassFolders(Path({str(tmp_path)!r}), classes={CLASSES!r})")
    opened = Folder(ClassFolders(tmp_path, classes=CLASSES), workers=0).open("train", "cpu")
    assert opened.split.labels == {"expression": Classes(CLASSES)}
    assert ClassFolders(tmp_path, classes=("angry,happy,sad",)).survey().labels == {"expression": Classes(CLASSES)}


def test_a_class_that_one_split_lacks_is_kept(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": (1, 1, 1), "val": (1, 0, 0), "test": (0, 1, 1)})
    assert ClassFolders(tmp_path).survey().labels == {"expression": Classes(CLASSES)}


def test_a_mixed_layout_is_refused(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": (1, 1, 1)})
    write_folders(tmp_path, {"": (1, 1, 1)})
    with pytest.raises(ValueError, match=r"must be either .*; train holds folders and angry holds pictures, sort them"):
        ClassFolders(tmp_path).survey()


def test_two_folders_of_one_split_or_class_are_refused(tmp_path: Path) -> None:
    write_folders(tmp_path / "a", {"val": (1, 1, 1), "validation": (1, 1, 1)})
    with pytest.raises(ValueError, match=r"validation must not be a second folder of split 'val'"):
        ClassFolders(tmp_path / "a").survey()
    write_folders(tmp_path / "b", {"train": (1, 1, 1)})
    write_folders(tmp_path / "b", {"train/x": (0, 0, 0)})
    (tmp_path / "b" / "train" / "SAD").mkdir()
    (tmp_path / "b" / "train" / "x" / "angry").rmdir()
    with pytest.raises(ValueError, match=r"train has two folders of class 'sad'; merge them"):
        ClassFolders(tmp_path / "b", classes=(*CLASSES, "x")).survey()


def test_an_unknown_class_is_refused_with_the_nearest(folders: Path) -> None:
    with pytest.raises(
        ValueError, match=r"class folder \(='happy'\) must be one of angry, hapy, sad; did you mean 'hapy'\?"
    ):
        ClassFolders(folders, classes=("angry", "hapy", "sad")).survey()
    with pytest.raises(ValueError, match=r"class folder \(='sad'\) must be one of angry, happy; rename the folder"):
        ClassFolders(folders, classes=("angry", "happy")).survey()


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_val_share_out_of_range_is_refused(folders: Path, share: float) -> None:
    with pytest.raises(ValueError, match=rf"val_share \(={share}\) must be 0 to below 1"):
        ClassFolders(folders, val_share=share).survey()


def test_a_val_share_beside_a_val_or_without_train_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"val_share \(=0.1\) must be 0 where the source has a val split; it has t"):
        ClassFolders(folders, val_share=0.1).survey()
    write_folders(tmp_path, {"test": (1, 1, 1)})
    with pytest.raises(ValueError, match=r"must be 0 where the source has no train split; it has test"):
        ClassFolders(tmp_path, val_share=0.1).survey()


def loose(root: Path) -> ClassFolders:
    """Pictures in a folder and in folders in it, with what is none; every picture is to be read."""
    for place, name in enumerate(
        ("b.png", "a/x.png", "a/deep/er/y.PNG", "train/sad/z.png", ".thumbs/t.png", "._b.png")
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(0, place)).save(file)
    (root / "a" / "notes.txt").write_text("who is who")
    (root / "again").symlink_to(root / "a")
    return ClassFolders(root, unlabelled=True)


def test_every_picture_is_read_without_a_label(tmp_path: Path) -> None:
    source = loose(tmp_path)
    records, skipped = listed(source)
    assert [(r.path, r.split, r.labels) for r in records] == [
        (name, "train", {}) for name in ("a/deep/er/y.PNG", "a/x.png", "b.png", "train/sad/z.png")
    ]
    assert {(s.path, s.reason) for s in skipped} == {
        ("._b.png", "hidden file"),
        (".thumbs", "hidden folder"),
        ("a/notes.txt", "not a picture"),
        ("again", "folder that is read already"),
    }
    assert (source.survey().labels, source.survey().total) == ({}, 4)


@pytest.mark.parametrize("format", ["packed", "folder"])
def test_a_store_without_labels_is_read_like_any_other(tmp_path: Path, format: Format) -> None:
    prepare(loose(tmp_path / "in"), tmp_path / "out", Form(), format=format)
    source = Packed(tmp_path / "out") if format == "packed" else Folder(tmp_path / "out", workers=0)
    for same in (source, Folder(ClassFolders(tmp_path / "in", unlabelled=True), workers=0)):
        with closing(Loader.open(same, "train", batch_size=4, seed=0, device="cpu")) as loader:
            (batch,) = loader.epoch(0)
            assert (loader.split.labels, batch.target) == ({}, {})
            assert batch.store[batch.row, 0, 0, 1].tolist() == [2, 1, 0, 3]


def test_a_store_without_labels_is_checked(tmp_path: Path) -> None:
    prepare(loose(tmp_path / "in"), tmp_path / "out", Form())
    found = check(tmp_path / "out")
    assert (found.splits["train"].pictures, found.splits["train"].classes) == (4, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a",)}, r"classes \(=\('a',\)\) must be left out where pictures have no labels"),
        ({"val_share": 0.1}, r"val_share \(=0.1\) must be left out .* all of them are train"),
        ({"source": Path("nowhere")}, "folder nowhere: must be a folder of pictures; there is none"),
        ({}, r"must hold pictures \(.*\), in it or in folders in it; there are none"),
    ],
)
def test_what_makes_no_sense_without_labels_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassFolders(**{"source": tmp_path, "unlabelled": True, **changes}).survey()
