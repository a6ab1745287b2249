"""Says what a head pose means here, and reads the `.mat` files of 300W-LP and AFLW2000 (pose and landmarks)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from loaders.base import Numbers
from loaders.decoding.crops import Crop, Square, around_points
from loaders.decoding.records import Record, Skipped
from loaders.importers.mat import read_mat
from loaders.importers.walk import Listing, without

POSE = Numbers(("yaw", "pitch", "roll"))
"""Degrees in the convention of 300W-LP, for every importer of head pose: yaw > 0 turns the nose to the image's left,
pitch > 0 looks up, roll > 0 turns the eye line clockwise on the screen."""
POSE_NOTE = (
    "pose in degrees: yaw > 0 turns the nose to the image's left, pitch > 0 looks up, roll > 0 turns the eye line "
    "clockwise on the screen"
)


@dataclass(frozen=True, slots=True)
class PoseFile:
    """Holds what one file says.

    Attributes:
        pose: Yaw, pitch, roll in degrees.
        points: The landmarks that are visible, in pixels; empty where the file has none.
    """

    pose: tuple[float, float, float]
    points: Float64[np.ndarray, "n 2"]

    def square(self, margin: float) -> Square | None:
        """Crops around the visible landmarks; None where they have no extent."""
        return around_points(self.points, margin)


def read_pose_file(file: Path) -> PoseFile | str:
    """Reads `Pose_Para` (pitch, yaw, roll in radians, then what is of no use here) and `pt2d` (2 x 68 or 2 x 21).

    Returns:
        What it says, or what is wrong with it.
    """
    try:
        values = read_mat(file, ("Pose_Para", "pt2d"))
    except (OSError, ValueError) as error:
        return str(error)
    angles, points = values.get("Pose_Para", np.empty(0)).ravel(), values.get("pt2d", np.empty((2, 0)))
    if angles.size < 3 or not np.isfinite(angles[:3]).all():
        return "Pose_Para must have pitch, yaw and roll"
    pitch, yaw, roll = np.rad2deg(angles[:3]).tolist()
    if points.ndim != 2 or points.shape[0] != 2:
        return f"pt2d must be 2 x n, it is {' x '.join(map(str, points.shape))}"
    # AFLW2000 writes hidden points as (-1, 452): one coordinate is enough to tell them.
    visible = np.isfinite(points).all(axis=0) & (points != -1.0).all(axis=0)
    return PoseFile((yaw, pitch, roll), points[:, visible].T)


def record_of(picture: Path, path: str, split: str, crop: Crop, margin: float) -> Record | Skipped:
    """Reads the `.mat` beside a picture and makes the record of the picture."""
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


def without_mats(found: Listing, others: Sequence[Skipped]) -> Iterator[Skipped]:
    """Lists what is left out of a folder, the `.mat` files without a picture in one line: 300W-LP has 122,450."""
    left = without(others, [".mat"])
    stems = {Path(name).stem for name in found.pictures}
    mats = {Path(one.path).stem for one in others} - {Path(one.path).stem for one in left}
    if alone := len(mats - stems):
        yield Skipped(str(found.inside), ".mat files without a picture", f"{alone:,} of them")
    yield from left
