"""Imports 300W-LP (Zhu et al., 2016): 122,450 faces, most of them synthesised from 3,837 at larger angles."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loaders.decoding.crops import check_crop
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import by_group, check_shares
from loaders.importers.layout import Located, check_folder
from loaders.importers.pose import POSE, POSE_NOTE, record_of, without_mats
from loaders.importers.walk import walk

VIEW = re.compile(r"_\d+(_angle_-?\d+)?$")
FLIPPED = "_Flip"


@dataclass(frozen=True, slots=True)
class W300Lp(Located):
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
        for found in walk(self.source):
            pictures = [self.source / found.inside / name for name in found.pictures]
            total += len(pictures)
            paired = paired or any(picture.with_suffix(".mat").is_file() for picture in pictures)
            originals.update(map(_original, pictures))
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
        for found in walk(self.source):
            for name in found.pictures:
                picture = self.source / found.inside / name
                path = str(found.inside / name)
                yield record_of(picture, path, split_of[_original(picture)], self.crop, self.margin)
            yield from without_mats(found, found.others)


def _original(picture: Path) -> str:
    """Names the picture that a view was made from: the same for all its angles and for its mirror image."""
    return f"{picture.parent.name.removesuffix(FLIPPED)}/{VIEW.sub('', picture.stem)}"
