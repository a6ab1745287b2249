"""Counts the operators that the host asks for in one training step, by what they are for; needs no GPU.

    python -m benchmarks.step_operators                             # prints the table
    python -m benchmarks.step_operators --out benchmarks/results    # keeps it, for this version of torch

A small network on a fast GPU waits for its host, which takes some microseconds an operator. What is counted runs on the
CPU, uncompiled, in fp32: a GPU is asked for the same, each of our kernels one operator, but for the casts of autocast
and torch's own optimisers, which there are one operator for a group of weights (`tests/engine/test_optim.py`). Where a
recipe is compiled, as by default on CUDA, forward and backward pass are a graph each.
"""

from __future__ import annotations

import argparse
import datetime
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.views_table import write
from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.recipe.smoke import smoke
from engine.runs.commit import commit
from engine.training.loop import Trainer
from engine.training.objective import Objective
from engine.training.render import Renderer
from engine.training.train import open_split

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("affectnet_hmtl", "affectnet_inpaint", "fer2013_hmtl", "fer2013_semi", "pointing04_hmtl")
PARTS = ("views", "forward", "backward", "optimiser", "rest")
"""Drawing and rendering; the objective; its gradient; the update; sums of losses, logs, and the average of the weights.
"""


class Operators(TorchDispatchMode):
    """Counts operators under the name of the part that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.part = "rest"
        self.seen: dict[str, Counter[str]] = {part: Counter() for part in PARTS}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[self.part][func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))

    def of(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Gives the work, its operators counted under a part."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            outer, self.part = self.part, part
            try:
                return work(*args, **kwargs)
            finally:
                self.part = outer

        return counted


def operators(recipe: Recipe) -> dict[str, Counter[str]]:
    """Counts the second step of a recipe: part to operator to how often; batches have no more than 16 faces."""
    recipe, cpu = replace(smoke(recipe), accumulate=1, precision="fp32"), torch.device("cpu")
    train, select = (open_split(recipe, split, cpu) for split in (recipe.train, recipe.select))
    with mock.patch("engine.training.loop.use_matrix_products"):  # which only a CPU's trainings have
        trainer = Trainer(recipe, train, select, cpu)
    batch = next(iter(train.epoch(0)))
    trainer.step([batch])  # what the first step alone makes is not counted
    counting = Operators()
    update = counting.of("optimiser", trainer.optimiser.step)
    with _parts(counting), mock.patch.object(trainer.optimiser, "step", update), counting:
        trainer.step([batch])
    return counting.seen


@contextmanager
def _parts(counting: Operators) -> Iterator[None]:
    """Tells the parts of a step apart."""
    with (
        mock.patch.object(Renderer, "training", counting.of("views", Renderer.training)),
        mock.patch.object(Objective, "forward", counting.of("forward", Objective.forward)),
        mock.patch.object(torch.Tensor, "backward", counting.of("backward", torch.Tensor.backward)),
    ):
        yield


def table(found: dict[str, dict[str, Counter[str]]]) -> Iterator[str]:
    """Writes the counts of recipes as a Markdown table."""
    yield f"| recipe | {' | '.join(PARTS)} | by the host of a compiled step |"
    yield "| --- |" + " ---: |" * (len(PARTS) + 1)
    for name, parts in found.items():
        host = sum(parts[part].total() for part in ("views", "optimiser", "rest"))
        yield f"| {name} | {' | '.join(str(parts[part].total()) for part in PARTS)} | {host} + 2 graphs |"


def file_of(folder: Path) -> Path:
    """Names the file of the table for this version of torch."""
    return folder / f"step-operators-torch-{torch.__version__.partition('+')[0]}.md"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the file that keeps the table")
    options = parser.parse_args(arguments)
    found = {name: operators(recipe_file.read(name).recipe) for name in RECIPES}
    text = "\n".join(
        [
            f"# Operators of one training step, asked for by the host, torch {torch.__version__}",
            "",
            "python -m benchmarks.step_operators: eager, fp32, on a CPU.",
            f"Commit {commit()}, {datetime.date.today()}. **Nothing here was measured on a GPU.**",
            "",
            *table(found),
        ]
    )
    print(text)
    for name, parts in found.items():
        for part in ("views", "optimiser", "rest"):
            print(f"{name}, {part}: " + ", ".join(f"{count} {what}" for what, count in parts[part].most_common()))
    if options.out:
        write(file_of(options.out), text + "\n")


if __name__ == "__main__":
    main()
