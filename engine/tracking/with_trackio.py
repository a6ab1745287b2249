"""Keeps runs in trackio: in a file of this machine, where TRACKIO_DIR says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engine.tracking.tracker import PROJECT, Setting
from loaders.extras import require


class TrackioRuns:
    """Keeps runs in one project of trackio.

    Raises:
        ValueError: The package is missing.
    """

    def __init__(self) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read where it is imported
        self._trackio = require("trackio", extra="trackio", where="train: track")
        self._run: Any = None

    def begin(self, name: str, settings: Mapping[str, Setting]) -> None:
        self._run = self._trackio.init(
            PROJECT,
            name,
            config=dict(settings),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def report(self, page: str) -> None:
        self._run.log({"report": self._trackio.Html(page, inject=False)})

    def end(self, *, finished: bool) -> None:
        self._run.finish()
