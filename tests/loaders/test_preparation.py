"""What was done to pictures: stated by every store and every source, through all copies of a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loaders import Folder, Packed, Source, Synthetic, Union
from loaders.base import Preparation
from loaders.decoding.pictures import Form
from loaders.importers import Aflw2000, CelebA, Importer, ManifestFile, W300Lp
from loaders.importers import ClassFolders as Classes
from loaders.prepare import prepare
from loaders.store.checking import check
from loaders.store.duplicates import drop_duplicates
from loaders.store.opening import open_store
from loaders.store.preparation import stated
from tests.loaders.data_sets import write_folders
from tests.loaders.imported import save
from tests.loaders.test_importer_attributes import write_celeba
from tests.loaders.test_importer_pose import write_300wlp, write_head


def prepared(source: Source, split: str = "train") -> tuple[Preparation, ...]:
    return source.open(split, "cpu").split.prepared


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Class folders of pictures that are not square."""
    root = write_folders(tmp_path / "wide", {"train": (2, 2, 2)})
    for file in root.rglob("*.png"):
        Image.open(file).resize((24, 16)).save(file)
    return root


def boxes(root: Path) -> ManifestFile:
    save(root / "a.png")
    (root / "manifest.csv").write_text(
        "path,split,kind,box_left,box_top,box_right,box_bottom\na.png,train,x,1,1,9,9\na.png,train,y,,,,\n"
    )
    return ManifestFile(root / "manifest.csv")


def aflw2000(root: Path) -> Aflw2000:
    write_head(root / "image00002.jpg")
    return Aflw2000(root, margin=0.5)


@pytest.mark.parametrize(
    ("made", "form", "said"),
    [
        (lambda root: Classes(write_folders(root)), Form(), Preparation()),
        (
            lambda root: Classes(write_folders(root)),
            Form(8, "stretch", "gray"),
            Preparation(8, "stretch", "gray"),
        ),
        (boxes, Form(8), Preparation(8, "crop", "auto", "box")),
        (lambda root: Classes(write_folders(root)), Form(8, "pad"), Preparation(8, "pad")),
        (aflw2000, Form(8, "stretch"), Preparation(8, "stretch", "auto", "box", 0.5)),
        (lambda root: W300Lp(write_300wlp(root), crop="none"), Form(8), Preparation(8)),
        (lambda root: CelebA(write_celeba(root)), Form(8), Preparation(8)),
    ],
)
def test_every_store_and_every_source_states_it(
    tmp_path: Path, made: Callable[[Path], Importer], form: Form, said: Preparation
) -> None:
    (tmp_path / "in").mkdir()
    importer = made(tmp_path / "in")
    assert stated(prepare(importer, tmp_path / "out", form)) == said
    split = open_store(tmp_path / "out").manifest.splits[0]
    assert prepared(Packed(tmp_path / "out"), split) == (said,)
    assert prepared(Folder(importer, form.size, form.fit, form.colour, workers=0), split) == (said,)


def test_a_store_made_of_a_store_keeps_it(tmp_path: Path, wide: Path) -> None:
    said = Preparation(16, "stretch")
    prepare(Classes(wide), tmp_path / "packed", Form(16, "stretch"))
    prepare(Classes(wide), tmp_path / "plain", Form(16, "stretch"), format="folder")
    drop_duplicates(tmp_path / "packed", tmp_path / "fewer", check(tmp_path / "packed"))
    assert prepared(Packed(tmp_path / "fewer")) == prepared(Folder(tmp_path / "plain", workers=0)) == (said,)
    # Square already: a fit of the second preparation does nothing.
    again = prepare(ManifestFile(tmp_path / "plain"), tmp_path / "again", Form(8, "crop", "gray"))
    assert stated(again) == Preparation(8, "stretch", "gray")


def test_an_aligned_or_cut_store_stays_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    prepare(aflw2000(tmp_path / "in"), tmp_path / "plain", Form(16), format="folder")
    assert stated(prepare(ManifestFile(tmp_path / "plain"), tmp_path / "out", Form(8))) == Preparation(
        8, "crop", "auto", "box", 0.5
    )


@pytest.mark.parametrize(
    ("options", "crop", "margin"),
    [
        ({}, "none", 0.0),
        ({"crop": "align", "margin": 0.3}, "align", 0.3),
        ({"crop": None, "margin": 0.25}, "none", 0.0),
    ],
)
def test_an_older_store_states_what_its_origin_says(
    tmp_path: Path, wide: Path, options: dict[str, Any], crop: str, margin: float
) -> None:
    prepare(Classes(wide), tmp_path / "out", Form(16, "stretch"))
    file = tmp_path / "out" / "source.json"
    source = json.loads(file.read_text())
    del source["prepared"]
    source["origin"]["options"] |= options
    file.write_text(json.dumps(source))
    assert prepared(Packed(tmp_path / "out")) == (Preparation(16, "stretch", "auto", crop, margin),)
    source["origin"] = {}
    file.write_text(json.dumps(source))
    assert prepared(Packed(tmp_path / "out")) == ()


def test_joined_sources_state_each_way_once(tmp_path: Path, wide: Path) -> None:
    stores = []
    for name, fit in (("a", "crop"), ("b", "stretch"), ("c", "crop")):
        prepare(Classes(wide), tmp_path / name, Form(16, fit))  # type: ignore[arg-type]
        stores.append(Packed(tmp_path / name))
    joined = Union((stores[0], stores[1]), unlabelled=stores[2], held_out=())
    assert prepared(joined) == (Preparation(16, "crop"), Preparation(16, "stretch"))


def test_drawn_faces_state_nothing() -> None:
    assert prepared(Synthetic(train=2, val=1, test=1)) == ()


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (Preparation(), "kept as they are"),
        (Preparation(48, "stretch", "gray"), "stretched to 48 x 48, gray"),
        (Preparation(48, "pad"), "padded to 48 x 48"),
        (Preparation(48, crop="box", margin=0.25), "cut by their box (margin 0.25), cropped to 48 x 48"),
        (Preparation(48, crop="align"), "aligned by landmarks (margin 0), cropped to 48 x 48"),
    ],
)
def test_it_is_written_for_people(made: Preparation, text: str) -> None:
    assert str(made) == text
