"""Draws random faces: every number a pure function of (seed, split, index), by Philox streams named after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from kernels import Key, random_bits, uniform
from loaders.synthetic.columns import Uniform
from loaders.synthetic.expression import EXPRESSIONS, units_drawn
from loaders.synthetic.faces import Build, Faces, Look, Setting

MAX_YAW, MAX_PITCH, MAX_ROLL = 42.0, 22.0, 18.0
"""Degrees; every angle lies within plus and minus its bound."""

_WEAKEST = 0.65


@dataclass(frozen=True, slots=True)
class Drawn:
    """n random faces and what they show."""

    faces: Faces
    expression: Int64[np.ndarray, " n"]
    """Position in `EXPRESSIONS`."""
    intensity: Float64[np.ndarray, " n"]
    """Strength of the expression, 0.65..1."""


def _streams(seed: int, split: str, index: Int64[np.ndarray, " n"]) -> Uniform:
    key = Key(seed, 0, torch.from_numpy(np.ascontiguousarray(index)))

    def one(name: str) -> Float64[np.ndarray, " n"]:
        return uniform(key.stream(f"synthetic/{split}/{name}"), 1)[:, 0].double().numpy()

    return one


def _angle(u: Float64[np.ndarray, " n"], most: float) -> Float64[np.ndarray, " n"]:
    """Uniform in [-1, 1) pulled a little toward the front: frontal faces are the commoner ones."""
    x = 2.0 * u - 1.0
    return most * x * (0.4 + 0.6 * x**2)


def faces_drawn(seed: int, split: str, index: Int64[np.ndarray, " n"]) -> Drawn:
    """The faces at these positions of a split.

    `split` is part of the streams' names, so identities of different splits have nothing in common, and how many
    faces another split has changes none of them.
    """
    draw = _streams(seed, split, index)
    expression = np.floor(draw("expression") * len(EXPRESSIONS)).astype(np.int64)
    intensity = _WEAKEST + (1.0 - _WEAKEST) * draw("intensity")
    grain = random_bits(Key(seed, 0, torch.from_numpy(index)).stream(f"synthetic/{split}/grain"), 2).numpy()
    faces = Faces(
        units=units_drawn(draw, expression, intensity),
        yaw=_angle(draw("yaw"), MAX_YAW),
        pitch=_angle(draw("pitch"), MAX_PITCH),
        roll=_angle(draw("roll"), MAX_ROLL),
        build=Build.drawn(draw),
        look=Look.drawn(draw),
        setting=Setting.drawn(draw),
        grain=grain[:, 0].astype(np.uint64) << np.uint64(32) | grain[:, 1].astype(np.uint64),
    )
    return Drawn(faces, expression, intensity)
