"""Imports 300W-LP (Zhu et al., 2016): 122,450 faces, most of them synthesised from 3,837 at larger angles."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loaders.decoding.crops import check_crop
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import by_group, check_shares
from loaders.importers.layout import check_folder, is_picture
from loaders.importers.pose import POSE, POSE_NOTE, record_of

VIEW = re.compile(r"_\d+(_angle_-?\d+)?$")
FLIPPED = "_Flip"


@dataclass(frozen=True, slots=True)
class W300Lp:
    """Reads `<name>.jpg` with `<name>.mat` beside it: `AFW`, `AFW_Flip`, `HELEN`, ...

    Folders may have any depth. The pose is that of `Pose_Para`, the convention of this project.

    Attributes:
        source: The folder that holds them.
        crop: "box" cuts the box of the visible landmarks, "none" keeps whole pictures. Turning faces upright
            ("align") would make their roll wrong.
        margin: Share of the crop's side that is added on each side.
        val_share: Share of the *original* pictures, each with all its synthesised and flipped views, in val.
        seed: Chooses the pictures.
    """

    source: Path
    crop: Literal["none", "box"] = "box"
    margin: float = 0.25
    val_share: float = 0.05
    seed: int = 0

    def survey(self) -> Contents:
        """Lists the pictures and chooses val.

        Raises:
            ValueError: No picture with its `.mat` is there, or an option is out of range.
        """
        where = f"300wlp {self.source}"
        check_crop(where, self.crop, self.margin, ("none", "box"))
        check_shares(where, val_share=self.val_share)
        check_folder("300wlp", self.source)
        total, paired = 0, False
        originals: set[str] = set()
        for folder, pictures, mats in _folders(self.source):
            total += len(pictures)
            paired = paired or any(Path(name).stem in mats for name in pictures)
            originals.update(_original(folder / name) for name in pictures)
        if not paired:
            raise ValueError(
                f"{where}: must hold pictures <name>.jpg with <name>.mat beside them; there are none, "
                "name the folder that does"
            )
        split_of = by_group(originals, {"val": self.val_share}, self.seed)
        held = sum(split == "val" for split in split_of.values())
        return Contents(
            labels={"pose": POSE},
            notes=(
                POSE_NOTE,
                f"val holds all views of {held:,} of {len(split_of):,} original pictures, by seed {self.seed} (ours)",
            ),
            records=lambda: self._records(split_of),
            total=total,
        )

    def _records(self, split_of: Mapping[str, str]) -> Generator[Record | Skipped, None, None]:
        for folder, pictures, mats in _folders(self.source):
            for name in pictures:
                picture = folder / name
                path = str(picture.relative_to(self.source))
                yield record_of(picture, path, split_of[_original(picture)], self.crop, self.margin)
            # A line a folder: the data set has a folder of 122,450 of them, `landmarks`.
            if alone := len(mats - {Path(name).stem for name in pictures}):
                yield Skipped(
                    str(folder.relative_to(self.source)), ".mat files without a picture", f"{alone:,} of them"
                )


def _original(picture: Path) -> str:
    """Names the picture that a view was made from: the same for all its angles and for its mirror image."""
    return f"{picture.parent.name.removesuffix(FLIPPED)}/{VIEW.sub('', picture.stem)}"


def _folders(source: Path) -> Iterator[tuple[Path, list[str], set[str]]]:
    """Each folder with its pictures, sorted, and the stems of its `.mat` files; one folder's names at a time."""
    for top, folders, names in os.walk(source):
        folders.sort()
        folder = Path(top)
        yield (
            folder,
            sorted(n for n in names if is_picture(Path(n))),
            {Path(n).stem for n in names if n.endswith(".mat")},
        )
