"""Keeps runs in MLflow: in a file of this machine, or where MLFLOW_TRACKING_URI says."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping

from engine.tracking.tracker import PROJECT, Setting
from loaders.extras import require

BATCH = 100
"""Parameters that MLflow takes at once."""


class MlflowRuns:
    """Keeps runs in the experiment that MLFLOW_EXPERIMENT_NAME names.

    Raises:
        ValueError: A package is missing.
    """

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read where it is imported
        require("sqlalchemy", extra="mlflow", where="train: track")  # else MLflow says so when it opens its file
        self._mlflow = require("mlflow", extra="mlflow", where="train: track")
        self._run = ""

    def begin(self, name: str, settings: Mapping[str, Setting]) -> None:
        self._client = self._mlflow.MlflowClient()
        place = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        try:
            experiment = self._client.create_experiment(place)
        except self._mlflow.MlflowException:  # it is there, perhaps of a training that begins at this moment too
            experiment = self._client.get_experiment_by_name(place).experiment_id
        if found := self._client.search_runs([experiment], f"attributes.run_name = '{name}'", max_results=1):
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        entities = self._mlflow.entities
        parameters = [entities.Param(_key(path), str(value)) for path, value in settings.items()]
        for first in range(0, len(parameters), BATCH):
            self._client.log_batch(self._run, params=parameters[first : first + BATCH])

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        now, entities = int(time.time() * 1000), self._mlflow.entities
        metrics = [entities.Metric(_key(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def report(self, page: str) -> None:
        self._client.log_text(self._run, page, "report.html")

    def end(self, *, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


def _key(name: str) -> str:
    """Writes a name in the letters that MLflow takes."""
    return re.sub(r"[^\w.\- /]", "_", name, flags=re.ASCII)
