"""Drawn scenes with drawn faces in them, whose boxes and landmarks are known: what a detector is tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw

from loaders.synthetic import draw_faces
from loaders.synthetic.head import Head, row
from loaders.synthetic.tables import Faces


@dataclass(frozen=True, slots=True)
class Known:
    """Holds what is known of a face in a scene, in pixels: left, top, right, bottom, and five landmarks."""

    box: Float64[np.ndarray, " 4"]
    landmarks: Float64[np.ndarray, "5 2"]


def drawn(seed: int, index: Sequence[int], size: int) -> tuple[UInt8[np.ndarray, "n s s 3"], list[Known]]:
    """Draws faces of the test split, and says where the face of each is: from brow to chin, between the cheeks."""
    pictures, faces = draw_faces(seed, "test", np.array(index), size)
    return pictures, known(faces, size)


def known(faces: Faces, size: int) -> list[Known]:
    """Projects the outline of the face and its landmarks as `loaders.synthetic.scene.paint_faces` places them."""
    head, s = Head(faces), faces.setting
    build = head.build
    scale = size * (0.335 + 0.05 * s.zoom)
    centre = size * (0.5 + row(0.05 * s.shift_x, 0.005 + 0.04 * s.shift_y))
    smile = 0.30 + 0.0 * build.eye_x
    x = np.concatenate([-build.eye_x, build.eye_x, 0.0 * smile, -smile, smile], axis=1)
    y = np.concatenate([build.eye_y, build.eye_y, head.nose_tip, head.lip, head.lip], axis=1)
    lift = np.array([[0.0, 0.0, 0.2, 0.0, 0.0]])
    landmarks = centre[:, None] + scale[:, None] * head.flat(head.on_face(x, y, lift))
    outline = centre[:, None] + scale[:, None] * head.outline()
    brow = landmarks[:, :2, 1].mean(axis=1) - 0.5 * scale[:, 0]
    (left, top), (right, bottom) = outline.min(axis=1).T, outline.max(axis=1).T
    boxes = np.stack([left, np.maximum(top, brow), right, bottom], axis=1)
    return [Known(box, points) for box, points in zip(boxes, landmarks, strict=True)]


def ground(width: int, height: int, seed: int = 0) -> Image.Image:
    """Draws a scene without faces: a sky, ground, and boards of many colours."""
    numbers = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), (150, 180, 215))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 2 // 3, width, height), fill=(110, 120, 80))
    for _ in range(40):
        x, y = numbers.uniform(0, width), numbers.uniform(0, height)
        w, h = numbers.uniform(0.02, 0.2, 2) * min(width, height)
        draw.rectangle((x, y, x + w, y + h), fill=tuple(numbers.integers(40, 220, 3).tolist()))
    return image


def pasted(
    scene: Image.Image, faces: UInt8[np.ndarray, "n s s 3"], truth: Sequence[Known], corners: Sequence[tuple[int, int]]
) -> tuple[Image.Image, list[Known]]:
    """Puts faces into a copy of a scene with their top left corners there, which may lie beyond its edge."""
    scene, moved = scene.copy(), []
    for pixels, one, corner in zip(faces, truth, corners, strict=True):
        scene.paste(Image.fromarray(pixels), corner)
        moved.append(Known(one.box + np.tile(corner, 2), one.landmarks + corner))
    return scene, moved
