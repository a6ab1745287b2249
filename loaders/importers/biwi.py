"""Imports BIWI Kinect Head Pose (Fanelli et al., 2013): 15,678 frames of 20 people turning their heads."""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from loaders.base import Classes
from loaders.csv_files import number
from loaders.decoding.crops import Square, check_crop
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import by_group, check_shares
from loaders.importers.layout import Located, check_folder
from loaders.importers.pose import POSE, POSE_NOTE
from loaders.importers.walk import Listing, look, without

HEAD = 240.0
"""Side in mm of the square cut around the centre of a head: about its height (ours)."""
SEQUENCE = re.compile(r"\d\d")
FRAME = "_rgb.png"
COMPANIONS = ("_pose.txt", "_depth.bin", ".cal", ".obj")
"""How files of the data set end that are no pictures."""
# Four people were recorded twice. Source: the data set's own list of sequences.
AGAIN = {"15": "03", "18": "05", "21": "02", "22": "07"}


@dataclass(frozen=True, slots=True)
class Biwi(Located):
    """Reads `NN/frame_NNNNN_rgb.png` with `frame_NNNNN_pose.txt` beside it.

    A pose is a 3 x 3 rotation, a blank line and a translation in mm. The rotation takes the head to the camera's
    frame: x to the image's right, y down, z away from the camera; a head that looks into the camera is the identity.
    In that frame 300W-LP's R = Rx(pitch) Ry(yaw) Rz(roll) reads Rx(-pitch) Ry(yaw) Rz(roll) with the usual
    right-handed matrices, from which the angles are taken; they equal those of Hopenet's protocol. Rotations are of
    the depth camera, from which the colour camera is turned by one degree; published results leave that degree in, and
    so does this importer.

    Attributes:
        source: The folder of sequences 01 to 24, or one that holds it as `hpdb` or `faces_0`.
        crop: "box" cuts a square of 240 mm around the head's centre, projected with the sequence's `rgb.cal`; "none"
            keeps whole frames. Turning faces upright ("align") would make their roll wrong.
        margin: Share of the crop's side that is added on each side.
        val_share: Share of the people in val.
        test_share: Share of the people in test. All by default: BIWI tests models trained on 300W-LP. The protocol that
            trains on BIWI itself takes about 0.3.
        seed: Chooses the people.
    """

    source: Path
    crop: Literal["none", "box"] = "box"
    margin: float = 0.0
    val_share: float = 0.0
    test_share: float = 1.0
    seed: int = 0

    def survey(self) -> Contents:
        """Finds sequences and, for crops, their calibration.

        Raises:
            ValueError: No sequence is there, one has no readable `rgb.cal` though it is needed, or an option is out of
                range.
        """
        where = f"biwi {self.source}"
        check_crop(where, self.crop, self.margin, ("none", "box"))
        check_shares(where, test_share=self.test_share, val_share=self.val_share)
        check_folder("biwi", self.source)
        root = next((self.source / n for n in ("hpdb", "faces_0") if (self.source / n).is_dir()), self.source)
        top = look(self.source, root.relative_to(self.source))
        names = [name for name in top.folders if SEQUENCE.fullmatch(name)]
        sequences = [look(self.source, top.inside / name) for name in names]
        total = sum(name.endswith(FRAME) for sequence in sequences for name in sequence.pictures)
        if not total:
            raise ValueError(
                f"{where}: must hold folders 01 to 24 of frame_00003_rgb.png; there are none, name the folder that does"
            )
        cameras = {name: read_camera(root / name / "rgb.cal") for name in names} if self.crop == "box" else {}
        split_of = by_group(map(_person, names), {"test": self.test_share, "val": self.val_share}, self.seed)
        counts = {split: list(split_of.values()).count(split) for split in ("train", "val", "test")}
        return Contents(
            labels={"pose": POSE, "person": Classes(tuple(sorted(set(map(_person, names)))))},
            notes=(
                POSE_NOTE,
                "converted from rotations of the depth camera, as published results do",
                f"people a split: {', '.join(f'{n} in {split}' for split, n in counts.items())}",
            ),
            records=lambda: self._records(sequences, top.around(names), cameras, split_of),
            total=total,
            group="person",
        )

    def _records(
        self, sequences: list[Listing], around: list[Skipped], cameras: dict[str, Camera], split_of: dict[str, str]
    ) -> Generator[Record | Skipped, None, None]:
        for sequence in sequences:
            number = sequence.inside.name
            split = split_of[_person(number)]
            for name in sequence.pictures:
                path = str(sequence.inside / name)
                if not name.endswith(FRAME):
                    yield Skipped(path, "not a frame", f"its name must end in {FRAME}")
                    continue
                picture = self.source / path
                file = picture.with_name(name.replace(FRAME, "_pose.txt"))
                numbers = _numbers(file)
                if numbers.size != 12:
                    yield Skipped(path, "unreadable pose", f"{file.name} must hold 12 numbers")
                    continue
                rotation, translation = numbers[:9].reshape(3, 3), numbers[9:]
                if not np.abs(rotation @ rotation.T - np.eye(3)).max() <= 0.01:  # also where a number is missing
                    yield Skipped(path, "unreadable pose", f"{file.name} must hold a rotation")
                    continue
                square = None
                if self.crop == "box":
                    square = cameras[number].square(translation, HEAD * (1 + 2 * self.margin))
                    if square is None:
                        yield Skipped(path, "head behind the camera", file.name)
                        continue
                yield Record(split, path, {"pose": angles(rotation), "person": _person(number)}, picture, square)
            yield from without(sequence.beside_pictures(), COMPANIONS)
        yield from around


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Holds the colour camera: `rotation` and `translation` (mm) take points of the depth camera to it."""

    matrix: Float64[np.ndarray, "3 3"]
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]

    def square(self, centre: Float64[np.ndarray, " 3"], side: float) -> Square | None:
        """Projects a square of `side` mm about a point into the picture; None behind the camera."""
        point = self.rotation @ centre + self.translation
        if not (np.isfinite(point).all() and point[2] > 0):
            return None
        x, y, _ = (self.matrix @ (point / point[2])).tolist()
        # The calibration counts pixel centres from 0.
        return Square(x + 0.5, y + 0.5, float(self.matrix[0, 0] * side / point[2]))


def read_camera(file: Path) -> Camera:
    """Reads a `.cal` file: 3 x 3 matrix, four numbers of distortion (0), 3 x 3 rotation, translation, width and height.

    Raises:
        ValueError: It is missing or holds other numbers.
    """
    numbers = _numbers(file)
    if numbers.size < 25:
        raise ValueError(
            f"biwi {file}: must hold the calibration of the colour camera; it "
            f"{'is damaged' if file.is_file() else 'is not there'}, take it from the data set or pass --crop none"
        )
    return Camera(numbers[:9].reshape(3, 3), numbers[13:22].reshape(3, 3), numbers[22:25])


def angles(rotation: Float64[np.ndarray, "3 3"]) -> tuple[float, float, float]:
    """Computes yaw, pitch, roll in degrees of a rotation from head to camera (x right, y down, z away); see `Biwi`."""
    yaw = math.atan2(rotation[0, 2], math.hypot(rotation[0, 0], rotation[0, 1]))
    pitch = math.atan2(rotation[1, 2], rotation[2, 2])
    roll = math.atan2(-rotation[0, 1], rotation[0, 0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def _numbers(file: Path) -> Float64[np.ndarray, " n"]:
    """All numbers of a text file; none where it is missing or holds something else."""
    try:
        return np.array([number(word) for word in file.read_text(encoding="ascii").split()], dtype=np.float64)
    except (OSError, ValueError):
        return np.empty(0)


def _person(number: str) -> str:
    return AGAIN.get(number, number)
