"""Draws hair, hats and glasses."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from loaders.synthetic import colour
from loaders.synthetic.head import Ball, Head, Outline, Points, path, point
from loaders.synthetic.raster import BELOW_HAT, HAIR, HAT, OPENING, Stack

SHORT, LONG, CURLY, BUN, BALD = range(5)
SWEPT, STRAIGHT = 1, 2
CAP, BEANIE, HEADSCARF = 1, 2, 3

# Hair: a volume around the skull, cut open where the face looks out.

_T = np.linspace(-1.0, 1.0, 17)
_SIDE_Y = np.array((-0.30, 0.02, 0.34, 0.75, 1.15))
_HAIR_SIDE = np.array((1.02, 1.04, 1.00, 1.04, 1.05))
_SHORT_SIDE = np.array((1.14, 1.36, 1.40, 1.60, 1.70))
_SCARF_SIDE = np.array((1.02, 1.04, 0.98, 0.85, 0.55))
_CURL = np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False)


def _hair_shown(head: Head) -> Bool[np.ndarray, "n 1"]:
    shown: Bool[np.ndarray, "n 1"] = (head.look.hair != BALD) & (head.look.hat != HEADSCARF)
    return shown


def _volume(head: Head) -> Ball:
    """Gives the hair's ellipsoid; short hair ends at the nape, long hair goes on below it."""
    look = head.look
    centre, radius = head.skull(look.hair_volume)
    y, height = centre[1], radius[..., 1]
    bottom = np.where((look.hair == SHORT) | (look.hair == BUN), 0.66, y + height)
    top = y - height
    return (
        point(centre[0], 0.5 * (top + bottom), centre[2]),
        point(radius[..., 0], 0.5 * (bottom - top), radius[..., 2]),
    )


