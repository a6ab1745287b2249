"""Trains small recipes at several numbers of ranks, and kills ranks in their midst: what is left must be the same.

python tests/engine/ranks_trial.py equal                  # this file's recipes at 1, 2, 4 and 8 ranks
python tests/engine/ranks_trial.py equal --recipes        # those of recipes/ too, as --smoke makes them: half an hour
python tests/engine/ranks_trial.py compare runs/1 runs/2  # any runs: are all files the same, but for times?
python tests/engine/ranks_trial.py kill --times 20        # kill -9 of a rank or of torchrun, at any moment
python tests/engine/ranks_trial.py cut --times 3          # two hosts whose network is cut for good; needs root and ip
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from engine import catalogue
from engine.averaging import Averaging
from engine.backbone import Backbone
from engine.losses import Geometric, Uncertainty
from engine.optim import SGD, AdaBelief
from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.recipe.file import RecipeFile
from engine.recipe.smoke import smoke
from engine.tasks import (
    SYNTHETIC_7,
    Expression,
    Inpaint,
    MaskedPatches,
    RelativePositions,
    SolvePuzzle,
    SolveTurns,
)
from engine.tasks.perceptual import Perceptual
from engine.training.ranks import joined
from engine.training.train import train
from engine.views import Holes, Masked, PlacePairs, Plain, Puzzle
from loaders import Composed, Synthetic
from loaders.exit_status import exit_status
from loaders.terminal import Terminal
from tests.engine import tiny
from tests.engine.test_resume import contents, wait_for_checkpoint

ROOT = Path(__file__).resolve().parents[2]
WORLDS = (1, 2, 4, 8)
BASE = tiny.recipe(data=Synthetic(train=110, val=21, test=21, size=32), batch_size=4, accumulate=8)
BOTH = {"plain": Plain(), "holes": Holes()}
RECIPES = {
    "plain": BASE,
    "all-at-once": replace(  # what one quick test can hold of the rest
        BASE,
        total=Uncertainty(),
        optim=SGD(lr=0.01, clip=1.0),
        ema=0.9,
        checkpoint_every=1,
        gradient_cosine_every=2,
        batch_statistics="per_view_plain",
        test_time=Averaging(crops=1),
        epochs=1,
    ),
    "lookahead": replace(BASE, optim=AdaBelief(lr=1e-3, lookahead=True, warmup_epochs=1)),
    "teacher": replace(
        BASE,
        views=BOTH,
        tasks=(Expression(SYNTHETIC_7), Inpaint(width=16, perceptual=Perceptual(from_epoch=0))),
    ),
    "patches": replace(
        BASE,
        backbone=Backbone(
            "vit_tiny_patch16_224",
            options={"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
        ),
        views={"plain": PlacePairs(pairs=8), "masked": Masked(grid=4)},
        tasks=(Expression(SYNTHETIC_7), MaskedPatches(width=16), RelativePositions(width=16)),
        epochs=1,
    ),
    "maps": replace(
        BASE,
        views={"holes": Holes(samples=0.5)},
        tasks=(Expression(SYNTHETIC_7, on=("holes",)), Inpaint(width=16, maps=3)),
        epochs=1,
    ),
    "sizes": replace(
        BASE,
        views={"plain": Plain(), "puzzle": Puzzle(grid=2, turn=True, size=(24, 32, 40)), "again": Puzzle(fresh=True)},
        tasks=(
            Expression(SYNTHETIC_7, on=("plain", "puzzle"), join="geometric"),
            SolvePuzzle(on=("puzzle",), weight=0.3),
            SolveTurns(on=("puzzle",)),
            SolvePuzzle(name="other", on=("again",), head="map"),
        ),
        total=Geometric(),
        batch_statistics="per_view",
    ),
    "six": replace(BASE, accumulate=6),
    "drop-path": replace(BASE, backbone=Backbone("efficientnet_b0", drop_path=0.2), epochs=1),
    "bf16": replace(BASE, precision="bf16", epochs=1),
    "frozen": replace(BASE, frozen_encoder=True, epochs=1),
}
"""Name to a recipe whose steps 1, 2, 4 and (all but one) 8 ranks can share."""


def smoke_recipes() -> dict[str, Recipe]:
    """Makes a try of the main recipe of every file of the package, in steps of eight batches."""
    made = {}
    for name in catalogue.names():
        defined = recipe_file.run_file(catalogue.find(name))
        if recipes := [value for value in defined.values() if isinstance(value, Recipe)]:
            small = smoke(defined.get("recipe", recipes[0]))
            if isinstance(small.sampler, Composed):
                small = replace(small, sampler=replace(small.sampler, labelled=2, unlabelled=2), batch_size=4)
            else:
                small = replace(small, batch_size=2)
            made[name] = replace(small, accumulate=8, compile=False)
    return made


def train_here(root: Path, names: Sequence[str], *, fail_on: int | None = None) -> None:
    """Trains recipes into folders below `root` on the ranks that torchrun started, or alone; one thread each.

    Args:
        fail_on: The rank that in the end meets an error.
    """
    recipes = RECIPES if all(name in RECIPES for name in names) else RECIPES | smoke_recipes()
    with joined("cpu", 1) as ranks, exit_status(speaks=ranks.speaks):
        for name in names:
            recipe = recipes[name]
            if recipe.accumulate % ranks.world == 0:
                train(
                    RecipeFile(name, recipe, ""),
                    root / name,
                    device=torch.device("cpu"),
                    resume=False,
                    deterministic=False,
                    console=Terminal(quiet=True),
                    ranks=ranks,
                )
        ranks.gather(0)  # rank 0 writes when the others have ended; torchrun stops it where one of them fails
        if ranks.rank == fail_on:
            raise ValueError("planted: this rank fails; let it")
        ranks.gather(0)


def launch(world: int, *words: str, max_restarts: int = 0) -> subprocess.Popen[str]:
    """Starts a program under torchrun: `-m MODULE` or a file, and its arguments."""
    return _torchrun((), "--standalone", f"--nproc-per-node={world}", f"--max-restarts={max_restarts}", *words)


def _torchrun(before: Sequence[str], *words: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-m", "torch.distributed.run", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def launch_training(world: int, root: Path, names: Sequence[str], *, fail_on: int = -1) -> subprocess.Popen[str]:
    """Starts `train_here` on so many ranks."""
    return launch(world, __file__, "train", str(root), *names, "--fail-on", str(fail_on))


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Lists the process ids of the ranks that a torchrun has started."""
    file = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def differences(one: Path, other: Path) -> list[str]:
    """Names what two run folders do not have in common, times left out."""
    a, b = contents(one), contents(other)
    charts = list((one / "charts").glob("*.png"))
    return [key for key in a if a[key] != b[key]] + [
        path.name for path in charts if path.read_bytes() != (other / "charts" / path.name).read_bytes()
    ]


