"""Measures a finished run on corrupted faces, as its own evaluation measured it, and keeps every answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import kernels
from engine.deployed import Deployed, load
from engine.figures import Figure
from engine.intervals.answers import Pictures, from_arrays, measured_rows, naming, unpack
from engine.intervals.groups import Groups
from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.recipe.definition import Precision
from engine.robustness.corruptions import CORRUPTIONS, PARTS, Corruption, Faces
from engine.runs.result import Run, read_run
from engine.runs.same_data import refuse_other_data
from engine.table.fingerprint import fingerprint
from engine.tasks.base import Criterion, Supervised
from engine.training.evaluate import (
    BatchRows,
    Kept,
    figures,
    groups_of,
    joined,
    look,
    on_cpu,
    over_views,
    prediction_arrays,
)
from engine.training.model import evaluating
from engine.training.precision import DTYPES, autocast, resolve
from engine.training.render import Rendered, Renderer, stored
from engine.views import EVALUATION, Box, Cells, identity_cells
from kernels import Key
from loaders import Loader, identity
from loaders.base import Batch
from loaders.files import write_json
from loaders.progress import progress
from loaders.terminal import Terminal

At = Literal["last", "best"]
FOLDER, FILE = "robustness", "robustness.json"
VERSION = 1
"""Of what is measured: another one makes what older ones kept be measured anew."""
CLEAN = "clean"
SEED = 0
"""Of what is drawn: every run is shown the same faces."""
_ROUNDING, _TOLERANCE = 1e-6, 2e-3
"""How far a figure may be, as a share of it, from the one that the run reported: without a word, as its evaluation sent
pretext views through the encoder in the same batch, which rounds otherwise; and with one, on another machine."""


def condition(corruption: Corruption, strength: float) -> str:
    """Names a kind of corruption at a strength."""
    return f"{corruption.name} {strength:g}"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Holds what a run said of the faces of a split, as they are and made worse."""

    run: Run
    split: str
    at: At
    parts: str
    samples: str
    """Fingerprint of the ids of the faces."""
    groups: Groups | None
    """Which faces belong together; None where the data does not say."""
    headlines: Mapping[str, Figure]
    """Supervised task to its first figure."""
    figures: Mapping[str, Mapping[str, float]]
    """Condition to `<task>/<figure>` to value; the first is `CLEAN`."""
    pictures: Mapping[str, Mapping[str, Pictures]]
    """Condition to task to its answers, of tasks whose first figure can be computed from single pictures."""
    reported: Mapping[str, float]
    """The figures of the run's own evaluation, by `<task>/<figure>`."""

    @property
    def folder(self) -> Path:
        return self.run.path / FOLDER

    @property
    def apart(self) -> list[str]:
        """Names the clean figures that are not those that the run reported, but for rounding."""
        return [name for name in self.figures[CLEAN] if not self._near(name, _ROUNDING)]

    def is_of_the_run(self, name: str) -> bool:
        """Tells whether a clean figure can be of the model and the faces that the run reported it of."""
        return self._near(name, _TOLERANCE)

    def _near(self, name: str, tolerance: float) -> bool:
        return math.isclose(self.figures[CLEAN][name], self.reported[name], rel_tol=tolerance)

    def value(self, which: str, task: str) -> float:
        """Gives the first figure of a task under a condition."""
        return self.figures[which][f"{task}/{self.headlines[task].name}"]


