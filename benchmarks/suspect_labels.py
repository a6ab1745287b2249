"""Measures how many wrong labels `hmtl labels` finds: plants some, trains folds, counts what is found.

    python -m benchmarks.suspect_labels --out runs/suspect_labels
    python -m benchmarks.suspect_labels --out runs/suspect_fer2013 --store data/fer2013 --epochs 10

Plants them in drawn faces, or in the training split of a prepared store, whose published labels count as right. Trains
a run for each fold, minutes each, into the folder, and prints precision and recall; runs that are there are not trained
again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from engine.runs.result import read_run
from engine.suspects.answers import read_answers
from engine.suspects.finding import find_suspects
from engine.tasks import SYNTHETIC_7, Expression
from engine.training.train import train
from engine.views import Plain
from kernels import Augment
from loaders import Folds, Packed, WrongLabels
from loaders.base import Classes
from loaders.decoding.reading import Face
from loaders.importers import Record
from loaders.store.opening import open_store
from loaders.store.writing import new_store
from loaders.synthetic import draw_faces
from loaders.terminal import Terminal

SIDE = 48
BLOCK = 500  # faces


def write_store(out: Path, faces: int, seed: int) -> None:
    """Writes drawn faces as a store of one split, each with its right expression."""
    with new_store(out, {"expression": Classes(SYNTHETIC_7)}, origin={"drawn": faces, "seed": seed}) as writer:
        for first in range(0, faces, BLOCK):
            place = np.arange(first, min(faces, first + BLOCK))
            pictures, drawn = draw_faces(seed, "train", place, SIDE)
            writer.add(
                Face(Record("train", f"{at:05}.png", {"expression": SYNTHETIC_7[kind]}, picture), picture)
                for at, kind, picture in zip(place, drawn.expression, pictures, strict=True)
            )


def recipe(store: Path, fold: int, folds: int, share: float, epochs: int) -> Recipe:
    """Trains on all folds but two, with wrong labels in all of them."""
    given = WrongLabels(Packed(store), share=share)
    kind = open_store(store).manifest.labels["expression"]
    assert isinstance(kind, Classes)
    return Recipe(
        data=Folds(given, k=folds, fold=fold, label="expression", pool=("train",)),
        augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-10, 10), crop=(0.8, 1.0), shift=(-0.05, 0.05)),
        views={"plain": Plain()},
        backbone=Backbone("test_resnet"),
        tasks=(Expression(kind.names, label_smoothing=0.1, dropout=0.1),),
        optim=AdamW(lr=4e-3, weight_decay=0.05),
        epochs=epochs,
        evaluate_every=epochs,
        batch_size=128,
        ema=0.99,
        image_size=SIDE,
        evaluation_crop=0.9,
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, and of the store of drawn faces")
    parser.add_argument("--store", type=Path, help="a prepared store with expressions, in place of drawn faces")
    parser.add_argument("--faces", type=int, default=6000)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.05, help="of labels that are made wrong")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn faces")
    args = parser.parse_args(argv)
    console, store = Terminal(), args.store or args.out / "store"
    if args.store is None and not store.exists():
        write_store(store, args.faces, args.seed)
    runs = [args.out / f"fold{fold}" for fold in range(args.folds)]
    for fold, run in enumerate(runs):
        made = recipe(store, fold, args.folds, args.share, args.epochs)
        if not read_finished(run):
            file = RecipeFile(run.name, made, "")
            train(file, run, device=torch.device("cpu"), resume=True, deterministic=False, console=console)
    score(runs, store, console)


def read_finished(run: Path) -> bool:
    return run.is_dir() and read_run(run).finished


def score(runs: Sequence[Path], store: Path, console: Terminal) -> None:
    """Prints how many of the suspects are wrong and how many of the wrong labels are suspects, and those of others."""
    answers = read_answers(runs)
    right = open_store(store).manifest.target["expression"].numpy()[answers.sample]
    wrong = answers.given != right
    facts = describe_environment(torch.device("cpu"))
    console.print(
        f"{time.strftime('%Y-%m-%d')}, {facts['cpu']}, torch {facts['torch']}, cleanlab {version('cleanlab')}, "
        f"commit {facts['commit'] or 'unknown'}"
    )
    guess = answers.probability.argmax(axis=1)
    accuracy = (guess == right).mean()
    console.print(
        f"{len(wrong):,} faces, {wrong.sum():,} wrong labels; the folds say the right class of {accuracy:.1%}"
    )
    found = find_suspects(answers).place
    least = np.argsort(answers.probability[np.arange(len(wrong)), answers.given], kind="stable")
    rows = []
    for name, chosen in (
        ("suspects of hmtl labels", found),
        (f"the first {wrong.sum():,} of them", found[: wrong.sum()]),
        ("the first 100 of them", found[:100]),
        ("all that the folds call otherwise", np.flatnonzero(guess != answers.given)),
        ("as many of lowest probability", least[: len(found)]),
        ("as many at random", np.random.default_rng(0).permutation(len(wrong))[: len(found)]),
    ):
        hits = int(wrong[chosen].sum())
        rows.append((name, f"{len(chosen):,}", f"{hits:,}", f"{hits / len(chosen):.1%}", f"{hits / wrong.sum():.1%}"))
    Table(("faces", "n", "wrong", "precision", "recall"), rows).print(console)


if __name__ == "__main__":
    main()
