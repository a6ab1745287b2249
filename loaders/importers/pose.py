"""Says what a head pose means here, and reads the `.mat` files of 300W-LP and AFLW2000 (pose and landmarks)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from loaders.base import Numbers
from loaders.decoding.crops import Crop, Square, around_points
from loaders.decoding.records import Record, Skipped

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
    from scipy.io import loadmat  # here, since it takes long to import and only two data sets need it

    try:
        values = loadmat(file, variable_names=["Pose_Para", "pt2d"])
    except Exception as error:  # scipy raises anything on a damaged file: MatReadError, zlib.error, struct.error, ...
        return f"{type(error).__name__}: {error}"
    angles = np.asarray(values.get("Pose_Para", []), dtype=np.float64).ravel()
    if angles.size < 3 or not np.isfinite(angles[:3]).all():
        return "Pose_Para must have pitch, yaw and roll"
    pitch, yaw, roll = np.rad2deg(angles[:3]).tolist()
    points = np.asarray(values.get("pt2d", np.empty((2, 0))), dtype=np.float64)
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