def measure(
    folder: Path, *, at: At, split: str | None, parts: str, device: torch.device, console: Terminal
) -> tuple[Measured, Renderer, Batch]:
    """Measures a run, or reads what was measured of the same weights on the same faces before.

    Args:
        folder: A finished run.
        at: Which of its checkpoints.
        split: The split; None takes the recipe's test split.
        parts: Where the parts of the faces lie, of `PARTS`.

    Returns:
        What was measured, and what shows the first faces of the split.

    Raises:
        ValueError: It is no finished run, has no such split, its data is not what it was trained on, or its clean
            figures are not those that it reported.
    """
    where = f"robustness: {folder}"
    run = read_run(folder, where="robustness")
    if not run.finished:
        raise ValueError(f"{where} must have ended; go on with it by hmtl train RECIPE --out {folder} --resume")
    recipe = recipe_file.read(str(folder.resolve())).recipe
    split = split or recipe.test
    if split is None:
        raise ValueError(f"{where} has no test split; name the split it was chosen on, --split {recipe.select}")
    scores = run.last if at == "last" else run.best
    reported = {} if scores is None else scores.figures.get(split, {})
    if not reported:
        raise ValueError(f"{where} reported no figures of split (={split!r}); it has {', '.join(run.splits)}")
    model = load(folder / "checkpoints" / at, device)
    refuse_other_data(run, recipe.data, where)
    with closing(
        Loader.open(recipe.data, split, batch_size=recipe.batch_size, seed=recipe.seed, device=device)
    ) as loader:
        recipe.check_labels(loader.split)
        measuring = _Measuring(model, recipe, loader, parts, _precision(run, recipe, device), device)
        hashes = json.loads((folder / "checkpoints" / at / "files.json").read_text(encoding="utf-8"))
        known = {
            "version": VERSION,
            "weights": hashes["weights.safetensors"],
            "at": at,
            "split": split,
            "samples": fingerprint(loader.split.sample.tolist()),
            "parts": parts,
            "precision": measuring.precision,
            "data": identity(recipe.data),
            "corruptions": {each.name: list(each.strengths) for each in CORRUPTIONS},
        }
        content = _kept(folder / FOLDER / FILE, known)
        if content is None:
            content = {"known": known, **measuring.content(folder.name, console)}
        first = next(iter(loader.epoch(0)))
        groups = groups_of(loader.split, loader.split.sample.numpy())
    measured = Measured(
        run,
        split,
        at,
        parts,
        str(known["samples"]),
        groups,
        measuring.headlines,
        content["figures"],
        {
            which: {name: unpack(packed, partial(_measure_of, model.tasks[name])) for name, packed in kept.items()}
            for which, kept in content["answers"].items()
        },
        reported,
    )
    _refuse_other_figures(measured, where)
    (folder / FOLDER).mkdir(exist_ok=True)
    write_json(folder / FOLDER / FILE, content)
    return measured, measuring.renderer, first


def _measure_of(task: Supervised) -> Callable[[Mapping[str, np.ndarray]], Mapping[str, float]]:
    return task.measure


def _precision(run: Run, recipe: Recipe, device: torch.device) -> Precision:
    """Finds what the run computed in: a run says it, since it began to be resolved by device."""
    said: Precision = run.starts[-1].get("precision", recipe.precision) if run.starts else recipe.precision
    return resolve(said, device)


def _refuse_other_figures(measured: Measured, where: str) -> None:
    for task, figure in measured.headlines.items():
        name = f"{task}/{figure.name}"
        if not measured.is_of_the_run(name):
            raise ValueError(
                f"{where}: {name} of the clean faces (={measured.figures[CLEAN][name]:.6g}) must be the one that the "
                f"run reported (={measured.reported[name]:.6g}); its data, its code or its checkpoint has changed, "
                "train it again"
            )


