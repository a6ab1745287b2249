"""Evaluates a run on a labelled store, its own or another, as training evaluates on a split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from engine.deployed.fitting import fitted
from engine.deployed.labels import Renamed, match
from engine.deployed.model import Which, load
from engine.recipe import settings
from engine.recipe.definition import Precision
from engine.reports.evaluation import Evaluation, Measured
from engine.runs.result import Run, as_mapping, read_run
from engine.table.answers import Pictures, from_arrays, measured_rows
from engine.table.bootstrap import resampled
from engine.tasks.base import Supervised
from engine.training.evaluate import figures, predict, prediction_arrays
from engine.training.precision import DTYPES, autocast, resolve
from engine.training.ranks import Ranks
from loaders import Loader, Packed, Source, Split, Synthetic
from loaders.feed.order import Order
from loaders.store.opening import open_store


def source_named(text: str) -> Source:
    """Reads what names faces: the folder of a prepared store, or a source as recipes have it, "Synthetic(seed=1)".

    Raises:
        ValueError: It is no source that recipes know.
    """
    if "(" not in text or Path(text).exists():
        return Packed(text)
    source: Source = settings.parse(text, Source, "store")
    return source


def evaluate(
    path: Path,
    source: Source,
    split: str,
    *,
    checkpoint: Which | None = None,
    renamed: Renamed | None = None,
    labels: Mapping[str, str] | None = None,
    device: torch.device | None = None,
) -> Evaluation:
    """Evaluates the run of a folder on one split of a source.

    The faces are brought to the size and colour of those that it was trained on, and answered in the precision and in
    the batches of its own evaluations: on its own data the figures are its own.

    Args:
        path: Folder of the run.
        checkpoint: "last" or "best", which is the default.
        renamed: Classes of the store to the run's; None for one that is to be left out.
        labels: Label of the run to that of the store, where they have other names.

    Raises:
        ValueError: The run, the store or the split cannot be read, the faces cannot be brought to its size, or the
            labels do not match; see `engine.deployed.labels.match`.
    """
    device = device or torch.device("cpu")
    run = read_run(path, where="evaluate")
    model = load(path, device, checkpoint=checkpoint)
    name, where = store_name(source), f"evaluate: {split} of {store_name(source)}"
    faces, done = fitted(source.open(split, device), model.faces, where)
    matching = match(faces.split, list(model.tasks.values()), renamed=renamed or {}, labels=labels or {}, where=where)
    tasks, faces = matching.tasks, replace(faces, split=matching.split)
    precision = resolve(_precision(run), device)
    with closing(Loader(faces, Order(faces.split, int(run.recipe["batch_size"]), 0))) as loader:
        samples, rows = predict(
            model.network,
            replace(model.renderer, dtype=DTYPES[precision]),
            loader,
            tasks,
            {task.name: task.judge(faces.split).to(device) for task in tasks},
            autocast(precision, device),
            Ranks(),
        )
    arrays = prediction_arrays(samples, rows)
    own = as_mapping(run.result.get(model.checkpoint.name))
    own_split = next((each for each in (run.result.get("test"), run.result.get("select")) if each in own), None)
    facts = [f"faces are {done}"] if done else []
    return Evaluation(
        run=run.name,
        checkpoint=model.taken,
        store=name,
        split=split,
        drawn=isinstance(source, Synthetic),
        facts=(*facts, f"computed in {precision}, as the run was" if precision != "fp32" else "computed in fp32"),
        labels=matching.labels,
        notes=matching.notes,
        answers={task.name: task.answers for task in tasks},
        classes=frozenset(model.about["classes"]) & {task.name for task in tasks},
        figures=_measured(tasks, faces.split, figures(tasks, {}, rows), arrays, as_mapping(own.get(str(own_split)))),
        own_split=own_split,
        arrays=arrays,
        paths=_paths(source, samples),
    )


def store_name(source: Source) -> str:
    """Names a store for people: by its folder, or by the class of its source."""
    path = getattr(source, "path", None)
    return type(source).__name__ if path is None else Path(path).resolve().name


def _precision(run: Run) -> Precision:
    """Reads what the run computed in, as its last start says."""
    said = run.starts[-1].get("precision") if run.starts else None
    known: tuple[Precision, ...] = get_args(Precision)
    return next((each for each in known if each == said), "fp32")  # runs of 0.1 do not say it, and had no other


def _measured(
    tasks: Sequence[Supervised],
    split: Split,
    values: Mapping[str, float],
    arrays: Mapping[str, np.ndarray],
    own: Mapping[str, Any],
) -> tuple[Measured, ...]:
    """Joins figures with their intervals, with those of a constant answer, and with the run's own."""
    found = []
    for task in tasks:
        declared = task.figures({})
        intervals = _intervals(task, [figure.name for figure in declared], arrays)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # an angle that no face has
            constant = task.constant_guess(split, split)
        for figure in declared:
            name = f"{task.name}/{figure.name}"
            found.append(
                Measured(
                    task.name,
                    figure,
                    values[name],
                    intervals.get(figure.name),
                    constant.get(figure.name),
                    own.get(name),
                )
            )
    return tuple(found)


def _intervals(
    task: Supervised, names: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Computes the intervals of the figures that single pictures give; of a task of one's own that of the first."""
    answers = from_arrays(arrays, task.name, getattr(task, "angles", ()))
    if answers is None:
        answers, names = measured_rows(arrays, task.name, task.measure), names[:1]
    if answers is None:
        return {}
    one = np.ones((1, answers.count), np.float32)
    known = [name for name in names if (own := answers.figure(name, one)) is not None and np.isfinite(own[0])]
    if not known:
        return {}
    drawn = resampled([partial(_figure, answers, name) for name in known], answers.count)[1:]
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(known)}


def _figure(answers: Pictures, name: str, weights: np.ndarray) -> np.ndarray:
    found = answers.figure(name, weights)
    assert found is not None  # `_intervals` has computed it once
    return found


def _paths(source: Source, samples: np.ndarray) -> list[str]:
    """Finds where faces stood in the source of a prepared store."""
    if not isinstance(source, Packed):
        return []
    paths = open_store(source.path).manifest.path
    return [paths[sample] for sample in samples]
