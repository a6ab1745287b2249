"""Leaves the charts of trainings blank: to draw them is half of what a short training costs.

A module whose tests look at charts says `CHARTS_ARE_DRAWN = True`.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from PIL import Image

draw = Figure.savefig


def save_blank(figure: Figure, file: Any, **options: Any) -> None:
    """Takes the place of `Figure.savefig`: everything but the drawing is done."""
    Image.new("RGB", (1, 1)).save(file, format="png")
