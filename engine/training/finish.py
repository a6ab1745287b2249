"""Ends a training: evaluates its best and its last weights, and tells what the run saw, cost and found."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from engine.averaging import averaged_name
from engine.cost import Cost
from engine.recipe import Recipe
from engine.recipe.schedule import Phase
from engine.reports.report import answers_name
from engine.runs import checkpoint
from engine.runs.folder import RunDir
from engine.runs.result import CHARTS, read_arrays
from engine.tasks.base import Supervised
from engine.training.clock import summarise
from engine.training.cost import cost_of
from engine.training.evaluate import figures, prediction_arrays
from engine.training.loop import Trainer
from engine.training.model import Model
from engine.training.parts import classes
from engine.training.show import show_answers
from engine.weights import load_weights
from loaders import Loader, Split, store_notes
from loaders.feed.composed import has_label
from loaders.feed.samplers import chosen_from
from loaders.terminal import Terminal


def finish(
    trainer: Trainer, name: str, loaders: Mapping[str, Loader], run: RunDir, console: Terminal
) -> dict[str, Any]:
    """Evaluates on the test split and writes the last pictures; gives what result.json will hold.

    Args:
        name: Of the recipe.
        loaders: Of the splits `select` and `test`, in manifest order.
    """
    recipe = trainer.recipe
    cost = _cost(recipe, trainer.steps, console)
    counted = {recipe.train: trainer.train, **loaders}
    models = {"best": _best_model(trainer, run), "last": trainer.evaluated}
    _predict_anew(models, trainer, loaders[recipe.select], run)
    found = _test(models, trainer, loaders, run)
    _average(models, trainer, loaders, run, found)
    names = classes(recipe, trainer.train)
    if trainer.ranks.first:
        trainer.paintings.write(trainer.evaluated, trainer.renderer, loaders[recipe.select], run.path / CHARTS)
        _show_answers(models, trainer, loaders, run, names)
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
        "notes": {
            split: "; ".join(filter(None, (loader.note, *map(str, loader.class_maps))))
            for split, loader in counted.items()
        },
        "stores": store_notes(recipe.data),
        "without_label": {split: faces_without_label(recipe, loader.split) for split, loader in counted.items()},
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


def faces_without_label(recipe: Recipe, split: Split) -> dict[str, int]:
    """Counts the faces of a split that lack the label of a task, by label; none of a label that all have."""
    found = {}
    for label in dict.fromkeys(task.label for task in recipe.supervised):
        target = split.target[label]
        lacks = target.isnan().all(dim=1) if target.is_floating_point() else target < 0
        found[label] = int(lacks.sum())
    return {label: count for label, count in found.items() if count}


def _cost(recipe: Recipe, steps: int, console: Terminal) -> Cost:
    """Counts what the training has cost, of so many steps an epoch; says so where that cannot be."""
    try:
        return cost_of(recipe, steps)
    except ValueError as error:
        console.print(f"{error}; this run's cost is not known")
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


def _predict_anew(models: Mapping[str, Model], trainer: Trainer, select: Loader, run: RunDir) -> None:
    """Writes the predictions on `select` once more where those of its evaluation cannot be read any more."""
    for which, model in models.items():
        name = f"{trainer.recipe.select}-{which}"
        if not trainer.ranks.from_first(partial(run.has_predictions, name)):
            run.predictions(name, prediction_arrays(*trainer.predict(model, select), select.split))


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
            test = loaders[recipe.test].split
            run.predictions(f"{recipe.test}-{which}", prediction_arrays(samples, rows, test))
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
            added = prediction_arrays(plain["sample"], named, loaders[split].split)
            run.predictions(f"{split}-{which}", added | plain)


def _show_answers(
    models: Mapping[str, Model],
    trainer: Trainer,
    loaders: Mapping[str, Loader],
    run: RunDir,
    names: Mapping[str, Sequence[str]],
) -> None:
    """Draws for each task with classes what was named rightly and wrongly: of the predictions that the report draws."""
    recipe = trainer.recipe
    unseen = recipe.test is not None and recipe.test != recipe.select
    split, which = (str(recipe.test), "best") if unseen else (recipe.select, "last")
    said = read_arrays(run.path / "predictions" / f"{split}-{which}.npz")
    for task in recipe.supervised:
        if task.name in names and said[f"{task.name}.probability"].shape[1:] == (len(names[task.name]),):
            path = run.path / CHARTS / answers_name(task.name)
            show_answers(models[which], trainer.renderer, loaders[split], said, task.name, names[task.name], path)


def constant_guess(recipe: Recipe, train: Split, split: Split) -> dict[str, float]:
    """Computes the figures on a split, by `<task>/<figure>`, of the best constant answer that `train` tells."""
    return {
        f"{name}/{figure}": value
        for name, task in recipe.reported
        if isinstance(task, Supervised)
        for figure, value in task.constant_guess(train, split).items()
    }
