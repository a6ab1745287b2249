"""Evaluates a run on a labelled store, its own or another, as training evaluates on a split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from engine.calibration import at_temperature
from engine.deployed.fitting import fitted
from engine.deployed.labels import match
from engine.deployed.model import Deployed, Which, load
from engine.intervals.answers import figures_of, from_arrays, measured_rows, naming
from engine.intervals.bootstrap import intervals
from engine.intervals.groups import Groups
from engine.recipe import settings
from engine.recipe.definition import Precision
from engine.reports.evaluation import Evaluation, Measured
from engine.runs.result import Run, as_mapping, read_run
from engine.tasks.base import Rows, Supervised
from engine.training.evaluate import figures, groups_of, predict, prediction_arrays
from engine.training.precision import DTYPES, autocast, resolve
from engine.training.ranks import Ranks
from loaders import Classes, Loader, Packed, Source, Split, Synthetic
from loaders.class_map import Renamed
from loaders.feed.order import Order
from loaders.progress import progress
from loaders.store.opening import open_store
from loaders.terminal import Terminal


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
    calibrated: bool = False,
    renamed: Renamed | None = None,
    labels: Mapping[str, str] | None = None,
    device: torch.device | None = None,
    console: Terminal | None = None,
) -> Evaluation:
    """Evaluates the run of a folder on one split of a source.

    The faces are brought to the size and colour of those that it was trained on, and answered in the precision and in
    the batches of its own evaluations: on its own data the figures are its own.

    Args:
        path: Folder of the run.
        checkpoint: "last" or "best", which is the default.
        calibrated: Measure probabilities at the temperature that suits the run's val best; no answer changes.
        renamed: Classes of the store to the run's; None for one that is to be left out.
        labels: Label of the run to that of the store, where they have other names.
        console: Where progress is shown; None shows nothing.

    Raises:
        ValueError: The run, the store or the split cannot be read, the faces cannot be brought to its size, or the
            labels do not match; see `engine.deployed.labels.match`.
    """
    device = device or torch.device("cpu")
    run = read_run(path, where="evaluate")
    model = load(path, device, checkpoint=checkpoint, calibrated=calibrated)
    name, where = store_name(source), f"evaluate: {split} of {store_name(source)}"
    own_faces = source.open(split, device)
    faces, done = fitted(own_faces, model.faces, where)
    matching = match(faces.split, list(model.tasks.values()), renamed=renamed or {}, labels=labels or {}, where=where)
    tasks, faces = matching.tasks, replace(faces, split=matching.split)
    precision = resolve(_precision(run), device)
    with (
        closing(Loader(faces, Order(faces.split, int(run.recipe["batch_size"]), 0))) as loader,
        progress(f"{split} of {name}: batches", len(loader), console or Terminal(quiet=True)) as advance,
    ):
        samples, rows = predict(
            model.network,
            replace(model.renderer, dtype=DTYPES[precision]),
            loader,
            tasks,
            {task.name: task.judge(faces.split).to(device) for task in tasks},
            autocast(precision, device),
            Ranks(),
            advance,
        )
    rows = {name: _calibrated(of, model.temperatures.get(name)) for name, of in rows.items()}
    groups = groups_of(own_faces.split, samples)
    arrays = prediction_arrays(samples, rows, own_faces.split)
    own = as_mapping(run.result.get(model.checkpoint.name))
    own_split = next((each for each in (run.result.get("test"), run.result.get("select")) if each in own), None)
    facts = [f"faces are {done}"] if done else []
    if made := made_otherwise(own_faces.split, model):
        facts.append(made)
    facts += [
        f"scores of {name} are divided by {value:.2f}, which suits the run's val best; its own figures are as trained"
        for name, value in model.temperatures.items()
        if name in rows
    ]
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
        figures=_measured(
            tasks, faces.split, figures(tasks, {}, rows), arrays, groups, as_mapping(own.get(str(own_split)))
        ),
        own_split=own_split,
        arrays=arrays,
        groups=groups,
        group_names=_group_names(own_faces.split),
        paths=_paths(source, samples),
    )


def _calibrated(rows: Rows, temperature: float | None) -> Rows:
    if temperature is None:
        return rows
    return {**rows, "probability": at_temperature(rows["probability"], temperature)}


def store_name(source: Source) -> str:
    """Names a store for people: by its folder, or by the class of its source."""
    path = getattr(source, "path", None)
    return type(source).__name__ if path is None else Path(path).resolve().name


def made_otherwise(split: Split, model: Deployed) -> str:
    """Says where faces were not cut and fitted as those of the training; empty where they were, or nobody says it."""
    own, trained = ({(p.fit, p.crop, p.margin) for p in each.prepared} for each in (split, model))
    if not own or not trained or own == trained:
        return ""
    how, theirs = (" or ".join(map(str, each.prepared)) for each in (split, model))
    return f"faces were made otherwise than those of the training: {how}; there {theirs}"


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
    groups: Groups | None,
    own: Mapping[str, Any],
) -> tuple[Measured, ...]:
    """Joins figures with their intervals, with those of a constant answer, and with the run's own.

    Of a task of one's own the first figure has an interval.
    """
    found = []
    for task in tasks:
        declared = task.figures({})
        names = [figure.name for figure in declared]
        answers = from_arrays(arrays, task.name, naming(task))
        if answers is None:
            answers, names = measured_rows(arrays, task.name, task.measure), names[:1]  # of a task of one's own
        known = {} if answers is None else figures_of(answers, names)
        found_of = intervals(known, len(arrays["sample"]), groups)
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
                    found_of.of.get(figure.name),
                    answers.support(figure.name) if answers is not None and figure.name in known else None,
                    found_of.misleading.get(figure.name),
                    constant.get(figure.name),
                    own.get(name),
                )
            )
    return tuple(found)


def _group_names(split: Split) -> tuple[str, ...]:
    """Lists the names of the groups of a split; none where it knows of none."""
    label = None if split.group is None else split.labels[split.group]
    return label.names if isinstance(label, Classes) else ()


def _paths(source: Source, samples: np.ndarray) -> list[str]:
    """Finds where faces stood in the source of a prepared store."""
    if not isinstance(source, Packed):
        return []
    paths = open_store(source.path).manifest.path
    return [paths[sample] for sample in samples]
