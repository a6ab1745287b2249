"""Draws what a model says of the faces of a picture into a copy of it: boxes, labels, and the axes of heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from engine.deployed.finding import FoundFace
from engine.deployed.model import Deployed
from engine.deployed.pictures import Answers
from engine.tasks.pose_geometry import ANGLES, matrix_of
from loaders.decoding.video import Picture, video_writer
from loaders.files import replacing
from loaders.targets import folder_target, shortened

BOX, INK = (255, 214, 0), (0, 0, 0)
AXES = ((230, 50, 50), (40, 170, 70), (60, 110, 255))
"""Colours of the head's own axes: to its side, down, and where the nose points."""
QUALITY = 92
"""Of the JPEG files, 1 to 100."""


class Copies:
    """Names and writes annotated copies into a folder of their own, each whole or not at all.

    Args:
        folder: New or empty; it is made when the first copy is written.

    Raises:
        ValueError: It holds something, or cannot be.
    """

    def __init__(self, folder: Path) -> None:
        target = folder_target(folder)
        if target.exists() and any(target.iterdir()):
            raise ValueError(f"predict: draw (={folder}) must be a new or empty folder; choose another")
        self._folder = target
        self._taken: set[str] = set()

    def place(self, original: Path, ending: str) -> Path:
        """Names the copy of a file: its own name with another ending, and a number where that is taken."""
        stem = shortened(original.stem, f"-{len(self._taken)}{ending}")
        names = (f"{stem}{number}{ending}" for number in ("", *(f"-{n}" for n in range(2, len(self._taken) + 3))))
        name = next(name for name in names if name.casefold() not in self._taken)  # disks may not tell capitals apart
        self._taken.add(name.casefold())
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / name

    def write(self, original: Path, image: Image.Image) -> None:
        """Writes the copy of a picture, as JPEG."""
        with replacing(self.place(original, ".jpg")) as temporary:
            image.save(temporary, "JPEG", quality=QUALITY)

    @contextmanager
    def video(self, original: Path, width: int, height: int, rate: float) -> Iterator[Callable[[Picture], None]]:
        """Opens the copy of a video, as MP4, for pictures of a size, `rate` a second."""
        with (
            replacing(self.place(original, ".mp4")) as temporary,
            video_writer(temporary, width, height, rate, where="predict") as write,
        ):
            yield write


def annotated(picture: Picture, faces: Sequence[FoundFace], model: Deployed) -> Image.Image:
    """Draws into a copy of a picture each face's box and what the model says of it.

    A task with classes writes the likeliest and its probability, one of head pose draws the axes of the head from the
    tip of the nose, any other writes its numbers.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 400))
    for face in reversed(faces):  # the likeliest on top
        left, top, right, bottom = face.detection.box
        draw.rectangle((left, top, right, bottom), outline=BOX, width=line)
        if face.said is None:
            continue
        if words := label(model, face.said):
            size = min(max(12.0, (right - left) / 7), max(12.0, max(image.size) / 25))
            _write(draw, words, left, top, size, image.width)
        for task in poses(model, face.said):
            _draw_axes(draw, face, model, task, line)
    return image


def label(model: Deployed, said: Answers) -> str:
    """Writes in a line a task what is said of a face, but for its pose; classes after their task's name if several."""
    lines = []
    several = sum(task in model.about["classes"] for task in said) > 1
    for task, numbers in said.items():
        names = model.answers[task]
        if task in model.about["classes"]:
            lines.append(f"{f'{task}: ' if several else ''}{names[numbers.argmax()]} {100 * numbers.max():.0f} %")
        elif task not in poses(model, said):
            lines.append(", ".join(f"{name} {number:.3g}" for name, number in zip(names, numbers, strict=True)))
    return "\n".join(lines)


def poses(model: Deployed, said: Answers) -> list[str]:
    """Lists the tasks that say which way the nose points: those with yaw and pitch, in degrees."""
    return [task for task in said if {"yaw", "pitch"} <= set(model.answers[task]) <= set(ANGLES)]


def axes(face: FoundFace, model: Deployed, task: str) -> np.ndarray:
    """Computes where the three axes of a head point on the screen, "3 2": pixels across and down of length 1 each."""
    assert face.said is not None
    assert face.square is not None
    of = dict(zip(model.answers[task], face.said[task].tolist(), strict=True))
    angles = torch.tensor([[of.get(name, 0.0) for name in ANGLES]])
    turn = math.radians(face.square.turn)  # the model saw the face turned upright
    cosine, sine = math.cos(turn), math.sin(turn)
    ends: np.ndarray = np.array([[cosine, -sine], [sine, cosine]]) @ matrix_of(angles)[0, :2].numpy()
    return ends.T


def _draw_axes(draw: ImageDraw.ImageDraw, face: FoundFace, model: Deployed, task: str, line: int) -> None:
    left, _, right, _ = face.detection.box
    nose = face.detection.landmarks[2]
    for end, colour in zip(axes(face, model, task), AXES, strict=True):
        draw.line([tuple(nose), tuple(nose + 0.6 * (right - left) * end)], fill=colour, width=2 * line)


def _write(draw: ImageDraw.ImageDraw, words: str, left: float, top: float, size: float, width: int) -> None:
    """Writes above a box, or in it where there is no room above, on a ground of the box's colour."""
    font = _font(round(size))
    wide, high = draw.multiline_textbbox((0, 0), words, font=font)[2:]
    left = max(min(left, width - wide), 0.0)
    top = top - high if top >= high else max(top, 0.0)
    draw.rectangle((left, top, left + wide, top + high), fill=BOX)
    draw.multiline_text((left, top), words, fill=INK, font=font)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # takes a while, for a font that knows more than the Latin letters of Pillow's

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
