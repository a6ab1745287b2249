"""Hair: a volume around the skull, cut open where the face looks out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic.columns import Array
from loaders.synthetic.head import Head, column, joined
from loaders.synthetic.stack import HAIR, OPENING, Stack

SHORT, LONG, CURLY, BUN, BALD = range(5)
SCARF = 3

_T = np.linspace(-1.0, 1.0, 17)
_SIDE_Y = np.array((-0.30, 0.02, 0.34, 0.75, 1.15))
_HAIR_SIDE = np.array((1.02, 1.04, 1.00, 1.04, 1.05))
_SHORT_SIDE = np.array((1.14, 1.36, 1.40, 1.60, 1.70))
_SCARF_SIDE = np.array((1.02, 1.04, 0.98, 0.85, 0.55))
_CURL = np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False)


def _is(kinds: Array, kind: int) -> Array:
    same: Array = (kinds == kind).astype(np.float64)
    return same


def shown(head: Head) -> Array:
    """1 where there is hair to see, n."""
    return (1.0 - _is(head.faces.look.hair, BALD)) * (1.0 - _is(head.faces.look.hat, SCARF))


def behind(stack: Stack, head: Head, hair: Float64[np.ndarray, "n 3"]) -> None:
    """What hangs or stands behind the head and neck."""
    look, n = head.faces.look, head.n
    zero, one = np.zeros(n), np.ones(n)
    seen = shown(head)
    centre, radius = head.skull(look.hair_volume + 0.05)
    spread = 0.70 + 0.25 * look.sideburn
    locks = head.ellipsoid(
        np.stack([centre, *(joined(s * 0.42 * one, 1.05 + 0.3 * look.sideburn, -0.30 * one) for s in (-1, 1))], axis=1),
        np.stack([radius, *(joined(spread, 0.55 * one, 0.45 * one) for _ in (-1, 1))], axis=1),
    )
    stack.polygon(locks, hair * 0.72, seen * _is(look.hair, LONG))
    bun = head.ellipsoid(
        joined(zero, -1.05 * one, -0.75 * one)[:, None], joined(0.40 * one, 0.38 * one, 0.40 * one)[:, None]
    )
    stack.polygon(bun, hair * 0.85, seen * _is(look.hair, BUN) * (look.hat == 0.0))
    # The far side of the hair, seen past a receding forehead.
    centre, radius = _volume(head)
    radius = radius * np.array((0.97, 1.0, 1.0)) - np.array((0.0, 0.12, 0.0))
    stack.polygon(head.ellipsoid((centre - np.array((0.0, 0.12, 0.0)))[:, None], radius[:, None]), hair * 0.7, seen)
    # Curls: a ring of balls about a wide head of hair.
    wide = head.ellipsoid(
        joined(zero, -0.32 * one, -0.18 * one)[:, None], joined(1.24 * one, 1.15 * one, 1.2 * one)[:, None]
    )
    puff = seen * _is(look.hair, CURLY)
    stack.polygon(wide, hair * 0.86, puff)
    for k in range(0, wide.shape[1], 3):
        ball = wide[:, k : k + 1] + 0.17 * np.stack([np.cos(_CURL), np.sin(_CURL)], axis=-1)
        stack.polygon(ball, hair * (0.80 + 0.08 * (k // 3 % 3)), puff)


def _volume(head: Head) -> tuple[Array, Array]:
    """Centre and radii of the hair's ellipsoid; short hair ends at the nape, long hair goes on below it."""
    look = head.faces.look
    centre, radius = head.skull(look.hair_volume)
    top = centre[:, 1] - radius[:, 1]
    bottom = np.where((look.hair == SHORT) | (look.hair == BUN), 0.66, centre[:, 1] + radius[:, 1])
    centre[:, 1], radius[:, 1] = 0.5 * (top + bottom), 0.5 * (bottom - top)
    return centre, radius


def _opening(head: Head, centre: Array, radius: Array) -> Array:
    """Closed curve on the hair's ellipsoid through which the face is seen, n k 2."""
    look, n = head.faces.look, head.n
    scarf = _is(look.hat, SCARF)[:, None]
    straight, swept = _is(look.fringe, 2)[:, None], _is(look.fringe, 1)[:, None]
    # Across the forehead from temple to temple, then down both sides and round below the chin.
    tilt = np.where(look.parting >= 0.0, 1.0, -1.0)[:, None]
    low = column(look.hairline, n) + 0.14 * np.abs(_T) ** 3
    part = np.exp(-(((_T - 0.45 * column(look.parting, n)) / 0.16) ** 2))
    low = np.where(
        straight > 0.0,
        low + 0.20 + 0.035 * np.cos(9.0 * np.pi * _T),
        np.where(swept > 0.0, low - 0.02 + 0.12 * (1.0 + tilt * _T), low - 0.10 * part),
    )
    low = np.where(scarf > 0.0, -0.66 + 0.10 * np.abs(_T) ** 3, low)
    burn = column(look.sideburn, n) * np.array((0.0, 0.16, 0.16, 0.0, 0.0))
    cropped = (_is(look.hair, SHORT) + _is(look.hair, BUN))[:, None]
    side = np.where(scarf > 0.0, _SCARF_SIDE, np.where(cropped > 0.0, _SHORT_SIDE, _HAIR_SIDE) - burn)
    azimuth = np.concatenate([np.broadcast_to(0.98 * _T, low.shape), side, -side[:, ::-1]], axis=1)
    down = np.broadcast_to(_SIDE_Y, side.shape)
    y = np.concatenate([low, down, down[:, ::-1]], axis=1)
    c, r = centre[:, None], radius[:, None]
    waist = np.sqrt(np.clip(1.0 - ((y - c[..., 1]) / r[..., 1]) ** 2, 0.30, 1.0))
    points = joined(r[..., 0] * waist * np.sin(azimuth), y, c[..., 2] + r[..., 2] * waist * np.cos(azimuth))
    return head.beyond(points, centre, radius)


def front(stack: Stack, head: Head, hair: Float64[np.ndarray, "n 3"]) -> None:
    """Hair on the skull, with the face's opening carved out of it, and a few lighter and darker locks."""
    n = head.n
    centre, radius = _volume(head)
    seen = shown(head)
    window = _opening(head, centre, radius)
    stack.polygon(window, hair, 0.0, keep=OPENING)
    cap = head.ellipsoid(centre[:, None], radius[:, None])
    stack.polygon(cap, hair, seen, carve=OPENING, keep=HAIR)
    for k, (place, tone) in enumerate(((-0.75, 1.22), (-0.35, 0.82), (0.1, 1.25), (0.45, 0.84), (0.8, 1.18))):
        azimuth = place + np.linspace(0.0, 0.25, 6) * (1.0 if k % 2 else -1.0)
        y = np.linspace(-1.08, -0.35, 6) - 0.12 * (1.0 - abs(place))
        c, r = centre[:, None], radius[:, None]
        waist = np.sqrt(np.clip(1.0 - ((y - c[..., 1]) / r[..., 1]) ** 2, 0.02, 1.0))
        lock = joined(
            r[..., 0] * waist * np.sin(azimuth),
            np.broadcast_to(y, (n, 6)),
            c[..., 2] + r[..., 2] * waist * np.cos(azimuth),
        )
        stack.stroke(
            head.beyond(lock, centre, radius),
            column(0.10, n) * np.array((0.3, 0.8, 1.0, 1.0, 0.7, 0.2)),
            np.minimum(hair * tone, 255.0),
            0.55 * seen,
            clip=HAIR,
            carve=OPENING,
        )
