"""An experiment on the tiny recipe, and made-up finished runs of it, for the tests of everything that makes tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.intervals.answers import ClassAnswers
from engine.table import finished
from engine.table.experiment import read
from engine.table.fingerprint import fingerprint
from engine.table.finished import Finished
from engine.table.plan import Job, Plan, make_plan

FILE = '''"""An experiment of the tests."""

from dataclasses import replace

from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.table import Experiment, Group, Row, Start
from tests.engine import tiny

recipe = tiny.recipe()
supervised = one_view(recipe)
two_views = equal_cost(recipe)
experiment = Experiment(
    title="Does it win?",
    table="E2 of a paper",
    data="drawn faces",
    seeds=2,
    {fields}
    groups=({groups}),
)
'''
ROWS = """Group(
    title="all data",
    rows=(
        Row("one view", ":supervised", published=60.34, baseline=True),
        Row("equal cost", ":two_views", baseline=True),
        Row("puzzling", ":recipe", published=61.09),
    ),
),"""


def write_experiment(path: Path, groups: str = ROWS, fields: str = "") -> Path:
    path.write_text(FILE.replace("{groups}", groups).replace("{fields}", fields))
    return path


def plan_of(path: Path, *, seeds: int | None = None, **options: Any) -> Plan:
    folder = path.parent
    return make_plan(read(path), seeds=seeds, out=folder / "runs", results=folder / "results", **options)


def answers(right: int, n: int = 200, classes: int = 7, seed: int = 0) -> ClassAnswers:
    """n pictures of which `right` are recognised; the same ones first, as pictures that are easy are easy for all."""
    target = np.random.default_rng(0).integers(0, classes, n)
    shift = np.random.default_rng(seed).integers(1, classes, n)
    return ClassAnswers(target, np.where(np.arange(n) < right, target, (target + shift) % classes), classes)


def finish(plan: Plan, job: Job, right: int, *, metric: str = "expression/accuracy", **content: Any) -> Finished:
    """Leaves the small file of a job as if it had been run: `right` of 200 test pictures are recognised."""
    kept = answers(right, seed=job.seed)
    value = right / 200 if metric.endswith("accuracy") else 1 - right / 200
    figures = {"epoch": 2, "test": {metric: value}}
    task = metric.partition("/")[0]
    picture = {task: kept.pack(), "samples": fingerprint(list(range(200)))}
    told = {
        "format": finished.FORMAT,
        "version": finished.VERSION,
        "name": job.name,
        **job.identity,
        "seed": job.seed,
        "seconds": 90.0,
        "pictures_through_encoder": 64,
        "pictures_forward_only": 0,
        "training_flops": 640,
        "last": figures,
        "best": figures,
        "environment": {"device": "cpu", "cpu": "one of ours", "threads": 2, "date": "2026-11-23T00:00:00+00:00"},
        "pictures": {"test": {"last": picture, "best": picture}},
    }
    return finished.write(told | content, plan.results / plan.file.name / f"{job.name}-{job.key[:8]}.json")
