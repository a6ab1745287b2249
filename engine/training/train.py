"""One run from its recipe to its report: opens what it needs, trains, and writes what is left."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from engine.averaging import averaged_name
from engine.cost import Cost
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.recipe.schedule import Phase
from engine.recipe.written import describe, differences
from engine.reports.report import write_report
from engine.runs import checkpoint
from engine.runs.commit import commit
from engine.runs.environment import describe_environment
from engine.runs.folder import RunDir, UnwrittenRun, is_taken, read_starts, refuse_taken
from engine.runs.initial import Origin, locate
from engine.runs.result import CHARTS, read_arrays
from engine.tasks.base import Supervised
from engine.training.clock import summarise
from engine.training.cost import cost_of
from engine.training.evaluate import figures, prediction_arrays
from engine.training.loop import Trainer
from engine.training.model import Model
from engine.training.parts import classes, renderer
from engine.training.precision import resolve
from engine.training.profiling import TRACE, check_profile, profiled
from engine.training.progress import Bars
from engine.training.ranks import Ranks
from engine.training.show import show_inpainting, show_views
from engine.weights import load_weights
from loaders import Loader, Split, identity
from loaders.base import augments
from loaders.feed.samplers import chosen_from, has_label, over
from loaders.targets import folder_target


def train(
    file: RecipeFile,
    out: Path,
    *,
    device: torch.device,
    resume: bool,
    deterministic: bool,
    console: Console,
    profile: int | None = None,
    ranks: Ranks | None = None,
) -> Path:
    """Trains a recipe into the folder `out`, or goes on with the run that is there.

    Args:
        profile: Steps of a profiler's trace, written to trace.json in the folder; None writes none.
        ranks: Those that train together; the first one writes, and has a console that is not quiet.

    Returns:
        The path of the report.

    Raises:
        ValueError: The data, the recipe, the folder or a checkpoint is not what it must be.
        NonFiniteLossError: The loss was not finite.
        StoppedError: The run was interrupted; its checkpoint is written.
    """
    recipe, ranks = file.recipe, ranks or Ranks()
    with ExitStack() as stack, _determinism(deterministic):
        ranks.share(recipe.batch_size, recipe.accumulate)
        ranks.agree(lambda: {"the recipe": json.dumps(describe(recipe)), **_versions()})
        resumed = ranks.from_first(lambda: _is_resumed(out, resume))
        if recipe.init is not None and not resumed:
            locate(recipe.init, recipe.backbone.name)
        training = stack.enter_context(closing(open_split(recipe, recipe.train, device, ranks)))
        held = {
            name: stack.enter_context(closing(open_split(recipe, name, device, ranks, evaluation=True)))
            for name in _evaluated_splits(recipe)
        }
        loaders = {recipe.train: training, **held}  # one of each split, to check and describe what is in it
        ranks.agree(lambda: {f"the split {name!r}": _fingerprint(loader.split) for name, loader in loaders.items()})
        for loader in loaders.values():
            recipe.check_labels(loader.split)
        _say_notes(loaders, console)
        trainer = Trainer(recipe, training, held[recipe.select], device, resumed=resumed, ranks=ranks)
        if trainer.origin is not None:
            console.print(str(Origin(**trainer.origin)), highlight=False)
        if profile is not None:
            check_profile(profile, trainer)
        if not resumed:  # else the checkpoint tells it to all
            ranks.agree(lambda: {"precision": trainer.precision})
        data = identity(recipe.data)
        run = _open_run(file, out, resume, data, console) if ranks.first else UnwrittenRun(out)
        stack.enter_context(closing(run))
        _go_on(trainer, run, console)
        if profile is not None:
            check_profile(profile, trainer)  # once more: fewer steps are left of a run that goes on
        run.declare(recipe.figures)
        start = {
            "ranks": ranks.world,
            "precision": trainer.precision,
            "deterministic": deterministic,
            "from_step": trainer.at.total,
        }
        run.started(describe_environment(device) | start | {"data": data})
        if trainer.at.total == 0 and ranks.first:
            shown = held[recipe.select] if augments(recipe.data) else training  # faces that are as stored
            show_views(trainer.renderer, next(iter(shown.epoch(0))), run.path / CHARTS / "views.png")
        traced = None if profile is None or not ranks.first else profile
        trace = nullcontext() if traced is None else profiled(trainer, traced, run.path / TRACE)
        with _stops(trainer), Bars(console, recipe.epochs, trainer.steps) as bars, trace:
            trainer.fit(run, bars)
        if profile is not None:
            console.print(f"trace: {run.path / TRACE}, for Perfetto or chrome://tracing", highlight=False)
        result = _finish(trainer, file.name, held, run, _cost(recipe, trainer.steps, console))
        report = write_report(run.path, result=result) if ranks.first else run.path / "report.md"
        run.result(result)  # last: where it is, the run is whole
        return report


def open_split(
    recipe: Recipe, split: str, device: torch.device, ranks: Ranks | None = None, *, evaluation: bool = False
) -> Loader:
    """Opens one split of a recipe's data: with its sampler where it trains on it, in manifest order else.

    A source that augments by itself is given the draw for training; evaluation is not augmented, so that it never is.

    Args:
        evaluation: Whether to open it in manifest order even if it is the training split.

    Raises:
        ValueError: The data is not what it must be, or the views ask for more draws than such a source can give.
    """
    training, ranks = split == recipe.train and not evaluation, ranks or Ranks()
    return Loader.open(
        recipe.data,
        split,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        device=device,
        rank=ranks.rank,
        world=ranks.world,
        sampler=over(recipe.sampler, epochs=recipe.epochs, accumulate=recipe.accumulate) if training else None,
        draw=renderer(recipe, torch.float32).shared() if training and augments(recipe.data) else None,
    )


def _say_notes(loaders: Mapping[str, Loader], console: Console) -> None:
    """What the source chose, once for all splits for which it chose the same."""
    for note in dict.fromkeys(loader.note for loader in loaders.values() if loader.note):
        splits = ", ".join(name for name, loader in loaders.items() if loader.note == note)
        console.print(f"{splits}: {note}", highlight=False)


def _evaluated_splits(recipe: Recipe) -> list[str]:
    return list(dict.fromkeys(name for name in (recipe.select, recipe.test) if name is not None))


def _is_resumed(out: Path, resume: bool) -> bool:
    """Says whether a checkpoint is there to go on from; refuses a folder that is taken."""
    if resume:
        folder_target(out)
    else:
        refuse_taken(out)
    return resume and checkpoint.newest(out / "checkpoints")[0] is not None


def _versions() -> dict[str, str]:
    """Names what the bits of a step depend on beside its recipe and its data."""
    return {
        "the commit": str(commit()),
        **{f"the version of {name}": version(name) for name in ("torch", "timm", "numpy")},
        "the number of threads": str(torch.get_num_threads()),
    }


def _fingerprint(split: Split) -> str:
    digest = hashlib.sha256(repr((split.shape, split.labels)).encode())
    for values in (split.sample, *split.target.values()):
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:12]


def _open_run(file: RecipeFile, out: Path, resume: bool, data: Any, console: Console) -> RunDir:
    recipe = describe(file.recipe)
    if resume and is_taken(out):
        old, starts = read_recipe(out), read_starts(out)
        trained_on = starts[-1].get("data") if starts else None
        return RunDir.reopen(
            out,
            [] if old is None else differences(old, recipe),
            [] if trained_on is None else differences(trained_on, data),
        )
    if resume:
        console.print(f"{out} is not there yet: starting it", highlight=False)
    return RunDir.create(out, recipe, file.source)


def _go_on(trainer: Trainer, run: RunDir, console: Console) -> None:
    """Loads the newest whole checkpoint, if there is one."""
    path, notes = trainer.ranks.from_first(lambda: checkpoint.newest(run.path / "checkpoints"))
    for note in notes:
        console.print(note, highlight=False)
    if path is not None:
        trainer.load(path, run)
        for note in run.notes:
            console.print(note, highlight=False)
        at = trainer.at
        console.print(f"going on from {path}: epoch {at.epoch + 1}, step {at.step}", highlight=False)
        _say_precision(trainer, console)
        if trainer.best is None and at.epoch == trainer.recipe.epochs:
            trainer.evaluate(run)
    elif notes:
        raise ValueError(
            f"checkpoint: no whole one is left in {run.path / 'checkpoints'}; start again with another --out"
        )


def _say_precision(trainer: Trainer, console: Console) -> None:
    """Says where a run goes on in another precision than it would begin in here."""
    here = resolve(trainer.recipe.precision, trainer.device)
    if trainer.precision != here:
        console.print(
            f"precision: {trainer.precision}, in which the run began; {trainer.recipe.precision!r} is {here} here. "
            f"To train in {here}, start again with another --out",
            highlight=False,
        )


def _finish(trainer: Trainer, name: str, loaders: dict[str, Loader], run: RunDir, cost: Cost) -> dict[str, Any]:
    """Evaluates on the test split and writes the last pictures; returns what result.json will hold."""
    recipe = trainer.recipe
    counted = {recipe.train: trainer.train, **loaders}
    models = {"best": _best_model(trainer, run), "last": trainer.evaluated}
    found = _test(models, trainer, loaders, run)
    _average(models, trainer, loaders, run, found)
    names = classes(recipe, trainer.train)
    for task in recipe.tasks:
        if task.needs_whole and trainer.ranks.first:
            batch = next(iter(loaders[recipe.select].epoch(0)))
            show_inpainting(trainer.evaluated, trainer.renderer, batch, task, run.path / CHARTS / "inpaint.png")
    batches = trainer.at.total * recipe.accumulate
    return {
        "name": name,
        "finished": True,
        "epochs": recipe.epochs,
        "steps": trainer.at.total,
        "seconds": trainer.seconds,
        "select_on": f"{recipe.select}/{recipe.headline}",
        **found,
        "init": trainer.origin,
        "select": recipe.select,
        "test": recipe.test,
        "classes": names | {averaged_name(task.name): names[task.name] for task in recipe.averaged_tasks},
        "majority": {
            split: constant_guess(recipe, trainer.train.split, loader.split) for split, loader in loaders.items()
        },
        "counts": {split: len(loader.split.sample) for split, loader in counted.items()},
        "notes": {split: loader.note for split, loader in counted.items()},
        "trained_on": len(chosen_from(recipe.sampler, trainer.train.split, seed=recipe.seed).sample),
        "shown": shown_faces(recipe, trainer.train.split, trainer.phases),
        "views": list(recipe.views),
        "pictures_a_face": None if cost.pictures is None else cost.pictures / (batches * recipe.batch_size),
        **cost.written(),
        "parameters": {
            "training": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            "inference": sum(p.numel() for p in trainer.model.inference().parameters()),
        },
        "speed": summarise(trainer.clock, trainer.device, trainer.compiled),
    }


def _cost(recipe: Recipe, steps: int, console: Console) -> Cost:
    """Counts what the training has cost, of so many steps an epoch; says so where that cannot be."""
    try:
        return cost_of(recipe, steps)
    except ValueError as error:
        console.print(f"{error}; this run's cost is not known", highlight=False)
        return Cost()


def shown_faces(recipe: Recipe, train: Split, phases: Sequence[Phase]) -> dict[str, dict[str, int]] | None:
    """Tells of composed batches, for each part, how many faces there are and how often some was shown; else None."""
    composed = [(recipe.accumulate * phase.steps, phase.composed) for phase in phases if phase.composed is not None]
    if not composed:
        return None
    chosen = chosen_from(recipe.sampler, train, seed=recipe.seed)
    labelled = int(has_label(chosen, composed[0][1].label).sum())
    return {
        "labelled": {"faces": labelled, "shown": sum(batches * each.labelled for batches, each in composed)},
        "unlabelled": {
            "faces": len(chosen.sample) - labelled,
            "shown": sum(batches * each.unlabelled for batches, each in composed),
        },
    }


def _best_model(trainer: Trainer, run: RunDir) -> Model:
    """The model of the best epoch."""
    model = copy.deepcopy(trainer.evaluated)
    path = run.path / "checkpoints" / checkpoint.BEST
    weights = trainer.ranks.from_first(lambda: load_weights(path))
    checkpoint.fill(model, weights, classes(trainer.recipe, trainer.train), path)
    return model


def _test(
    models: Mapping[str, Model], trainer: Trainer, loaders: Mapping[str, Loader], run: RunDir
) -> dict[str, dict[str, Any]]:
    """For "best" and "last" the epoch and, by split, the figures on `select`, and on `test`, which is evaluated now."""
    recipe, best = trainer.recipe, trainer.best
    assert best is not None  # the last epoch is always evaluated
    found: dict[str, dict[str, Any]] = {
        "best": {"epoch": best.epoch, recipe.select: dict(best.figures)},
        "last": {"epoch": recipe.epochs, recipe.select: dict(trainer.last_figures)},
    }
    if recipe.test is not None and recipe.test != recipe.select:
        for which, model in models.items():
            samples, rows = trainer.predict(model, loaders[recipe.test])
            run.predictions(f"{recipe.test}-{which}", prediction_arrays(samples, rows))
            found[which][recipe.test] = figures(recipe.evaluated, recipe.views, rows)
    return found


def _average(
    models: Mapping[str, Model],
    trainer: Trainer,
    loaders: Mapping[str, Loader],
    run: RunDir,
    found: Mapping[str, dict[str, Any]],
) -> None:
    """Adds to figures and predictions those of test-time augmentation, where the recipe asks for it."""
    recipe = trainer.recipe
    if not (tasks := recipe.averaged_tasks):
        return
    for split in dict.fromkeys(name for name in (recipe.select, recipe.test) if name is not None):
        for which, model in models.items():
            rows = trainer.predict_averaged(model, loaders[split], tasks)
            named = {averaged_name(task): of for task, of in rows.items()}
            found[which][split] |= {
                f"{averaged_name(task.name)}/{metric}": value
                for task in tasks
                for metric, value in task.measure(rows[task.name]).items()
            }
            if not trainer.ranks.first:
                continue
            plain = read_arrays(run.path / "predictions" / f"{split}-{which}.npz")
            run.predictions(f"{split}-{which}", prediction_arrays(plain.pop("sample"), named) | plain)


def constant_guess(recipe: Recipe, train: Split, split: Split) -> dict[str, float]:
    """Computes the figures on a split, by `<task>/<figure>`, of the best constant answer that `train` tells."""
    return {
        f"{name}/{figure}": value
        for name, task in recipe.reported
        if isinstance(task, Supervised)
        for figure, value in task.constant_guess(train, split).items()
    }


def read_recipe(run: Path) -> Any:
    """A run's resolved recipe, None where there is none.

    Raises:
        ValueError: The file is cut or edited.
    """
    file = run / "recipe.json"
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"run: {file} is cut or edited ({error}), so that it is not known what the run trains; put it back as "
            "`hmtl train RECIPE --out` wrote it, or start again with another --out"
        ) from error


@contextmanager
def _stops(trainer: Trainer) -> Iterator[None]:
    """Ends training after the running step, with a checkpoint, at Ctrl-C, SIGTERM and SIGUSR1 on any rank."""

    def stop(number: int, frame: object) -> None:
        trainer.stop = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms and no autotuning, where they are asked for."""
    inductor: Any = importlib.import_module("torch._inductor.config")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, inductor.deterministic
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    inductor.deterministic = wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark, inductor.deterministic = before[1:]
