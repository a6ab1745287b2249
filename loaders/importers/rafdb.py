"""Imports RAF-DB, the basic set (Li, Deng and Du, 2017): 15,339 aligned faces of seven expressions."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from loaders.base import Classes
from loaders.csv_files import whole_number
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import check_shares, held_out_note, stratified
from loaders.importers.layout import Located, check_folder, require
from loaders.importers.lists import word_lines

EXPRESSIONS = {1: "Surprise", 2: "Fear", 3: "Disgust", 4: "Happiness", 5: "Sadness", 6: "Anger", 7: "Neutral"}
LISTS = ("EmoLabel/list_patition_label.txt", "list_patition_label.txt", "EmoLabel/list_partition_label.txt")
PICTURES = ("Image/aligned", "aligned")


@dataclass(frozen=True, slots=True)
class RafDb(Located):
    """Reads `EmoLabel/list_patition_label.txt` (sic) and `Image/aligned/*.jpg`.

    Attributes:
        source: The folder `basic`, or one that holds it.
        val_share: Share of train, stratified by expression, that becomes val; the source has only train and test.
        seed: Chooses that val.
    """

    source: Path
    val_share: float = 0.05
    seed: int = 0

    def survey(self) -> Contents:
        """Reads the list.

        Raises:
            ValueError: The list or the pictures are missing, a line is none of the basic set, or an option is out of
                range.
        """
        check_shares(f"rafdb {self.source}", val_share=self.val_share)
        check_folder("rafdb", self.source)
        root = self.source / "basic" if (self.source / "basic").is_dir() else self.source
        file = require("rafdb", root, *LISTS)
        pictures = require("rafdb", root, *PICTURES)
        kinds = array("b")
        total = 0
        for split, _, number in _rows(file):
            total += 1
            if split == "train":
                kinds.append(number)
        if not total:
            raise ValueError(f"rafdb {file}: must list pictures; it is empty, get it again")
        held = stratified(kinds, self.val_share, self.seed)
        notes = ["train and test are the source's; aligned pictures"]
        if self.val_share:
            notes.append(held_out_note(self.val_share, self.seed, "expression"))
        return Contents(
            labels={"expression": Classes(tuple(EXPRESSIONS.values()))},
            notes=tuple(notes),
            records=lambda: self._records(file, pictures, held),
            total=total,
        )

    def _records(self, file: Path, pictures: Path, held: frozenset[int]) -> Generator[Record | Skipped, None, None]:
        place = -1
        for split, name, number in _rows(file):
            if split == "train":
                place += 1
                split = "val" if place in held else "train"
            picture = pictures / f"{Path(name).stem}_aligned.jpg"
            path = str(picture.relative_to(self.source))
            yield Record(split, path, {"expression": EXPRESSIONS[number]}, picture)


def _rows(file: Path) -> Iterator[tuple[str, str, int]]:
    """Split, name and number of each line."""
    for line, words in enumerate(word_lines(file), start=1):
        where = f"rafdb {file}: line {line}"
        if len(words) != 2 or (number := whole_number(words[1])) is None:
            raise ValueError(f"{where} (={' '.join(words)[:60]!r}) must read NAME NUMBER; take the list as published")
        name = words[0]
        split = name.partition("_")[0]
        if split not in ("train", "test"):
            raise ValueError(f"{where}: name (={name!r}) must start with train_ or test_; take the list as published")
        if number not in EXPRESSIONS:
            raise ValueError(
                f"{where}: label (={number}) must be 1 to 7; above 7 it is the compound set, take the basic set"
            )
        yield split, name, number
