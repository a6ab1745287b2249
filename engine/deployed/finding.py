"""Finds the faces of any picture, cuts them as those of the training were, and asks a deployed model about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from engine.deployed.model import Deployed
from engine.deployed.pictures import Answers, ask, cells, columns
from loaders.base import Preparation
from loaders.decoding.crops import Square, check_crop
from loaders.decoding.pictures import Form, UnreadableError, decode
from loaders.decoding.reading import CHUNK
from loaders.detection import Detection, FaceDetector

Cut = Literal["box", "align"]
"""How a face that was found is cut out: around its box, or turned upright by its landmarks."""
TIGHT = 0.0
"""Margin around the box where the training says none, since its pictures were faces already: the box of a face of
FER2013 is as large as its picture, nearly."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """Holds a face that was found, and what the model says of it."""

    detection: Detection
    square: Square | None
    """What was cut out; None where the landmarks are so far off that no square shows them."""
    said: Answers | None
    """None where nothing was cut out."""


class FaceFinder:
    """Finds the faces of pictures and asks a model about them.

    Args:
        model: Loaded.
        detector: Finds them.
        crop: How they are cut out; by default as those that the model was trained on.
        margin: Share of the crop's side that is added on each side; by default theirs, or `TIGHT` if they have none.

    Raises:
        ValueError: The model takes faces that are not square, theirs were cut in several ways and none is chosen, or
            the margin is out of range.
    """

    def __init__(
        self, model: Deployed, detector: FaceDetector, crop: Cut | None = None, margin: float | None = None
    ) -> None:
        height, width, channels = model.faces
        if height != width:
            raise ValueError(
                f"predict: --find cuts squares, and the model was trained on faces of {width} x {height} pixels; cut "
                "the faces out yourself and leave --find out"
            )
        self.model = model
        self._detector = detector
        self._form = Form(height, colour="gray" if channels == 1 else "rgb")
        self._crop, self._margin = _cut_of(model, crop, margin)

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> list[FoundFace]:
        """Finds the faces of an upright RGB picture and asks about them, the likeliest first."""
        found = self._detector(picture)
        squares = [one.square(self._crop, self._margin) for one in found]
        faces = [self.cut(picture, square) for square in squares]
        there = [face for face in faces if face is not None]
        said = iter([one for i in range(0, len(there), CHUNK) for one in ask(self.model, there[i : i + CHUNK])])
        return [
            FoundFace(one, square, None) if face is None else FoundFace(one, square, next(said))
            for one, square, face in zip(found, squares, faces, strict=True)
        ]

    def cut(
        self, picture: UInt8[np.ndarray, "h w 3"], square: Square | None
    ) -> UInt8[np.ndarray, "{size} {size} c"] | None:
        """Cuts a face out as the model takes it; None where no square shows it."""
        if square is None:
            return None
        try:
            return decode(picture, self._form, square)
        except UnreadableError:  # landmarks that lead out of the picture
            return None

    @property
    def treatment(self) -> str:
        """Says what is done to pictures, and what was done to those of the training."""
        colour = self._form.colour
        said = [f"faces: found, {Preparation(self._form.size, 'crop', colour, self._crop, self._margin)}"]
        trained = " or ".join(map(str, self.model.prepared))
        said.append(
            f"those that the model was trained on: {trained or 'drawn, or of a checkpoint that does not say it'}"
        )
        kinds = {each.crop for each in self.model.prepared}
        if not kinds or "none" in kinds:
            said.append("how much is seen around a face is chosen by --margin")
        elif self._crop == "box":
            said.append("the detector's box, from forehead to chin, stands for theirs")
        return "; ".join(said)

    @property
    def heads(self) -> list[str]:
        """Names the columns of `rows`."""
        return ["path", "frame", "face", *(f"box/{side}" for side in SIDES), "score", *columns(self.model)]

    def rows(self, path: str, frame: int | None, faces: Sequence[FoundFace]) -> list[list[str]]:
        """Writes a row a face, numbered from 1, and one with the number 0 where none was found.

        Args:
            path: The picture, or the video.
            frame: Which picture of a video, from 0.
            faces: Of that picture. Boxes are in pixels of the upright picture.
        """
        begin = [path, "" if frame is None else str(frame)]
        empty = [""] * len(columns(self.model))
        if not faces:
            return [[*begin, "0", *([""] * len(SIDES)), "", *empty]]
        return [
            [
                *begin,
                str(number),
                *(f"{side:.1f}" for side in face.detection.box),
                f"{face.detection.score:.3f}",
                *(empty if face.said is None else cells(self.model, face.said)),
            ]
            for number, face in enumerate(faces, start=1)
        ]


SIDES = ("left", "top", "right", "bottom")


def _cut_of(model: Deployed, crop: Cut | None, margin: float | None) -> tuple[Cut, float]:
    """Chooses how faces are cut out: as is said, else as those of the training were."""
    ways = sorted({(each.crop, each.margin) for each in model.prepared if crop in (None, each.crop)})
    if len(ways) > 1 and (crop is None or margin is None):
        known = " and ".join(f"{kind} with margin {share:g}" for kind, share in ways)
        raise ValueError(
            f"predict: crop (={crop}) and margin (={margin}) must be given: the faces that the model was trained on "
            f"were cut in several ways ({known}); choose by --crop and --margin"
        )
    kind, share = ways[0] if ways else ("none", TIGHT)
    if kind == "none":
        share = TIGHT
    chosen: Cut = crop or ("align" if kind == "align" else "box")
    taken = share if margin is None else margin
    check_crop("predict", chosen, taken)
    return chosen, taken
