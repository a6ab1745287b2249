"""What a tracker of experiments is told of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Setting = str | int | float | bool | None
PROJECT = "hmtl"
"""Where a tracker keeps the runs, unless its own environment variable says another place."""


class Tracker(Protocol):
    """Keeps runs beside each other. One thread makes all calls, in this order; what they raise ends no training."""

    def begin(self, name: str, settings: Mapping[str, Setting]) -> None:
        """Begins the run of a name, or goes on with it where the tracker has it.

        Args:
            name: Of this run alone.
            settings: The recipe's fields, by their paths.
        """

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps finite figures, as they are after so many optimiser steps."""

    def report(self, page: str) -> None:
        """Keeps the report, one page of HTML."""

    def end(self, *, finished: bool) -> None:
        """Ends the run; one that was stopped may go on later, by `begin`."""
