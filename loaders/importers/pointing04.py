"""Imports Pointing'04 (Gourier, Hall and Crowley, 2004): 2,790 faces of 15 people looking at markers in a room."""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loaders.base import Classes
from loaders.decoding.crops import Crop, Square, around_box, check_crop
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import by_group, check_shares
from loaders.importers.layout import Located, check_folder
from loaders.importers.lists import csv_rows
from loaders.importers.pose import POSE, POSE_NOTE
from loaders.importers.walk import pictures_below

NAME = re.compile(r"person(\d\d)(\d)(\d\d)([+-]\d+)([+-]\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pointing04(Located):
    """Reads `personPPSNN+tilt+pan.jpg`, or face crops with `labels.csv`.

    PP is the person, S the series, NN a number. Pan agrees in sign with the yaw of this project, and tilt with its
    pitch: above 0 looks up. Roll was not measured and is missing. Angles are nominal, in steps of 15 degrees: people
    were told where to look.

    Attributes:
        source: The folder of `Person01` to `Person15`, or the one that holds `labels.csv`.
        crop: "box" cuts the face box of the text file beside each picture, "none" keeps the picture. By default "none"
            where there is a `labels.csv`, whose pictures are crops already, and "box" elsewhere.
        margin: Share of the crop's side that is added on each side.
        val_share: Share of the people in val.
        test_share: Share of the people in test.
        seed: Chooses the people.
    """

    source: Path
    crop: Literal["none", "box"] | None = None
    margin: float = 0.25
    val_share: float = 0.15
    test_share: float = 0.2
    seed: int = 0

    def survey(self) -> Contents:
        """Finds pictures and people.

        Raises:
            ValueError: No picture is there, `labels.csv` is not that of the crops, or an option is out of range.
        """
        where = f"pointing04 {self.source}"
        listed = self.source / "labels.csv"
        cropped = listed.is_file()
        crop: Crop = self.crop or ("none" if cropped else "box")
        check_crop(where, crop, self.margin, ("none",) if cropped else ("none", "box"))
        check_shares(where, test_share=self.test_share, val_share=self.val_share)
        check_folder("pointing04", self.source)
        files, others = (_listed(listed), []) if cropped else pictures_below(self.source, companions=[".txt"])
        people = [match[1] for file in files if (match := NAME.fullmatch(file.stem))]
        if not people:
            raise ValueError(
                f"{where}: must hold pictures named person01100-90+0.jpg; there are none, name the folder that does"
            )
        split_of = by_group(people, {"test": self.test_share, "val": self.val_share}, self.seed)
        of = {s: sorted(person for person, split in split_of.items() if split == s) for s in ("train", "val", "test")}
        return Contents(
            labels={"pose": POSE, "person": Classes(tuple(sorted(set(people))))},
            notes=(
                POSE_NOTE,
                "yaw is pan and pitch is tilt, nominal, in steps of 15 degrees; roll is missing",
                f"splits hold different people, chosen by seed {self.seed} (ours): "
                + "; ".join(f"{split} {' '.join(names) or 'nobody'}" for split, names in of.items()),
                "whole pictures" if crop == "none" else f"face boxes with a margin of {self.margin:g}",
            ),
            records=lambda: self._records(files, others, split_of, crop),
            total=len(files),
            group="person",
        )

    def _records(
        self, files: list[Path], others: list[Skipped], split_of: dict[str, str], crop: Crop
    ) -> Generator[Record | Skipped, None, None]:
        for picture in files:
            path = str(picture.relative_to(self.source))
            name = NAME.fullmatch(picture.stem)
            if name is None:
                yield Skipped(path, "name without a pose", "it must read personPPSNN+tilt+pan")
                continue
            square = _box(picture.with_suffix(".txt"), self.margin) if crop == "box" else None
            if square is None and crop == "box":
                yield Skipped(path, "no face box", f"{picture.stem}.txt is missing or holds none")
                continue
            tilt, pan = float(name[4]), float(name[5])
            yield Record(split_of[name[1]], path, {"pose": (pan, tilt, math.nan), "person": name[1]}, picture, square)
        yield from others


def _listed(file: Path) -> list[Path]:
    """Lists the pictures that `labels.csv` names, in its order; its columns must agree with the names."""
    columns = ("file", "person", "tilt", "pan")
    folder = file.parent / "faces"
    folder = folder if folder.is_dir() else file.parent
    files = []
    for number, row in csv_rows("pointing04", file, columns, "take the list of the crops"):
        picture = folder / row["file"]
        name = NAME.fullmatch(picture.stem)
        said = [row[column] for column in columns[1:]]
        if name is None or said != [name[1], str(int(name[4])), str(int(name[5]))]:
            raise ValueError(
                f"pointing04 {file}: row {number} (={','.join(row.values())[:60]!r}) must say the person, tilt and pan "
                "of its file's name; take the list of the crops"
            )
        files.append(picture)
    return files


def _box(file: Path, margin: float) -> Square | None:
    """Reads the face box beside a picture: the picture's name, then `Face`, centre x, y, width and height."""
    try:
        words = file.read_text(encoding="ascii", errors="replace").split()
        x, y, width, height = map(float, words[words.index("Face") + 1 :][:4])
    except (OSError, ValueError):
        return None
    return around_box(x - width / 2, y - height / 2, x + width / 2, y + height / 2, margin)
