"""Brows: one tapered stroke each, a quadratic Bezier curve whose ends and middle move on their own."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic.head import Head, column
from loaders.synthetic.stack import HEAD, Stack

_S = np.linspace(0.0, 1.0, 9)
_TAPER = np.array([0.72, 0.92, 1.0, 1.0, 0.95, 0.85, 0.7, 0.5, 0.25])


def brows(stack: Stack, head: Head, hair: Float64[np.ndarray, "n 3"]) -> None:
    """Both brows, from the nose outward."""
    build, units = head.faces.build, head.faces.units
    n = head.n
    base = build.eye_y - build.brow_gap
    inner = base + build.brow_tilt - 0.23 * units.au1 + 0.23 * units.au4 + 0.06 * units.au9
    outer = base - build.brow_tilt + 0.03 - 0.20 * units.au2 + 0.02 * units.au4 + 0.03 * units.au1
    middle = base - 2.0 * build.brow_arch - 0.11 * units.au1 - 0.20 * units.au2 + 0.10 * units.au4 + 0.03 * units.au9
    start = 0.165 - 0.06 * np.clip(units.au4, 0.0, 1.2)
    end = build.eye_x + build.eye_width + 0.06
    a, b, c = (1.0 - _S) ** 2, 2.0 * _S * (1.0 - _S), _S**2
    y = column(inner, n) * a + column(middle, n) * b + column(outer, n) * c
    x = column(start, n) * (1.0 - _S) + column(end, n) * _S
    for side in (-1, 1):
        stack.stroke(head.place(side * x, y, 0.03), column(build.brow_thick, n) * _TAPER, hair, 0.92, clip=HEAD)
