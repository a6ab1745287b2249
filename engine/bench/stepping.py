"""Measures how fast a recipe trains when nothing makes it wait, and when each source feeds it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from engine.bench.agreement import Difference, Truth
from engine.bench.both_ways import compare
from engine.bench.cases import Data
from engine.bench.feeds import OfSource
from engine.recipe import Recipe
from engine.training.clock import Clock, summarise
from engine.training.loop import Position, Trainer
from engine.training.ranks import Ranks
from engine.training.train import open_split
from loaders import Batch, Loader
from loaders.base import augments

CEILING = "one batch repeated"
SETTLING = 3
"""Steps at the start of a turn that are not counted: what was read ahead while others had their turn is used up."""


@dataclass(slots=True)
class StepRow:
    """Holds what was measured of one feed."""

    name: str
    clock: Clock = field(default_factory=Clock)
    """All counted steps."""
    turns: list[Clock] = field(default_factory=list)
    """The counted steps of each turn."""
    off: Difference | None = None
    """Where the source augments by itself: how far its views are from those of the kernel."""


def measure_steps(
    recipe: Recipe,
    data: Data,
    *,
    device: torch.device,
    steps: int,
    rounds: int,
    say: Callable[[str], None] = lambda text: None,
    ranks: Ranks | None = None,
) -> tuple[list[StepRow], bool]:
    """Trains in turns from one batch repeated, the ceiling, and from each case.

    Args:
        recipe: What is trained; its own sampler, batch size and accumulation.
        data: The cases, of the recipe's training split, labels included; only those of our sources.
        device: Where it trains.
        steps: Optimiser steps of a turn.
        rounds: In each, every feed has one turn.
        say: Told what is going on.
        ranks: Those that take the steps together.

    Returns:
        The rows, the ceiling first; and whether the step was compiled.

    Raises:
        ValueError: `steps` or `rounds` is below 1, a case delivers something else than it must, or the recipe's views
            need more than one draw and a case augments by itself.
        NonFiniteLossError: The loss was not finite.
    """
    if min(steps, rounds) < 1:
        raise ValueError(f"bench: steps (={steps}) and rounds (={rounds}) must be 1 or more")
    assert data.split == recipe.train
    truth = Truth(data, recipe.batch_size)
    with ExitStack() as stack:
        with closing(open_split(replace(recipe, data=data.truth), data.split, device, ranks)) as loader:
            feeds: dict[str, Iterator[Batch]] = {CEILING: itertools.repeat(next(loader.epoch(0)))}
        off: dict[str, Difference] = {}
        for case in data.cases:
            assert isinstance(case.feed, OfSource)
            say(f"{case.name}: first batch, compared with what is stored")
            with closing(case.feed.open(recipe.batch_size, str(device))) as opened:
                sample, faces = opened.show(next(opened.epoch(0)))
                truth.check(case, sample, faces[:64])
            if augments(case.feed.source):
                say(f"{case.name}: views, compared with those of the kernel")
                off[case.name] = compare(case, recipe, data.split, device)
            own = replace(recipe, data=case.feed.source)
            loader = stack.enter_context(closing(open_split(own, data.split, device, ranks)))
            feeds[case.name] = stack.enter_context(closing(_endless(loader)))
        recipe.check_labels(loader.split)
        trainer = Trainer(recipe, loader, loader, device, ranks=ranks)
        rows = [StepRow(name, off=off.get(name)) for name in feeds]
        say("first step" + (" (compilation)" if trainer.compiled else ""))
        _turn(trainer, feeds[CEILING], Clock(), SETTLING)
        for number in range(rounds):
            for row in rows:
                say(f"{row.name}: round {number + 1} of {rounds}")
                trainer.at = Position(0, 0, trainer.at.total)  # at one learning rate for all
                _turn(trainer, feeds[row.name], Clock(), SETTLING)
                clock = Clock()
                _turn(trainer, feeds[row.name], clock, steps)
                row.clock.add(clock)
                row.turns.append(clock)
    return rows, trainer.compiled


def _turn(trainer: Trainer, batches: Iterator[Batch], clock: Clock, steps: int) -> None:
    """Takes steps as training does, counted by the same clock."""
    images = trainer.recipe.batch_size * trainer.recipe.accumulate
    faces = clock.waiting(batches)
    start = time.perf_counter()
    for _ in range(steps):
        group = list(itertools.islice(faces, trainer.share))
        trainer.step(group)
        now = time.perf_counter()
        clock.step(now - start, images, first=False)
        start = now
    trainer.settle(clock)


def _endless(loader: Loader) -> Generator[Batch, None, None]:
    for epoch in itertools.count():
        yield from loader.epoch(epoch)


def summary(row: StepRow, ceiling: StepRow, device: torch.device, compiled: bool) -> dict[str, Any]:
    """Makes the speed table of a report for one feed, with percentiles and its share of the ceiling."""
    speeds = [turn.images / turn.seconds for turn in row.turns]
    against = [
        (turn.images / turn.seconds) / (other.images / other.seconds)
        for turn, other in zip(row.turns, ceiling.turns, strict=True)
    ]
    # On a GPU the host is ahead of the device inside a turn: only its end, which waits for the device, is true.
    each = row.clock.steps if device.type == "cpu" else [turn.seconds / len(turn.steps) for turn in row.turns]
    return {
        "name": row.name,
        **summarise(row.clock, device, compiled),
        "images_per_second": float(np.median(speeds)),
        "images_per_second_p20": float(np.percentile(speeds, 20)),
        "images_per_second_p80": float(np.percentile(speeds, 80)),
        "of_ceiling": float(np.median(against)),
        "views_off": None if row.off is None else asdict(row.off),
        **{f"step_p{share}_ms": 1000 * float(np.percentile(each, share)) for share in (20, 50, 80)},
    }
