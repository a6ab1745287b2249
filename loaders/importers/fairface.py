"""Imports FairFace (Kärkkäinen and Joo, 2021): gender, race and age group of 97,698 faces, balanced by race."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loaders.base import Classes
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import check_shares, public_val_notes, public_val_split, stratified
from loaders.importers.layout import Located, check_folder
from loaders.importers.lists import csv_rows

GENDERS = ("Male", "Female")
RACES = ("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern")
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
# What spreadsheets make of the ages that look like a date, in their usual settings, and the name in the paper.
WRITTEN = {
    **dict.fromkeys(("03-Sep", "3-Sep", "09-Mar", "9-Mar", "Sep-03", "Mar-09"), "3-9"),
    **dict.fromkeys(("Oct-19", "19-Oct"), "10-19"),
    "more than 70": "70+",
}
COLUMNS = ("file", "gender", "race", "age")


@dataclass(frozen=True, slots=True)
class FairFace(Located):
    """Reads `fairface_label_{train,val}.csv`, `train/*.jpg` and `val/*.jpg`.

    Attributes:
        source: The folder that holds the lists, and the pictures or a folder with them.
        val_share: The validation set is the only public test. Above 0 it becomes test, and this share of train,
            stratified by gender and race, becomes val; at 0 it is val.
        seed: Chooses that val.
    """

    source: Path
    val_share: float = 0.05
    seed: int = 0

    def survey(self) -> Contents:
        """Reads the lists.

        Raises:
            ValueError: No list is there, pictures of a list are nowhere, a row has an unknown name, or an option is
                out of range.
        """
        where = f"fairface {self.source}"
        check_shares(where, val_share=self.val_share)
        check_folder("fairface", self.source)
        lists = {
            split: file for split in ("train", "val") if (file := self.source / f"fairface_label_{split}.csv").is_file()
        }
        if not lists:
            raise ValueError(
                f"{where}: must hold fairface_label_train.csv or fairface_label_val.csv; it has none, "
                "name the folder that does"
            )
        folders = {split: self._folder(split, file) for split, file in lists.items()}
        kinds = array("h")
        mended = total = 0
        for split, file in lists.items():
            for row in _rows(file):
                total += 1
                mended += row.mended
                if split == "train":
                    kinds.append(GENDERS.index(row.labels["gender"]) * len(RACES) + RACES.index(row.labels["race"]))
        held = stratified(kinds, self.val_share, self.seed)
        notes = list(public_val_notes(self.val_share, self.seed, "gender and race"))
        notes += [f"the list of {split} is not there" for split in ("train", "val") if split not in lists]
        notes += [f"{mended:,} ages written as dates were read back"] if mended else []
        return Contents(
            labels={"gender": Classes(GENDERS), "race": Classes(RACES), "age": Classes(AGES)},
            notes=tuple(notes),
            records=lambda: self._records(lists, folders, held),
            total=total,
        )

    def _folder(self, split: str, file: Path) -> Path:
        """Where the pictures of a list are; its first ones are looked for by their name alone and by their path."""
        names = [row.file for _, row in zip(range(100), _rows(file), strict=False)]
        inner = sorted(path for path in self.source.iterdir() if path.is_dir())
        for folder in (self.source / split, *(path / split for path in inner), self.source, *inner):
            if any((folder / PurePosixPath(name).name).is_file() for name in names):
                return folder
        raise ValueError(
            f"fairface {self.source}: must hold {split}/{PurePosixPath(names[0]).name if names else '*.jpg'} and the "
            f"others of {file.name}; there are none, unpack the pictures there"
        )

    def _records(
        self, lists: Mapping[str, Path], folders: Mapping[str, Path], held: frozenset[int]
    ) -> Generator[Record | Skipped, None, None]:
        for split, file in lists.items():
            for place, row in enumerate(_rows(file)):
                own = public_val_split(split, place, held, self.val_share)
                picture = folders[split] / PurePosixPath(row.file).name
                yield Record(own, str(picture.relative_to(self.source)), row.labels, picture)


@dataclass(frozen=True, slots=True)
class _Row:
    file: str
    labels: dict[str, str]
    mended: bool
    """Whether its age was written as a date."""


def _rows(file: Path) -> Iterator[_Row]:
    known = {"gender": GENDERS, "race": RACES, "age": AGES}
    for number, named in csv_rows("fairface", file, COLUMNS, "take the list as published"):
        age = WRITTEN.get(named["age"], named["age"])
        labels = {"gender": named["gender"], "race": named["race"], "age": age}
        for name, value in labels.items():
            if value not in known[name]:
                raise ValueError(
                    f"fairface {file}: row {number}: {name} (={value!r}) must be one of {', '.join(known[name])}; "
                    "correct the row"
                )
        yield _Row(named["file"].replace("\\", "/"), labels, age != named["age"] and named["age"] != "more than 70")
