"""What a chunk of faces looks like: tables of plain numbers, one row a face.

Lengths are in head units: half the width of a head is about 1, the origin is inside the head between the ears.
"""

# ruff: noqa: RUF009  (between, chance and choice are dataclasses.field with a word on what they declare)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt64

from loaders.synthetic.columns import Array, Table, between, chance, choice
from loaders.synthetic.expression import Units


@dataclass(frozen=True, slots=True)
class Build(Table):
    """Proportions: who this is."""

    width: Array = between(0.96, 0.89, 1.03)
    crown: Array = between(1.24, 1.16, 1.32)
    jaw: Array = between(0.62, 0.50, 0.76)
    chin: Array = between(1.12, 1.03, 1.22)
    cheek: Array = between(0.5, 0.0, 1.0)
    eye_x: Array = between(0.395, 0.36, 0.435)
    eye_y: Array = between(-0.04, -0.08, 0.01)
    eye_width: Array = between(0.24, 0.215, 0.265)
    eye_height: Array = between(0.15, 0.125, 0.175)
    eye_tilt: Array = between(0.0, -0.03, 0.03)
    brow_gap: Array = between(0.31, 0.26, 0.36)
    brow_thick: Array = between(0.10, 0.06, 0.14)
    brow_tilt: Array = between(0.0, -0.035, 0.035)
    brow_arch: Array = between(0.05, 0.0, 0.11)
    nose_length: Array = between(0.37, 0.30, 0.44)
    nose_width: Array = between(0.15, 0.11, 0.20)
    nose_out: Array = between(0.28, 0.20, 0.38)
    mouth_gap: Array = between(0.32, 0.27, 0.37)
    mouth_width: Array = between(0.385, 0.335, 0.435)
    lip_upper: Array = between(0.058, 0.034, 0.082)
    lip_lower: Array = between(0.076, 0.05, 0.11)
    mouth_curve: Array = between(0.0, -0.025, 0.025)
    ear: Array = between(0.20, 0.16, 0.25)
    age: Array = between(0.35, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Look(Table):
    """Skin, hair and what is worn."""

    skin: Array = between(0.3, 0.0, 1.0)
    ruddy: Array = between(0.5, 0.0, 1.0)
    blush: Array = between(0.4, 0.0, 1.0)
    lipstick: Array = between(0.25, 0.0, 1.0)
    freckles: Array = chance(0.12)
    iris: Array = between(0.4, 0.0, 1.0)
    gaze_x: Array = between(0.0, -1.0, 1.0)
    gaze_y: Array = between(0.0, -1.0, 1.0)
    lash: Array = between(0.4, 0.0, 1.0)

    hair: Array = choice(0.36, 0.28, 0.12, 0.10, 0.14)
    """0 short, 1 long, 2 curly and wide, 3 bun, 4 none."""
    hair_colour: Array = between(0.25, 0.0, 1.0)
    hair_volume: Array = between(1.08, 1.04, 1.16)
    hairline: Array = between(-0.74, -0.88, -0.66)
    parting: Array = between(0.0, -1.0, 1.0)
    fringe: Array = choice(0.4, 0.3, 0.3)
    """0 none, 1 swept to a side, 2 straight."""
    sideburn: Array = between(0.5, 0.0, 1.0)
    beard: Array = choice(0.79, 0.09, 0.06, 0.06)
    """0 none, 1 stubble, 2 full, 3 moustache."""
    hat: Array = choice(0.85, 0.06, 0.05, 0.04)
    """0 none, 1 cap, 2 beanie, 3 headscarf."""
    cloth: Array = between(0.6, 0.0, 1.0)
    cloth_light: Array = between(0.5, 0.0, 1.0)
    collar: Array = between(0.5, 0.0, 1.0)

    glasses: Array = chance(0.4)
    rim: Array = between(0.5, 0.0, 1.0)
    """Thickness and darkness of the frame: 0 thin and pale, 1 thick and dark."""
    rim_shape: Array = between(0.5, 0.0, 1.0)
    """0 round to 1 square."""
    rim_hue: Array = between(0.1, 0.0, 1.0)
    lens: Array = between(0.1, 0.0, 1.0)
    glare: Array = between(0.2, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Setting(Table):
    """Background, things in the way, light and camera."""

    ground_hue: Array = between(0.58, 0.0, 1.0)
    ground_light: Array = between(0.75, 0.1, 1.0)
    ground_turn: Array = between(0.25, 0.0, 1.0)
    ground_step: Array = between(0.2, -0.6, 0.6)
    weave: Array = between(0.0, -1.2, 1.0)
    weave_scale: Array = between(0.5, 0.0, 1.0)
    weave_turn: Array = between(0.0, 0.0, 1.0)
    weave_kind: Array = between(0.0, 0.0, 1.0)
    shape: Array = choice(0.3, 0.25, 0.25, 0.2)
    """Behind the head: 0 nothing, 1 soft discs, 2 panels, 3 someone else's shoulder."""
    shape_x: Array = between(0.5, 0.0, 1.0)
    shape_y: Array = between(0.5, 0.0, 1.0)
    shape_hue: Array = between(0.5, 0.0, 1.0)
    shape_light: Array = between(0.5, 0.0, 1.0)

    cover: Array = choice(0.78, 0.06, 0.07, 0.06, 0.03)
    """In front of the face: 0 nothing, 1 hand, 2 strand of hair, 3 bar, 4 scarf."""
    cover_x: Array = between(0.5, 0.0, 1.0)
    cover_y: Array = between(0.5, 0.0, 1.0)
    cover_turn: Array = between(0.5, 0.0, 1.0)
    cover_hue: Array = between(0.5, 0.0, 1.0)
    cover_light: Array = between(0.5, 0.0, 1.0)

    light_x: Array = between(0.0, -1.0, 1.0)
    light_y: Array = between(-0.35, -0.9, 0.35)
    light_strength: Array = between(0.45, 0.1, 1.0)
    warmth: Array = between(0.5, 0.0, 1.0)
    tint: Array = between(0.5, 0.0, 1.0)
    exposure: Array = between(0.55, 0.0, 1.0)
    contrast: Array = between(0.6, 0.0, 1.0)

    zoom: Array = between(0.5, 0.0, 1.0)
    shift_x: Array = between(0.0, -1.0, 1.0)
    shift_y: Array = between(0.0, -1.0, 1.0)
    blur: Array = between(0.0, 0.0, 1.0)
    noise: Array = between(0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Faces:
    """Everything that decides the pixels of n faces."""

    units: Units
    yaw: Float64[np.ndarray, " n"]
    pitch: Float64[np.ndarray, " n"]
    roll: Float64[np.ndarray, " n"]
    """Degrees, as `pose.rotation` reads them."""
    build: Build
    look: Look
    setting: Setting
    grain: UInt64[np.ndarray, " n"]
    """Key of the sensor noise."""

    def __len__(self) -> int:
        return len(self.yaw)

    def rows(self, rows: slice) -> Faces:
        """Some of these faces."""
        return Faces(
            units=self.units.rows(rows),
            yaw=self.yaw[rows],
            pitch=self.pitch[rows],
            roll=self.roll[rows],
            build=self.build.rows(rows),
            look=self.look.rows(rows),
            setting=self.setting.rows(rows),
            grain=self.grain[rows],
        )