def equal(root: Path, worlds: Sequence[int], names: Sequence[str]) -> int:
    """Prints for each recipe and number of ranks whether the run is that of one rank; counts those that are not."""
    for world in worlds:
        output, _ = (process := launch_training(world, root / str(world), names)).communicate()
        if process.returncode:
            raise RuntimeError(output)
    wrong = 0
    for name in names:
        found = {
            w: differences(root / "1" / name, root / str(w) / name) for w in worlds if (root / str(w) / name).exists()
        }
        print(f"{name:32}", {world: off if off else "equal" for world, off in found.items()}, flush=True)
        wrong += sum(bool(off) for off in found.values())
    return wrong


KILLED = """from tests.engine import tiny
recipe = tiny.recipe(epochs={epochs}, batch_size=2, accumulate=4, checkpoint_every=1)
"""


def kill(root: Path, times: int, signals: Sequence[int] = (signal.SIGKILL,), epochs: int = 30) -> list[str]:
    """Kills a rank or torchrun again and again, goes on with another number of ranks, and compares the end.

    A run that has come to its end is compared and started anew, so that every signal meets one that trains.
    """
    recipe, whole, killed = root / "killed.py", root / "whole", root / "killed"
    recipe.write_text(KILLED.format(epochs=epochs))
    words = ["-m", "engine.run", str(recipe), "--device", "cpu", "--threads", "1", "--resume", "--out"]

    def train_to_the_end(world: int, out: Path) -> None:
        output, _ = (process := launch(world, *words, str(out))).communicate()
        if process.returncode:
            raise RuntimeError(output)

    train_to_the_end(1, whole)
    chance, off, met = random.Random(0), [], 0
    while met < times:
        world = chance.choice((1, 2, 4))
        process = launch(world, *words, str(killed))
        wait_for_checkpoint(killed, process)
        time.sleep(0.5 * chance.random())
        if (killed / "result.json").exists() or not (ranks := ranks_of(process)):
            process.communicate()
            off += differences(whole, killed)
            shutil.rmtree(killed)
            continue
        os.kill(chance.choice([*ranks, process.pid]), chance.choice(signals))
        met += 1
        start = time.perf_counter()
        output, _ = process.communicate()
        seconds, errors = time.perf_counter() - start, output.count("error: ")
        print(f"{met}: {world} ranks ended after {seconds:.1f} s, {errors} errors", flush=True)
    train_to_the_end(2, killed)
    return off + differences(whole, killed)


