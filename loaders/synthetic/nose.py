"""Nose: the hull of a ridge, a tip and two wings, standing out from the face."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic.head import Head, column, joined
from loaders.synthetic.stack import HEAD, Stack


def nose(stack: Stack, head: Head, skin: Float64[np.ndarray, "n 3"]) -> None:
    """Nose with nostrils, shadow and highlight."""
    build, units, setting = head.faces.build, head.faces.units, head.faces.setting
    n = head.n
    wrinkle, flare = (
        np.clip(units.au9, 0.0, 1.2),
        np.clip(0.6 * units.au4 * (1.0 - units.au1) + 0.5 * units.au10, 0.0, 1.0),
    )
    tip_y = build.eye_y + build.nose_length - 0.05 * wrinkle
    wing = build.nose_width * (1.0 + 0.18 * wrinkle + 0.12 * flare + 0.12 * np.clip(units.au12, 0.0, 1.0))
    zero = np.zeros(n)

    def ball(
        x: np.ndarray, y: np.ndarray, out: np.ndarray | float, r: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray]:
        centre = head.on_face(x[:, None], y[:, None], column(out, n))[:, 0]
        return centre, joined(*(np.broadcast_to(np.asarray(r, np.float64), (n,)) for _ in range(3)))

    tip = ball(zero, tip_y - 0.03, build.nose_out - 0.09, 0.085 + 0.16 * build.nose_width)
    ridge = ball(zero, tip_y - 0.22, 0.55 * build.nose_out - 0.07, 0.065 + 0.10 * build.nose_width)
    wings = [ball(side * wing * 0.72, tip_y + 0.005, 0.02, 0.05 + 0.14 * wing) for side in (-1, 1)]

    base = head.flat(joined(zero, tip_y + 0.06, tip[0][:, 2])[:, None])
    under = np.concatenate(
        [base, base + head.flat(joined(wing * 1.0, zero, zero)[:, None]), base + np.array((0.0, 0.05))], axis=1
    )
    stack.blob(under, skin * 0.62, 0.45, clip=HEAD)
    parts = [tip, ridge, *wings]
    outline = head.ellipsoid(np.stack([c for c, _ in parts], axis=1), np.stack([r for _, r in parts], axis=1))
    middle = 0.5 * (head.flat(tip[0][:, None]) + head.flat(ridge[0][:, None]))
    stack.polygon(middle + (outline - middle) * 1.06 + np.array((0.0, 0.012)), skin * 0.74, 0.75)
    stack.polygon(outline, skin)
    # The side away from the lamp and from the viewer is darker: that is what makes a ridge of it.
    bridge = head.on_face(zero[:, None], (build.eye_y + 0.02)[:, None], 0.02)
    side = np.where(setting.light_x + 0.9 * np.sin(np.deg2rad(head.faces.yaw)) >= 0.0, -1.0, 1.0)
    strength = np.clip(np.abs(setting.light_x + 0.9 * np.sin(np.deg2rad(head.faces.yaw))), 0.0, 1.0)
    foot = head.on_face((side * wing * 0.75)[:, None], tip_y[:, None], 0.10)
    line = np.concatenate([head.flat(bridge), 0.5 * (head.flat(bridge) + head.flat(foot)), head.flat(foot)], axis=1)
    stack.stroke(line, column(0.075, n) * np.array((0.3, 0.8, 1.0)), skin * 0.72, 0.15 + 0.40 * strength)
    shine = head.flat(tip[0][:, None] + np.array((0.0, -0.03, 0.06)))
    glow = np.concatenate([shine, shine + np.array((0.05, 0.0)), shine + np.array((0.0, 0.045))], axis=1)
    stack.blob(glow, np.minimum(skin * 1.22, 255.0), 0.5)
    for s in (-1, 1):
        hole = head.flat(joined(s * wing * 0.48, tip_y + 0.055, tip[0][:, 2] - 0.10)[:, None])
        # Nostrils open downward: they show when the head looks up and close into a line when it looks down.
        open_ = 0.020 + 0.022 * np.clip(np.sin(np.deg2rad(head.faces.pitch)) + 0.35, 0.0, 1.0)
        across = head.flat(joined(0.36 * wing, zero, zero)[:, None])
        down = head.flat(joined(zero, open_, -open_)[:, None])
        stack.blob(np.concatenate([hole, hole + 0.75 * across, hole + down], axis=1), skin * 0.30, 0.85)
        # Sniffed-up wings pull a fold beside them.
        fold = head.place(
            column(s * wing, n) * np.array((0.75, 1.05, 1.12)), column(tip_y, n) + np.array((-0.12, -0.05, 0.03)), 0.02
        )
        stack.stroke(fold, column(0.022, n), skin * 0.55, 0.25 + 0.55 * np.clip(wrinkle, 0.0, 1.0))
