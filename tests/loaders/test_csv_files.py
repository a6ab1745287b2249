"""csv lists as they are in the world: quotes, blank lines, headers, separators, and numbers by one rule."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from loaders.base import Numbers
from loaders.csv_files import is_missing, number, read_rows, whole_number
from loaders.importers import AffectNet2017, CelebA, FairFace, ManifestFile, RafDb
from loaders.importers.ferplus import HEADER, read_votes
from loaders.importers.lists import csv_rows
from loaders.store.manifest import ManifestWriter, read_manifest

COLUMNS = ("path", "split")


def read(folder: Path, text: str) -> list[tuple[int, dict[str, str]]]:
    file = folder / "list.csv"
    file.write_text(text)
    return list(csv_rows("manifest", file, COLUMNS, "correct the row"))


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n\n", "\n,\n", "\n  \n\t\n", "\n , \n"])
def test_lines_of_blanks_and_commas_are_passed_over(tmp_path: Path, ending: str) -> None:
    want = [(1, {"path": "a.png", "split": "train"})]
    assert read(tmp_path, "path,split\na.png,train" + ending) == want
    assert read(tmp_path, ending.lstrip() + "path,split\n\na.png,train") == want


@pytest.mark.parametrize("rows", [1, 9000])
@pytest.mark.parametrize(("before", "line"), [("", 2), ("a.png,train\n", 3), ("\n\n", 4)])
def test_an_open_quote_is_named_by_its_line_however_long_the_list(
    tmp_path: Path, rows: int, before: str, line: int
) -> None:
    with pytest.raises(ValueError, match=rf"list\.csv: line {line} must close each quote .*correct the row"):
        read(tmp_path, "path,split\n" + before + '"' + "a.png,train\n" * rows)


def test_a_quote_that_closes_within_a_cell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 2 must close each quote"):
        read(tmp_path, 'path,split\n"a"b.png,train\n')
    assert read(tmp_path, 'path,split\n"a ""b"",c.png",train\n')[0][1]["path"] == 'a "b",c.png'


def test_a_second_header_is_refused_by_its_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 2 \(=path,split\) must be data; it repeats the header"):
        read(tmp_path, "path,split\na.png,train\npath,split\nb.png,val\n")


@pytest.mark.parametrize(("mark", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators_are_named(tmp_path: Path, mark: str, called: str) -> None:
    with pytest.raises(ValueError, match=rf"must be parted by commas; they are by {called}, save the list with commas"):
        read(tmp_path, f"path{mark}split\na,1.png{mark}train\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-2.5", -2.5), ("+.5", 0.5), ("3.", 3), ("1e-3", 1e-3), (" 7 ", 7), ("0012", 12), ("3.4e38", 3.4e38)],
)
def test_numbers_in_plain_and_scientific_notation(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["1_0", "inf", "-Infinity", "1e39", "1e999", "٣", "²", "1,5", "0x1F", "--1", "x"])
def test_anything_else_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="is no finite number"):
        number(text)


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "NAN", "<NA>"])
def test_what_pandas_writes_for_nothing_is_missing(text: str) -> None:
    assert is_missing(text)
    assert math.isnan(number(text))


def test_whole_numbers_are_written_in_ten_digits() -> None:
    assert [whole_number(text) for text in ("0", "007", "12")] == [0, 7, 12]
    assert [whole_number(text) for text in ("", "-1", "+1", "1.0", "²", "٣", "1_0", " 1")] == [None] * 8


def test_nan_is_no_class_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,split,mood\na.png,train,happy\nb.png,train,nan\nc.png,train,NaN\n")
    contents = ManifestFile(tmp_path).survey()
    assert contents.labels["mood"].names == ("happy",)  # type: ignore[union-attr]
    assert [record.labels["mood"] for record in contents.records()] == ["happy", None, None]  # type: ignore[union-attr]


def _manifest(folder: Path) -> Callable[[], object]:
    (folder / "manifest.csv").write_text("path,split,age.years\na.png,train,1_0\n")
    source = ManifestFile(folder)
    return lambda: list(source.survey().records())


def _rafdb(folder: Path) -> Callable[[], object]:
    (folder / "EmoLabel").mkdir()
    (folder / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg ³\n")
    (folder / "Image" / "aligned").mkdir(parents=True)
    return RafDb(folder).survey


def _ferplus(folder: Path) -> Callable[[], object]:
    (folder / "v.csv").write_text(",".join(HEADER) + "\nTraining,a.png,1_0,0,0,0,0,0,0,0,0,0\n")
    return lambda: read_votes(folder / "v.csv")


def _fairface(folder: Path) -> Callable[[], object]:
    for split in ("train", "val"):
        (folder / split).mkdir()
        (folder / f"fairface_label_{split}.csv").write_text(
            'file,age,gender,race,service_test\n"train/1.jpg,20-29,Male\n'
        )
    return FairFace(folder).survey


def _affectnet(folder: Path) -> Callable[[], object]:
    (folder / "Manually_Annotated_Images").mkdir()
    (folder / "training.csv").write_text("1/a.jpg,1,1,5,5,,²,0,0\n")
    return AffectNet2017(folder).survey


def _celeba(folder: Path) -> Callable[[], object]:
    (folder / "img_celeba").mkdir()
    (folder / "list_attr_celeba.txt").write_text("1\nMale Young\n000001.jpg 1 -1\n")
    (folder / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    (folder / "list_bbox_celeba.txt").write_text("1\nimage_id x_1 y_1 width height\n000001.jpg 1 2 inf 4\n")
    return lambda: list(CelebA(folder, wild=True, crop="box").survey().records())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_manifest, r"row 1: age\.years \(='1_0'\) must be a finite number"),
        (_rafdb, r"line 1 \(='train_00001\.jpg ³'\) must read NAME NUMBER"),
        (_ferplus, r"row 1 \(=Training,a\.png,1_0,.*counts of votes"),
        (_fairface, r"line 2 must close each quote .*take the list as published"),
        (_affectnet, r"row 1: expression \(='²'\) must be 0 to 10"),
        (_celeba, r"row 1 \(='000001\.jpg 1 2 inf 4'\) must have 000001\.jpg.*4 numbers"),
    ],
)
def test_every_importer_reads_by_the_same_rules(
    tmp_path: Path, make: Callable[[Path], Callable[[], object]], words: str
) -> None:
    run = make(tmp_path)
    with pytest.raises(ValueError, match=words):
        run()


def test_a_store_holds_no_infinite_number() -> None:
    writer = ManifestWriter(io.StringIO(), {"pose": Numbers(("yaw",))})
    with pytest.raises(ValueError, match=r"a\.png: pose \(=inf\) must be finite in float32; correct the label"):
        writer.add("train", "a.png", {"pose": (math.inf,)}, (0.0, 0.0, 0.0))


def test_a_manifest_of_a_store_whose_quote_is_open_is_named() -> None:
    with pytest.raises(ValueError, match=r"m\.csv: line 2 must close .*prepare the data again"):
        read_manifest(["sample,split,path,mean_r,mean_g,mean_b\n", '0,train,"a.png,1,2,3\n'], {}, "m.csv")


def test_what_csv_writes_is_read_back() -> None:
    cells = [["a,b", 'q"q', "line\nbreak", " blank "], ["", "x", "", ""]]
    text = io.StringIO()
    csv.writer(text).writerows(cells)
    assert [row for _, row in read_rows(io.StringIO(text.getvalue(), newline=""), "x", "y")] == cells
