"""The importer of a plain csv manifest."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loaders import Classes, Numbers
from loaders.decoding.crops import Square, aligned, five_of_68
from loaders.decoding.pictures import Form
from loaders.importers import ManifestFile, Record, Skipped
from loaders.prepare import prepare
from loaders.store.opening import open_store
from tests.loaders.data_sets import picture


def write(folder: Path, text: str, pictures: int = 3) -> ManifestFile:
    for place in range(pictures):
        Image.fromarray(picture(0, place, 10, 12)).save(folder / f"{place}.png")
    (folder / "manifest.csv").write_text(text)
    return ManifestFile(folder)


TEXT = """path,split,mood,pose.yaw,age,pose.pitch
0.png,train,sad,1.5,old,-2
1.png,val,,,young,
2.png,train,glad,1e-3,,0
"""


def test_columns_become_labels(tmp_path: Path) -> None:
    source = write(tmp_path, TEXT)
    for way in (source, ManifestFile(tmp_path / "manifest.csv")):
        survey = way.survey()
        assert survey.labels == {
            "mood": Classes(("glad", "sad")),
            "pose": Numbers(("yaw", "pitch")),
            "age": Classes(("old", "young")),
        }
        assert survey.total == 3
        records = list(survey.records())
        assert all(isinstance(r, Record) and r.box is None for r in records)
        first, second, _ = records
        assert isinstance(first, Record)
        assert isinstance(second, Record)
        assert (first.split, first.path, first.picture) == ("train", "0.png", tmp_path / "0.png")
        assert first.labels == {"mood": "sad", "pose": [1.5, -2.0], "age": "old"}
        assert second.labels["mood"] is None
        assert all(math.isnan(number) for number in second.labels["pose"] or ())


def test_a_manifest_becomes_a_store(tmp_path: Path) -> None:
    prepare(write(tmp_path, TEXT), tmp_path / "out", Form())
    store = open_store(tmp_path / "out")
    np.testing.assert_array_equal(store.images, [picture(0, place, 10, 12) for place in range(3)])
    assert store.manifest.target["mood"].tolist() == [1, -1, 0]
    assert store.manifest.target["pose"][0].tolist() == [1.5, -2.0]


def test_the_columns_of_a_prepared_manifest_are_passed_over(tmp_path: Path) -> None:
    text = "sample,split,path,mood,mean_r,mean_g,mean_b\n0,train,0.png,sad,1,2,3\n"
    assert set(write(tmp_path, text).survey().labels) == {"mood"}


def test_boxes_cut_faces_out(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "path,split,box_left,box_top,box_right,box_bottom\n0.png,train,2,3,6,7\n1.png,train,,,,\n",
    )
    prepare(source, tmp_path / "out", Form(4))
    images = open_store(tmp_path / "out").images
    np.testing.assert_array_equal(images[0], picture(0, 0, 10, 12)[3:7, 2:6])
    with pytest.raises(ValueError, match=r"size \(=None\) must be given where faces are cut from boxes; pass --size N"):
        prepare(source, tmp_path / "other", Form())


def test_given_classes_set_the_order(tmp_path: Path) -> None:
    write(tmp_path, TEXT)
    labels = ManifestFile(tmp_path, classes=("mood=sad,glad,calm",)).survey().labels
    assert labels["mood"] == Classes(("sad", "glad", "calm"))


def test_missing_pictures_are_skipped_and_listed(tmp_path: Path) -> None:
    source = prepare(write(tmp_path, TEXT, pictures=2), tmp_path / "out", Form())
    assert source["shape"] == [2, 10, 12, 3]
    assert source["skipped"]["reasons"] == {"no such file": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,mood\n0.png,sad\n", r"columns \(=path,mood\) must have split"),
        ("file,split\n0.png,train\n", r"columns \(=file,split\) must have path"),
        ("", r"must have a header with the columns path, split; it is empty, see `ManifestFile`"),
        (
            "0.png,1\n",
            r"must have a header with .*; its first row \(=0.png,1\) looks like data, put the header above it",
        ),
        ("\x7fELF\x02,\x00\n", r"must be a csv file; its first row \(=.x7fELF.x02,.x00\) is no text, unpack"),
        ("path,split\n", r"must list pictures; it has no rows"),
        ("path,split,a,a\n0.png,train,x,y\n", r"columns \(=path,split,a,a\) must have different names"),
        ("path,split,box_left\n0.png,train,1\n", r"columns must have all of box_left, .* or none"),
        ("path,split,a,a.b\n0.png,train,x,1\n", r"label \(='a'\) must be either of classes or of numbers"),
        ("path,split,a\n0.png,train,\n", r"column \(='a'\) must name a class somewhere; remove the empty column"),
        ("path,split,a\n0.png,train\n", r"row 1 has 2 columns and must have 3; correct the row"),
        ("path,split,a\n0.png,train,x\n,train,x\n", r"row 2 must have a path and a split"),
        ("path,split,a\n0.png,,x\n", r"row 1 must have a path and a split"),
        ("path,split,.b\n0.png,train,1\n", r"label \(=''\) must not be empty"),
    ],
)
def test_wrong_columns_and_rows_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path, text).survey()


def test_cells_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 2: pose.yaw \(='left'\) must be a finite number; correct the row"):
        prepare(write(tmp_path, "path,split,pose.yaw\n0.png,train,1\n1.png,train,left\n"), tmp_path / "out", Form())
    assert not (tmp_path / "out").exists()
    boxes = "path,split,box_left,box_top,box_right,box_bottom\n0.png,train,6,3,2,7\n"
    with pytest.raises(ValueError, match=r"row 1: box \(=6, 3, 2, 7\) must run from left, top to right, bottom"):
        list(write(tmp_path, boxes).survey().records())


def test_unknown_classes_are_refused_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, TEXT)
    with pytest.raises(ValueError, match=r"row 3: mood \(='glad'\) must be one of sad, gladd; did you mean 'gladd'\?"):
        ManifestFile(tmp_path, classes=("mood=sad,gladd",)).survey()
    with pytest.raises(ValueError, match=r"classes \(='mod'\) must be a column of classes; there are mood, age"):
        ManifestFile(tmp_path, classes=("mod=sad",)).survey()
    with pytest.raises(ValueError, match=r"classes \(='sad,glad'\) must read label=a,b,c"):
        ManifestFile(tmp_path, classes=("sad,glad",)).survey()


def test_a_column_of_ids_is_no_label(tmp_path: Path) -> None:
    rows = "".join(f"0.png,train,id{i}\n" for i in range(1001))
    with pytest.raises(ValueError, match=r"column \(='id'\) has more than 1,000 different names and is no label of cl"):
        write(tmp_path, "path,split,id\n" + rows).survey()


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a csv file or a folder with manifest.csv; there is none"):
        ManifestFile(tmp_path).survey()


def of_one_face(folder: Path, columns: str, cells: str) -> ManifestFile:
    """A picture of 40 x 30, and a csv with a row for it and one whose further cells are empty."""
    Image.fromarray(picture(0, 0, 30, 40)).save(folder / "0.png")
    empty = "," * columns.count(",")
    (folder / "m.csv").write_text(f"path,split,{columns}\n0.png,train,{cells}\n0.png,val,{empty}\n")
    return ManifestFile(folder / "m.csv")


BOXES = "box_left,box_top,box_right,box_bottom"
FIVE = ",".join(f"landmark_{number}_{axis}" for number in range(5) for axis in "xy")
POINTS = "10,10,20,10,15,15,11,20,19,20"


def test_boxes_become_squares_with_a_margin_or_when_told(tmp_path: Path) -> None:
    source = of_one_face(tmp_path, BOXES, "4,6,14,26")

    def box(**options: Any) -> object:
        first, second = replace(source, **options).survey().records()
        assert isinstance(first, Record)
        assert isinstance(second, Record)
        assert second.box is None  # whose cells are empty: the whole picture
        return first.box

    assert box() == (4.0, 6.0, 14.0, 26.0)
    assert box(crop="box") == Square(9, 16, 20)
    assert box(margin=0.25) == Square(9, 16, 30)
    stated = prepare(replace(source, margin=0.25), tmp_path / "out", Form(8))["prepared"]
    assert (stated["crop"], stated["margin"]) == ("box", 0.25)


def test_landmarks_turn_faces_upright_and_rows_without_are_skipped(tmp_path: Path) -> None:
    source = of_one_face(tmp_path, FIVE, POINTS)
    first, second = replace(source, crop="align", margin=0.2).survey().records()
    assert isinstance(first, Record)
    assert first.box == aligned(np.array(POINTS.split(","), float).reshape(5, 2), 0.2)
    assert second == Skipped("0.png", "no landmarks", "row 2")
    assert source.survey().labels == {}  # landmarks are no labels
    assert [record.box for record in source.survey().records() if isinstance(record, Record)] == [None, None]
    many = np.random.default_rng(0).uniform(5, 25, (68, 2)).round(2)
    columns = ",".join(f"landmark_{number}_{axis}" for number in range(68) for axis in "xy")
    all_of_them = of_one_face(tmp_path, columns, ",".join(map(str, many.ravel().tolist())))
    first, _ = replace(all_of_them, crop="align").survey().records()
    assert isinstance(first, Record)
    assert first.box == aligned(five_of_68(many))
    point = of_one_face(tmp_path, FIVE, ",".join(["3"] * 10))
    skipped = [one.reason for one in replace(point, crop="align").survey().records() if isinstance(one, Skipped)]
    assert skipped == ["landmarks that are one point", "no landmarks"]


@pytest.mark.parametrize(
    ("columns", "cells", "options", "message"),
    [
        (
            BOXES,
            "1,2,3,4",
            {"crop": "align"},
            r"crop \(=align\) needs the columns landmark_0_x to landmark_4_y; add",
        ),
        (
            FIVE,
            POINTS,
            {"crop": "box"},
            r"crop \(=box\) needs the columns box_left, .*, or --crop align; add",
        ),
        (FIVE, POINTS, {"margin": 0.1}, r"margin \(=0.1\) needs the columns box_left"),
        (BOXES, "1,2,3,4", {"margin": 3.0}, r"margin \(=3.0\) must be in 0..2"),
        (
            "landmark_0_x,landmark_0_y",
            "1,2",
            {},
            r"columns \(=landmark_0_x,landmark_0_y\) must be those of 5 landma",
        ),
        (
            FIVE,
            POINTS.replace("15,15", "x,15"),
            {"crop": "align"},
            r"row 1: landmark_2_x \(='x'\) must be a finite numb",
        ),
    ],
)
def test_crops_without_their_columns_are_refused(
    tmp_path: Path, columns: str, cells: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^manifest .*{message}"):
        list(replace(of_one_face(tmp_path, columns, cells), **options).survey().records())


def test_addresses_of_the_web_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,split,mood\nhttps://example.org/a.png,train,sad\n")
    with pytest.raises(
        ValueError,
        match=r"row 1: path \(=https://example.org/a.png\) must be a file; nothing is downloaded; fetch the pictures",
    ):
        ManifestFile(tmp_path / "m.csv").survey()
