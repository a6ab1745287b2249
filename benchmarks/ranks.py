"""Measures what ranks cost: one training, shared by processes of one thread each or computed by threads of one.

    python -m benchmarks.ranks fer2013_hmtl --out benchmarks/results

Each way is `hmtl bench step` under torchrun, and the ways take turns; all take the same steps, whose batches the ranks
share. That they compute the same is held by tests/engine/test_ranks.py. The exchange alone is timed
between as many ranks as the last way has, on a vector as long as that of the recipe's step.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.views_table import ROOT, write
from engine.recipe import Recipe, settings
from engine.recipe import file as recipe_file
from engine.recipe.smoke import smoke
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from engine.training.loop import Trainer
from engine.training.ranks import joined
from engine.training.train import open_split


@dataclass(frozen=True, slots=True)
class Way:
    """So many processes with so many threads each, and what was measured of them in each round."""

    ranks: int
    threads: int
    steps: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{_many(self.ranks, 'rank')} of {_many(self.threads, 'thread')}"

    @property
    def speeds(self) -> list[float]:
        return [step["images_per_second"] for step in self.steps]


def _many(count: int, one: str, more: str | None = None) -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"


def torchrun(ranks: int, threads: int, *words: str) -> str:
    """Runs a module under torchrun; gives what it prints.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m", *words]
    known = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def measure(way: Way, recipe: str, sets: Sequence[str], steps: int) -> None:
    """Adds the figures of one turn: those of a step that the packed store feeds, not of one batch repeated."""
    with tempfile.TemporaryDirectory() as folder:
        changed = [word for each in sets for word in ("--set", each)]
        options = ("--source", "packed", "--steps", str(steps), "--rounds", "1", "--device", "cpu", "--out", folder)
        torchrun(way.ranks, way.threads, "engine.bench", "step", recipe, *changed, *options)
        way.steps.append(json.loads((Path(folder) / "step.json").read_text())["rows"][1])


def length_of(recipe: Recipe) -> int:
    """Counts the numbers that ranks exchange at a step: gradients, running statistics and losses."""
    small = replace(smoke(recipe), accumulate=2)
    cpu = torch.device("cpu")
    train, held = (open_split(small, split, cpu) for split in (small.train, small.select))
    trainer = Trainer(small, train, held, cpu)
    trained = (p.numel() for group in trainer.optimiser.param_groups for p in group["params"])
    moved = (each.numel() for each in trainer.statistics if each.is_floating_point())
    return sum(trained) + sum(moved) + len(recipe.tasks) + 1


def exchange(length: int, times: int) -> None:
    """Adds up a vector among the ranks that torchrun has started; the first prints the median seconds."""
    with joined("cpu") as ranks:
        vector, taken = torch.zeros(length), []
        for _ in range(times):
            ranks.gather(0)
            start = time.perf_counter()
            ranks.add_up(lambda place: vector, ranks.world)
            taken.append(time.perf_counter() - start)
        if ranks.first:
            print(statistics.median(taken))


def report(ways: Sequence[Way], length: int, seconds: float, facts: str, command: str) -> Iterator[str]:
    """Writes the table, with where and when it was made."""
    here = describe_environment(torch.device("cpu"))
    world = ways[-1].ranks
    yield "# What ranks cost, on a CPU"
    yield (
        f"{here['cpu']}, torch {here['torch']}, commit {here['commit'] or 'unknown'}, {datetime.date.today()}. {facts} "
        "The median over the turns; in brackets the least and the most. Ratios are of turns in the same round."
    )
    base = ways[1].speeds
    rows = [
        [
            str(way),
            _spread(way.speeds, ",.0f"),
            _spread([one / other for one, other in zip(way.speeds, base, strict=True)], ".2f"),
            _spread([one["step_p50_ms"] for one in way.steps], ",.0f"),
            _spread([100 * one["wait_share"] for one in way.steps], ".2f"),
        ]
        for way in ways
    ]
    yield Table(["", "images/s", f"beside {ways[1]}", "step, ms", "waiting for data, %"], rows).markdown()
    sent = 2 * (world - 1) / world * 4 * length
    yield (
        f"At each step {length:,} numbers in fp32 are added up: each of {world} ranks sends {sent / 1e6:,.1f} MB. "
        f"Alone, between {world} ranks of this machine, that takes {1e3 * seconds:,.1f} ms."
    )
    yield f"```sh\n{command}\n```"


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main(arguments: list[str] | None = None) -> None:
    """Reads the arguments."""
    cores = 2 ** int(math.log2(len(os.sched_getaffinity(0))))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="fer2013_hmtl", help="NAME or path.py; fer2013_hmtl if not given")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--ranks", type=int, default=max(2, cores), help="ranks of one thread; the cores if not given")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder of the page that keeps the table")
    parser.add_argument("--exchange", type=int, metavar="LENGTH", help="what torchrun starts to time one exchange")
    options = parser.parse_args(arguments)
    if options.exchange:
        exchange(options.exchange, options.steps)
        return
    recipe = settings.apply(recipe_file.read(options.recipe).recipe, options.set)
    if recipe.accumulate % options.ranks:
        each = recipe.batch_size // options.ranks
        options.set += [f"batch_size={each}", f"accumulate={recipe.accumulate * options.ranks}"]
        recipe = settings.apply(recipe, options.set)
    ways = [Way(1, 1), Way(1, options.ranks), Way(options.ranks, 1)]
    for number in range(options.rounds):
        for way in ways:
            measure(way, options.recipe, options.set, options.steps)
            print(f"round {number + 1}: {way}, {way.speeds[-1]:,.0f} images/s", file=sys.stderr, flush=True)
    length = length_of(recipe)
    seconds = float(torchrun(options.ranks, 1, "benchmarks.ranks", "--exchange", str(length), "--steps", "30"))
    facts = (
        f"{options.recipe}, {_many(recipe.accumulate, 'batch', 'batches')} of {recipe.batch_size} faces a step, "
        f"{recipe.precision}; {_many(options.rounds, 'turn')} of {_many(options.steps, 'step')} each."
    )
    sets = [f'--set "{each}"' for each in options.set]
    numbers = f"--ranks {options.ranks} --steps {options.steps} --rounds {options.rounds}"
    command = " ".join(["python -m benchmarks.ranks", options.recipe, *sets, numbers])
    text = "\n\n".join(report(ways, length, seconds, facts, command))
    print(text)
    if options.out:
        write(options.out / f"{datetime.date.today()}-ranks-cpu.md", text + "\n")


if __name__ == "__main__":
    main()
