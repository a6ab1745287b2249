"""Groups of pictures that belong together, such as those of a person: stored, kept in one split, read back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from loaders import DALI, FFCV, Classes, Folder, Folds, Packed, Source, Union, WithTest
from loaders.decoding.pictures import Form
from loaders.importers import Biwi, CkPlus48, ClassFolders, Importer, ManifestFile, Pointing04, Record
from loaders.prepare import Format, app, prepare
from loaders.store.checking import check
from loaders.store.duplicates import drop_duplicates
from loaders.store.opening import open_store
from tests.loaders.imported import listed, save

PERSON = r"(?P<person>S\d+)_"
PEOPLE = tuple(f"S{number:02}" for number in range(10))


def faces_of_people(root: Path, *more: str) -> Path:
    """Three pictures of each of ten people, one a class, and others by their paths."""
    for person in PEOPLE:
        for kind in ("happy", "sad", "calm"):
            save(root / kind / f"{person}_{kind}.png")
    for path in more:
        save(root / path)
    return root


def of_split(records: list[Record]) -> dict[str, set[object]]:
    return {split: {r.labels.get("person") for r in records if r.split == split} for split in ("train", "val", "test")}


def test_what_the_expression_finds_is_a_label_and_stays_in_one_split(tmp_path: Path) -> None:
    source = ClassFolders(faces_of_people(tmp_path), group=PERSON, val_share=0.2, test_share=0.3, seed=3)
    contents = source.survey()
    assert contents.group == "person"
    assert contents.labels == {"expression": Classes(("calm", "happy", "sad")), "person": Classes(PEOPLE)}
    records, _ = listed(source)
    assert all(record.labels["person"] == Path(record.path).name[:3] for record in records)
    people = of_split(records)
    assert {split: len(found) for split, found in people.items()} == {"train": 5, "val": 2, "test": 3}
    assert not people["train"] & people["val"] | people["train"] & people["test"] | people["val"] & people["test"]
    *notes, together = contents.notes
    assert notes == [
        "the source has no splits: all pictures are train",
        "test is 0.3 of train by person, chosen by seed 3; the source has none",
        "val is 0.2 of train by person, chosen by seed 3; the source has none",
    ]
    assert together == "pictures of one person stay together: 5 of them in train, 2 of them in val, 3 of them in test"


def test_test_does_not_move_with_val_and_another_seed_draws_other_people(tmp_path: Path) -> None:
    faces_of_people(tmp_path)

    def people(val: float, seed: int = 0) -> dict[str, set[object]]:
        return of_split(listed(ClassFolders(tmp_path, group=PERSON, val_share=val, test_share=0.2, seed=seed))[0])

    assert people(0.1)["test"] == people(0.5)["test"] == people(0.0)["test"]
    assert people(0.0)["val"] == set()
    assert len({frozenset(people(0.1, seed)["test"]) for seed in range(6)}) > 1


def test_a_picture_without_a_group_is_one_of_its_own(tmp_path: Path) -> None:
    alone = [f"sad/other{number}.png" for number in range(30)]
    source = ClassFolders(faces_of_people(tmp_path, *alone), group=PERSON, val_share=0.25, test_share=0.25)
    records, _ = listed(source)
    without = [record for record in records if "person" not in record.labels]
    assert sorted(record.path for record in without) == sorted(alone)
    assert {record.split for record in without} == {"train", "val", "test"}  # they are drawn one by one
    people = of_split([record for record in records if "person" in record.labels])
    assert sum(map(len, people.values())) == len(PEOPLE)
    assert "30 picture(s) have no person: each is a group of its own" in source.survey().notes
    prepare(source, tmp_path.with_name("store"), Form(8))
    target = open_store(tmp_path.with_name("store")).manifest.target["person"]
    assert int((target < 0).sum()) == 30


def test_people_in_two_splits_of_the_source_are_noted(tmp_path: Path) -> None:
    for path in ("train/sad/S1_a.png", "train/sad/S2_a.png", "test/sad/S2_b.png", "test/sad/S3_b.png"):
        save(tmp_path / path)
    notes = ClassFolders(tmp_path, group=PERSON).survey().notes
    assert "1 person(s) are in more than one of train, test, such as S2" in notes
    assert "pictures of one person stay together: 2 of them in train, 2 of them in test" in notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "(?P<person>S"}, r"group \(='.*'\) must be a regular expression, such as .*; missing \), unterm"),
        (
            {"group": r"S\d+"},
            r"group \(=.*\) must have one named group, such as .*, whose name the label takes; it has n",
        ),
        ({"group": r"(S\d+)"}, r"must have one named group, .*; it has none"),
        ({"group": r"(?P<a>S)(?P<b>\d+)"}, r"must have one named group, .*; it has a, b"),
        ({"group": r"(?P<expression>S\d+)"}, r"must not name the label of the class folders; call its group otherwise"),
        ({"group": r"(?P<split>S\d+)"}, r"folder .*: label \(='split'\) must not be empty, hold a dot or be one of"),
        (
            {"group": r"(?P<person>T\d+)"},
            r"must find something in the path of a picture; it finds nothing in any of 30",
        ),
        (
            {"group": r"(?P<all>S)", "val_share": 0.1},
            r"train must keep a all; there are 1, and each split with a share takes one at least, lower --val-share",
        ),
        ({"group": PERSON, "unlabelled": True}, r"group \(=.*\) must be left out where pictures have no labels"),
    ],
)
def test_what_is_no_group_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassFolders(faces_of_people(tmp_path), **options).survey()


def manifest(root: Path, *rows: str) -> Path:
    for row in rows:
        save(root / row.partition(",")[0])
    (root / "manifest.csv").write_text("\n".join(["path,split,person,mood,pose.yaw", *rows, ""]))
    return root


ROWS = ("0.png,train,Ann,sad,1", "1.png,test,Bob,glad,2", "2.png,train,,sad,", "3.png,test,Ann,sad,0")


def test_a_column_of_a_manifest_is_the_group_and_comes_last(tmp_path: Path) -> None:
    contents = ManifestFile(manifest(tmp_path, *ROWS), group="person").survey()
    assert contents.group == "person"
    assert list(contents.labels) == ["mood", "pose", "person"]  # the first label is what faces are for
    assert contents.labels["person"] == Classes(("Ann", "Bob"))
    assert contents.notes == (
        "labels as the manifest gives them",
        "pictures of one person stay together: 1 of them in train, 2 of them in test",
        "1 person(s) are in more than one of train, test, such as Ann",
        "1 picture(s) have no person: each is a group of its own",
    )
    assert ManifestFile(tmp_path).survey().group is None


def test_a_group_may_have_more_names_than_a_label_of_classes(tmp_path: Path) -> None:
    rows = [f"0.png,train,p{number},sad,1" for number in range(1001)]
    manifest(tmp_path, *rows)
    assert len(ManifestFile(tmp_path, group="person").survey().labels["person"].names) == 1001  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"column \(='person'\) has more than 1,000 different names"):
        ManifestFile(tmp_path).survey()


@pytest.mark.parametrize("group", ["people", "pose", "pose.yaw", "path", ""])
def test_a_group_that_is_no_column_of_classes_is_refused(tmp_path: Path, group: str) -> None:
    with pytest.raises(ValueError, match=rf"group \(='{group}'\) must be a column of classes; those are person, mood"):
        ManifestFile(manifest(tmp_path, *ROWS), group=group).survey()


def test_an_empty_column_is_no_group(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"column \(='person'\) must name a class somewhere; remove the empty column"):
        ManifestFile(manifest(tmp_path, "0.png,train,,sad,1"), group="person").survey()


@pytest.mark.parametrize("form", ["packed", "folder", "ffcv"])
def test_every_format_and_source_knows_the_group(tmp_path: Path, form: Format) -> None:
    if form == "ffcv":
        pytest.importorskip("ffcv")
    importer = ClassFolders(faces_of_people(tmp_path / "in"), group=PERSON, val_share=0.2, test_share=0.3)
    source = prepare(importer, tmp_path / "out", Form(8), format=form)
    assert source["group"] == "person"
    opened: Source = {"packed": Packed, "folder": Folder, "ffcv": FFCV}[form](tmp_path / "out")  # type: ignore[operator]
    others: list[Source] = [Folder(importer, size=8, workers=0)]
    if form == "folder":  # what reads it as a manifest knows the group without being told
        assert prepare(ManifestFile(tmp_path / "out"), tmp_path / "again", Form())["group"] == "person"
    for split in ("train", "val", "test"):
        own = opened.open(split, "cpu").split
        assert own.group == "person"
        for other in (source.open(split, "cpu").split for source in others):
            assert torch.equal(own.sample, other.sample)
            assert own.group == other.group
            assert own.labels == other.labels
            assert all(torch.equal(own.target[name], other.target[name]) for name in own.labels)


def test_dali_knows_the_group(tmp_path: Path) -> None:
    pytest.importorskip("nvidia.dali")
    importer = ClassFolders(faces_of_people(tmp_path), group=PERSON, test_share=0.3)
    own, other = (source(importer, size=8).open("test", "cpu").split for source in (DALI, Folder))
    assert own.group == other.group == "person"
    assert own.labels == other.labels
    assert torch.equal(own.target["person"], other.target["person"])


def test_a_store_without_a_group_is_what_it_was_and_an_edited_one_is_refused(tmp_path: Path) -> None:
    faces_of_people(tmp_path / "in")
    assert "group" not in prepare(ClassFolders(tmp_path / "in"), tmp_path / "plain", Form(8))
    assert Packed(tmp_path / "plain").open("train", "cpu").split.group is None
    prepare(ClassFolders(tmp_path / "in", group=PERSON), tmp_path / "out", Form(8))
    file = tmp_path / "out" / "source.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"group": "mood"}))
    with pytest.raises(
        ValueError, match=r"group \(='mood'\) must be a label with classes; source.json was edited, prep"
    ):
        open_store(tmp_path / "out")


def test_a_store_without_duplicates_keeps_the_group(tmp_path: Path) -> None:
    prepare(ClassFolders(faces_of_people(tmp_path / "in"), group=PERSON), tmp_path / "out", Form(8))
    drop_duplicates(tmp_path / "out", tmp_path / "dropped", check(tmp_path / "out"))
    assert open_store(tmp_path / "dropped").manifest.group == "person"


def test_sources_that_hold_others_know_their_group(tmp_path: Path) -> None:
    faces_of_people(tmp_path / "in")
    for name, group in (("grouped", PERSON), ("plain", None)):
        importer = ClassFolders(tmp_path / "in", group=group, val_share=0.2, test_share=0.3)
        prepare(importer, tmp_path / name, Form(8))
    grouped, plain = Packed(tmp_path / "grouped"), Packed(tmp_path / "plain")

    def group(source: Source, split: str = "test") -> str | None:
        return source.open(split, "cpu").split.group

    assert group(WithTest(grouped, plain)) is None
    assert group(WithTest(grouped, plain), "train") == "person"
    assert group(Union(labelled=(plain, grouped))) == "person"
    assert group(Union(labelled=plain)) is None
    assert group(Folds(grouped)) == "person"
    assert group(Folds(plain)) is None
    assert group(Folds(plain, by="expression")) == group(Folds(plain, leave_out="expression")) == "expression"


@pytest.mark.parametrize("kind", [Biwi, CkPlus48, Pointing04])
def test_the_importers_that_know_the_person_say_so(kind: type[Importer], tmp_path: Path) -> None:
    if kind is Biwi:
        save(tmp_path / "01" / "frame_00003_rgb.png")
    save(tmp_path / ("anger/S010_004_00000017.png" if kind is CkPlus48 else "person01100-90+0.png"))
    options = {} if kind is CkPlus48 else {"crop": "none"}
    contents = kind(tmp_path, **options).survey()  # type: ignore[call-arg]
    assert contents.group == "person"
    assert isinstance(contents.labels["person"], Classes)


def test_the_command_takes_a_group_and_says_how_many_there_are(tmp_path: Path) -> None:
    faces_of_people(tmp_path / "in", "sad/other.png")

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
        return result.exit_code, " ".join((result.stdout + result.stderr).split())

    code, text = run("folder", tmp_path / "in", "--out", tmp_path / "out", "--group", PERSON, "--test-share", 0.3)
    assert code == 0
    assert re.search(r"note: pictures of one person stay together: \d of them in train, \d of them in test", text)
    assert "note: 1 picture(s) have no person: each is a group of its own" in text
    assert "S00" not in text  # no table of persons, and no list of those that a split lacks
    code, text = run("manifest", manifest(tmp_path / "m", *ROWS), "--out", tmp_path / "other", "--group", "persons")
    assert (code, "group (='persons') must be a column of classes; those are person, mood" in text) == (2, True)
