"""A recipe small enough to train in a second, and batches without a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.training.train import train
from engine.views import Plain, Puzzle
from kernels import weak
from loaders import Synthetic
from loaders.base import Batch, Classes, Split
from loaders.terminal import Terminal

BACKBONE = Backbone("test_resnet", options={"channels": (8, 8, 16, 16)})


def recipe(**changes: Any) -> Recipe:
    """Two views, two tasks, 2 epochs of 4 steps of 8 faces of 32 px."""
    tiny = Recipe(
        data=Synthetic(train=32, val=12, test=12, size=32),
        augment=weak(),
        views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
        backbone=BACKBONE,
        tasks=(Expression(SYNTHETIC_7), SolvePuzzle(weight=0.3)),
        optim=AdamW(lr=1e-3),
        epochs=2,
        batch_size=8,
        image_size=32,
        checkpoint_every=2,
        log_every=1,
        precision="fp32",  # what tests compare is the same, bit for bit or closely, on any machine
    )
    return replace(tiny, **changes)


def trained(recipe: Recipe, out: Path) -> Path:
    """Trains a recipe without a word, and gives its run folder."""
    file = RecipeFile("tiny", recipe, "")
    train(file, out, device=torch.device("cpu"), resume=False, deterministic=False, console=Terminal(quiet=True))
    return out


def batch(faces: int = 4, *, height: int = 24, width: int = 24, channels: int = 3, seed: int = 0) -> Batch:
    """Random faces with expression labels."""
    generator = torch.Generator().manual_seed(seed)
    store = torch.randint(0, 256, (faces, height, width, channels), dtype=torch.uint8, generator=generator)
    return Batch(
        store=store,
        row=torch.arange(faces),
        sample=torch.arange(faces) + 100 * seed,
        occurrence=torch.zeros(faces, dtype=torch.int32),
        mean=store.float().mean(dim=(1, 2)).expand(faces, 3).contiguous(),
        target={"expression": torch.arange(faces) % 7},
    )


def split(target: list[int], names: tuple[str, ...] = SYNTHETIC_7) -> Split:
    """A training split with these expression labels."""
    return Split(
        name="train",
        sample=torch.arange(len(target)),
        shape=(24, 24, 3),
        labels={"expression": Classes(names)},
        target={"expression": torch.tensor(target)},
    )
