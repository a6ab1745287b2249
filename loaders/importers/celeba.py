"""Imports CelebA (Liu et al., 2015): 40 binary attributes of 202,599 faces, with boxes and five landmarks."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loaders.base import Classes
from loaders.csv_files import number, whole_number
from loaders.decoding.crops import Crop, Square, aligned, around_box, check_crop
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.importers.layout import Located, check_folder, find, require
from loaders.importers.lists import word_lines

GENDERS = ("Male", "Female")
ANSWERS = {"-1": "no", "1": "yes"}
SPLITS = {"0": "train", "1": "val", "2": "test"}
FOLDERS = {False: "img_align_celeba", True: "img_celeba"}
# The aligned pictures have landmarks of their own; boxes are of the pictures as they were found.
LANDMARKS = {False: "list_landmarks_align_celeba.txt", True: "list_landmarks_celeba.txt"}
BOXES = "list_bbox_celeba.txt"


@dataclass(frozen=True, slots=True)
class CelebA(Located):
    """Reads `list_attr_celeba.txt`, `list_eval_partition.txt` and the pictures.

    Every attribute is a label with the classes no and yes; `gender` says Male or Female by the attribute Male.

    Attributes:
        source: The folder that holds them, or the folders `Anno`, `Eval` and `Img` of the download.
        wild: Read the pictures as they were found (`img_celeba`), not the aligned ones.
        crop: "none" keeps the picture, "box" cuts the face box of `list_bbox_celeba.txt` (`wild` only), "align" stands
            the five landmarks on a template.
        margin: Share of the crop's side that is added on each side.
    """

    source: Path
    wild: bool = False
    crop: Crop = "none"
    margin: float = 0.0

    def survey(self) -> Contents:
        """Reads the list of attributes through, and compares the other lists with it.

        Raises:
            ValueError: A list or the pictures are missing, a list is cut, lists differ in their rows, or an option is
                out of range.
        """
        check_crop(f"celeba {self.source}", self.crop, self.margin, ("none", "box", "align"))
        if self.crop == "box" and not self.wild:
            raise ValueError(
                f"celeba {self.source}: crop (='box') must go with the pictures as they were found, which the boxes "
                "are of; add --wild, or take --crop align"
            )
        check_folder("celeba", self.source)
        lists = _Lists(
            attributes=self._list("list_attr_celeba.txt"),
            partition=self._list("list_eval_partition.txt"),
            boxes=self._list(BOXES) if self.crop == "box" else None,
            landmarks=self._list(LANDMARKS[self.wild]) if self.crop == "align" else None,
        )
        name = FOLDERS[self.wild]
        pictures = require("celeba", self.source, name, f"Img/{name}", f"{name}/{name}")
        pictures = find(pictures, name) or pictures  # some archives hold the folder twice
        total = sum(1 for _ in lists.rows())
        answers = Classes(tuple(ANSWERS.values()))
        return Contents(
            labels={"gender": Classes(GENDERS), **dict.fromkeys(lists.names(), answers)},
            notes=(
                "splits are those of list_eval_partition.txt; gender is the attribute Male",
                f"pictures of {name}",
            ),
            records=lambda: self._records(lists, pictures),
            total=total,
        )

    def _list(self, name: str) -> Path:
        return require("celeba", self.source, name, f"Anno/{name}", f"Eval/{name}")

    def _records(self, lists: _Lists, pictures: Path) -> Generator[Record | Skipped, None, None]:
        for row in lists.rows():
            square = self._square(row)
            picture = pictures / row.name
            path = str(picture.relative_to(self.source))
            if square is None and self.crop != "none":
                yield Skipped(
                    path, "no face box" if self.crop == "box" else "no landmarks", " ".join(map(str, row.crop))
                )
                continue
            gender = GENDERS[0] if row.labels["Male"] == "yes" else GENDERS[1]
            yield Record(row.split, path, {"gender": gender, **row.labels}, picture, square)

    def _square(self, row: _Row) -> Square | None:
        if self.crop == "box":
            left, top, width, height = row.crop
            return around_box(left, top, left + width, top + height, self.margin)
        if self.crop == "align":
            return aligned(np.array(row.crop, dtype=np.float64).reshape(5, 2), self.margin)
        return None


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    split: str
    labels: dict[str, Value]
    crop: tuple[float, ...]
    """Left, top, width and height, or x and y of five landmarks; empty where neither is read."""


@dataclass(frozen=True, slots=True)
class _Lists:
    """The lists side by side: all have the same pictures in the same order."""

    attributes: Path
    partition: Path
    boxes: Path | None
    landmarks: Path | None

    def names(self) -> list[str]:
        """Reads the names of the attributes, in the order of the source."""
        _, names, _ = _table(self.attributes)
        if "Male" not in names or len(set(names)) < len(names):
            raise ValueError(
                f"celeba {self.attributes}: line 2 must name the attributes, Male too; take the list as published"
            )
        return names

    def rows(self) -> Iterator[_Row]:
        names = self.names()
        count, _, rows = _table(self.attributes)
        splits = word_lines(self.partition)
        beside = self.boxes or self.landmarks
        numbers = _table(beside)[2] if beside is not None else None
        width = 4 if self.boxes is not None else 10
        done = 0
        for done, words in enumerate(rows, start=1):
            name, values = words[0], words[1:]
            if len(values) != len(names) or not set(values) <= ANSWERS.keys():
                raise ValueError(
                    f"celeba {self.attributes}: row {done} ({name}) must have {len(names)} values of 1 or -1; "
                    "take the list as published"
                )
            split = next(splits, [])
            if len(split) != 2 or split[0] != name or split[1] not in SPLITS:
                raise self._differs(self.partition, done, name, split, "and 0, 1 or 2")
            crop: tuple[float, ...] = ()
            if numbers is not None and beside is not None:
                cells = next(numbers, [])
                if len(cells) != 1 + width or cells[0] != name:
                    raise self._differs(beside, done, name, cells, f"and {width} numbers")
                try:
                    crop = tuple(map(number, cells[1:]))
                except ValueError:
                    raise self._differs(beside, done, name, cells, f"and {width} numbers") from None
            labels: dict[str, Value] = {n: ANSWERS[v] for n, v in zip(names, values, strict=True)}
            yield _Row(name, SPLITS[split[1]], labels, crop)
        if done != count:
            raise ValueError(
                f"celeba {self.attributes}: must have the {count:,} rows that its first line says; it has {done:,}, "
                "get it again"
            )

    def _differs(self, file: Path, row: int, name: str, words: list[str], rest: str) -> ValueError:
        return ValueError(
            f"celeba {file}: row {row} (={' '.join(words)[:60]!r}) must have {name}, as {self.attributes.name} has, "
            f"{rest}; take the lists as published"
        )


def _table(file: Path) -> tuple[int, list[str], Iterator[list[str]]]:
    """Count, column names and rows of a list that starts with its count."""
    lines = word_lines(file)
    first, names = next(lines, []), next(lines, [])
    count = whole_number(first[0]) if len(first) == 1 else None
    if count is None:
        raise ValueError(
            f"celeba {file}: line 1 (={' '.join(first)[:60]!r}) must be the number of rows; take the list as published"
        )
    return count, names, lines