def hair_behind(stack: Stack, head: Head) -> None:
    """Draws what hangs or stands behind the head and neck."""
    look, hair, seen = head.look, head.hair, _hair_shown(head)
    lock = point(0.70 + 0.25 * look.sideburn, 0.55, 0.45)
    sides = [(point(s * 0.42, 1.05 + 0.3 * look.sideburn, -0.30), lock) for s in (-1, 1)]
    locks = head.hull(head.skull(look.hair_volume + 0.05), *sides)
    stack.polygon(locks, hair * 0.72, seen & (look.hair == LONG))
    bun = head.hull((np.array((0.0, -1.05, -0.75)), np.array((0.40, 0.38, 0.40))))
    stack.polygon(bun, hair * 0.85, seen & (look.hair == BUN) & (look.hat == 0.0))
    # The far side of the hair, seen past a receding forehead.
    centre, radius = _volume(head)
    drop = np.array((0.0, 0.12, 0.0))
    stack.polygon(head.hull((centre - drop, radius * np.array((0.97, 1.0, 1.0)) - drop)), hair * 0.7, seen)
    # Curls: a ring of balls about a wide head of hair.
    wide = head.hull((np.array((0.0, -0.32, -0.18)), np.array((1.24, 1.15, 1.2))))
    puff = seen & (look.hair == CURLY)
    stack.polygon(wide, hair * 0.86, puff)
    for k in range(0, wide.shape[1], 3):
        ball = wide[:, k : k + 1] + 0.17 * point(np.cos(_CURL), np.sin(_CURL))
        stack.polygon(ball, hair * (0.80 + 0.08 * (k // 3 % 3)), puff)


def _opening(head: Head, volume: Ball) -> Outline:
    """Outlines the part of the hair's ellipsoid through which the face is seen."""
    look, scarf = head.look, head.look.hat == HEADSCARF
    # Across the forehead from temple to temple, then down both sides and round below the chin.
    tilt = np.where(look.parting >= 0.0, 1.0, -1.0)
    low = look.hairline + 0.14 * np.abs(_T) ** 3
    part = np.exp(-(((_T - 0.45 * look.parting) / 0.16) ** 2))
    low = np.where(
        look.fringe == STRAIGHT,
        low + 0.20 + 0.035 * np.cos(9.0 * np.pi * _T),
        np.where(look.fringe == SWEPT, low - 0.02 + 0.12 * (1.0 + tilt * _T), low - 0.10 * part),
    )
    low = np.where(scarf, -0.66 + 0.10 * np.abs(_T) ** 3, low)
    burn = look.sideburn * np.array((0.0, 0.16, 0.16, 0.0, 0.0))
    cropped = (look.hair == SHORT) | (look.hair == BUN)
    side = np.where(scarf, _SCARF_SIDE, np.where(cropped, _SHORT_SIDE, _HAIR_SIDE) - burn)
    down = np.broadcast_to(_SIDE_Y, side.shape)
    azimuth = np.concatenate([np.broadcast_to(0.98 * _T, low.shape), side, -side[:, ::-1]], axis=1)
    return head.around(volume, azimuth, np.concatenate([low, down, down[:, ::-1]], axis=1), narrowest=0.30)


def hair_in_front(stack: Stack, head: Head) -> None:
    """Draws hair on the skull, with the face's opening carved out of it, and a few lighter and darker locks."""
    hair, seen, volume = head.hair, _hair_shown(head), _volume(head)
    stack.polygon(_opening(head, volume), hair, 0.0, keep=OPENING)
    stack.polygon(head.hull(volume), hair, seen, carve=OPENING, keep=HAIR)
    width = 0.10 * np.array((0.3, 0.8, 1.0, 1.0, 0.7, 0.2))
    for k, (place, tone) in enumerate(((-0.75, 1.22), (-0.35, 0.82), (0.1, 1.25), (0.45, 0.84), (0.8, 1.18))):
        azimuth = place + np.linspace(0.0, 0.25, 6) * (1.0 if k % 2 else -1.0)
        lock = head.around(volume, azimuth, np.linspace(-1.08, -0.35, 6) - 0.12 * (1.0 - abs(place)))
        stack.stroke(lock, width, np.minimum(hair * tone, 255.0), 0.55 * seen, clip=HAIR, carve=OPENING)


# Hats: a cap with its brim, a beanie, or a headscarf around the whole face.

_RIM = np.linspace(-2.0, 2.0, 27)
_BRIM = np.linspace(-0.95, 0.95, 11)
_BELOW = np.array([(2.6, 2.6, -0.8), (-2.6, 2.6, -0.8)])


def hats(stack: Stack, head: Head) -> None:
    """Draws at most one of the three; painted over the hair, whose opening the headscarf shares."""
    look = head.look
    cloth = colour.hue((look.cloth + 0.35) % 1.0, 0.25 + 0.4 * look.collar, 0.30 + 0.60 * look.cloth_light)
    cap, beanie = look.hat == CAP, look.hat == BEANIE

    skull = head.skull(1.12)
    wrapped = head.hull(skull, (np.array((0.0, 0.72, -0.05)), np.array((0.92, 0.78, 0.95))))
    stack.polygon(wrapped, cloth, look.hat == HEADSCARF, carve=OPENING)

    # The rim lies on a tilted circle about the skull; everything of the skull above it is hat.
    rim = np.where(cap, -0.66, -0.60)
    edge = head.around(skull, _RIM, rim + 0.22 * (1.0 - np.cos(_RIM)))
    stack.polygon(path(edge, head.flat(_BELOW)), cloth, 0.0, keep=BELOW_HAT)
    stack.polygon(head.hull(skull), cloth, cap | beanie, carve=BELOW_HAT, keep=HAT)
    stack.stroke(edge, 0.17, cloth * 0.80, beanie, clip=HAT)
    depth = skull[0][2] + 1.08 * np.cos(_BRIM)
    inner = head.flat(point(0.98 * np.sin(_BRIM), rim + 0.02, depth))
    outer = head.flat(point(0.95 * np.sin(_BRIM), rim + 0.10, depth + 0.60 * np.cos(1.5 * _BRIM)))
    stack.polygon(path(inner, outer[:, ::-1]), cloth * 0.72, cap)


# Glasses: two rims in front of the eyes, a bridge and temples that run back to the ears.

_AROUND = np.arange(26) * (np.pi / 12.0)  # once round and one step on, so that the rim has no seam
_RIGHT, _LEFT = slice(0, 1), slice(12, 13)


def _glasses_rim(head: Head, side: int, grow: float = 1.0) -> Points:
    """Outlines a rim in head coordinates: a superellipse from round to square, bent about the face."""
    build, look = head.build, head.look
    power = 1.0 - 0.62 * look.rim_shape
    cos, sin = np.cos(_AROUND), np.sin(_AROUND)
    dx = np.sign(cos) * np.abs(cos) ** power * (grow * (0.285 + 0.03 * look.rim))
    dy = np.sign(sin) * np.abs(sin) ** power * (grow * (0.275 - 0.07 * look.rim_shape))
    x = side * (build.eye_x + 0.015) + dx
    return point(x, build.eye_y + 0.03 + dy, 1.13 - 0.22 * x**2 / build.width)


def glasses(stack: Stack, head: Head) -> None:
    """Draws glasses over eyes, nose and hair."""
    look, worn = head.look, head.look.glasses
    tone = colour.mix(colour.hue(look.rim_hue, 0.35, 0.62), colour.BLACK, np.clip(0.25 + look.rim, 0.0, 1.0))
    width = 0.026 + 0.036 * look.rim
    for side in (-1, 1):
        rim = _glasses_rim(head, side)
        outline = head.flat(rim)
        lens = colour.hue(look.rim_hue, 0.25, 0.35)
        stack.polygon(outline, lens, worn * np.where(look.lens > 0.93, 0.35, 0.06), lit=0.3)
        streak = head.flat(_glasses_rim(head, side, 0.75))[:, (3, 6, 15, 18)]
        stack.polygon(streak, colour.WHITE, worn * 0.40 * np.clip(look.glare - 0.6, 0.0, 1.0), lit=0.0)
        # The near temple lies over the head; the far one is behind it and only its first bit shows.
        hinge = rim[:, _RIGHT if side > 0 else _LEFT]
        ear = point(side * head.build.width * 1.02, 0.0, -0.05)
        toward = np.clip(side * head.matrix[:, 2, :1] * 6.0 + 0.25, 0.0, 1.0)
        temple = head.flat(path(hinge, hinge + (ear - hinge) * 0.5, ear))
        stack.stroke(temple, 0.8 * width, tone, worn * toward, lit=0.4)
        stack.stroke(outline, width, tone, worn, lit=0.4)
    left, right = _glasses_rim(head, -1)[:, _RIGHT], _glasses_rim(head, 1)[:, _LEFT]
    bridge = path(left, 0.5 * (left + right) + np.array((0.0, -0.05, 0.02)), right)
    stack.stroke(head.flat(bridge), width, tone, worn, lit=0.4)
