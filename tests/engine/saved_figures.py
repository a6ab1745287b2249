"""Figures that a module saves, kept to look into."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.figure import Figure


def keep_figures(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a module saves from now on; they are saved all the same."""
    figures: list[Figure] = []
    save = module.save_figure

    def keep(figure: Figure, path: Path) -> Path:
        figures.append(figure)
        saved: Path = save(figure, path)
        return saved

    monkeypatch.setattr(module, "save_figure", keep)
    return figures
