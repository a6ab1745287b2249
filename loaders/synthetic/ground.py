"""What is behind the head: two colours, a woven texture, and now and then some shapes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic import colour
from loaders.synthetic.head import Head, column, joined
from loaders.synthetic.stack import Stack

DISCS, PANELS, SHOULDER = 1.0, 2.0, 3.0

_CIRCLE = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
_SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def ground(head: Head) -> Float64[np.ndarray, "n 14"]:
    """The rasteriser's background numbers."""
    s = head.faces.setting
    near = colour.hue(s.ground_hue, 0.10 + 0.45 * s.shape_hue, s.ground_light)
    far = colour.hue(
        (s.ground_hue + 0.12 * s.ground_step) % 1.0, 0.25, np.clip(s.ground_light + s.ground_step, 0.05, 1.0)
    )
    angle, turn = 2.0 * np.pi * s.ground_turn, np.pi * s.weave_turn
    wave = 2.0 * np.pi * (1.5 + 6.5 * s.weave_scale)
    rest = [
        np.cos(angle),
        np.sin(angle),
        18.0 * np.maximum(s.weave, 0.0),
        wave * np.cos(turn),
        wave * np.sin(turn),
        2.0 * np.pi * s.shape_x,
        2.0 * np.pi * s.shape_y,
        (s.weave_kind > 0.5).astype(np.float64),
    ]
    return np.concatenate([near, far, np.stack(rest, axis=-1)], axis=1)


def shapes(stack: Stack, head: Head) -> None:
    """Discs, panels or another person's shoulder and head, out of focus."""
    s, n = head.faces.setting, head.n
    for k in range(4):
        tone = colour.hue(
            (s.shape_hue + 0.17 * k) % 1.0, 0.35, np.clip(0.25 + 0.7 * ((s.shape_light + 0.37 * k) % 1.0), 0.0, 1.0)
        )
        x, y = -1.7 + 3.4 * ((s.shape_x + 0.31 * k) % 1.0), -1.7 + 3.0 * ((s.shape_y + 0.43 * k) % 1.0)
        disc = joined(column(x, n) + 0.36 * np.cos(_CIRCLE), column(y, n) + 0.36 * np.sin(_CIRCLE))
        stack.polygon(disc, tone, 0.55 * (s.shape == DISCS), lit=0.0)
        half = np.stack(
            [0.16 + 0.4 * ((s.shape_x + 0.2 * k) % 1.0), 0.5 + 1.1 * ((s.shape_y + 0.3 * k) % 1.0)], axis=-1
        )
        stack.polygon(
            np.stack([x, y], axis=-1)[:, None] + _SQUARE * half[:, None], tone, 0.8 * (s.shape == PANELS), lit=0.0
        )
    side = np.where(s.shape_x >= 0.5, 1.0, -1.0)
    cloth = colour.hue(s.shape_hue, 0.4, 0.2 + 0.6 * s.shape_light)
    there = (s.shape == SHOULDER).astype(np.float64)
    trunk = joined(
        column(side * 1.75, n) + 0.9 * np.cos(_CIRCLE), column(1.1 + s.shape_y * 0.4, n) + 0.9 * np.sin(_CIRCLE)
    )
    stack.polygon(trunk, cloth, there, lit=0.0)
    other = joined(
        column(side * 1.60, n) + 0.50 * np.cos(_CIRCLE), column(-0.25 + 0.4 * s.shape_y, n) + 0.62 * np.sin(_CIRCLE)
    )
    stack.polygon(other, colour.skin(s.shape_light, s.shape_hue) * 0.85, there, lit=0.0)
