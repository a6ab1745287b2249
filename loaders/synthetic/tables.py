"""Draws what faces look like: tables of plain numbers, one row a face, each column with the range it is drawn from.

Every number is a pure function of (seed, split, index), by a Philox stream named after its column. Lengths are in head
units: half the width of a head is about 1, the origin is inside the head between the ears.

Expressions are combinations of action units (Ekman and Friesen, Facial Action Coding System, 1978; EMFACS). Each has
several prototypes, so that no single cue decides it, and every unit of a face is scaled, shaken and sometimes left out:
that is what makes neighbouring expressions overlap. The figures of the prototypes are ours.
"""

# ruff: noqa: RUF009  (between, chance and choice are dataclasses.field with a word on what they declare)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float64, Int64, UInt64

import kernels

Array = npt.NDArray[np.float64]
Column = Float64[Array, "n 1"]
Uniform = Callable[[str], Column]
"""Name of a stream to one draw on [0, 1) per face."""

EXPRESSIONS = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger")
MAX_YAW, MAX_PITCH, MAX_ROLL = 42.0, 22.0, 18.0
"""Degrees; every angle lies within plus and minus its bound."""

_WEAKEST = 0.65
_LEFT_OUT = 0.03
"""Share of units that stay still although the prototype moves them."""


def between(low: float, high: float) -> Any:
    """Declares a column drawn uniformly from [low, high)."""
    return field(metadata={"draw": lambda u: low + (high - low) * u})


def chance(p: float) -> Any:
    """Declares a column that is 1 with probability p, else 0."""
    return field(metadata={"draw": lambda u: np.where(u < p, 1.0, 0.0)})


def choice(*weights: float) -> Any:
    """Declares a column with the index of one of several kinds, drawn with these weights."""
    edges = np.cumsum(weights)[:-1] / sum(weights)
    return field(metadata={"draw": lambda u: np.searchsorted(edges, u, side="right").astype(np.float64)})


