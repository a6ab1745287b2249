"""Expressions as combinations of action units (Ekman and Friesen, Facial Action Coding System, 1978; EMFACS).

Each expression has several prototypes, so that no single cue decides it, and every unit of a face is scaled, shaken and
sometimes left out: that is what makes neighbouring expressions overlap. The figures of the prototypes are ours.
"""

# ruff: noqa: RUF009  (between, chance and choice are dataclasses.field with a word on what they declare)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from loaders.synthetic.columns import Array, Table, Uniform, between

EXPRESSIONS = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger")

_LEFT_OUT = 0.03
"""Share of units that stay still although the prototype moves them."""


@dataclass(frozen=True, slots=True)
class Units(Table):
    """Strength of each action unit, 0 at rest and 1 at its full; slightly below 0 and above 1 happen.

    The range of a column is the movement that has nothing to do with the expression.
    """

    au1: Array = between(0.0, -0.07, 0.08)  # inner brow raiser
    au2: Array = between(0.0, -0.07, 0.08)  # outer brow raiser
    au4: Array = between(0.0, -0.06, 0.1)  # brow lowerer
    au5: Array = between(0.0, -0.07, 0.07)  # upper lid raiser
    au6: Array = between(0.0, -0.04, 0.07)  # cheek raiser
    au7: Array = between(0.0, -0.05, 0.1)  # lid tightener
    au9: Array = between(0.0, 0.0, 0.05)  # nose wrinkler
    au10: Array = between(0.0, -0.03, 0.05)  # upper lip raiser
    au12: Array = between(0.0, -0.05, 0.06)  # lip corner puller
    au15: Array = between(0.0, -0.05, 0.06)  # lip corner depressor
    au17: Array = between(0.0, -0.03, 0.06)  # chin raiser
    au20: Array = between(0.0, -0.05, 0.06)  # lip stretcher
    au23: Array = between(0.0, 0.0, 0.08)  # lip tightener
    au25: Array = between(0.0, -0.03, 0.06)  # lips part
    au26: Array = between(0.0, 0.0, 0.04)  # jaw drop
    au43: Array = between(0.0, 0.0, 0.08)  # eyes closed


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
_TABLE = np.array([[[variant.get(name, 0.0) for name in _NAMES] for variant in _PROTOTYPES[e]] for e in EXPRESSIONS])
assert _TABLE.shape == (len(EXPRESSIONS), _VARIANTS, len(_NAMES))


def units_at(expression: str, intensity: float, *, variant: int = 0) -> Units:
    """One face's units exactly at a prototype times `intensity`, nothing shaken."""
    row = _TABLE[EXPRESSIONS.index(expression), variant] * intensity
    return Units(**{name: row[k : k + 1] for k, name in enumerate(_NAMES)})


def units_drawn(uniform: Uniform, expression: Int64[np.ndarray, " n"], intensity: Float64[np.ndarray, " n"]) -> Units:
    """The units of many faces, each column from its own streams."""
    variant = np.floor(uniform("Units.variant") * _VARIANTS).astype(np.int64)
    idle = Units.drawn(uniform)
    columns = {}
    for k, name in enumerate(_NAMES):
        strength = intensity * (0.85 + 0.3 * uniform(f"Units.{name}.strength"))
        present = uniform(f"Units.{name}.present") >= _LEFT_OUT
        columns[name] = _TABLE[expression, variant, k] * strength * present + getattr(idle, name)
    return Units(**columns)
