"""Hats: a cap with its brim, a beanie, or a headscarf around the whole face."""

from __future__ import annotations

import numpy as np

from loaders.synthetic import colour
from loaders.synthetic.head import Head, column, joined
from loaders.synthetic.stack import BELOW_HAT, HAT, OPENING, Stack

CAP, BEANIE, SCARF = 1.0, 2.0, 3.0

_AZIMUTH = np.linspace(-2.0, 2.0, 27)
_BRIM = np.linspace(-0.95, 0.95, 11)
_BELOW = np.array([(2.6, 2.6, -0.8), (-2.6, 2.6, -0.8)])


def hats(stack: Stack, head: Head) -> None:
    """At most one of the three; painted over the hair, whose opening the headscarf shares."""
    look, n = head.faces.look, head.n
    one, zero = np.ones(n), np.zeros(n)
    cloth = colour.hue((look.cloth + 0.35) % 1.0, 0.25 + 0.4 * look.collar, 0.30 + 0.60 * look.cloth_light)
    cap, beanie, scarf = ((look.hat == kind).astype(np.float64) for kind in (CAP, BEANIE, SCARF))

    centre, radius = head.skull(1.12)
    wrapped = head.ellipsoid(
        np.stack([centre, joined(zero, 0.72 * one, -0.05 * one)], axis=1),
        np.stack([radius, joined(0.92 * one, 0.78 * one, 0.95 * one)], axis=1),
    )
    stack.polygon(wrapped, cloth, scarf, carve=OPENING)

    # The rim lies on a tilted circle about the skull; everything of the skull above it is hat.
    rim = np.where(look.hat == CAP, -0.66, -0.60)
    c, r = centre[:, None], radius[:, None]
    y = column(rim, n) + 0.22 * (1.0 - np.cos(_AZIMUTH))
    waist = np.sqrt(np.clip(1.0 - ((y - c[..., 1]) / r[..., 1]) ** 2, 0.02, 1.0))
    around = joined(r[..., 0] * waist * np.sin(_AZIMUTH), y, c[..., 2] + r[..., 2] * waist * np.cos(_AZIMUTH))
    edge = head.beyond(around, centre, radius)
    below = np.concatenate([edge, head.flat(np.broadcast_to(_BELOW, (n, 2, 3)))], axis=1)
    stack.polygon(below, cloth, 0.0, keep=BELOW_HAT)
    stack.polygon(head.ellipsoid(centre[:, None], radius[:, None]), cloth, cap + beanie, carve=BELOW_HAT, keep=HAT)
    stack.stroke(edge, column(0.17, n), cloth * 0.80, beanie, clip=HAT)
    inner = joined(0.98 * np.sin(_BRIM), column(rim, n) + 0.02, c[..., 2] + 1.08 * np.cos(_BRIM))
    outer = joined(
        0.95 * np.sin(_BRIM), column(rim, n) + 0.10, c[..., 2] + 1.08 * np.cos(_BRIM) + 0.60 * np.cos(1.5 * _BRIM)
    )
    stack.polygon(np.concatenate([head.flat(inner), head.flat(outer)[:, ::-1]], axis=1), cloth * 0.72, cap)
