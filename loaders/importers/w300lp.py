"""300W-LP (Zhu et al., 2016): 122,450 faces, most of them synthesised from 3,837 pictures at larger angles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from loaders.crops import Crop, check_crop
from loaders.holdout import by_group, check_shares
from loaders.importers.base import Contents, Record, Skipped
from loaders.importers.layout import check_folder, is_picture
from loaders.importers.pose_files import POSE, POSE_NOTE, read_pose_file

VIEW = re.compile(r"_\d+(_angle_-?\d+)?$")
FLIPPED = "_Flip"


@dataclass(frozen=True, slots=True)
class W300Lp:
    """`AFW`, `AFW_Flip`, `HELEN`, ...: `<name>.jpg` with `<name>.mat` beside it, in folders of any depth.

    The pose is that of `Pose_Para`, the convention of this project.

    Attributes:
        source: The folder that holds them.
        crop: "box" cuts the box of the visible landmarks, "none" keeps whole pictures. Turning faces upright
            ("align") would make their roll wrong.
        margin: Share of the crop's side that is added on each side.
        val_share: Share of the *original* pictures, each with all its synthesised and flipped views, in val.
        seed: Chooses them.
    """

    source: Path
    crop: Crop = "box"
    margin: float = 0.25
    val_share: float = 0.05
    seed: int = 0

    def survey(self) -> Contents:
        """List the pictures and choose val.

        Raises:
            ValueError: No picture with its `.mat` is there, or an option is out of range.
        """
        where = f"300wlp {self.source}"
        check_crop(where, self.crop, self.margin, ("none", "box"))
        check_shares(where, val_share=self.val_share)
        check_folder("300wlp", self.source)
        files = sorted(path for path in self.source.rglob("*") if path.suffix == ".mat" or is_picture(path))
        known = set(files)
        pictures = [path for path in files if path.suffix != ".mat"]
        if not any(path.with_suffix(".mat") in known for path in pictures):
            raise ValueError(
                f"{where}: must hold pictures <name>.jpg with <name>.mat beside them; there are none, "
                "name the folder that does"
            )
        split_of = by_group(map(_original, pictures), {"val": self.val_share}, self.seed)
        held = sum(split == "val" for split in split_of.values())
        return Contents(
            labels={"pose": POSE},
            notes=(
                POSE_NOTE,
                f"val holds all views of {held:,} of {len(split_of):,} original pictures, by seed {self.seed} (ours)",
            ),
            records=lambda: self._records(pictures, files, split_of),
            total=len(pictures),
        )

    def _records(
        self, pictures: list[Path], files: list[Path], split_of: dict[str, str]
    ) -> Generator[Record | Skipped, None, None]:
        for picture in pictures:
            path = str(picture.relative_to(self.source))
            yield record_of(picture, path, split_of[_original(picture)], self.crop, self.margin)
        yield from _lonely(self.source, pictures, files)


def record_of(picture: Path, path: str, split: str, crop: Crop, margin: float) -> Record | Skipped:
    """The record of a picture with its `.mat` beside it."""
    mat = picture.with_suffix(".mat")
    if not mat.is_file():
        return Skipped(path, "no .mat beside the picture")
    found = read_pose_file(mat)
    if isinstance(found, str):
        return Skipped(path, "unreadable .mat", found)
    square = found.square(margin) if crop == "box" else None
    if square is None and crop == "box":
        return Skipped(path, "no landmarks", f"{mat.name} has no pt2d that is visible")
    return Record(split, path, {"pose": found.pose}, picture, square)


def _original(picture: Path) -> str:
    """Names the picture that a view was made from: the same for all its angles and for its mirror image."""
    return f"{picture.parent.name.removesuffix(FLIPPED)}/{VIEW.sub('', picture.stem)}"


def _lonely(source: Path, pictures: list[Path], files: list[Path]) -> Generator[Skipped, None, None]:
    """`.mat` files without a picture, a line a folder: the data set has a folder of 122,450 of them, `landmarks`."""
    seen = {picture.with_suffix("") for picture in pictures}
    count = Counter(path.parent for path in files if path.suffix == ".mat" and path.with_suffix("") not in seen)
    for folder, number in sorted(count.items()):
        yield Skipped(str(folder.relative_to(source)), ".mat files without a picture", f"{number:,} of them")