class Hosts:
    """Two hosts on this machine: network namespaces that one cable joins."""

    def __init__(self) -> None:
        self.names = [f"hmtl{os.getpid()}-{number}" for number in range(2)]

    @contextmanager
    def made(self) -> Iterator[None]:
        """Makes them, and takes them away at the end."""
        try:
            for name in self.names:
                _ip("netns", "add", name)
            one, other = self.names
            _ip("link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns", other)
            for number, name in enumerate(self.names):
                _ip("-n", name, "address", "add", f"10.77.0.{number + 1}/24", "dev", "cable")
                _ip("-n", name, "link", "set", "lo", "up")
            self.plug("up")
            yield
        finally:
            for name in self.names:
                subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)

    def plug(self, state: Literal["up", "down"]) -> None:
        """Puts the cable in or pulls it out, at both ends."""
        for name in self.names:
            _ip("-n", name, "link", "set", "cable", state)

    def launch(self, *words: str, timeout: int) -> list[subprocess.Popen[str]]:
        """Starts one rank on each host, which wait `timeout` seconds for each other."""
        return [
            _torchrun(
                ("ip", "netns", "exec", name),
                *("--nnodes=2", f"--node-rank={number}", "--master-addr=10.77.0.1", "--master-port=29500", *words),
                GLOO_SOCKET_IFNAME="cable",
                HMTL_RANKS_TIMEOUT=str(timeout),
            )
            for number, name in enumerate(self.names)
        ]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def cut(root: Path, times: int, timeout: int = 10, epochs: int = 30) -> list[str]:
    """Cuts two hosts off from each other again and again, goes on when they are joined, and compares the end.

    Raises:
        subprocess.TimeoutExpired: A host has not ended 30 s after it had waited `timeout` seconds for the other.
        RuntimeError: A host ended as if nothing had been, or without a sentence.
    """
    recipe = root / "cut.py"
    recipe.write_text(KILLED.format(epochs=epochs))
    words = ["-m", "engine.run", str(recipe), "--device", "cpu", "--threads", "1", "--resume", "--out"]
    hosts, chance = Hosts(), random.Random(0)
    with hosts.made():
        for number in range(times):
            ranks = hosts.launch(*words, str(root / "cut"), timeout=timeout)
            wait_for_checkpoint(root / "cut", ranks[0])
            time.sleep(0.5 * chance.random())
            hosts.plug("down")
            start = time.perf_counter()
            outputs = [rank.communicate(timeout=timeout + 30)[0] for rank in ranks]
            seconds = time.perf_counter() - start
            errors = [output.count(f"has not answered for {timeout} s") for output in outputs]
            print(f"{number + 1}: both hosts ended {seconds:.1f} s after the cut, errors told: {errors}", flush=True)
            if not all(rank.returncode for rank in ranks) or not any(errors):
                raise RuntimeError("\n".join(outputs))
            hosts.plug("up")
        ended = hosts.launch(*words, str(root / "cut"), timeout=timeout)
        ended.append(launch(1, *words, str(root / "whole")))
        for rank in ended:
            output, _ = rank.communicate()
            if rank.returncode:
                raise RuntimeError(output)
    return differences(root / "whole", root / "cut")


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    of_ranks = commands.add_parser("train", help="what torchrun starts")
    of_ranks.add_argument("root", type=Path)
    of_ranks.add_argument("names", nargs="+")
    of_ranks.add_argument("--fail-on", type=int, default=-1)
    of_equal = commands.add_parser("equal")
    of_equal.add_argument("names", nargs="*")
    of_equal.add_argument("--recipes", action="store_true")
    of_equal.add_argument("--worlds", type=int, nargs="+", default=WORLDS)
    of_compare = commands.add_parser("compare")
    of_compare.add_argument("run", type=Path)
    of_compare.add_argument("others", type=Path, nargs="+")
    commands.add_parser("kill").add_argument("--times", type=int, default=20)
    commands.add_parser("cut").add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    if options.command == "train":
        train_here(options.root, options.names, fail_on=options.fail_on)
        return
    if options.command == "compare":
        found = {str(other): differences(options.run, other) for other in options.others}
        print({name: off or "equal" for name, off in found.items()})
        sys.exit(any(found.values()))
    with tempfile.TemporaryDirectory() as folder:
        if options.command == "equal":
            names = options.names or [*RECIPES, *(smoke_recipes() if options.recipes else ())]
            sys.exit(equal(Path(folder), options.worlds, names))
        off = {"kill": kill, "cut": cut}[options.command](Path(folder), options.times)
        print("equal" if not off else f"different: {off}")
        sys.exit(bool(off))


if __name__ == "__main__":
    main()