def _kept(file: Path, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """Reads what was measured before; None where it is not there, damaged, or of something else."""
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        same = content["known"] == json.loads(json.dumps(known))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is measured again and replaced
    return content if same else None


def corrupted(
    renderer: Renderer, batch: Batch, corruption: Corruption, strength: float, parts: Sequence[Box]
) -> Rendered:
    """Renders the view of evaluation of faces that were made worse; see `Renderer.evaluation`."""
    worse, size = corruption.faces(batch, strength), renderer.image_size
    count, device = len(batch.row), batch.row.device
    plain = kernels.centre(renderer.evaluation_crop, store=stored(worse), size=size, batch=count, device=device)
    key = Key(SEED, 0, batch.sample).stream(f"robustness: {corruption.name}")
    tables = corruption.tables(plain, strength, Faces(key, batch.mean, stored(worse), size, tuple(parts)))
    # The kernel is given what this kind changes: noise of deviation 0 costs as much as any.
    options = {name: getattr(tables, name) for name in _OPTIONS if getattr(tables, name) is not getattr(plain, name)}
    shows = identity_cells(1, count, device)
    picture = renderer.show(
        worse,
        tables.where[None],
        tables.colour[None],
        shows[None],
        size=size,
        **{name: table[None] for name, table in options.items()},
    )[0]
    return Rendered(
        {EVALUATION: picture}, {EVALUATION: Cells(shows)}, {EVALUATION: tables.where}, {}, {EVALUATION: batch.target}
    )


_OPTIONS = ("blur", "noise", "key", "cut")


class _Measuring:
    """Shows the faces of a split under every condition, and asks the model."""

    def __init__(
        self, model: Deployed, recipe: Recipe, loader: Loader, parts: str, precision: Precision, device: torch.device
    ) -> None:
        self.model, self.recipe, self.loader, self.parts = model, recipe, loader, parts
        self.precision, self.device = precision, device
        own = model.renderer
        self.renderer = Renderer(
            views={},
            augment=own.augment,
            image_size=own.image_size,
            evaluation_crop=own.evaluation_crop,
            mean=own.mean,
            std=own.std,
            seed=own.seed,
            dtype=DTYPES[precision],
        )
        self.criteria: dict[str, Criterion] = {
            name: task.criterion(loader.split).to(device) for name, task in model.tasks.items()
        }
        self.headlines = {name: task.figures(recipe.views)[0] for name, task in model.tasks.items()}

    def content(self, name: str, console: Terminal) -> dict[str, Any]:
        """Measures everything; gives figures and packed answers by condition."""
        asked: dict[str, tuple[Corruption, float] | None] = {CLEAN: None}
        asked |= {condition(each, strength): (each, strength) for each in CORRUPTIONS for strength in each.strengths}
        kept: dict[str, list[Kept]] = {which: [] for which in asked}
        context = autocast(self.precision, self.device)
        left = len(self.loader.split.sample)
        total = len(asked) * left
        with evaluating(self.model.network), progress(f"{name}: pictures", total, console) as advance:
            for batch in self.loader.epoch(0):
                sample = batch.sample.clone()
                faces = min(len(sample), left)  # the last batch may be padded
                left -= faces
                for which, how in asked.items():
                    kept[which].append((sample, self._rows(batch, how, context)))
                    advance(faces)
        tasks = tuple(self.model.tasks.values())
        found: dict[str, Any] = {"figures": {}, "answers": {}}
        for which, batches in kept.items():
            ids, rows = joined(on_cpu(batches))
            arrays = prediction_arrays(ids, rows, self.loader.split)
            found["figures"][which] = figures(tasks, self.recipe.views, rows)
            answers = {task.name: self._answers(arrays, task) for task in tasks}
            found["answers"][which] = {name: kept.pack() for name, kept in answers.items() if kept is not None}
        return found

    def _rows(
        self, batch: Batch, how: tuple[Corruption, float] | None, context: AbstractContextManager[object]
    ) -> dict[str, BatchRows]:
        if how is None:
            seen = look(self.renderer.evaluation(batch), EVALUATION)
        else:
            seen = look(corrupted(self.renderer, batch, *how, PARTS[self.parts]), EVALUATION)
        with context:
            outputs = self.model.network(seen.picture)
        return {name: over_views([of.rows(outputs[name], seen)]) for name, of in self.criteria.items()}

    def _answers(self, arrays: Mapping[str, np.ndarray], task: Supervised) -> Pictures | None:
        """Finds what the first figure of a task can be computed from for any weighting of the pictures."""
        known = from_arrays(arrays, task.name, naming(task))
        name = self.headlines[task.name].name
        if known is None or known.figure(name, np.ones((1, known.count), np.float32)) is None:
            return measured_rows(arrays, task.name, task.measure)
        return known
