"""Puts a face together, bottom layer first, and has it painted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8

from loaders.synthetic import body, colour, ground, hair
from loaders.synthetic.brows import brows
from loaders.synthetic.columns import Array
from loaders.synthetic.cover import covers
from loaders.synthetic.eyes import eyes, sockets
from loaders.synthetic.faces import Faces
from loaders.synthetic.glasses import glasses
from loaders.synthetic.hats import hats
from loaders.synthetic.head import Head
from loaders.synthetic.lines import lines
from loaders.synthetic.mouth import mouth
from loaders.synthetic.nose import nose
from loaders.synthetic.raster import paint
from loaders.synthetic.stack import Stack


def _lamp(faces: Faces) -> Float64[np.ndarray, "n 5"]:
    """Direction on the screen, and the shares of ambient and direct light; a frontal patch comes out near 1."""
    s = faces.setting
    x, y, z = 0.9 * s.light_x, 0.8 * s.light_y, np.full(len(faces), 0.9)
    length = np.sqrt(x**2 + y**2 + z**2)
    direct = 0.15 + 0.42 * s.light_strength
    return np.stack([x / length, y / length, z / length, 1.02 - 0.75 * direct, direct], axis=-1)


def _tone(faces: Faces) -> Float64[np.ndarray, "n 5"]:
    """Gain per channel, contrast and brightness of the camera."""
    s = faces.setting
    warm, green, gain = 0.16 * (s.warmth - 0.5), 0.10 * (s.tint - 0.5), 0.84 + 0.32 * s.exposure
    channels = [gain * (1.0 + warm), gain * (1.0 + green), gain * (1.0 - warm)]
    return np.stack([*channels, 0.82 + 0.30 * s.contrast, 0.0 * gain], axis=-1)


def paint_faces(faces: Faces, size: int) -> UInt8[np.ndarray, "n {size} {size} 3"]:
    """Paint n faces; each picture is a function of its own row of the tables and of `size`."""
    look, s, n = faces.look, faces.setting, len(faces)
    skin, strands = (
        colour.skin(look.skin, look.ruddy),
        colour.hair(look.hair_colour * (1.0 - 0.75 * np.clip((look.skin - 0.4) / 0.3, 0.0, 1.0))),
    )
    brow = colour.mix(strands * 0.60, skin * 0.35, 0.35)
    head, stack = Head(faces), Stack(n)

    ground.shapes(stack, head)
    hair.behind(stack, head, strands)
    body.neck(stack, head, skin)
    body.ears(stack, head, skin, over=False)
    body.skin_of_head(stack, head, skin)
    sockets(stack, head, skin)
    body.beard(stack, head, skin, strands)
    lines(stack, head, skin)
    mouth(stack, head, skin)
    eyes(stack, head, skin)
    brows(stack, head, brow)
    nose(stack, head, skin)
    hair.front(stack, head, strands)
    body.ears(stack, head, skin, over=True)
    hats(stack, head)
    glasses(stack, head)
    covers(stack, head, skin, strands)

    scale = size * (0.335 + 0.05 * s.zoom)
    centre = size * (0.5 + np.stack([0.05 * s.shift_x, 0.005 + 0.04 * s.shift_y], axis=-1))
    middle, form = head.quadric()
    solid = np.concatenate([centre + middle * scale[:, None], form / scale[:, None] ** 2], axis=1)
    sharp: Array = np.maximum(s.blur - 0.35, 0.0)
    return paint(
        stack.layers(centre=centre, scale=scale),
        size=size,
        solid=solid,
        light=_lamp(faces),
        ground=ground.ground(head),
        tone=_tone(faces),
        blur=size * 0.018 * sharp,
        noise=9.0 * s.noise**2,
        key=faces.grain,
    )
