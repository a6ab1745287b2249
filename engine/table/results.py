"""Computes what a table says: each row's figures over its seeds, and the differences between rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float64

from engine.cost import Cost
from engine.figures import Figure
from engine.intervals.answers import figure_of
from engine.intervals.bootstrap import RESAMPLES, Interval, paired_difference, resampled
from engine.intervals.groups import Groups, shared_groups
from engine.table.experiment import Experiment, Group, Row, compared_with
from engine.table.finished import Answers, Finished
from engine.table.folds import pool_folds
from engine.table.plan import Job, Plan

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Holds a figure over seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Computes the standard deviation of a single run (n - 1); NaN of fewer than two."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True, slots=True)
class RowFigures:
    """Holds one line of the table."""

    group: str
    name: str
    published: float | None
    last: Sample
    best: Sample
    over_folds: Sample
    """The figure of each fold alone, of all seeds, at the checkpoint that is compared; none without folds."""
    minutes: Sample
    """Wall time of training."""
    cost: Cost
    """Of training, with that of the rows it starts from."""
    state: str
    """Why seeds are lacking: "not run: ...", "1 of 3 failed"; empty if none is."""
    done: tuple[Finished, ...]
    """All its runs that have ended."""

    def at(self, checkpoint: Literal["last", "best"]) -> Sample:
        """Gives the figure at one of the two checkpoints."""
        return self.last if checkpoint == "last" else self.best


@dataclass(frozen=True, slots=True)
class Difference:
    """Holds a row minus one of those it is compared with, over the seeds that both have."""

    group: str
    row: str
    against: str
    interval: Interval | None
    mean: float
    """NaN where no seed has both."""
    reference: float
    """The other row's figure, for the relative change."""
    seeds: int
    pictures: int
    groups: str
    """What is drawn in place of pictures: "15 groups (person)"; empty where pictures are drawn one by one."""
    reason: str
    """Why there is no interval; empty if there is one."""
    verdict: Verdict | None
    """Whether the interval lies on one side of 0; None without one."""
    cost: str
    """Whether the row's cost was held equal to that of the other, and in what."""


@dataclass(frozen=True, slots=True)
class Results:
    """Holds all lines of the table and all differences."""

    experiment: Experiment
    figure: Figure
    """What the experiment's metric is."""
    rows: tuple[RowFigures, ...]
    differences: tuple[Difference, ...]

    @property
    def done(self) -> tuple[Finished, ...]:
        """Lists every finished run once."""
        return tuple({run.key: run for row in self.rows for run in row.done}.values())


def make_results(plan: Plan, failed: Collection[str], *, resamples: int = RESAMPLES) -> Results:
    """Computes the figures of what is done, and the differences between rows.

    Args:
        failed: Keys of the runs that failed.
    """
    experiment = plan.file.experiment
    rows: list[RowFigures] = []
    differences: list[Difference] = []
    comparing = _Comparing(experiment, plan.figure, resamples)
    for group, jobs in zip(experiment.groups, plan.rows, strict=True):
        runs = dict(zip((row.name for row in group.rows), jobs, strict=True))
        of = {name: pool_folds(of_row, experiment) for name, of_row in runs.items()}
        rows += [_row(experiment, group, row, of, runs[row.name], failed) for row in group.rows if row.shown]
        differences += [
            comparing.difference(group, of, row, other)
            for row in group.rows
            for other in compared_with(row, group)
            if any(job.done for job in of[row.name]) and any(job.done for job in of[other])
        ]
    return Results(experiment, plan.figure, tuple(rows), tuple(differences))


def _row(
    experiment: Experiment,
    group: Group,
    row: Row,
    of: Mapping[str, Sequence[Job]],
    runs: Sequence[Job],
    failed: Collection[str],
) -> RowFigures:
    jobs = of[row.name]
    each = tuple(job.done for job in runs if job.done is not None)
    done = tuple(job.done for job in jobs if job.done is not None)
    figures = {at: Sample(tuple(_figures(done, at, experiment))) for at in ("last", "best")}
    seconds = [known for known in map(_seconds, *_with_start(group, row, of)) if known is not None]
    minutes = Sample(tuple(known / 60 for known in seconds))
    state = _state(experiment, jobs, failed, len(figures["last"].values))
    return RowFigures(
        group.title,
        row.name,
        row.published,
        figures["last"],
        figures["best"],
        Sample(tuple(_figures(each, experiment.at, experiment)) if experiment.folds else ()),
        minutes,
        _cost(group, row, of),
        state,
        each,
    )


def _with_start(group: Group, row: Row, of: Mapping[str, Sequence[Job]]) -> list[Sequence[Job]]:
    """Lists the runs of a row, and of the rows it starts from: what its figures cost."""
    found = [of[row.name]]
    while row.start is not None:
        name = row.start.row
        found.append(of[name])
        row = next(other for other in group.rows if other.name == name)
    return found


def _seconds(*jobs: Job) -> float | None:
    """Adds up the seconds of runs; None unless all are done and say so."""
    seconds = [None if job.done is None else job.done.seconds for job in jobs]
    return None if None in seconds else sum(each for each in seconds if each is not None)


def _cost(group: Group, row: Row, of: Mapping[str, Sequence[Job]]) -> Cost:
    """Adds up what the runs of a row and of those it starts from cost; all seeds cost the same."""
    for jobs in zip(*_with_start(group, row, of), strict=True):
        if all(job.done is not None for job in jobs):
            return sum((job.done.cost for job in jobs if job.done is not None), Cost(0, 0, 0))
    return Cost()


