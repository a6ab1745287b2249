"""Imports AffectNet as published in 2021: cropped pictures of 224 x 224 and one file a number beside them."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from loaders.decoding.crops import Crop, Square, aligned, around_points, check_crop, five_of_68
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.importers import affectnet
from loaders.importers.holdout import check_shares, public_val_notes, public_val_split, stratified
from loaders.importers.layout import Located, check_folder
from loaders.importers.walk import look

SETS = {"train": "train_set", "val": "val_set"}


@dataclass(frozen=True, slots=True)
class AffectNet2021(Located):
    """Reads `train_set` and `val_set`, each with `images` and `annotations`.

    A picture `images/<id>.jpg` has its numbers in `annotations/<id>_{exp,val,aro,lnd}.npy`.

    Attributes:
        source: The folder that holds `train_set` and `val_set`.
        contempt: Keep the class Contempt; without it the set of 7 classes is read.
        crop: "none" keeps the published crop, "box" cuts the box of the 68 landmarks, "align" stands five of them on a
            template.
        margin: Share of the crop's side that is added on each side.
        val_share: The validation set (3,999 pictures) is the only public test. Above 0 it becomes test, and this share
            of train, stratified by expression, becomes val; at 0 it is val.
        seed: Chooses that val.
    """

    source: Path
    contempt: bool = True
    crop: Crop = "none"
    margin: float = 0.0
    val_share: float = 0.05
    seed: int = 0

    def survey(self) -> Contents:
        """Finds the sets, and chooses val by reading the expressions of train.

        Raises:
            ValueError: Neither set is there, none has pictures, or an option is out of range.
        """
        where = f"affectnet2021 {self.source}"
        check_crop(where, self.crop, self.margin)
        check_shares(where, val_share=self.val_share)
        check_folder("affectnet2021", self.source)
        sets = {split: self.source / name for split, name in SETS.items() if (self.source / name / "images").is_dir()}
        total = sum(1 for folder in sets.values() for _ in _ids(folder))
        if not total:
            raise ValueError(
                f"{where}: must hold {' or '.join(f'{name}/images/*.jpg' for name in SETS.values())}; "
                "there are none, name the folder that does"
            )
        kinds = array("b")
        if self.val_share and "train" in sets:
            kinds.extend(n for i in _ids(sets["train"]) if self._wanted(n := _expression(sets["train"], i)))
        held = stratified(kinds, self.val_share, self.seed)
        absent = tuple(f"{name} is not there: its pictures are missing" for s, name in SETS.items() if s not in sets)
        return Contents(
            labels=affectnet.labels(self.contempt),
            notes=(affectnet.NOTE, *public_val_notes(self.val_share, self.seed, "expression"), *absent),
            records=lambda: self._records(sets, held),
            total=total,
        )

    def _wanted(self, expression: int) -> bool:
        return 0 <= expression < len(affectnet.EXPRESSIONS) - (not self.contempt)

    def _records(self, sets: dict[str, Path], held: frozenset[int]) -> Generator[Record | Skipped, None, None]:
        for split, folder in sets.items():
            place = -1
            for name in _ids(folder):
                picture = folder / "images" / name
                path = str(picture.relative_to(self.source))
                expression = _expression(folder, name)
                if not affectnet.is_expression(expression):
                    yield Skipped(
                        path, "no expression", f"{Path(name).stem}_exp.npy is missing, damaged or out of range"
                    )
                    continue
                if not self._wanted(expression):
                    yield Skipped(path, affectnet.left_out(expression))
                    continue
                place += 1
                square = self._square(folder, name)
                if square is None and self.crop != "none":
                    yield Skipped(path, "no landmarks", f"{Path(name).stem}_lnd.npy has no 68 points")
                    continue
                own = public_val_split(split, place, held, self.val_share)
                valence, arousal = (_first(_numbers(folder, name, kind)) for kind in ("val", "aro"))
                labels: dict[str, Value] = {
                    "expression": affectnet.EXPRESSIONS[expression],
                    "affect": affectnet.affect(valence, arousal),
                }
                yield Record(own, path, labels, picture, square)
            yield from look(self.source, (folder / "images").relative_to(self.source)).beside_pictures()

    def _square(self, folder: Path, name: str) -> Square | None:
        if self.crop == "none":
            return None
        values = _numbers(folder, name, "lnd")
        if values.size != 136:
            return None
        points = values.reshape(68, 2)  # x0, y0, x1, ...
        return aligned(five_of_68(points), self.margin) if self.crop == "align" else around_points(points, self.margin)


def _ids(folder: Path) -> Iterator[str]:
    """Names of the pictures, by number where they are numbers."""
    yield from sorted(look(folder / "images").pictures, key=lambda name: (len(name), name))


def _numbers(folder: Path, name: str, kind: str) -> Float64[np.ndarray, " n"]:
    """The values of one annotation file, which may hold text; empty where it is missing or damaged."""
    try:
        # Pickles run code; no release of the data needs them.
        values = np.load(folder / "annotations" / f"{Path(name).stem}_{kind}.npy", allow_pickle=False)
        return np.asarray(values).astype(np.float64).ravel()
    except (OSError, ValueError, EOFError, TypeError):
        return np.empty(0)


def _first(values: Float64[np.ndarray, " n"]) -> float:
    return float(values[0]) if values.size else float("nan")


def _expression(folder: Path, name: str) -> int:
    """-1 where it is missing, damaged or no whole number."""
    value = _first(_numbers(folder, name, "exp"))
    return int(value) if value.is_integer() else -1
