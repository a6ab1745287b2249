"""Faces found while a store is prepared: the largest of each picture, cut as asked; the others are listed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.face_scenes import drawn, ground, pasted
from loaders import Packed
from loaders.decoding.crops import Crop
from loaders.decoding.pictures import Form, decode
from loaders.detection import Detection, FaceDetector
from loaders.importers import ClassFolders, ManifestFile, finding
from loaders.importers.finding import NO_FACE, NO_SQUARE
from loaders.prepare import command_line, prepare
from loaders.store.opening import open_store

CLEAR = (23, 30)
"""Drawn faces that the network surely takes for faces."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders: a photo of two faces and one of none, a photo of one face, and a file that is cut."""
    folder = tmp_path_factory.mktemp("find") / "photos"
    for name in ("happy", "sad"):
        (folder / name).mkdir(parents=True)
    party = ground(600, 420)
    for index, size, corner in zip(CLEAR, (150, 210), ((40, 60), (340, 150)), strict=True):
        party, _ = pasted(party, *drawn(0, [index], size), [corner])
    party.save(folder / "happy" / "party.png")
    ground(200, 150).save(folder / "happy" / "wall.png")
    pasted(ground(320, 300, 1), *drawn(0, [CLEAR[1]], 220), [(60, 40)])[0].save(folder / "sad" / "one.png")
    (folder / "sad" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.mark.parametrize(("crop", "cut"), [("none", "box"), ("box", "box"), ("align", "align")])
def test_the_largest_face_of_each_picture_is_stored_as_asked(
    photos: Path, tmp_path: Path, faces_extra: None, crop: Crop, cut: Crop
) -> None:
    importer = ClassFolders(photos, find=True, crop=crop, margin=0.25)
    source = prepare(importer, tmp_path / "store", Form(40))
    store, detector = open_store(tmp_path / "store"), FaceDetector("test")
    assert store.manifest.path == ("happy/party.png", "sad/one.png")
    for face, path in zip(store.images, store.manifest.path, strict=True):
        picture = decode(photos / path, Form(colour="rgb"))
        largest = max(detector(picture), key=lambda found: found.side)
        np.testing.assert_array_equal(face, decode(photos / path, Form(40), largest.square(cut, 0.25)))
    party = detector(decode(photos / "happy" / "party.png", Form(colour="rgb")))
    assert len(party) == 2
    assert largest.box[0] > 0
    (made,) = Packed(tmp_path / "store").open("train", "cpu").split.prepared
    assert (made.crop, made.margin, made.size) == (cut, 0.25, 40)
    assert source["skipped"]["reasons"][NO_FACE] == 1
    assert source["skipped"]["total"] == 2
    how = "turned upright by their landmarks" if cut == "align" else "cut around their box"
    assert source["notes"][-1].startswith(
        f"faces were found by CenterFace and {how}, margin 0.25: of a picture with sev"
    )


def test_pictures_without_labels_and_those_of_a_manifest_are_searched_too(
    photos: Path, tmp_path: Path, faces_extra: None
) -> None:
    prepare(ClassFolders(photos, unlabelled=True, find=True), tmp_path / "unlabelled", Form(24))
    assert open_store(tmp_path / "unlabelled").manifest.path == ("happy/party.png", "sad/one.png")
    rows = ("path,split,mood", "happy/party.png,train,happy", "happy/wall.png,train,happy", "sad/one.png,val,sad")
    (photos / "list.csv").write_text("\n".join(rows) + "\n")
    words = ["manifest", photos / "list.csv", "--out", tmp_path / "listed", "--size", "24", "--find", "--margin", "0.1"]
    ended = CliRunner().invoke(command_line(), list(map(str, words)))
    (photos / "list.csv").unlink()
    assert ended.exit_code == 0, ended.output
    assert NO_FACE in ended.output
    store = open_store(tmp_path / "listed")
    assert store.manifest.path == ("happy/party.png", "sad/one.png")
    assert store.source["prepared"]["margin"] == 0.1


def test_a_face_whose_landmarks_have_no_extent_is_listed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Detection((0, 0, 9, 9), 0.9, np.zeros((5, 2)))
    monkeypatch.setattr(finding, "FaceDetector", lambda where: lambda picture: [lost])
    contents = ClassFolders(photos, find=True, crop="align").survey()
    reasons = {one.path: one.reason for one in contents.records() if not hasattr(one, "labels")}
    assert reasons["happy/wall.png"] == NO_SQUARE
    assert reasons["sad/cut.jpg"] not in (NO_SQUARE, NO_FACE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": "align"}, r"folder .*photos: crop \(=align\) must go with find; add it, or leave this out"),
        ({"margin": 0.5}, r"folder .*photos: margin \(=0\.5\) must go with find; add it, or leave this out"),
        ({"find": True, "margin": 3.0}, r"folder .*photos: margin \(=3\.0\) must be in 0\.\.2"),
    ],
)
def test_what_does_not_go_together_is_refused(photos: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(ClassFolders(photos), **changes).survey()


def test_a_manifest_with_boxes_is_not_searched(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    heads = "path,split,mood,box_left,box_top,box_right,box_bottom"
    (tmp_path / "manifest.csv").write_text(f"{heads}\na.png,train,sad,0,0,9,9\nb.png,train,happy,0,0,9,9\n")
    with pytest.raises(ValueError, match=r"find \(=True\) must be left out where box_left, .* say where faces"):
        ManifestFile(tmp_path, find=True).survey()


def test_without_the_extra_it_says_what_to_install_before_any_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"folder .*photos: package \(=onnx\) must be importable.*hmtl\[faces\]"):
        prepare(ClassFolders(photos, find=True), tmp_path / "store", Form(24))
    assert not (tmp_path / "store").exists()