def _figures(done: Sequence[Finished], at: str, experiment: Experiment) -> list[float]:
    found = (run.figure(at, experiment.split, experiment.metric) for run in done)
    return [value for value in found if value is not None]


def _state(experiment: Experiment, jobs: Sequence[Job], failed: Collection[str], have: int) -> str:
    lacking = [job for job in jobs if job.done is None]
    wrong = sum(job.key in failed for job in lacking)
    parts = []
    if wrong:
        parts.append("failed" if wrong == len(jobs) else f"{wrong} of {len(jobs)} failed")
    reasons = dict.fromkeys(job.missing for job in lacking if job.missing is not None)
    parts += [f"not run: {reason}" for reason in reasons]
    if open_ := sum(job.missing is None and job.key not in failed for job in lacking):
        parts.append("not run yet" if open_ == len(jobs) else f"{open_} of {len(jobs)} not run yet")
    if without := len(jobs) - len(lacking) - have:
        parts.append(f"{without} of {len(jobs)} report no {experiment.metric} on {experiment.split}")
    return "; ".join(parts)


@dataclass(slots=True)
class _Comparing:
    """Compares rows; draws are made once for each set of runs."""

    experiment: Experiment
    figure: Figure
    resamples: int
    resampled: dict[tuple[bool, tuple[str, ...]], Float64[np.ndarray, "r s"]] = field(default_factory=dict)
    """Whether groups are drawn, and the keys of a row's runs, to their figures on draws of their test pictures."""

    def difference(self, group: Group, jobs: Mapping[str, Sequence[Job]], row: Row, against: str) -> Difference:
        experiment, other_row = self.experiment, next(other for other in group.rows if other.name == against)
        pairs = [
            (one.done, other.done)
            for one, other in zip(jobs[row.name], jobs[against], strict=True)  # the same seed stands at the same place
            if one.done is not None and other.done is not None
        ]
        figures = [
            [run.figure(experiment.at, experiment.split, experiment.metric) for run in side]
            for side in zip(*pairs, strict=True)
        ]
        first, second = (np.array(side, np.float64) for side in figures) if pairs else (np.empty(0), np.empty(0))
        known = np.isfinite(first) & np.isfinite(second)
        mean, reference = (
            float(values[known].mean()) if known.any() else math.nan for values in (first - second, second)
        )
        interval, pictures, groups, reason = self._interval(pairs, complete=bool(known.all()))
        verdict = None if interval is None else _verdict(interval, self.figure.greater_is_better)
        cost = _cost(group, row, jobs).beside(_cost(group, other_row, jobs))
        return Difference(
            group.title,
            row.name,
            against,
            interval,
            mean,
            reference,
            int(known.sum()),
            pictures,
            groups,
            reason,
            verdict,
            cost,
        )

    def _interval(
        self, pairs: Sequence[tuple[Finished, Finished]], *, complete: bool
    ) -> tuple[Interval | None, int, str, str]:
        """Computes the interval; says over how many pictures and which groups, or why there is none."""
        if not pairs:
            return None, 0, "", "no seed of both is done"
        if not complete:
            return None, 0, "", f"a run reports no {self.experiment.metric} on {self.experiment.split}"
        sides = [[pair[side] for pair in pairs] for side in (0, 1)]
        read = [self._answers(runs) for runs in sides]
        if reason := next((each for each in read if isinstance(each, str)), ""):
            return None, 0, "", reason
        one, other = (each for each in read if not isinstance(each, str))
        if one[0].samples != other[0].samples:
            return None, 0, "", f"the two were tested on different pictures of {self.experiment.split}"
        groups = shared_groups([each.groups for each in (*one, *other)])
        if groups is not None and groups.count < 2:
            return None, 0, "", f"all test pictures are of {groups}"
        drawn = [self._draw(runs, answers, groups) for runs, answers in zip(sides, (one, other), strict=True)]
        return paired_difference(*drawn), one[0].pictures.count, "" if groups is None else str(groups), ""

    def _answers(self, runs: Sequence[Finished]) -> list[Answers] | str:
        """Reads what a row's runs answered, or why their pictures cannot be drawn."""
        experiment = self.experiment
        kept: list[Answers] = []
        for run in runs:
            answers = run.answers(experiment.at, experiment.split, experiment.metric)
            if isinstance(answers, str):
                return answers
            kept.append(answers)
        if len({each.samples for each in kept}) > 1:
            return f"its seeds were tested on different pictures of {experiment.split}"
        return kept

    def _draw(
        self, runs: Sequence[Finished], answers: Sequence[Answers], groups: Groups | None
    ) -> Float64[np.ndarray, "r s"]:
        """Computes the figures of a row's runs on every draw of pictures, or of groups."""
        key = groups is not None, tuple(run.key for run in runs)
        if key not in self.resampled:
            metric, count = self.experiment.metric.rpartition("/")[2], answers[0].pictures.count
            figures = [figure_of(each.pictures, metric) for each in answers]
            self.resampled[key] = resampled(figures, count, groups=groups, resamples=self.resamples)
        return self.resampled[key]


def _verdict(interval: Interval, greater: bool) -> Verdict:
    if interval.low <= 0 <= interval.high:
        return "undecided"
    return "better" if (interval.low > 0) == greater else "worse"
