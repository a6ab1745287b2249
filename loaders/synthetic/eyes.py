"""Eyes: sockets, the white seen between the lids, iris and pupil, lashes and creases."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic import colour
from loaders.synthetic.columns import Array
from loaders.synthetic.head import Head, column
from loaders.synthetic.stack import EYE_LEFT, EYE_RIGHT, HEAD, Stack

_T = np.linspace(-1.0, 1.0, 9)
_TURN = np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False)


def _lids(head: Head, side: int) -> tuple[Array, Array, Array]:
    """x (n, 9) from the inner to the outer corner, and y of the upper and the lower lid."""
    build, units = head.faces.build, head.faces.units
    n = head.n
    rise = 0.75 * units.au5 - 0.32 * units.au7 - 0.28 * units.au6 - 0.15 * units.au9 - 0.85 * units.au43
    upper = build.eye_height * np.clip(1.0 + rise, 0.06, 2.0)
    lower = build.eye_height * np.clip(0.62 + 0.15 * units.au5 - 0.40 * units.au7 - 0.55 * units.au6, 0.04, 1.0)
    # A raised inner brow draws the lid up at its inner end and lets the outer end hang; a lowered one the opposite.
    skew = 0.45 * np.clip(units.au1 - 0.7 * units.au2, -0.5, 1.2) - 0.45 * np.clip(units.au4 - units.au1, 0.0, 1.2)
    x = side * (column(build.eye_x, n) + column(build.eye_width, n) * _T)
    corner = column(build.eye_y, n) + column(build.eye_tilt - 0.02, n) * _T
    bow = (1.0 - _T**2) ** 0.75
    return (
        x,
        corner - column(upper, n) * bow * (1.0 - column(skew, n) * _T),
        corner + column(lower, n) * (1.0 - _T**2),
    )


def sockets(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"]) -> None:
    """Soft shadows the eyes lie in, painted before anything else on the face."""
    build, units = head.faces.build, head.faces.units
    for side in (-1, 1):
        stack.blob(head.patch(side * build.eye_x * 0.95, build.eye_y - 0.05, 0.19, 0.13), skin * 0.72, 0.45, clip=HEAD)
        bag = 0.10 + 0.30 * build.age + 0.25 * np.clip(units.au6, 0.0, 1.0)
        stack.blob(head.patch(side * build.eye_x, build.eye_y + 0.19, 0.15, 0.035), skin * 0.70, bag, clip=HEAD)


def eyes(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"]) -> None:
    """Both eyes."""
    build, look, units = head.faces.build, head.faces.look, head.faces.units
    n = head.n
    iris, lash = colour.iris(look.iris), colour.mix(skin * 0.35, np.broadcast_to(colour.BLACK, (n, 3)), 0.6)
    white = np.broadcast_to(np.array((244.0, 240.0, 236.0)), (n, 3))
    radius = column(0.80 * build.eye_height + 0.018, n)
    for side, slot in ((-1, EYE_LEFT), (1, EYE_RIGHT)):
        x, upper, lower = _lids(head, side)
        opening = head.place(np.concatenate([x, x[:, ::-1]], axis=1), np.concatenate([upper, lower[:, ::-1]], axis=1))
        stack.polygon(opening, white, lit=0.7, clip=HEAD, keep=slot)
        cx = column(side * build.eye_x + 0.045 * look.gaze_x, n)
        cy = column(build.eye_y - 0.012 + 0.025 * look.gaze_y, n)
        for share, tone in ((1.0, iris * 0.62), (0.82, iris), (0.46, np.broadcast_to(colour.BLACK, (n, 3)))):
            disc = head.place(cx + share * radius * np.cos(_TURN), cy + share * radius * np.sin(_TURN))
            stack.polygon(disc, tone, lit=0.5, clip=slot)
        # The upper lid's shadow on the ball, then a glint that stays on the lamp's side.
        shade = head.place(x, upper + 0.012)
        stack.stroke(shade, column(0.03, n), skin * 0.4, 0.45, clip=slot)
        glint = head.place(cx + 0.03 * column(head.faces.setting.light_x, n), cy - 0.035)
        ball = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=-1) * 0.022
        stack.polygon(glint + ball, np.broadcast_to(colour.WHITE, (n, 3)), 0.9, lit=0.0, clip=slot)

        thick = column(0.026 + 0.03 * look.lash, n) * (0.55 + 0.45 * (_T + 1.0) / 2.0)
        stack.stroke(head.place(x, upper), thick, lash, clip=HEAD)
        stack.stroke(head.place(x, lower), column(0.016, n), skin * 0.55, 0.75, clip=HEAD)
        lift = 0.055 + 0.02 * np.clip(units.au5, -1.0, 1.0) - 0.02 * np.clip(units.au4, 0.0, 1.0)
        crease = head.place(x, upper - column(lift, n) * (1.0 - 0.5 * _T**2))
        stack.stroke(crease, column(0.018, n), skin * 0.62, 0.6, clip=HEAD)
