"""Plans the runs of an experiment: what each is known by, how it is started, and which are done."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.figures import Figure
from engine.recipe import Recipe, settings
from engine.recipe import file as recipe_file
from engine.recipe.written import describe
from engine.table import finished
from engine.table.experiment import ExperimentFile, Group, Row
from engine.table.fingerprint import described_without_data, fingerprint, is_recipe, missing_file
from engine.table.finished import Finished
from loaders import identity as data_identity

_LONGEST_NAME = 200  # a file's name has at most 255 characters; seed, key and suffix follow


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Describes one run: a row's recipe with one seed."""

    key: str
    name: str
    folder: Path
    seed: int
    words: tuple[str, ...]
    """What `python` is called with: `-m engine.run` and the arguments of `hmtl train`."""
    needs: str | None
    """Key of the run whose weights it starts from."""
    missing: str | None
    """Why it cannot be run here."""
    identity: Mapping[str, Any]
    """key, recipe, data, data_as_named: what its small file says."""
    splits: tuple[str, ...]
    """Splits whose answers are kept."""
    done: Finished | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds all runs of an experiment."""

    file: ExperimentFile
    results: Path
    """Folder of the small files."""
    figure: Figure
    """What the experiment's metric is."""
    rows: tuple[tuple[tuple[Job, ...], ...], ...]
    """The runs of each row of each group, one a seed, or one a seed and fold; a run may belong to several rows."""
    notes: tuple[str, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Lists each run once, a run before those that start from it."""
        return tuple({job.key: job for group in self.rows for row in group for job in row}.values())

    @property
    def missing(self) -> tuple[Job, ...]:
        """Lists the runs that are to be done, and can be."""
        return tuple(job for job in self.jobs if job.done is None and job.missing is None)

    def with_done(self, key: str, done: Finished) -> Plan:
        """Makes the plan as it is once a run has ended."""
        rows = tuple(
            tuple(tuple(replace(job, done=done) if job.key == key else job for job in row) for row in group)
            for group in self.rows
        )
        return replace(self, rows=rows)


def make_plan(
    file: ExperimentFile,
    *,
    seeds: int | None,
    out: Path,
    results: Path,
    set_: Sequence[str] = (),
    device: str | None = None,
) -> Plan:
    """Resolves every row for every seed, and finds what is done: in `results`, or as a finished folder in `out`.

    Raises:
        ValueError: A recipe is not there, a field that is set is not one of its, or no recipe has the metric.
    """
    there, notes = finished.read_all(results)
    maker = _Maker(file, out, results, tuple(set_), device, there)
    count = file.experiment.seeds if seeds is None else seeds
    rows = tuple(maker.group(group, range(count)) for group in file.experiment.groups)
    metric = file.experiment.metric
    if metric not in maker.figures:
        raise ValueError(
            f"Experiment: metric (={metric!r}) must be a figure of its recipes (={', '.join(maker.figures)}); "
            "name one of these"
        )
    return Plan(file, results, maker.figures[metric], rows, tuple(notes))


@dataclass(slots=True)
class _Maker:
    file: ExperimentFile
    out: Path
    results: Path
    set_: tuple[str, ...]
    device: str | None
    there: list[Finished]
    figures: dict[str, Figure] = field(default_factory=dict)
    """Of all recipes, by `<task>/<figure>`."""
    made: dict[str, Job] = field(default_factory=dict)
    """By key: one run may belong to several rows."""

    def group(self, group: Group, seeds: Iterable[int]) -> tuple[tuple[Job, ...], ...]:
        jobs: dict[str, tuple[Job, ...]] = {}
        for row in group.rows:
            where = self.file.recipe(row)
            recipe = recipe_file.read(where).recipe
            given = (*group.set, *row.set, *self.set_)
            jobs[row.name] = tuple(
                self._job(
                    group, row, recipe, given, seed, fold, None if row.start is None else jobs[row.start.row][index]
                )
                for index, (seed, fold) in enumerate(itertools.product(seeds, self._folds()))
            )
        return tuple(jobs.values())

    def _folds(self) -> Iterable[int | None]:
        return range(self.file.experiment.folds) if self.file.experiment.folds else (None,)

    def _job(
        self,
        group: Group,
        row: Row,
        recipe: Recipe,
        given: Sequence[str],
        seed: int,
        fold: int | None,
        start: Job | None,
    ) -> Job:
        names: dict[str, str] = {}
        if row.start is not None and start is not None:
            checkpoint = str(start.folder / "checkpoints" / row.start.checkpoint)
            names[checkpoint] = f"run {start.key} {row.start.checkpoint}"
            given = (*given, f"{row.start.field}={checkpoint!r}")
        given = (*given, f"seed={seed}")
        if fold is not None:
            given = (*given, f"{self.file.experiment.fold_field}={fold}")
        try:
            recipe = settings.apply(recipe, given)
        except ValueError as error:
            raise ValueError(f"table: row {row.name!r}: {error}") from error
        self.figures |= recipe.figures
        absent = missing_file(recipe, frozenset(names))
        identity: dict[str, Any] = {
            "recipe": described_without_data(recipe, names),
            "data": data_identity(recipe.data),
            "data_as_named": describe(recipe.data),
        }
        if start is not None and absent is None:
            absent = _start_missing(start)
        done = self._find(recipe, identity, names, has_data=absent is None or not absent.startswith("no data"))
        key = fingerprint([identity["recipe"], identity["data"]]) if done is None else done.key
        if key in self.made:
            return self.made[key]
        name = _slug(" ".join(filter(None, (self.file.name, group.title, row.name)))) + f"-seed{seed}"
        name += "" if fold is None else f"-fold{fold}"
        job = Job(
            key=key,
            name=name,
            folder=self.out / f"{name}-{key[:8]}",
            seed=seed,
            words=(),
            needs=None if start is None else start.key,
            missing=absent,
            identity={"key": key, **identity},
            splits=tuple(dict.fromkeys((recipe.test or recipe.select, self.file.experiment.split))),
            done=done,
        )
        job = replace(job, words=self._words(row, given, job.folder))
        self.made[key] = replace(job, done=done or collect(job, self.file, self.results))
        return self.made[key]

    def _words(self, row: Row, given: Sequence[str], folder: Path) -> tuple[str, ...]:
        sets = (word for assignment in given for word in ("--set", assignment))
        device = () if self.device is None else ("--device", self.device)
        return ("-m", "engine.run", self.file.recipe(row), "--out", str(folder), "--resume", *device, *sets)

    def _find(
        self, recipe: Recipe, identity: Mapping[str, Any], names: Mapping[str, str], *, has_data: bool
    ) -> Finished | None:
        """Finds the finished run of this recipe on this data; where the data is not here, on data of that name."""
        for run in self.there:
            told = run.content
            same_data = (
                told["data"] == identity["data"] if has_data else told["data_as_named"] == identity["data_as_named"]
            )
            if same_data and is_recipe({**told["recipe"], "data": describe(recipe.data)}, recipe, names):
                return run
        return None


def _start_missing(start: Job) -> str | None:
    """Says why a run that starts from another one cannot be run."""
    if start.missing is not None:
        return start.missing
    if start.done is not None and not start.folder.is_dir():
        return f"no weights: {start.name} was trained elsewhere, its folder {start.folder} is not here"
    return None


def collect(job: Job, file: ExperimentFile, results: Path) -> Finished | None:
    """Writes the small file of a run whose folder says that it has ended; None if it has not."""
    if not (job.folder / "result.json").is_file():
        return None
    try:
        content = finished.record(job.folder, job.identity, job.splits, file.experiment.metric)
    except ValueError:
        return None
    return finished.write(content, results / file.name / f"{job.name}-{job.key[:8]}.json")


def _slug(text: str) -> str:
    found = re.sub(r"[^a-z0-9]+", "-", text.lower().replace("%", " percent")).strip("-")
    return found[:_LONGEST_NAME]
