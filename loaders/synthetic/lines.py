"""Folds and lines of the skin that expressions and age draw."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic.columns import Array
from loaders.synthetic.head import Head, column
from loaders.synthetic.stack import HEAD, Stack

_T = np.linspace(-1.0, 1.0, 7)
_THREE = np.array((0.4, 1.0, 0.4))


def _strength(units: Array, age: Array, most: float) -> Array:
    return most * np.clip(units, 0.0, 1.0) * (0.55 + 0.45 * age) + 0.10 * np.clip(age - 0.5, 0.0, 1.0)


def lines(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"]) -> None:
    """Forehead, glabella, bridge of the nose, cheeks, crow's feet and chin."""
    build, units = head.faces.build, head.faces.units
    n = head.n
    dark = skin * 0.60
    brow = build.eye_y - build.brow_gap
    for k in range(2):
        y = column(brow - 0.15 - 0.11 * k - 0.06 * units.au1, n) + 0.03 * _T**2 - 0.02 * (1 - k)
        alpha = _strength(0.5 * (units.au1 + units.au2) * (units.au1 > 0.3), build.age, 0.65)
        stack.stroke(
            head.place(column(0.42 - 0.06 * k, n) * _T, y), column(0.022, n) * (1.1 - _T**2), dark, alpha, clip=HEAD
        )
    for side in (-1, 1):
        frown = _strength(units.au4, build.age, 0.8)
        x = column(side * np.full(n, 0.055), n) * np.array((1.0, 0.8, 1.0))
        stack.stroke(
            head.place(x, column(brow + 0.08, n) + np.array((-0.09, 0.0, 0.09))),
            column(0.026, n) * _THREE,
            dark,
            frown,
            clip=HEAD,
        )
        bridge = _strength(units.au9, 1.0 - 0.3 * build.age, 0.8)
        for k in range(2):
            y = column(build.eye_y + 0.02 + 0.075 * k, n) + np.array((-0.03, 0.0, 0.03))
            stack.stroke(
                head.place(side * np.array((0.03, 0.08, 0.13))[None] + np.zeros((n, 1)), y, 0.03),
                column(0.022, n) * _THREE,
                dark,
                bridge,
                clip=HEAD,
            )
        # From the wing of the nose past the corner of the mouth; a smile bows it, a snarl deepens it.
        tip = build.eye_y + build.nose_length
        deep = _strength(0.75 * units.au12 + 0.9 * units.au10 + 0.6 * units.au9 + 0.25 * units.au20, build.age, 0.75)
        out = build.mouth_width + 0.10 + 0.10 * np.clip(units.au12 + units.au20, 0.0, 1.3)
        x = side * np.stack([build.nose_width + 0.04, 0.55 * (build.nose_width + out) + 0.06, out], axis=-1)
        y = np.stack([tip - 0.06, tip + 0.09 - 0.04 * units.au12, tip + build.mouth_gap - 0.06 * units.au12], axis=-1)
        stack.stroke(head.place(x, y), column(0.03, n) * np.array((0.5, 1.0, 0.5)), dark, deep, clip=HEAD)
        crow = _strength(units.au6, build.age, 0.6)
        edge = build.eye_x + build.eye_width
        for k in (-1, 1):
            x = column(side * edge, n) + side * np.array((0.035, 0.08, 0.13))
            y = column(build.eye_y + 0.02, n) + k * np.array((0.012, 0.03, 0.06))
            stack.stroke(head.place(x, y), column(0.016, n) * _THREE, dark, crow, clip=HEAD)
        apple = np.clip(units.au6 + 0.6 * units.au12, 0.0, 1.4)
        stack.blob(
            head.patch(side * (build.eye_x + 0.09), build.eye_y + 0.36 - 0.04 * apple, 0.13, 0.09),
            np.minimum(skin * 1.12, 255.0),
            0.35 * apple,
            clip=HEAD,
        )
    boss = np.clip(units.au17, 0.0, 1.0)
    lip = build.eye_y + build.nose_length + build.mouth_gap
    stack.blob(
        head.patch(np.zeros(n), lip + 0.17 + head.jaw_drop, 0.15, 0.03), skin * 0.66, 0.35 + 0.35 * boss, clip=HEAD
    )
    for side in (-1, 1):
        stack.blob(
            head.patch(side * np.full(n, 0.07), lip + 0.26 + head.jaw_drop, 0.03, 0.03),
            skin * 0.66,
            0.4 * boss,
            clip=HEAD,
        )
