"""Imports UTKFace (Zhang, Song and Qi, 2017): age, gender and race in the names of 23,708 faces."""

from __future__ import annotations

import re
from array import array
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from loaders.base import Classes, Numbers
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.importers.holdout import check_shares, stratified
from loaders.importers.layout import check_folder, pictures_below

GENDERS = ("Male", "Female")
RACES = ("White", "Black", "Asian", "Indian", "Others")
NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+(\.jpg)?(\.chip)?(\.jpg)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UtkFace:
    """Reads pictures named `[age]_[gender]_[race]_[date].jpg`.

    The names of the aligned and cropped ones end in `.jpg.chip.jpg`.

    Attributes:
        source: The folder of pictures; folders in it (`part1`, ...) are read too.
        val_share: Share of the pictures in val, stratified by gender and race; the source has no splits.
        test_share: Share of the pictures in test, likewise.
        seed: Chooses the pictures.
    """

    source: Path
    val_share: float = 0.1
    test_share: float = 0.1
    seed: int = 0

    def survey(self) -> Contents:
        """Reads the names.

        Raises:
            ValueError: No picture is there or none has a name that can be read, or an option is out of range.
        """
        where = f"utkface {self.source}"
        check_shares(where, test_share=self.test_share, val_share=self.val_share)
        check_folder("utkface", self.source)
        files = pictures_below(self.source)
        kinds = array("b")
        for file in files:
            if (name := NAME.fullmatch(file.name)) is not None:
                kinds.append(int(name[2]) * len(RACES) + int(name[3]))
        if not kinds:
            raise ValueError(
                f"{where}: must hold pictures named [age]_[gender]_[race]_[date].jpg; there are none, "
                "name the folder that does"
            )
        # Nested: test is a share of the whole, so test does not move when val_share changes.
        test = stratified(kinds, self.test_share, self.seed)
        held = stratified(kinds, min(1.0, self.test_share + self.val_share), self.seed)
        notes = (
            "gender: 0 Male, 1 Female; race as the source's numbers are explained; age in years",
            f"test is {self.test_share:g} and val {self.val_share:g} of the pictures, stratified by gender and race, "
            f"by seed {self.seed} (ours); the source tells no people apart, so one may be on both sides",
        )
        return Contents(
            labels={"gender": Classes(GENDERS), "race": Classes(RACES), "age": Numbers(("years",))},
            notes=notes,
            records=lambda: self._records(files, test, held),
            total=len(files),
        )

    def _records(
        self, files: list[Path], test: frozenset[int], held: frozenset[int]
    ) -> Generator[Record | Skipped, None, None]:
        place = -1
        for file in files:
            path = str(file.relative_to(self.source))
            name = NAME.fullmatch(file.name)
            if name is None:
                yield Skipped(path, "name lacks a field", "it must read [age]_[gender]_[race]_[date].jpg")
                continue
            place += 1
            split = "test" if place in test else "val" if place in held else "train"
            labels: dict[str, Value] = {
                "gender": GENDERS[int(name[2])],
                "race": RACES[int(name[3])],
                "age": (float(name[1]),),
            }
            yield Record(split, path, labels, file)
