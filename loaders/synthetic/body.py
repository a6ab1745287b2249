"""Ears, neck, shoulders, and the skin of the head itself with its blush, freckles and beard."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic import colour
from loaders.synthetic.columns import Array
from loaders.synthetic.head import Head, column, joined
from loaders.synthetic.stack import HEAD, NECK, Stack

_T = np.linspace(-1.0, 1.0, 13)
_SPOTS = np.array([(0.30, 0.22), (0.42, 0.30), (0.52, 0.20), (0.22, 0.32), (0.38, 0.17), (0.08, 0.14)])


def neck(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"]) -> None:
    """Neck and clothes; the trunk stays upright, the neck leans with the head."""
    build, look, n = head.faces.build, head.faces.look, head.n
    top = head.flat(np.broadcast_to(np.array((0.0, 0.55, -0.30)), (n, 1, 3)))
    low = np.concatenate([0.35 * top[..., :1], np.full((n, 1, 1), 1.62)], axis=-1)
    stem = np.concatenate([top, 0.5 * (top + low), low], axis=1)
    stack.stroke(
        stem, column(0.84 + 0.5 * (build.jaw - 0.62), n) * np.array((1.0, 0.98, 1.12)), skin * 0.88, lit=0.6, keep=NECK
    )
    chin = head.flat(joined(np.zeros(n), build.chin + 0.12, np.full(n, 0.1))[:, None])
    stack.blob(
        np.concatenate([chin, chin + np.array((0.40, 0.0)), chin + np.array((0.0, 0.16))], axis=1),
        skin * 0.55,
        0.7,
        clip=NECK,
    )
    cloth = colour.hue(look.cloth, 0.15 + 0.5 * look.collar, 0.25 + 0.65 * look.cloth_light)
    rise = 0.30 * np.exp(-((_T / 0.30) ** 2))
    y = 1.60 - rise + 0.30 * _T**2 + column(0.10 * (look.collar - 0.5), n)
    x = low[:, :, 0] + 2.1 * _T
    opening = column(0.14 + 0.22 * look.collar, n) * np.exp(-((_T / 0.16) ** 2))
    shoulders = joined(x, y + opening)
    floor = np.broadcast_to(np.array([(2.6, 3.4), (-2.6, 3.4)]), (n, 2, 2))
    stack.polygon(np.concatenate([shoulders, floor], axis=1), cloth, lit=0.35)


def ears(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"], *, over: bool) -> None:
    """Both ears behind the head, or `over` it: there only the one that is turned toward the viewer."""
    build, n = head.faces.build, head.n
    for side in (-1, 1):
        one = np.ones(n)
        centre = joined(side * build.width * 0.98, 0.06 * one, -0.10 * one)[:, None]
        shape = joined(0.09 * one, build.ear + 0.03, 0.62 * build.ear)[:, None]
        toward = np.clip(side * head.matrix[:, 2, 0] * 8.0 - 0.6, 0.0, 1.0)
        alpha: Array | float = toward if over else 1.0
        stack.polygon(head.ellipsoid(centre, shape), skin * 0.93, alpha)
        inner = head.ellipsoid(centre + np.array((side * 0.05, 0.0, 0.02)), shape * 0.6)
        stack.polygon(inner, skin * 0.74, alpha * 0.8)


def skin_of_head(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"]) -> None:
    """The bare head; its coverage is kept, so that nothing on the face leaves it."""
    build, look = head.faces.build, head.faces.look
    stack.polygon(head.outline(), skin, keep=HEAD)
    tip = build.eye_y + build.nose_length
    rosy = colour.mix(skin, skin * np.array((1.06, 0.74, 0.72)), 1.0)
    for side in (-1, 1):
        stack.blob(
            head.patch(side * 0.50 * build.width, tip + 0.02, 0.17, 0.13), rosy, 0.15 + 0.5 * look.blush, clip=HEAD
        )
        for x, y in _SPOTS:
            spot = head.patch(side * np.full(head.n, x), build.eye_y + y, 0.014, 0.014)
            stack.blob(spot, skin * 0.62, 0.8 * look.freckles, clip=HEAD)


def beard(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"], hair: Float64[np.ndarray, "n 3"]) -> None:
    """Stubble, a full beard or a moustache, painted before the mouth."""
    build, look, units, n = head.faces.build, head.faces.look, head.faces.units, head.n
    lip = build.eye_y + build.nose_length + build.mouth_gap
    kind = look.beard[:, None]
    tone = np.where(kind == 1.0, colour.mix(skin, hair, 0.55), hair)
    full = np.where(look.beard == 1.0, 0.55, 0.93) * ((look.beard == 1.0) | (look.beard == 2.0))
    cheek = column(lip - 0.16, n) + 0.30 * (1.0 - np.abs(_T)) - 0.42 * np.abs(_T) ** 4
    bottom = column(head.chin_y + 0.25, n) - 0.10 * _T**2
    x = column(0.93 * build.width, n) * _T
    mask = head.place(
        np.concatenate([x, 0.9 * x[:, ::-1]], axis=1),
        np.concatenate([np.minimum(cheek, bottom), bottom[:, ::-1]], axis=1),
    )
    stack.polygon(mask, tone, full, clip=HEAD)
    above = np.where(look.beard == 1.0, 0.5, 0.95) * (look.beard >= 1.0)
    x = column(build.mouth_width * (0.95 + 0.2 * np.clip(units.au12, 0.0, 1.0)), n) * _T
    y = column(lip - 0.115 - 0.06 * np.clip(units.au10, 0.0, 1.0), n) + (0.10 * _T**2) * column(
        1.0 - 0.7 * units.au12, n
    )
    stack.stroke(head.place(x, y, 0.04), column(0.11, n) * (1.0 - 0.55 * _T**2), tone, above, clip=HEAD)
