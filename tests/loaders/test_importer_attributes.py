"""FairFace, UTKFace and CelebA on tiny copies of their layouts with their traps, and FairFace on real faces."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from loaders.decoding.crops import TEMPLATE, Square
from loaders.decoding.pictures import Form
from loaders.importers import CelebA, FairFace, UtkFace
from loaders.importers.fairface import AGES, GENDERS, RACES
from loaders.prepare import prepare
from loaders.store.opening import open_store
from tests.loaders.imported import faces, listed, save, splits

# --- FairFace -----------------------------------------------------------------------------------------------------


def write_fairface(root: Path, prefix: str = "{split}/", ages: dict[str, str] | None = None, count: int = 280) -> Path:
    for split, number in (("train", count), ("val", 14)):
        lines = ["file,age,gender,race,service_test"]
        for place in range(number):
            name = f"{place + 1}.jpg"
            save(root / split / name)
            age = AGES[place % 9]
            shown = (ages or {}).get(age, age)
            race = RACES[place // 2 % 7]
            lines.append(f"{prefix.format(split=split)}{name},{shown},{GENDERS[place % 2]},{race},False")
        (root / f"fairface_label_{split}.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def fairface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fairface(tmp_path_factory.mktemp("fairface"))


def test_fairface_has_three_labels_and_makes_val_of_train(fairface: Path) -> None:
    records, skipped = listed(FairFace(fairface))
    assert not skipped
    assert splits(records) == {"train": 266, "val": 14, "test": 14}
    held = Counter((r.labels["gender"], r.labels["race"]) for r in records if r.split == "val")
    assert set(held.values()) == {1}
    assert len(held) == 14
    assert records[0].labels.keys() == {"gender", "race", "age"}


def test_fairface_keeps_its_val_where_nothing_is_held_out(fairface: Path) -> None:
    assert splits(listed(FairFace(fairface, val_share=0))[0]) == {"train": 280, "val": 14}


@pytest.mark.parametrize(
    "written", [{"3-9": "03-Sep", "10-19": "Oct-19"}, {"3-9": "9-Mar", "10-19": "19-Oct", "70+": "more than 70"}]
)
def test_fairface_ages_survive_a_spreadsheet(tmp_path: Path, written: dict[str, str]) -> None:
    importer = FairFace(write_fairface(tmp_path, ages=written, count=18))
    found = [record.labels["age"] for record in listed(importer)[0]]
    assert found == [AGES[place % 9] for place in [*range(18), *range(14)]]
    assert "8 ages written as dates were read back" in importer.survey().notes


@pytest.mark.parametrize("prefix", ["", "{split}/", "./{split}/", "fairface-img/{split}/", "data\\{split}\\"])
def test_fairface_file_names_may_have_a_prefix(tmp_path: Path, prefix: str) -> None:
    found, skipped = faces(FairFace(write_fairface(tmp_path, prefix, count=14)), 12)
    assert len(found) == 28
    assert not skipped


def test_fairface_finds_pictures_in_a_folder_of_their_own(tmp_path: Path) -> None:
    source = write_fairface(tmp_path, count=14)
    (source / "margin025").mkdir()
    (source / "train").rename(source / "margin025" / "train")
    found, skipped = faces(FairFace(source), 12)
    assert (len(found), len(skipped)) == (28, 0)
    assert found[0].record.path == "margin025/train/1.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,age,gender\n", r"columns \(=file,age,gender\) must have race; take the list as published"),
        ("file,age,gender,race\n1.jpg,20-29,Male\n", r"row 1 has 3 columns and must have 4"),
        ("file,age,gender,race\n1.jpg,20-29,male,Black\n", r"row 1: gender \(='male'\) must be one of Male, Female"),
        ("file,age,gender,race\n1.jpg,Jan-00,Male,Black\n", r"row 1: age \(='Jan-00'\) must be one of 0-2, 3-9"),
        (
            "file,age,gender,race\nx.jpg,20-29,Male,Black\n",
            r"must hold train/x.jpg and the others of fairface_label_tra",
        ),
    ],
)
def test_fairface_refuses_damaged_lists(tmp_path: Path, text: str, message: str) -> None:
    source = write_fairface(tmp_path, count=14)
    (source / "fairface_label_train.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        FairFace(source).survey()


def test_fairface_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold fairface_label_train.csv or fairface_label_val.csv; it has none"):
        FairFace(tmp_path).survey()


def test_fairface_a_missing_list_is_noted(tmp_path: Path) -> None:
    source = write_fairface(tmp_path, count=14)
    (source / "fairface_label_train.csv").unlink()
    importer = FairFace(source)
    assert "the list of train is not there" in importer.survey().notes
    assert splits(listed(importer)[0]) == {"test": 14}


def test_fairface_of_real_faces(hmtl_data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        with zipfile.ZipFile(hmtl_data / "fairface" / f"fairface_{split}_5000_96px.zip") as archive:
            names = [name for name in archive.namelist() if name.endswith(".csv")]
            names += [name for name in archive.namelist() if name.endswith(".jpg")][:300]
            archive.extractall(tmp_path, names)
    records, skipped = listed(FairFace(tmp_path))
    assert splits(records) == {"train": 4750, "val": 250, "test": 5000}
    assert not skipped
    test = Counter(record.labels["gender"] for record in records if record.split == "test")
    assert test == {"Male": 2633, "Female": 2367}
    ages = Counter(record.labels["age"] for record in records if record.split == "test")
    assert (ages["3-9"], ages["10-19"], ages["70+"]) == (628, 544, 52)
    source = prepare(FairFace(tmp_path), tmp_path / "store", Form())
    assert source["shape"] == [600, 96, 96, 3]
    assert source["skipped"]["reasons"] == {"no such file": 9400}  # the pictures that were not unpacked


# --- UTKFace ------------------------------------------------------------------------------------------------------


def write_utkface(root: Path) -> Path:
    for place in range(100):
        name = f"{place}_{place % 2}_{place // 2 % 5}_2017010915055{place:04}.jpg"
        save(root / "part1" / (name if place < 50 else f"{name}.chip.jpg"))
    return root


def test_utkface_names_are_labels(tmp_path: Path) -> None:
    records, skipped = listed(UtkFace(write_utkface(tmp_path)))
    assert not skipped
    assert splits(records) == {"train": 80, "val": 10, "test": 10}
    by_age = {int(record.labels["age"][0]): record.labels for record in records}  # type: ignore[index,arg-type]
    assert by_age[26] == {"gender": "Male", "race": "Indian", "age": (26.0,)}
    assert by_age[61] == {"gender": "Female", "race": "White", "age": (61.0,)}
    held = Counter((r.labels["gender"], r.labels["race"]) for r in records if r.split == "test")
    assert set(held.values()) == {1}


def test_utkface_test_does_not_move_with_val(tmp_path: Path) -> None:
    source = write_utkface(tmp_path)

    def test_of(share: float) -> set[str]:
        return {record.path for record in listed(UtkFace(source, val_share=share))[0] if record.split == "test"}

    assert test_of(0.0) == test_of(0.4)


def test_utkface_names_that_lack_a_field_are_listed(tmp_path: Path) -> None:
    source = write_utkface(tmp_path)
    for name in ("61_1_20170109150557335.jpg.chip.jpg", "39_20170109150557335.jpg", "24_0_7_20170109150557335.jpg"):
        save(source / name)
    records, skipped = listed(UtkFace(source))
    assert len(records) == 100
    assert [(s.path, s.reason) for s in skipped] == [
        ("24_0_7_20170109150557335.jpg", "field out of range"),
        ("39_20170109150557335.jpg", "name lacks a field"),
        ("61_1_20170109150557335.jpg.chip.jpg", "name lacks a field"),
    ]
    assert skipped[0].detail == "race (=7) must be 0 to 4"
    assert skipped[1].detail == "it must read [age]_[gender]_[race]_[date].jpg"


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("24_0_1_20170116220224657 .jpg", True),
        ("24_0_1_20170116220224657 .jpg.chip.jpg", True),
        ("44_1_4_20170116235150272.pg", True),
        ("44_1_4_20170116235150272.pg.chip.jpg", True),
        ("55_0_0_20170116232725357jpg", True),
        ("55_0_0_20170116232725357jpg.chip.jpg", True),
        ("116_1_3_20170112220745270.JPG", False),
        ("1_1_3_20170112220745270.jpg.chip.png", False),
        ("8_0_0_20170112220745270.jpeg", False),
    ],
)
def test_utkface_names_with_a_mistyped_ending_are_read_and_noted(tmp_path: Path, name: str, note: bool) -> None:
    save(tmp_path / "x.png").rename(tmp_path / name)
    importer = UtkFace(tmp_path, val_share=0, test_share=0)
    (record,), skipped = listed(importer)
    assert (record.path, record.labels["age"], skipped) == (name, (float(name.split("_")[0]),), [])
    noted = f"1 names with a mistyped ending were read, e.g. {name!r}"
    assert (noted in importer.survey().notes) is note


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("53__0_20170116184028385.jpg", "name lacks a field", "it must read"),
        ("_0_0_20170116184028385.jpg", "name lacks a field", "it must read"),
        ("-3_0_0_20170116184028385.jpg", "name lacks a field", "it must read"),
        ("20_0_0_1_20170116184028385.jpg", "name goes on after its date", "'_20170116184028385.jpg' must read .jpg or"),
        ("20_0_0_.jpg", "name lacks a field", "it must read"),
        ("٢٠_0_0_20170116184028385.jpg", "name lacks a field", "it must read"),
        ("117_0_0_20170116184028385.jpg", "field out of range", r"age \(=117\) must be 0 to 116"),
        ("20_2_0_20170116184028385.jpg", "field out of range", r"gender \(=2\) must be 0 to 1"),
        ("20_0_0_20170116184028385.txt", "not a picture", "its name ends in '.txt'"),
        ("20_0_0_20170116184028385 (1).jpg", "name goes on after its date", r"' \(1\).jpg' must read .jpg"),
    ],
)
def test_utkface_names_that_do_not_follow_the_grammar_say_why(
    tmp_path: Path, name: str, reason: str, detail: str
) -> None:
    save(tmp_path / "20_0_0_20170116184028384.jpg")
    save(tmp_path / "x.png").rename(tmp_path / name)
    (skipped,) = listed(UtkFace(tmp_path, val_share=0, test_share=0))[1]
    assert (skipped.path, skipped.reason) == (name, reason)
    assert re.match(detail, skipped.detail)


def test_utkface_refuses_other_folders(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    with pytest.raises(
        ValueError, match=r"must hold pictures named \[age\]_\[gender\]_\[race\]_\[date\].jpg; there are"
    ):
        UtkFace(tmp_path).survey()
    with pytest.raises(ValueError, match=r"shares \(=test_share 0.9, val_share 0.2\) must add up"):
        UtkFace(tmp_path, test_share=0.9, val_share=0.2).survey()


# --- CelebA -------------------------------------------------------------------------------------------------------

ATTRIBUTES = ("5_o_Clock_Shadow", "Male", "Smiling", "Young")


def write_celeba(root: Path) -> Path:
    """Six pictures in the folders of the download; runs of blanks as there."""
    values = ["-1  1 -1  1", " 1 -1  1 -1", "-1 -1 -1 -1", " 1  1  1  1", "-1  1  1 -1", " 1 -1 -1  1"]
    names = [f"{place + 1:06}.jpg" for place in range(6)]
    for folder in ("Anno", "Eval"):
        (root / folder).mkdir(parents=True)
    header = " ".join(ATTRIBUTES)
    rows = "\n".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
    (root / "Anno/list_attr_celeba.txt").write_text(f"6\n{header} \n{rows}\n")
    split = "\n".join(f"{name} {place}" for name, place in zip(names, (0, 0, 0, 1, 1, 2), strict=True))
    (root / "Eval/list_eval_partition.txt").write_text(split + "\n")
    boxes = "\n".join(f"{name}    10   20  30   40" for name in names[:5]) + f"\n{names[5]} 0 0 0 0"
    (root / "Anno/list_bbox_celeba.txt").write_text(f"6\nimage_id x_1 y_1 width height\n{boxes}\n")
    points = "  ".join(f"{value:.0f}" for value in (TEMPLATE * 112).ravel())
    for name in ("list_landmarks_celeba.txt", "list_landmarks_align_celeba.txt"):
        moved = points if "align" in name else "  ".join(f"{2 * float(v):.0f}" for v in points.split())
        (root / "Anno" / name).write_text(
            "6\nlefteye_x lefteye_y\n" + "\n".join(f"{picture}  {moved}" for picture in names) + "\n"
        )
    for folder, size in (("img_align_celeba", (218, 178, 3)), ("img_celeba", (240, 300, 3))):
        for name in names:
            save(root / "Img" / folder / name, np.full(size, 100, np.uint8))
    return root


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba"))


def test_celeba_attributes_are_no_and_yes(celeba: Path) -> None:
    importer = CelebA(celeba)
    records, skipped = listed(importer)
    assert not skipped
    assert [record.split for record in records] == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert records[0].labels == {
        "gender": "Male",
        "5_o_Clock_Shadow": "no",
        "Male": "yes",
        "Smiling": "no",
        "Young": "yes",
    }
    assert records[1].labels["gender"] == "Female"
    assert list(importer.survey().labels) == ["gender", *ATTRIBUTES]
    assert importer.survey().total == 6


def test_celeba_prepares_the_aligned_pictures(celeba: Path, tmp_path: Path) -> None:
    prepare(CelebA(celeba), tmp_path / "s", Form(32))
    store = open_store(tmp_path / "s")
    assert store.manifest.path[0] == "Img/img_align_celeba/000001.jpg"
    assert store.manifest.target["Male"].tolist() == [1, 0, 0, 1, 1, 0]


def test_celeba_boxes_are_of_the_pictures_as_found(celeba: Path) -> None:
    records, skipped = listed(CelebA(celeba, wild=True, crop="box", margin=0.25))
    assert records[0].box == Square(25, 40, 60)
    assert [(s.path, s.reason) for s in skipped] == [("Img/img_celeba/000006.jpg", "no face box")]
    with pytest.raises(ValueError, match=r"crop \(='box'\) must go with the pictures as they were found.*; add --wild"):
        CelebA(celeba, crop="box").survey()


@pytest.mark.parametrize(("wild", "side"), [(False, 112), (True, 224)])
def test_celeba_aligns_each_kind_of_picture_by_its_own_landmarks(celeba: Path, wild: bool, side: float) -> None:
    box = listed(CelebA(celeba, wild=wild, crop="align"))[0][0].box
    assert isinstance(box, Square)
    assert (box.x, box.y, box.side) == pytest.approx((side / 2, side / 2, side), rel=0.02)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Anno/list_attr_celeba.txt", "6\n", "7\n", r"must have the 7 rows that its first line says; it has 6, get it"),
        (
            "Anno/list_attr_celeba.txt",
            "6\n5_o",
            "5_o",
            r"line 1 \(='5_o_Clock_Shadow Male Smiling Young'\) must be the",
        ),
        ("Anno/list_attr_celeba.txt", " Male", " Man", r"line 2 must name the attributes, Male too"),
        ("Anno/list_attr_celeba.txt", "-1  1 -1  1", "-1 1 -1", r"row 1 \(000001.jpg\) must have 4 values of 1 or -1"),
        ("Anno/list_attr_celeba.txt", "-1  1 -1  1", "-1 1 -1 0", r"row 1 \(000001.jpg\) must have 4 values of 1 or"),
        ("Eval/list_eval_partition.txt", "000002.jpg 0\n", "", r"row 2 \(='000003.jpg 0'\) must have 000002.jpg, as"),
        ("Eval/list_eval_partition.txt", "000001.jpg 0", "000001.jpg 3", r"row 1 .* must have 000001.jpg, .*and 0, 1"),
        (
            "Anno/list_bbox_celeba.txt",
            "   40\n000002",
            "\n000002",
            r"row 1 .* must have 000001.jpg, as .*and 4 numbers",
        ),
    ],
)
def test_celeba_refuses_lists_that_are_cut_or_differ(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    source = write_celeba(tmp_path)
    text = (source / file).read_text()
    assert old in text
    (source / file).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        CelebA(source, wild=True, crop="box").survey()


def test_celeba_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"celeba .*: must hold list_attr_celeba.txt or Anno/list_attr_celeba.txt"):
        CelebA(tmp_path).survey()
