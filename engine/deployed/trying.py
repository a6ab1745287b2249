"""Answers a picture on which a model is tried: which faces there are, what is said of each, and where it looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from engine.deployed.drawing import annotated
from engine.deployed.finding import Cut, FaceFinder, FoundFace
from engine.deployed.model import Deployed
from engine.deployed.photos import PHOTO
from engine.deployed.pictures import ask, fit_of
from engine.reports.sheets import heated, magnify
from engine.training.grad_cam import grad_cam
from engine.training.show import to_bytes
from loaders.base import Fit
from loaders.decoding.crops import Square
from loaders.decoding.pictures import Form, decode
from loaders.detection import Detection, FaceDetector

MOST = 12
"""Faces of a picture that are shown one by one."""


@dataclass(frozen=True, slots=True)
class TriedFace:
    """Holds what is shown of one face."""

    classes: dict[str, dict[str, float]]
    """Task with classes to the probability of each class."""
    numbers: dict[str, dict[str, float]]
    """Any other task to its numbers by their names, such as degrees."""
    heat: dict[str, UInt8[np.ndarray, "h w 3"]]
    """Task with classes to the face as the network sees it, bright where it speaks most for the likeliest class."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Holds what is shown of one picture."""

    picture: Image.Image
    """With boxes, labels and the axes of heads drawn in."""
    words: str
    """What was found."""
    faces: list[TriedFace] = field(default_factory=list)
    """The likeliest first, `MOST` at most."""


class Trial:
    """Answers pictures by a model.

    Args:
        model: Loaded.
        detector: Finds faces; without one each picture is taken for a face.
        crop: How faces are cut out, and
        margin: what is added on each side; see `FaceFinder`.
        fit: Of a picture that is taken for a face and is not square; by default what was done to those of the training.

    Raises:
        ValueError: The model takes faces that are not square, or theirs were made in several ways and none is chosen.
    """

    def __init__(
        self,
        model: Deployed,
        detector: FaceDetector | None,
        *,
        crop: Cut | None = None,
        margin: float | None = None,
        fit: Fit | None = None,
    ) -> None:
        height, width, channels = model.faces
        if height != width:
            raise ValueError(
                f"try: the model (of faces of {width} x {height} pixels) must take square ones; use hmtl predict with "
                "pictures of that size"
            )
        self.model = model
        self._finder = None if detector is None else FaceFinder(model, detector, crop, margin)
        self._form = Form(height, fit or fit_of(model), "gray" if channels == 1 else "rgb")

    @property
    def searches(self) -> bool:
        """Says whether faces can be searched for."""
        return self._finder is not None

    @property
    def treatment(self) -> str:
        """Says what is done to pictures, and what was done to those of the training."""
        return "each picture is taken for a face" if self._finder is None else self._finder.treatment

    def __call__(self, file: Path, *, search: bool) -> Tried:
        """Answers a picture file.

        Args:
            file: Of any size, orientation and colours.
            search: Search for faces, where that can be; else all of the picture is taken for one.

        Raises:
            UnreadableError: It is no picture, or is damaged.
        """
        picture = decode(file, PHOTO)
        if search and self._finder is not None:
            found = self._finder(picture)
            faces = [(one, self._finder.cut(picture, one.square)) for one in found]
            words = f"{len(found)} face{'' if len(found) == 1 else 's'} found" if found else "no face found"
            if len(found) > MOST:
                words += f", of which the likeliest {MOST} are shown below"
        else:
            pixels = decode(picture, self._form)
            found = [_whole(picture, self.model, pixels)]
            faces = [(found[0], pixels)]
            words = "the picture is taken for a face, none is searched for"
        there = [(one, pixels) for one, pixels in faces[:MOST] if pixels is not None]
        shown = self._shown([one for one, _ in there], [pixels for _, pixels in there]) if there else []
        return Tried(annotated(picture, found, self.model), words, shown)

    def _shown(self, found: Sequence[FoundFace], cut: Sequence[UInt8[np.ndarray, "h w c"]]) -> list[TriedFace]:
        model = self.model
        pictures = model.pictures(torch.from_numpy(np.stack(cut)).to(next(model.parameters()).device))
        seen = to_bytes(pictures, model.renderer)
        said = [one.said or {} for one in found]
        with_classes = [task for task in model.tasks if task in model.about["classes"]]
        heat = {}
        for task in with_classes:
            likeliest = torch.tensor([int(each[task].argmax()) for each in said], device=pictures.device)
            heat[task] = grad_cam(model.network, pictures, task, likeliest).cpu().numpy()
        return [
            TriedFace(
                {task: _named(model, task, each[task]) for task in with_classes},
                {task: _named(model, task, each[task]) for task in model.tasks if task not in with_classes},
                {task: magnify(heated(seen[i], heat[task][i])) for task in with_classes},
            )
            for i, each in enumerate(said)
        ]


def _whole(
    picture: UInt8[np.ndarray, "h w 3"], model: Deployed, pixels: UInt8[np.ndarray, "{size} {size} c"]
) -> FoundFace:
    """Takes all of a picture for a face, the tip of whose nose is in the middle."""
    height, width = picture.shape[:2]
    middle = Square(width / 2, height / 2, float(min(height, width)))
    landmarks = np.tile([middle.x, middle.y], (5, 1))
    (said,) = ask(model, [pixels])
    return FoundFace(Detection((0.0, 0.0, float(width), float(height)), 1.0, landmarks), middle, said)


def _named(model: Deployed, task: str, numbers: np.ndarray) -> dict[str, float]:
    return dict(zip(model.answers[task], map(float, numbers), strict=True))
