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
from loaders.importers.layout import Located, check_folder
from loaders.importers.walk import ENDINGS, NO_PICTURE, pictures_below

GENDERS = ("Male", "Female")
RACES = ("White", "Black", "Asian", "Indian", "Others")
FORM = "[age]_[gender]_[race]_[date].jpg"
NAME = re.compile(r"(\d+)_(\d+)_(\d+)_(\d+)(\D.*)?", re.ASCII | re.DOTALL)
LARGEST = {"age": 116, "gender": len(GENDERS) - 1, "race": len(RACES) - 1}
"""What each number may be at most, as the source says."""
_LAST = rf"(\.chip)?({'|'.join(map(re.escape, sorted(ENDINGS)))})?"
USUAL = re.compile(rf"(\.jpg)?{_LAST}", re.IGNORECASE)
MISTYPED = re.compile(rf"\s*\.?(jpe?g|pg)?{_LAST}", re.IGNORECASE)
"""How names go on after the date; three of the published ones have a blank, `.pg`, or no dot before `jpg`."""


@dataclass(frozen=True, slots=True)
class UtkFace(Located):
    """Reads pictures named `[age]_[gender]_[race]_[date].jpg`.

    The names of the aligned and cropped ones end in `.jpg.chip.jpg`. Published names whose ending is mistyped are read
    too, and counted in a note; names that lack a field, or have a number out of range, are left out.

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
        files, others = pictures_below(self.source)
        # Two of the mistyped names do not end like pictures.
        mistyped = [one for one in others if one.reason == NO_PICTURE and isinstance(_read(one.path), _Name)]
        files = sorted([*files, *(self.source / one.path for one in mistyped)])
        others = [one for one in others if one not in mistyped]
        names = [name for file in files if isinstance(name := _read(file.name), _Name)]
        kinds = array("b", (name.gender * len(RACES) + name.race for name in names))
        if not kinds:
            raise ValueError(f"{where}: must hold pictures named {FORM}; there are none, name the folder that does")
        odd = [name.text for name in names if name.mistyped]
        # Nested: test is a share of the whole, so test does not move when val_share changes.
        test = stratified(kinds, self.test_share, self.seed)
        held = stratified(kinds, min(1.0, self.test_share + self.val_share), self.seed)
        notes = (
            "gender: 0 Male, 1 Female; race as the source's numbers are explained; age in years",
            f"test is {self.test_share:g} and val {self.val_share:g} of the pictures, stratified by gender and race, "
            f"by seed {self.seed} (ours); the source tells no people apart, so one may be on both sides",
            *([f"{len(odd):,} names with a mistyped ending were read, e.g. {odd[0]!r}"] if odd else []),
        )
        return Contents(
            labels={"gender": Classes(GENDERS), "race": Classes(RACES), "age": Numbers(("years",))},
            notes=notes,
            records=lambda: self._records(files, others, test, held),
            total=len(files),
        )

    def _records(
        self, files: list[Path], others: list[Skipped], test: frozenset[int], held: frozenset[int]
    ) -> Generator[Record | Skipped, None, None]:
        place = -1
        for file in files:
            path = str(file.relative_to(self.source))
            name = _read(file.name)
            if not isinstance(name, _Name):
                yield Skipped(path, *name)
                continue
            place += 1
            split = "test" if place in test else "val" if place in held else "train"
            labels: dict[str, Value] = {
                "gender": GENDERS[name.gender],
                "race": RACES[name.race],
                "age": (float(name.age),),
            }
            yield Record(split, path, labels, file)
        yield from others


@dataclass(frozen=True, slots=True)
class _Name:
    text: str
    age: int
    gender: int
    race: int
    mistyped: bool


def _read(path: str) -> _Name | tuple[str, str]:
    """Reads the name of a picture, or says what is wrong with it: the reason and a detail."""
    text = path.rpartition("/")[2]
    match = NAME.fullmatch(text)
    if match is None:
        return "name lacks a field", f"it must read {FORM}"
    values = {field: int(digits) for field, digits in zip(LARGEST, match.groups(), strict=False)}
    for field, value in values.items():
        if value > LARGEST[field]:
            return "field out of range", f"{field} (={value}) must be 0 to {LARGEST[field]}"
    ending = match[5] or ""
    if not MISTYPED.fullmatch(ending):
        return "name goes on after its date", f"{ending!r} must read .jpg or .jpg.chip.jpg"
    return _Name(text, **values, mistyped=not USUAL.fullmatch(ending))