class Table:
    """Base of the frozen dataclasses of columns."""

    @classmethod
    def drawn(cls, uniform: Uniform) -> Self:
        """Draws every column from its own stream, named after table and column."""
        return cls(**{f.name: f.metadata["draw"](uniform(f"{cls.__name__}.{f.name}")) for f in fields(cls)})  # type: ignore[arg-type]

    def __getitem__(self, rows: slice) -> Self:
        """Gives the same table for some of its faces."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Units(Table):
    """Strength of each action unit, 0 at rest and 1 at its full; slightly below 0 and above 1 happen.

    The range of a column is the movement that has nothing to do with the expression.
    """

    au1: Column = between(-0.07, 0.08)  # inner brow raiser
    au2: Column = between(-0.07, 0.08)  # outer brow raiser
    au4: Column = between(-0.06, 0.1)  # brow lowerer
    au5: Column = between(-0.07, 0.07)  # upper lid raiser
    au6: Column = between(-0.04, 0.07)  # cheek raiser
    au7: Column = between(-0.05, 0.1)  # lid tightener
    au9: Column = between(0.0, 0.05)  # nose wrinkler
    au10: Column = between(-0.03, 0.05)  # upper lip raiser
    au12: Column = between(-0.05, 0.06)  # lip corner puller
    au15: Column = between(-0.05, 0.06)  # lip corner depressor
    au17: Column = between(-0.03, 0.06)  # chin raiser
    au20: Column = between(-0.05, 0.06)  # lip stretcher
    au23: Column = between(0.0, 0.08)  # lip tightener
    au25: Column = between(-0.03, 0.06)  # lips part
    au26: Column = between(0.0, 0.04)  # jaw drop
    au43: Column = between(0.0, 0.08)  # eyes closed


_PROTOTYPES: dict[str, tuple[dict[str, float], ...]] = {
    "Neutral": ({}, {"au25": 0.15}, {"au43": 0.15}),
    "Happy": (
        {"au6": 0.7, "au12": 0.9},
        {"au6": 0.8, "au12": 1.0, "au25": 0.7, "au26": 0.1},
        {"au6": 1.0, "au7": 0.3, "au12": 1.0, "au25": 1.0, "au26": 0.5},
    ),
    "Sad": (
        {"au1": 0.9, "au4": 0.5, "au15": 0.9, "au17": 0.4, "au43": 0.2},
        {"au1": 1.0, "au15": 1.0, "au43": 0.35},
        {"au1": 0.8, "au4": 0.7, "au7": 0.4, "au15": 0.9, "au17": 0.6, "au25": 0.3},
    ),
    "Surprise": (
        {"au1": 1.0, "au2": 1.0, "au5": 0.8, "au25": 0.7, "au26": 0.9},
        {"au1": 0.9, "au2": 1.0, "au5": 1.0, "au25": 0.5, "au26": 0.4},
        {"au1": 1.0, "au2": 1.0, "au5": 0.8, "au25": 0.4, "au26": 0.1},
    ),
    "Fear": (
        {"au1": 0.9, "au2": 0.4, "au4": 0.6, "au5": 0.9, "au20": 0.9, "au25": 0.7},
        {"au1": 1.0, "au2": 0.5, "au4": 0.5, "au5": 1.0, "au20": 0.7, "au25": 0.7, "au26": 0.4},
        {"au1": 0.9, "au4": 0.6, "au5": 0.8, "au20": 1.0, "au25": 0.2},
    ),
    "Disgust": (
        {"au4": 0.5, "au7": 0.5, "au9": 1.0, "au10": 0.8, "au17": 0.4},
        {"au4": 0.4, "au6": 0.4, "au7": 0.4, "au9": 0.9, "au10": 1.0, "au25": 0.5},
        {"au4": 0.5, "au7": 0.5, "au9": 0.8, "au10": 0.6, "au15": 0.5, "au17": 0.7},
    ),
    "Anger": (
        {"au4": 1.0, "au5": 0.5, "au7": 0.3, "au23": 0.9},
        {"au4": 1.0, "au7": 0.7, "au10": 0.35, "au20": 0.3, "au25": 0.8, "au26": 0.2},
        {"au4": 1.0, "au5": 0.6, "au17": 0.5, "au23": 0.8},
    ),
}

_VARIANTS = 3
_NAMES = tuple(Units.__dataclass_fields__)
_STRENGTHS = np.array([[[v.get(name, 0.0) for name in _NAMES] for v in _PROTOTYPES[e]] for e in EXPRESSIONS])
assert _STRENGTHS.shape == (len(EXPRESSIONS), _VARIANTS, len(_NAMES))


def moved(uniform: Uniform, expression: Int64[np.ndarray, " n"], intensity: Column) -> Units:
    """Draws the units of faces that show an expression (position in `EXPRESSIONS`) with an intensity of 0 to 1."""
    variant = np.floor(uniform("Units.variant")[:, 0] * _VARIANTS).astype(np.int64)
    idle = Units.drawn(uniform)
    columns = {}
    for k, name in enumerate(_NAMES):
        strength = intensity * (0.85 + 0.3 * uniform(f"Units.{name}.strength"))
        present = uniform(f"Units.{name}.present") >= _LEFT_OUT
        columns[name] = _STRENGTHS[expression, variant, k, None] * strength * present + getattr(idle, name)
    return Units(**columns)


@dataclass(frozen=True, slots=True)
class Build(Table):
    """Proportions: who this is."""

    width: Column = between(0.89, 1.03)
    crown: Column = between(1.16, 1.32)
    jaw: Column = between(0.50, 0.76)
    chin: Column = between(1.03, 1.22)
    cheek: Column = between(0.0, 1.0)
    eye_x: Column = between(0.36, 0.435)
    eye_y: Column = between(-0.08, 0.01)
    eye_width: Column = between(0.215, 0.265)
    eye_height: Column = between(0.125, 0.175)
    eye_tilt: Column = between(-0.03, 0.03)
    brow_gap: Column = between(0.26, 0.36)
    brow_thick: Column = between(0.06, 0.14)
    brow_tilt: Column = between(-0.035, 0.035)
    brow_arch: Column = between(0.0, 0.11)
    nose_length: Column = between(0.30, 0.44)
    nose_width: Column = between(0.11, 0.20)
    nose_out: Column = between(0.20, 0.38)
    mouth_gap: Column = between(0.27, 0.37)
    mouth_width: Column = between(0.335, 0.435)
    lip_upper: Column = between(0.034, 0.082)
    lip_lower: Column = between(0.05, 0.11)
    mouth_curve: Column = between(-0.025, 0.025)
    ear: Column = between(0.16, 0.25)
    age: Column = between(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Look(Table):
    """Skin, hair and what is worn."""

    skin: Column = between(0.0, 1.0)
    ruddy: Column = between(0.0, 1.0)
    blush: Column = between(0.0, 1.0)
    lipstick: Column = between(0.0, 1.0)
    freckles: Column = chance(0.12)
    iris: Column = between(0.0, 1.0)
    gaze_x: Column = between(-1.0, 1.0)
    gaze_y: Column = between(-1.0, 1.0)
    lash: Column = between(0.0, 1.0)

    hair: Column = choice(0.36, 0.28, 0.12, 0.10, 0.14)
    """0 short, 1 long, 2 curly and wide, 3 bun, 4 none."""
    hair_colour: Column = between(0.0, 1.0)
    hair_volume: Column = between(1.04, 1.16)
    hairline: Column = between(-0.88, -0.66)
    parting: Column = between(-1.0, 1.0)
    fringe: Column = choice(0.4, 0.3, 0.3)
    """0 none, 1 swept to a side, 2 straight."""
    sideburn: Column = between(0.0, 1.0)
    beard: Column = choice(0.79, 0.09, 0.06, 0.06)
    """0 none, 1 stubble, 2 full, 3 moustache."""
    hat: Column = choice(0.85, 0.06, 0.05, 0.04)
    """0 none, 1 cap, 2 beanie, 3 headscarf."""
    cloth: Column = between(0.0, 1.0)
    cloth_light: Column = between(0.0, 1.0)
    collar: Column = between(0.0, 1.0)

    glasses: Column = chance(0.4)
    rim: Column = between(0.0, 1.0)
    """Thickness and darkness of the frame: 0 thin and pale, 1 thick and dark."""
    rim_shape: Column = between(0.0, 1.0)
    """0 round to 1 square."""
    rim_hue: Column = between(0.0, 1.0)
    lens: Column = between(0.0, 1.0)
    glare: Column = between(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Setting(Table):
    """Background, things in the way, light and camera."""

    ground_hue: Column = between(0.0, 1.0)
    ground_light: Column = between(0.1, 1.0)
    ground_turn: Column = between(0.0, 1.0)
    ground_step: Column = between(-0.6, 0.6)
    weave: Column = between(-1.2, 1.0)
    weave_scale: Column = between(0.0, 1.0)
    weave_turn: Column = between(0.0, 1.0)
    weave_kind: Column = between(0.0, 1.0)
    shape: Column = choice(0.3, 0.25, 0.25, 0.2)
    """Behind the head: 0 nothing, 1 soft discs, 2 panels, 3 someone else's shoulder."""
    shape_x: Column = between(0.0, 1.0)
    shape_y: Column = between(0.0, 1.0)
    shape_hue: Column = between(0.0, 1.0)
    shape_light: Column = between(0.0, 1.0)

    cover: Column = choice(0.78, 0.06, 0.07, 0.06, 0.03)
    """In front of the face: 0 nothing, 1 hand, 2 strand of hair, 3 bar, 4 scarf."""
    cover_x: Column = between(0.0, 1.0)
    cover_y: Column = between(0.0, 1.0)
    cover_turn: Column = between(0.0, 1.0)
    cover_hue: Column = between(0.0, 1.0)
    cover_light: Column = between(0.0, 1.0)

    light_x: Column = between(-1.0, 1.0)
    light_y: Column = between(-0.9, 0.35)
    light_strength: Column = between(0.1, 1.0)
    warmth: Column = between(0.0, 1.0)
    tint: Column = between(0.0, 1.0)
    exposure: Column = between(0.0, 1.0)
    contrast: Column = between(0.0, 1.0)

    zoom: Column = between(0.0, 1.0)
    shift_x: Column = between(-1.0, 1.0)
    shift_y: Column = between(-1.0, 1.0)
    blur: Column = between(0.0, 1.0)
    noise: Column = between(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Faces(Table):
    """Everything that decides the pixels of n faces, and what they show."""

    expression: Int64[np.ndarray, " n"]
    """Position in `EXPRESSIONS`."""
    units: Units
    yaw: Column
    pitch: Column
    roll: Column
    """Degrees, as `head.rotation` reads them."""
    build: Build
    look: Look
    setting: Setting
    grain: UInt64[np.ndarray, " n"]
    """Key of the sensor noise."""

    def __len__(self) -> int:
        return len(self.grain)


def draw_tables(seed: int, split: str, index: Int64[np.ndarray, " n"]) -> Faces:
    """Draws the tables of the faces at these positions of a split.

    `split` is part of the streams' names, so identities of different splits have nothing in common, and how many
    faces another split has changes none of them.
    """
    key = kernels.Key(seed, 0, torch.from_numpy(np.ascontiguousarray(index)))

    def drawn(name: str) -> Column:
        return kernels.uniform(key.stream(f"synthetic/{split}/{name}"), 1).double().numpy()

    grain = kernels.random_bits(key.stream(f"synthetic/{split}/grain"), 2).numpy()
    return faces_from(drawn, grain[:, 0].astype(np.uint64) << np.uint64(32) | grain[:, 1].astype(np.uint64))


def faces_from(uniform: Uniform, grain: UInt64[np.ndarray, " n"]) -> Faces:
    """Makes the tables from draws on [0, 1) by name of their stream."""
    expression = np.floor(uniform("expression")[:, 0] * len(EXPRESSIONS)).astype(np.int64)
    intensity = _WEAKEST + (1.0 - _WEAKEST) * uniform("intensity")
    return Faces(
        expression=expression,
        units=moved(uniform, expression, intensity),
        yaw=_angle(uniform("yaw"), MAX_YAW),
        pitch=_angle(uniform("pitch"), MAX_PITCH),
        roll=_angle(uniform("roll"), MAX_ROLL),
        build=Build.drawn(uniform),
        look=Look.drawn(uniform),
        setting=Setting.drawn(uniform),
        grain=grain,
    )


def _angle(u: Column, most: float) -> Column:
    """Spreads angles from -most to most, pulled a little toward the front: frontal faces are the commoner ones."""
    x = 2.0 * u - 1.0
    return most * x * (0.4 + 0.6 * x**2)
