"""Mouth: lips, the opening between them, teeth and tongue."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic import colour
from loaders.synthetic.head import Head, column
from loaders.synthetic.stack import HEAD, MOUTH, Stack

_T = np.linspace(-1.0, 1.0, 15)
_LIFT = 0.05


def mouth(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"]) -> None:
    """Lips and what shows between them."""
    build, look, units = head.faces.build, head.faces.look, head.faces.units
    n = head.n
    part, jaw = np.clip(units.au25, 0.0, 1.3), np.clip(units.au26, 0.0, 1.2)
    smile, press = np.clip(units.au12, -0.2, 1.3), np.clip(units.au23, 0.0, 1.2)
    half = build.mouth_width * (
        1.0 + 0.30 * smile + 0.34 * units.au20 - 0.20 * press - 0.12 * units.au17 - 0.22 * jaw * (1.0 - smile)
    )
    middle = build.eye_y + build.nose_length + build.mouth_gap + 0.04 * jaw
    corner = build.mouth_curve - 0.23 * smile + 0.23 * units.au15 + 0.05 * units.au20 - 0.01 * units.au10 + 0.06 * jaw
    raised = -0.035 * part - 0.085 * units.au10 - 0.03 * units.au9 - 0.05 * units.au17 - 0.03 * jaw + 0.03 * smile
    opening = np.maximum(0.125 * part * (1.0 + 0.3 * smile) + 0.36 * jaw + 0.05 * units.au10 * part, 0.0)
    thin = 1.0 - 0.60 * press - 0.15 * np.clip(units.au20, 0.0, 1.0) - 0.20 * np.clip(smile, 0.0, 1.0)

    y = column(middle, n) + column(corner, n) * np.abs(_T) ** 1.7
    flat = 1.0 - np.abs(_T) ** 2.6  # stretched and snarling mouths are square, smiling ones round
    round_ = (1.0 - _T**2) ** 0.8
    square = column(np.clip(units.au20 + units.au10, 0.0, 1.0), n)
    bow = square * flat + (1.0 - square) * round_
    top = y + column(raised, n) * bow
    bottom = top + column(opening, n) * bow
    cupid = 1.0 - 0.28 * np.exp(-((_T / 0.16) ** 2)) * (1.0 - column(np.clip(smile, 0.0, 1.0), n))
    over = top - column(build.lip_upper * thin, n) * (1.0 - np.abs(_T) ** 2.0) ** 0.7 * cupid
    pout = 1.0 + 0.35 * np.clip(units.au17, 0.0, 1.0)
    under = bottom + column(build.lip_lower * thin * pout, n) * (1.0 - _T**2) ** 0.75
    x = column(half, n) * _T
    both = np.concatenate([x, x[:, ::-1]], axis=1)

    rose = colour.mix(
        skin * np.array((0.86, 0.58, 0.56)),
        np.broadcast_to(np.array((186.0, 40.0, 58.0)), (n, 3)),
        0.75 * np.clip(look.lipstick - 0.55, 0.0, 1.0) / 0.45,
    )
    stack.polygon(head.place(both, np.concatenate([over, under[:, ::-1]], axis=1), _LIFT), rose, clip=HEAD)
    gleam = head.patch(np.zeros(n), middle + raised + opening + 0.5 * build.lip_lower, 0.09, 0.018)
    stack.blob(gleam, np.minimum(rose * 1.25, 255.0), 0.35 * np.clip(thin, 0.0, 1.0), clip=HEAD)

    inside = np.broadcast_to(np.array((70.0, 22.0, 28.0)), (n, 3))
    slot = head.place(both, np.concatenate([top, bottom[:, ::-1]], axis=1), _LIFT)
    stack.polygon(slot, inside, lit=0.6, clip=HEAD, keep=MOUTH)
    tongue = head.place(
        column(0.55 * half, n) * np.array((0.0, 1.0, 0.0)),
        column(middle + raised + 0.92 * opening, n) + column(0.35 * opening + 0.01, n) * np.array((0.0, 0.0, 1.0)),
        _LIFT,
    )
    stack.blob(
        tongue, np.broadcast_to(np.array((196.0, 88.0, 92.0)), (n, 3)), 0.9 * np.clip(jaw * 2.0, 0.0, 1.0), clip=MOUTH
    )
    ivory = np.broadcast_to(np.array((245.0, 241.0, 230.0)), (n, 3))
    teeth = np.minimum(0.11 - 0.035 * np.clip(jaw - 0.4 * smile, 0.0, 1.0), 0.85 * opening + 0.01)
    upper = head.place(0.93 * both, np.concatenate([top - 0.03, (top + column(teeth, n))[:, ::-1]], axis=1), _LIFT)
    stack.polygon(upper, ivory, lit=0.6, clip=MOUTH)
    bared = np.clip(1.4 * units.au20 + units.au10 - 0.6 * smile - 0.2, 0.0, 1.0)
    lower = head.place(
        0.85 * both, np.concatenate([bottom - column(0.35 * opening, n), (bottom + 0.03)[:, ::-1]], axis=1), _LIFT
    )
    stack.polygon(lower, ivory * 0.95, bared, lit=0.6, clip=MOUTH)
    # The line between closed lips, which fades into the dark of an open mouth.
    seam = head.place(x, 0.5 * (top + bottom), _LIFT)
    closed = np.clip(1.0 - opening / 0.06, 0.0, 1.0)
    stack.stroke(
        seam, column(0.030, n) * (1.1 - 0.6 * np.abs(_T)), skin * np.array((0.36, 0.24, 0.25)), closed, clip=HEAD
    )
    for side in (-1, 1):
        dimple = head.patch(side * (half + 0.015), middle + corner, 0.022, 0.03)
        stack.blob(dimple, skin * 0.45, 0.55, clip=HEAD)
