"""Keeps the figures that modules save, to look into them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.figure import Figure

from engine.reports.plotting import save_figure


def keep_figures(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> list[Figure]:
    """Keeps the figures that the modules save from now on; they are saved all the same."""
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        figures.append(figure)
        return save_figure(figure, path)

    for module in modules:
        monkeypatch.setattr(module, "save_figure", keep)
    return figures
