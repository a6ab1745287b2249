"""Things in front of the face, which hide part of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic import colour
from loaders.synthetic.columns import Array
from loaders.synthetic.head import Head, column, joined
from loaders.synthetic.stack import Stack

HAND, STRAND, BAR, SCARF = 1.0, 2.0, 3.0, 4.0

_S = np.linspace(0.0, 1.0, 7)
_SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
_FINGER = np.array((0.75, 1.0, 1.0, 1.0, 1.0, 0.9, 0.45))


def _turned(points: Array, angle: Array) -> Array:
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return joined(points[..., 0] * c - points[..., 1] * s, points[..., 0] * s + points[..., 1] * c)


def covers(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"], hair: Float64[np.ndarray, "n 3"]) -> None:
    """At most one of: a hand on the cheek or chin, a strand of hair, a bar held in front, a scarf over the chin."""
    s, n = head.faces.setting, head.n
    tone = colour.hue(s.cover_hue, 0.20 + 0.5 * s.cover_turn, 0.2 + 0.75 * s.cover_light)

    hand = (s.cover == HAND).astype(np.float64)
    side = np.where(s.cover_x >= 0.5, 1.0, -1.0)
    palm = np.stack([side * (0.95 + 0.25 * s.cover_light), 1.18 - 0.35 * s.cover_y], axis=-1)
    lean = -side * (0.35 + 0.8 * s.cover_turn)
    arm = palm[:, None] + _turned(joined(np.zeros((n, 7)), 1.6 * _S), 0.3 * lean)
    stack.stroke(arm, column(0.60, n), skin * 0.92, hand)
    for k, (spread, length) in enumerate(((-0.34, 0.62), (-0.11, 0.74), (0.12, 0.72), (0.34, 0.58))):
        root = joined(np.full((n, 7), spread * 0.75), -0.10 - length * _S)
        finger = palm[:, None] + _turned(root + np.stack([spread * 0.25 * _S, 0.0 * _S], axis=-1), lean)
        stack.stroke(finger, 0.255 * _FINGER[None] + np.zeros((n, 1)), skin * 0.60, hand)
        stack.stroke(finger, 0.215 * _FINGER[None] + np.zeros((n, 1)), skin * (1.0 - 0.02 * k), hand)

    strand = (s.cover == STRAND).astype(np.float64)
    x0, x1 = -0.3 + 0.6 * s.cover_x, np.where(s.cover_x >= 0.5, 1.0, -1.0) * (0.35 + 0.45 * s.cover_turn)
    x = column(x0, n) + column(x1 - x0, n) * _S**0.8
    y = -0.85 + (0.9 + 0.8 * column(s.cover_y, n)) * _S
    width = column(0.13 + 0.16 * s.cover_light, n) * (1.0 - 0.8 * _S)
    stack.stroke(head.place(x, y, 0.08), width, hair, strand)

    bar = (s.cover == BAR).astype(np.float64)
    at = np.stack([-1.0 + 2.0 * s.cover_x, -0.9 + 2.0 * s.cover_y], axis=-1)
    half = np.stack([0.22 + 0.5 * s.cover_light, 0.13 + 0.12 * s.cover_hue], axis=-1)
    stack.polygon(at[:, None] + _turned(_SQUARE * half[:, None], np.pi * s.cover_turn), tone, bar, lit=0.2)

    scarf = (s.cover == SCARF).astype(np.float64)
    t = np.linspace(-1.0, 1.0, 9)
    top = head.place(0.95 * t[None] + np.zeros((n, 1)), column(1.02 - 0.26 * s.cover_y, n) - 0.10 * t**2, 0.05)
    foot = np.broadcast_to(np.array([(1.5, 1.9), (1.0, 3.0), (-1.0, 3.0), (-1.5, 1.9)]), (n, 4, 2))
    stack.polygon(np.concatenate([top, foot], axis=1), tone, scarf, lit=0.7)
    fold = head.place(0.9 * t[None] + np.zeros((n, 1)), column(1.16 - 0.26 * s.cover_y, n) - 0.02 * t**2, 0.05)
    stack.stroke(fold, column(0.05, n), tone * 0.7, scarf, lit=0.7)
