"""Imports AFLW2000-3D (Zhu et al., 2016): the first 2,000 pictures of AFLW with head pose, a test set."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loaders.decoding.crops import check_crop
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.layout import Located, check_folder
from loaders.importers.pose import POSE, POSE_NOTE, record_of, without_mats
from loaders.importers.walk import Listing, look

LARGEST = 99.0


@dataclass(frozen=True, slots=True)
class Aflw2000(Located):
    """Reads `image00002.jpg` with `image00002.mat` beside it.

    The pose is that of `Pose_Para`, the convention of this project. Pictures with any angle beyond 99 degrees are left
    out, as published results do: 31 of 2,000, which leaves 1,969.

    Attributes:
        source: The folder that holds them, or one that holds it as `AFLW2000`.
        crop: "box" cuts the box of the visible landmarks, "none" keeps whole pictures. Turning faces upright
            ("align") would make their roll wrong.
        margin: Share of the crop's side that is added on each side.
    """

    source: Path
    crop: Literal["none", "box"] = "box"
    margin: float = 0.25

    def survey(self) -> Contents:
        """Lists the pictures.

        Raises:
            ValueError: No picture with its `.mat` is there, or an option is out of range.
        """
        where = f"aflw2000 {self.source}"
        check_crop(where, self.crop, self.margin, ("none", "box"))
        check_folder("aflw2000", self.source)
        root = self.source / "AFLW2000" if (self.source / "AFLW2000").is_dir() else self.source
        found = look(self.source, root.relative_to(self.source))
        if not any((root / name).with_suffix(".mat").is_file() for name in found.pictures):
            raise ValueError(
                f"{where}: must hold pictures image00002.jpg with image00002.mat beside them; there are none, "
                "name the folder that does"
            )
        return Contents(
            labels={"pose": POSE},
            notes=(POSE_NOTE, f"all is test; pictures with an angle beyond {LARGEST:g} degrees are left out"),
            records=lambda: self._records(found),
            total=len(found.pictures),
        )

    def _records(self, found: Listing) -> Generator[Record | Skipped, None, None]:
        for name in found.pictures:
            path = str(found.inside / name)
            record = record_of(self.source / path, path, "test", self.crop, self.margin)
            if isinstance(record, Record):
                pose = record.labels["pose"]
                assert isinstance(pose, tuple)
                if max(abs(angle) for angle in pose) > LARGEST:
                    angles = ", ".join(f"{angle:.0f}" for angle in pose)
                    record = Skipped(path, "angle beyond 99 degrees", f"yaw, pitch, roll {angles}")
            yield record
        yield from without_mats(found, found.beside_pictures())
