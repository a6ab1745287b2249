"""Classes under other names: the map of the command line, what becomes of each class, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loaders import Classes, Folder, Folds, Packed, Union
from loaders.class_map import Became, ClassMap, read_map, together
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders, ManifestFile
from loaders.prepare import app, prepare
from loaders.store.opening import open_store
from tests.loaders.imported import listed, save

FOLDERS = {"train": ("happiness", "Sad", "contempt"), "test": ("Happiness", "sad", "Happy")}


def class_folders(root: Path) -> Path:
    """A picture of each class of each split: `happiness` and `Happy` are folders of their own."""
    for split, names in FOLDERS.items():
        for name in names:
            save(root / split / name / "0.png")
    return root


def manifest(root: Path) -> Path:
    rows = ("0.png,train,glad,yes,Ann", "1.png,train,contempt,,glad", "2.png,val,,glad,Ann", "3.png,val,Happy,no,Bob")
    for row in rows:
        save(root / row.partition(",")[0])
    (root / "manifest.csv").write_text("\n".join(["path,split,mood,smile,person", *rows, ""]))
    return root


def test_a_map_is_read_with_blanks_and_empty_parts() -> None:
    assert read_map(" glad = Happy ,contempt=,", "here") == {"glad": "Happy", "contempt": None}
    assert read_map("", "here") == {}


def test_splits_are_added_up_class_by_class() -> None:
    one = ClassMap("mood", (Became("a", "b", 2), Became("c", None, 0)))
    other = ClassMap("mood", (Became("a", "b", 3), Became("d", "d", 1)))
    assert together([one, other]) == (
        ClassMap("mood", (Became("a", "b", 5), Became("c", None, 0), Became("d", "d", 1))),
    )
    assert together([]) == ()


def test_a_sentence_leaves_out_what_kept_its_name() -> None:
    rows = (Became("a", "b", 1_200), Became("c", None, 3), Became("d", "d", 1))
    assert str(ClassMap("mood", rows)) == "mood: a (1,200) became b, c (3) lost the label"
    assert str(ClassMap("mood", rows[2:])) == "mood: all classes kept their names"


def test_folders_get_other_names_whatever_their_case_and_may_become_one_class(tmp_path: Path) -> None:
    source = ClassFolders(class_folders(tmp_path), map="HAPPINESS=happy,contempt=")
    contents = source.survey()
    assert contents.labels == {"expression": Classes(("Sad", "happy"))}
    assert contents.total == 6
    assert {record.path: record.labels.get("expression") for record in listed(source)[0]} == {
        "train/Sad/0.png": "Sad",
        "train/contempt/0.png": None,
        "train/happiness/0.png": "happy",
        "test/Happiness/0.png": "happy",
        "test/Happy/0.png": "happy",  # capitals aside the class of the map
        "test/sad/0.png": "Sad",
    }
    became = (("Happy", "happy", 1), ("Sad", "Sad", 2), ("contempt", None, 1), ("happiness", "happy", 2))
    assert contents.class_maps == (ClassMap("expression", tuple(Became(*row) for row in became)),)
    assert {note for note in contents.notes if "is the class" in note} == {
        "the folder sad is the class Sad",
        "the folder Happy is the class happy",
    }


def test_a_map_leads_to_the_classes_that_are_given(tmp_path: Path) -> None:
    source = ClassFolders(
        class_folders(tmp_path), classes=("Happy,Sad,Fear",), map="happiness=Happy,contempt=Fear", val_share=0.4
    )
    assert source.survey().labels["expression"] == Classes(("Happy", "Sad", "Fear"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "happiness"}, r"folder .*: map \(='happiness'\) must read OLD=NEW, or OLD= to leave the faces of a"),
        ({"map": "sad=a,sad=b"}, r"folder .*: map names 'sad' twice; name each class once"),
        ({"map": "sad=a,SAD=b"}, r"folder .*: map names 'Sad' twice; name each class once"),
        ({"map": "hapiness=Joy"}, r"map \(='hapiness'\) must name a class folder; did you mean 'happiness'\?"),
        ({"map": "zzz="}, r"map \(='zzz'\) must name a class folder; those are Happy, Sad, contempt, happiness"),
        (
            {"map": "happiness=Hapy", "classes": ("Happy,Sad,contempt",)},
            r"map \(happiness=Hapy\) must lead to one of the classes; did you mean 'Happy'\?",
        ),
        (
            {"map": "contempt=", "classes": ("Happy,happiness",)},
            r"class folder \(='Sad'\) must be one of Happy, happiness; rename the folder or give its classes",
        ),
        (
            {"map": "happiness=,Happy=,sad=,contempt="},
            r"map \(='.*'\) must leave a class; leave one out of it, or read",
        ),
        ({"map": "sad=", "unlabelled": True}, r"map \(='sad='\) must be left out where pictures have no labels"),
    ],
)
def test_what_is_no_map_of_folders_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassFolders(class_folders(tmp_path), **options).survey()


def test_every_column_of_classes_but_the_group_is_mapped(tmp_path: Path) -> None:
    source = ManifestFile(manifest(tmp_path), map="glad=Happy,contempt=", group="person")
    contents = source.survey()
    assert contents.labels == {
        "mood": Classes(("Happy",)),
        "smile": Classes(("Happy", "no", "yes")),
        "person": Classes(("Ann", "Bob", "glad")),
    }
    assert [record.labels for record in listed(source)[0]] == [
        {"mood": "Happy", "smile": "yes", "person": "Ann"},
        {"mood": None, "smile": None, "person": "glad"},
        {"mood": None, "smile": "Happy", "person": "Ann"},
        {"mood": "Happy", "smile": "no", "person": "Bob"},
    ]
    mood = (Became("Happy", "Happy", 1), Became("contempt", None, 1), Became("glad", "Happy", 1))
    smile = (Became("glad", "Happy", 1), Became("no", "no", 1), Became("yes", "yes", 1))
    assert contents.class_maps == (ClassMap("mood", mood), ClassMap("smile", smile))
    assert ManifestFile(tmp_path, map="no=nope").survey().class_maps[0].label == "smile"  # mood has no such class


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "glad"}, r"manifest .*: map \(='glad'\) must read OLD=NEW"),
        ({"map": "gladd=Happy"}, r"map \(='gladd'\) must name a class of the manifest; did you mean 'glad'\?"),
        ({"map": "Ann=Eve", "group": "person"}, r"map \(='Ann'\) must name a class of the manifest; those are Happy, "),
        ({"map": "glad=,contempt=,Happy="}, r"map must leave mood a class; leave one out of it, or remove the column"),
        (
            {"map": "glad=Hapy,contempt=", "classes": ("mood=Happy,Sad",)},
            r"row 1: mood \(='Hapy'\) must be one of Happy, Sad; did you mean 'Happy'\?",
        ),
    ],
)
def test_what_is_no_map_of_a_manifest_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ManifestFile(manifest(tmp_path), **options).survey()


def test_the_order_that_a_plain_folder_was_written_with_is_kept(tmp_path: Path) -> None:
    class_folders(tmp_path / "in")

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [*map(str, words), "--size", "8"])
        assert result.exit_code == 0, result.output
        return result.output

    order = ("--classes", "sad,happy,happiness,contempt")
    run("folder", tmp_path / "in", *order, "--out", tmp_path / "plain", "--format", "folder")
    printed = run("manifest", tmp_path / "plain", "--map", "happiness=happy,contempt=", "--out", tmp_path / "out")
    assert open_store(tmp_path / "out").manifest.labels == {"expression": Classes(("sad", "happy"))}
    rows = [line.split() for line in printed.splitlines()]
    table = rows.index(["class", "became", "faces"])
    assert rows[table - 1] == ["expression"]
    assert rows[table + 2 : table + 6] == [
        ["contempt", "no", "label", "1"],
        ["happiness", "happy", "2"],
        ["happy", "happy", "1"],
        ["sad", "sad", "2"],
    ]
    note = "expression: contempt (1) lost the label, happiness (2) became happy"
    assert f"note: {note}" in printed
    assert note in json.loads((tmp_path / "out" / "source.json").read_text())["notes"]
    assert "is finished: 6 faces" in run(
        "manifest", tmp_path / "plain", "--map", "happiness=happy,contempt=", "--out", tmp_path / "out"
    )


def test_folds_add_up_what_the_classes_of_a_union_became(tmp_path: Path) -> None:
    prepare(ClassFolders(class_folders(tmp_path / "in")), tmp_path / "store", Form(8))
    joined = Union(Packed(tmp_path / "store"), classes={"expression": {"happiness": "Happy", "contempt": None}})
    rows = {"train": [0, 1, 1, 1], "test": [1, 1, 0, 1]}
    for split, faces in rows.items():
        assert [row.faces for row in joined.open(split, "cpu").class_maps[0].rows] == faces
    folds = Folds(joined, k=3, pool=("train", "test")).open("val", "cpu")
    assert [str(each) for each in folds.class_maps] == [
        "expression: contempt (1) lost the label, happiness (2) became Happy"
    ]
    assert [row.faces for row in folds.class_maps[0].rows] == [1, 2, 1, 2]


def test_a_folder_is_read_without_a_store_under_the_same_names(tmp_path: Path) -> None:
    source = Folder(ClassFolders(class_folders(tmp_path), map="happiness=Happy,contempt="), size=8, workers=0)
    split = source.open("train", "cpu").split
    assert split.labels == {"expression": Classes(("Happy", "Sad"))}
    assert split.target["expression"].tolist() == [1, -1, 0]
