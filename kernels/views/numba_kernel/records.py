"""Defines the records that the steps of a rendering hand on to one another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

FP32, FP16, BF16 = 0, 1, 2
"""Kinds of output."""


class Faces(NamedTuple):
    store: Array  # uint8, one axis
    height: int
    width: int
    channels: int


class Tables(NamedTuple):
    """As of `render_views`, views and batch as one axis; empty where there is none."""

    row: Array
    where: Array
    colour: Array
    shows: Array
    blur: Array
    noise: Array
    key: Array
    turn: Array
    cut: Array


class Settings(NamedTuple):
    size: int
    grid: int
    supersample: int
    kind: int
    mean: Array
    std: Array


class Out(NamedTuple):
    """The output as one axis: `singles` where it is fp32, else the bits in `halves`; the other is empty."""

    singles: Array
    halves: Array


class Sample(NamedTuple):
    """One view of one sample."""

    face: int  # address of its first byte
    first: int  # its first pixel in the output
    where: Array
    colour: Array
    shows: Array
    turn: Array  # empty where there is none
    blur: np.float32
    noise: np.float32
    key: np.uint64
