"""Draws the tables of views of faces (`draw`, ...), shows them (`render_views`) and compares them (`hidden_l1`).

Pure functions of tensors: no files, no hidden randomness, no synchronisation with the device.
"""

from __future__ import annotations

from kernels.hidden.op import hidden_l1
from kernels.tables.augment import Augment, none, simclr_strong, simclr_weak, strong, weak
from kernels.tables.bits import random_bits, uniform
from kernels.tables.cells import (
    draw_hidden_parts,
    draw_holes,
    draw_permutation,
    draw_turns,
    identity_cells,
    inverse,
)
from kernels.tables.draw import Tables, centre, draw
from kernels.tables.streams import Key
from kernels.views.op import render_views

__all__ = [
    "Augment",
    "Key",
    "Tables",
    "centre",
    "draw",
    "draw_hidden_parts",
    "draw_holes",
    "draw_permutation",
    "draw_turns",
    "hidden_l1",
    "identity_cells",
    "inverse",
    "none",
    "random_bits",
    "render_views",
    "simclr_strong",
    "simclr_weak",
    "strong",
    "uniform",
    "weak",
]
