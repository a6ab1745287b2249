"""Glasses: two rims in front of the eyes, a bridge and temples that run back to the ears."""

from __future__ import annotations

import numpy as np

from loaders.synthetic import colour
from loaders.synthetic.columns import Array
from loaders.synthetic.head import Head, column, joined
from loaders.synthetic.stack import Stack

_AROUND = np.arange(26) * (np.pi / 12.0)  # once round and one step on, so that the rim has no seam
_RIGHT, _LEFT = 0, 12


def _rim(head: Head, side: int, grow: float = 1.0) -> Array:
    """Closed curve of a rim in head coordinates, n 26 3: a superellipse from round to square, bent about the face."""
    build, look, n = head.faces.build, head.faces.look, head.n
    power = column(1.0 - 0.62 * look.rim_shape, n)
    cos, sin = np.cos(_AROUND), np.sin(_AROUND)
    dx = np.sign(cos) * np.abs(cos) ** power * column(grow * (0.285 + 0.03 * look.rim), n)
    dy = np.sign(sin) * np.abs(sin) ** power * column(grow * (0.275 - 0.07 * look.rim_shape), n)
    x = column(side * (build.eye_x + 0.015), n) + dx
    return joined(x, column(build.eye_y + 0.03, n) + dy, 1.13 - 0.22 * x**2 / column(build.width, n))


def glasses(stack: Stack, head: Head) -> None:
    """Painted over eyes, nose and hair."""
    build, look, n = head.faces.build, head.faces.look, head.n
    worn = look.glasses
    tone = colour.mix(
        colour.hue(look.rim_hue, 0.35, 0.62), np.broadcast_to(colour.BLACK, (n, 3)), np.clip(0.25 + look.rim, 0.0, 1.0)
    )
    width = column(0.026 + 0.036 * look.rim, n)
    for side in (-1, 1):
        rim = _rim(head, side)
        outline = head.flat(rim)
        lens = colour.hue(look.rim_hue, 0.25, 0.35)
        stack.polygon(outline, lens, worn * np.where(look.lens > 0.93, 0.35, 0.06), lit=0.3)
        streak = head.flat(_rim(head, side, 0.75))[:, (3, 6, 15, 18)]
        stack.polygon(
            streak, np.broadcast_to(colour.WHITE, (n, 3)), worn * 0.40 * np.clip(look.glare - 0.6, 0.0, 1.0), lit=0.0
        )
        # The near temple lies over the head; the far one is behind it and only its first bit shows.
        hinge = rim[:, _RIGHT if side > 0 else _LEFT]
        ear = joined(side * build.width * 1.02, np.zeros(n), np.full(n, -0.05))
        toward = np.clip(side * head.matrix[:, 2, 0] * 6.0 + 0.25, 0.0, 1.0)
        temple = head.flat(np.stack([hinge, hinge + (ear - hinge) * 0.5, ear], axis=1))
        stack.stroke(temple, 0.8 * width, tone, worn * toward, lit=0.4)
        stack.stroke(outline, width, tone, worn, lit=0.4)
    left, right = _rim(head, -1)[:, _RIGHT], _rim(head, 1)[:, _LEFT]
    top = 0.5 * (left + right) + np.array((0.0, -0.05, 0.02))
    stack.stroke(head.flat(np.stack([left, top, right], axis=1)), width, tone, worn, lit=0.4)
