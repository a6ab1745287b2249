"""Pools the runs of all folds of a row into one: what each face was taken for by the run that had not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.intervals.answers import Pictures, joined
from engine.intervals.groups import joined_groups
from engine.table.experiment import Experiment
from engine.table.fingerprint import fingerprint
from engine.table.finished import Answers, Finished
from engine.table.plan import Job


def pool_folds(jobs: Sequence[Job], experiment: Experiment) -> tuple[Job, ...]:
    """Makes one job of the runs of each seed, done where all its folds are; without folds they stay as they are.

    Args:
        jobs: The runs of a row, seed by seed, and the folds of a seed one after another.
    """
    folds = experiment.folds
    if not folds:
        return tuple(jobs)
    return tuple(_pooled(jobs[start : start + folds], experiment) for start in range(0, len(jobs), folds))


def _pooled(jobs: Sequence[Job], experiment: Experiment) -> Job:
    lacking = [job for job in jobs if job.done is None]
    if lacking:  # the seed is known by the first run that it lacks, and says why it lacks it
        return replace(lacking[0], missing=next((job.missing for job in lacking if job.missing), None))
    runs = [job.done for job in jobs if job.done is not None]
    return replace(jobs[0], key=fingerprint([run.key for run in runs]), done=_as_one(runs, experiment))


def _as_one(runs: Sequence[Finished], experiment: Experiment) -> Finished:
    """Makes of the runs of all folds what a single run on all faces would have left."""
    split, metric = experiment.split, experiment.metric
    content: dict[str, Any] = {**runs[0].content, "key": fingerprint([run.key for run in runs])}
    content |= sum((run.cost for run in runs[1:]), runs[0].cost).written()
    seconds = [run.seconds for run in runs]
    content["seconds"] = None if None in seconds else sum(each for each in seconds if each is not None)
    kept = {}
    for at in ("last", "best"):
        content[at] = {"epoch": runs[0].epoch(at), split: {}}
        found = [run.answers(at, split, metric) for run in runs]
        answers = [each for each in found if isinstance(each, Answers)]
        if len(answers) < len(found):
            continue
        task, _, name = metric.rpartition("/")
        pictures: Pictures = joined([each.pictures for each in answers])
        value = pictures.figure(name, np.ones((1, pictures.count), np.float32))
        assert value is not None  # `Finished.answers` has computed it for each fold
        content[at][split] = {metric: float(value[0])}
        groups = joined_groups([each.groups for each in answers])
        kept[at] = {
            task: pictures.pack(),
            "samples": fingerprint([each.samples for each in answers]),
            **({} if groups is None else {"groups": groups.pack()}),
        }
    content["pictures"] = {split: kept}
    return Finished(runs[0].path, content)
