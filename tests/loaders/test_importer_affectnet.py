"""AffectNet, both releases, on tiny copies of their layouts with their traps."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders.decoding.crops import TEMPLATE, Square
from loaders.decoding.pictures import Form
from loaders.importers import AffectNet2017, AffectNet2021, Importer
from loaders.importers.affectnet2017 import COLUMNS
from loaders.prepare import prepare
from loaders.store.opening import open_store
from tests.loaders.imported import faces, listed, save, splits

NAMES = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
ENDINGS = ("jpg", "JPEG", "png", "tif", "bmp")


def landmarks(scale: float = 40.0, shift: float = 4.0) -> np.ndarray[Any, np.dtype[np.float64]]:
    """68 points whose five stand on the template, as a square at `shift` of side `scale` shows them."""
    points = np.full((68, 2), 0.5)
    eye_left, eye_right, nose, mouth_left, mouth_right = TEMPLATE
    points[36:42], points[42:48], points[30], points[48], points[54] = (
        eye_left,
        eye_right,
        nose,
        mouth_left,
        mouth_right,
    )
    return points * scale + shift


def row(path: str, expression: int, **other: object) -> list[str]:
    marks = ";".join(f"{x:.2f};{y:.2f}" for x, y in landmarks())
    values: dict[str, object] = dict(zip(COLUMNS, (path, 8, 6, 20, 30, marks, expression, 0.25, -0.5), strict=True))
    return [str(value) for value in (values | other).values()]


def write_2017(root: Path, *, header: bool = False) -> Path:
    """20 faces of each expression and one of each mark in train; one of each in validation, which has no header."""
    train, validation = [], []
    for number in range(11):
        places = range(20 if number < 8 else 1)
        train += [row(f"{place % 3}/t{number}_{place}.{ENDINGS[place % 5]}", number) for place in places]
        validation.append(row(f"9/v{number}.jpg", number))
    validation[0][7:] = ["-2", "-2"]
    for line in train + validation:
        file = root / "Manually_Annotated_Images" / line[0]
        save(file, np.full((48, 48, 3), 128, np.uint8))
    for name, lines, first in (("training.csv", train, True), ("validation.csv", validation, header)):
        text = "\n".join(",".join(line) for line in ([list(COLUMNS)] if first else []) + lines)
        (root / name).write_text(text + "\n")
    return root


@pytest.fixture(scope="module")
def source_2017(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_2017(tmp_path_factory.mktemp("affectnet2017"))


@pytest.mark.parametrize("header", [False, True])
def test_2017_reads_lists_with_and_without_a_header(tmp_path: Path, header: bool) -> None:
    records, skipped = listed(AffectNet2017(write_2017(tmp_path, header=header)))
    assert splits(records) == {"train": 152, "val": 8, "test": 8}
    test = [record for record in records if record.split == "test"]
    assert [record.labels["expression"] for record in test] == list(NAMES)
    assert Counter(s.reason for s in skipped) == dict.fromkeys(
        ("expression is None", "expression is Uncertain", "expression is No-Face"), 2
    )


def test_2017_val_is_a_stratified_share_of_train(source_2017: Path) -> None:
    records, _ = listed(AffectNet2017(source_2017, val_share=0.1))
    assert Counter(r.labels["expression"] for r in records if r.split == "val") == dict.fromkeys(NAMES, 2)
    contents = AffectNet2017(source_2017).survey()
    assert "test is the source's validation set, its only public test" in contents.notes
    assert contents.total == 174


def test_2017_keeps_its_validation_set_where_nothing_is_held_out(source_2017: Path) -> None:
    importer = AffectNet2017(source_2017, val_share=0)
    assert splits(listed(importer)[0]) == {"train": 160, "val": 8}
    assert any("what is chosen on it is optimistic" in note for note in importer.survey().notes)


def test_2017_drops_contempt_where_asked(source_2017: Path) -> None:
    importer = AffectNet2017(source_2017, contempt=False)
    records, skipped = listed(importer)
    assert {record.labels["expression"] for record in records} == set(NAMES[:7])
    assert importer.survey().labels["expression"].names == NAMES[:7]  # type: ignore[union-attr]
    assert Counter(s.reason for s in skipped)["Contempt is not asked for"] == 21


def test_2017_unknown_affect_is_missing(source_2017: Path) -> None:
    test = [record for record in listed(AffectNet2017(source_2017))[0] if record.split == "test"]
    assert all(math.isnan(value) for value in test[0].labels["affect"])  # type: ignore[union-attr,arg-type]
    assert test[1].labels["affect"] == (0.25, -0.5)


def test_2017_cuts_the_box_with_its_margin(source_2017: Path) -> None:
    records, _ = listed(AffectNet2017(source_2017, margin=0.1))
    assert records[0].box == Square(18, 21, 36)
    assert listed(AffectNet2017(source_2017, crop="none"))[0][0].box is None


def test_2017_aligns_by_the_68_landmarks(source_2017: Path) -> None:
    box = listed(AffectNet2017(source_2017, crop="align"))[0][0].box
    assert isinstance(box, Square)
    assert (box.x, box.y, box.side, box.turn) == pytest.approx((24, 24, 40, 0), abs=0.05)


def test_2017_lists_faces_without_a_box_or_landmarks(tmp_path: Path) -> None:
    source = write_2017(tmp_path)
    lines = [row("0/a.jpg", 1, face_x="NULL"), row("0/b.jpg", 2, face_width="0"), row("0/c.jpg", 3)]
    lines[2][5] = "NULL"
    (source / "validation.csv").write_text("\n".join(",".join(line) for line in lines))
    assert Counter(s.reason for s in listed(AffectNet2017(source))[1])["no face box"] == 2
    assert Counter(s.reason for s in listed(AffectNet2017(source, crop="align"))[1])["no landmarks"] == 1


def test_2017_prepares_every_extension_and_lists_what_is_absent(source_2017: Path, tmp_path: Path) -> None:
    gone = source_2017 / "Manually_Annotated_Images" / "9" / "v3.jpg"
    away = gone.rename(gone.with_suffix(".away"))
    try:
        prepare(AffectNet2017(source_2017), tmp_path / "s", Form(16))
    finally:
        away.rename(gone)
    store = open_store(tmp_path / "s")
    assert {Path(path).suffix for path in store.manifest.path} == {f".{ending}" for ending in ENDINGS}
    assert store.source["skipped"]["reasons"]["no such file"] == 1
    assert len(store.manifest) == 167


def test_2017_a_missing_list_is_noted(tmp_path: Path) -> None:
    source = write_2017(tmp_path)
    (source / "training.csv").unlink()
    assert any("training.csv is not there" in note for note in AffectNet2017(source).survey().notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0/a.jpg,1,2,3", r"validation.csv: row 1 has 4 columns and must have 9; take the list as published"),
        (",".join(row("0/a.jpg", 11)), r"row 1: expression \(='11'\) must be 0 to 10; correct the row"),
        (
            ",".join(row("0/a.jpg", 1, valence="high")),
            r"row 1: valence \(='high'\) must be a finite number; correct the row",
        ),
        (
            "subDirectory_filePath,expression",
            r"columns \(=subDirectory_filePath,expression\) must have face_x, face_y",
        ),
    ],
)
def test_2017_refuses_damaged_lists(tmp_path: Path, line: str, message: str) -> None:
    source = write_2017(tmp_path)
    (source / "validation.csv").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        listed(AffectNet2017(source))


# --- 2021 ---------------------------------------------------------------------------------------------------------


def write_2021(root: Path) -> Path:
    """Ten faces of each expression in train, one in val; annotations are 0-d arrays, of text in val."""
    number = 0
    for split, count in (("train_set", 10), ("val_set", 1)):
        (root / split / "annotations").mkdir(parents=True)
        for expression in range(8):
            for _ in range(count):
                values: dict[str, Any] = {"exp": expression, "val": 0.5, "aro": -0.25, "lnd": landmarks().ravel()}
                if split == "val_set":
                    values = {"exp": str(expression), "val": "0.5", "aro": "-2", "lnd": landmarks().ravel().astype(str)}
                save(root / split / "images" / f"{number}.jpg", np.full((48, 48, 3), 90, np.uint8))
                for kind, value in values.items():
                    np.save(root / split / "annotations" / f"{number}_{kind}.npy", value)
                number += 1
    return root


@pytest.fixture(scope="module")
def source_2021(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_2021(tmp_path_factory.mktemp("affectnet2021"))


def test_2021_reads_numbers_and_text(source_2021: Path) -> None:
    records, skipped = listed(AffectNet2021(source_2021, val_share=0.1))
    assert not skipped
    assert splits(records) == {"train": 72, "val": 8, "test": 8}
    assert Counter(r.labels["expression"] for r in records if r.split == "val") == dict.fromkeys(NAMES, 1)
    test = [record for record in records if record.split == "test"]
    assert [record.labels["expression"] for record in test] == list(NAMES)
    valence, arousal = test[0].labels["affect"]  # type: ignore[misc]
    assert valence == 0.5
    assert math.isnan(arousal)  # type: ignore[arg-type]


def test_2021_pictures_come_in_the_order_of_their_numbers(source_2021: Path) -> None:
    names = [int(Path(record.path).stem) for record in listed(AffectNet2021(source_2021))[0]]
    assert names == sorted(names)


def test_2021_landmarks_are_pairs_of_x_and_y(source_2021: Path) -> None:
    box = listed(AffectNet2021(source_2021, crop="align"))[0][0].box
    assert isinstance(box, Square)
    assert (box.x, box.y, box.side, box.turn) == pytest.approx((24, 24, 40, 0), abs=1e-6)
    around = listed(AffectNet2021(source_2021, crop="box", margin=0.5))[0][-1].box
    assert isinstance(around, Square)
    spread = landmarks().max(axis=0) - landmarks().min(axis=0)
    assert around.side == pytest.approx(2 * spread.max())


def test_2021_has_7_classes_where_asked(source_2021: Path) -> None:
    records, skipped = listed(AffectNet2021(source_2021, contempt=False))
    assert len(records) == 77
    assert Counter(s.reason for s in skipped) == {"Contempt is not asked for": 11}


def test_2021_lists_damaged_annotations_and_opens_no_pickle(tmp_path: Path) -> None:
    source = write_2021(tmp_path)
    annotations = source / "val_set" / "annotations"
    np.save(annotations / "80_exp.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    (annotations / "81_exp.npy").write_bytes(b"\x93NUMPY")
    (annotations / "82_exp.npy").unlink()
    np.save(annotations / "83_exp.npy", 2.5)
    np.save(annotations / "84_exp.npy", "9")
    np.save(annotations / "85_lnd.npy", np.zeros(10))
    (annotations / "86_val.npy").unlink()
    records, skipped = listed(AffectNet2021(source))
    assert [(Path(s.path).stem, s.reason) for s in skipped] == [
        *((str(number), "no expression") for number in range(80, 84)),
        ("84", "expression is Uncertain"),
    ]
    last = {Path(r.path).stem: r for r in records}["86"]
    assert math.isnan(last.labels["affect"][0])  # type: ignore[index,arg-type]
    lost = [s.detail for s in listed(AffectNet2021(source, crop="align"))[1] if s.reason == "no landmarks"]
    assert lost == ["85_lnd.npy has no 68 points"]


def test_2021_faces_are_read(source_2021: Path) -> None:
    found, skipped = faces(AffectNet2021(source_2021), 24)
    assert len(found) == 88
    assert not skipped


@pytest.mark.parametrize(
    ("importer", "message"),
    [
        (AffectNet2017, r"affectnet2017 .*gone: must be a folder, unpacked as it was published; there is none"),
        (AffectNet2021, r"affectnet2021 .*gone: must be a folder, unpacked as it was published; there is none"),
    ],
)
def test_a_missing_folder_is_refused(tmp_path: Path, importer: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        importer(tmp_path / "gone").survey()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (AffectNet2017, r"must hold Manually_Annotated_Images or .*; it has none, name the folder that does"),
        (AffectNet2021, r"must hold train_set/images/\*\.jpg or val_set/images/\*\.jpg; there are none"),
    ],
)
def test_an_empty_folder_is_refused(tmp_path: Path, make: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path).survey()


def test_2017_without_any_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Manually_Annotated_Images").mkdir()
    with pytest.raises(ValueError, match=r"must hold training.csv or validation.csv; it has none"):
        AffectNet2017(tmp_path).survey()


@pytest.mark.parametrize("options", [{"val_share": 2.0}, {"margin": -1.0}, {"crop": "tight"}])
def test_wrong_options_are_refused(source_2017: Path, source_2021: Path, options: dict[str, Any]) -> None:
    importers: list[Importer] = [AffectNet2017(source_2017, **options), AffectNet2021(source_2021, **options)]
    for importer in importers:
        with pytest.raises(ValueError, match=next(iter(options))):
            importer.survey()
