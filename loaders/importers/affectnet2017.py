"""Imports AffectNet as published in 2017 (Mollahosseini et al.): full pictures, boxes and landmarks in csv lists."""

from __future__ import annotations

import re
from array import array
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loaders.csv_files import number, whole_number
from loaders.decoding.crops import Crop, Square, aligned, around_box, check_crop, five_of_68
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.importers import affectnet
from loaders.importers.holdout import check_shares, public_val_notes, public_val_split, stratified
from loaders.importers.layout import Located, check_folder, find, require
from loaders.importers.lists import csv_rows

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
BOX = COLUMNS[1:5]
LISTS = {"train": "training.csv", "val": "validation.csv"}
PICTURES = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")


@dataclass(frozen=True, slots=True)
class AffectNet2017(Located):
    """Reads `training.csv`, `validation.csv` and `Manually_Annotated_Images/*/*`.

    The lists may lack their header; their columns then stand in the published order.

    Attributes:
        source: The folder that holds the folder of pictures, and the lists or `Manually_Annotated_file_lists`.
        contempt: Keep the class Contempt; without it the set of 7 classes is read.
        crop: "box" cuts the annotated face box, "align" stands five points of the 68 landmarks on a template, "none"
            keeps whole pictures.
        margin: Share of the crop's side that is added on each side.
        val_share: The validation set is the only public test. Above 0 it becomes test, and this share of train,
            stratified by expression, becomes val; at 0 it is val.
        seed: Chooses that val.
    """

    source: Path
    contempt: bool = True
    crop: Crop = "box"
    margin: float = 0.0
    val_share: float = 0.05
    seed: int = 0

    def survey(self) -> Contents:
        """Finds lists and pictures, and chooses val.

        Raises:
            ValueError: A list or the pictures are missing, a list has a row that is none, or an option is out of range.
        """
        where = f"affectnet2017 {self.source}"
        check_crop(where, self.crop, self.margin)
        check_shares(where, val_share=self.val_share)
        check_folder("affectnet2017", self.source)
        pictures = require("affectnet2017", self.source, *PICTURES)
        lists = {
            split: file
            for split, name in LISTS.items()
            if (file := find(self.source, name, f"Manually_Annotated_file_lists/{name}"))
        }
        if not lists:
            require("affectnet2017", self.source, *LISTS.values())
        kinds = array("b")
        total = 0
        for split, file in lists.items():
            for row in _rows(file):
                total += 1
                if split == "train" and self._wanted(row.expression):
                    kinds.append(row.expression)
        held = stratified(kinds, self.val_share, self.seed)
        absent = tuple(f"{name} is not there: its pictures are missing" for s, name in LISTS.items() if s not in lists)
        return Contents(
            labels=affectnet.labels(self.contempt),
            notes=(affectnet.NOTE, *public_val_notes(self.val_share, self.seed, "expression"), *absent),
            records=lambda: self._records(lists, pictures, held),
            total=total,
        )

    def _wanted(self, expression: int) -> bool:
        return expression < len(affectnet.EXPRESSIONS) - (not self.contempt)

    def _records(
        self, lists: Mapping[str, Path], pictures: Path, held: frozenset[int]
    ) -> Generator[Record | Skipped, None, None]:
        for split, file in lists.items():
            place = -1
            for row in _rows(file):
                if not self._wanted(row.expression):
                    yield Skipped(row.path, affectnet.left_out(row.expression))
                    continue
                place += 1
                square = self._square(row)
                if square is None and self.crop != "none":
                    yield Skipped(row.path, "no face box" if self.crop == "box" else "no landmarks", row.where)
                    continue
                own = public_val_split(split, place, held, self.val_share)
                valence, arousal = row.number("valence"), row.number("arousal")
                labels: dict[str, Value] = {
                    "expression": affectnet.EXPRESSIONS[row.expression],
                    "affect": affectnet.affect(valence, arousal),
                }
                yield Record(own, row.path, labels, pictures / row.path, square)

    def _square(self, row: _Row) -> Square | None:
        if self.crop == "box":
            try:
                left, top, width, height = (number(row.cells[name]) for name in BOX)
            except ValueError:  # "NULL"
                return None
            return around_box(left, top, left + width, top + height, self.margin)
        if self.crop == "align":
            words = [word for word in re.split(r"[;\s]+", row.cells["facial_landmarks"]) if word]
            try:
                points = np.array(words, dtype=np.float64).reshape(68, 2)
            except ValueError:
                return None
            return aligned(five_of_68(points), self.margin)
        return None


@dataclass(frozen=True, slots=True)
class _Row:
    where: str
    """File and row, for messages."""
    cells: Mapping[str, str]
    expression: int

    @property
    def path(self) -> str:
        return self.cells["subDirectory_filePath"]

    def number(self, name: str) -> float:
        try:
            return number(self.cells[name])
        except ValueError as error:
            raise ValueError(
                f"affectnet2017 {self.where}: {name} (={self.cells[name]!r}) must be a finite number; correct the row"
            ) from error


def _rows(file: Path) -> Iterator[_Row]:
    """Reads the rows of a list; without a header the columns are in the published order."""
    for row, named in csv_rows("affectnet2017", file, COLUMNS, "take the list as published", headless=True):
        where = f"{file}: row {row}"
        text = named["expression"]
        expression = whole_number(text)
        if expression is None or not affectnet.is_expression(expression):
            raise ValueError(f"affectnet2017 {where}: expression (={text!r}) must be 0 to 10; correct the row")
        yield _Row(where, named, expression)
