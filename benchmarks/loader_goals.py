"""Measures the stated speeds of loaders and of `prepare`, each with its goal: met or missed.

    python -m benchmarks.loader_goals DATA                      # all parts
    python -m benchmarks.loader_goals DATA --part fairface
    python -m benchmarks.loader_goals DATA --quick              # few faces, one round: whether it works

DATA is what HMTL_DATA names: fer2013/fer2013.csv.xz and fairface/fairface_train_5000_96px.zip (CONTRIBUTING.md). Things
that are compared take turns, and a ratio is the median over rounds of the ratios of each round.

- prepare: rows/s of FER2013 from csv; time from .xz over decompression alone; JPEG folders over decoding them alone
  on all cores; peak memory of the command at 1 x and 4 x the rows.
- fer2013, fairface: `engine.bench loaders`, with bare loops in DALI's and FFCV's own API beside our sources.
- step: `engine.bench step`, fed by packed, folder, and DALI and FFCV with augmentation in the kernel and in the loader.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import lzma
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from benchmarks.bare_loops import BARE, add_bare_loops
from engine.bench import report
from engine.bench.both_ways import of_recipe
from engine.bench.cases import Data, find
from engine.bench.report import Measurement
from engine.bench.stepping import CEILING, measure_steps, summary
from engine.bench.throughput import by_name, measure, ratio
from engine.recipe import file as recipe_file
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from loaders import Packed
from loaders.decoding.pictures import Form
from loaders.decoding.reading import cores
from loaders.files import write_text
from loaders.importers import ClassFolders, Fer2013, Importer
from loaders.prepare import prepare

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("prepare", "fer2013", "fairface", "step")
FEEDS = ("packed", "folder", "dali", "dali augment=loader", "ffcv", "ffcv augment=loader")
FEW_ROWS = 2_000
QUICK = ("packed", "folder", "dali")
"""Loaders that are measured where it is only asked whether all works."""
BLOCK = 1 << 20
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Goal:
    """Holds one line of the table."""

    what: str
    goal: str
    figure: str
    met: bool | None
    """None where nothing was asked for, or nothing could be measured."""

    def row(self) -> list[str]:
        """Gives its cells."""
        return [self.what, self.goal, self.figure, {True: "met", False: "missed", None: "–"}[self.met]]


def at_least(what: str, found: float, wanted: float, unit: str = "") -> Goal:
    return Goal(
        what, f"≥ {wanted:,g}{unit}", f"{found:,.2f}{unit}" if found < 100 else f"{found:,.0f}{unit}", found >= wanted
    )


def at_most(what: str, found: float, wanted: float, unit: str = "") -> Goal:
    return Goal(what, f"≤ {wanted:,g}{unit}", f"{found:,.2f}{unit}", found <= wanted)


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def turns(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Measures the seconds of each action in each round, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            seconds = timed(action)
            if number:
                found[name].append(seconds)
    return found


def middle(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def decompress(file: Path, out: Path | None = None) -> None:
    """Times decompression alone, as `prepare` reads: in blocks, to nowhere or to a file."""
    with lzma.open(file) as packed, (out or Path(os.devnull)).open("wb") as plain:
        while block := packed.read(BLOCK):
            plain.write(block)


def packer(importer: Importer, out: Path) -> Callable[[], object]:
    """Prepares a packed store again and again."""
    return lambda: prepare(importer, out, Form(), force=True)


def first_rows(packed: Path, out: Path, rows: int) -> Path:
    """Writes the head of an .xz table and its first rows as another."""
    with lzma.open(packed) as table, lzma.open(out, "wb", preset=0) as short:
        short.writelines(itertools.islice(table, 1 + rows))
    return out


def of_prepare(packed: Path, fairface: Path, scratch: Path, rounds: int) -> list[Goal]:
    plain = scratch / "fer2013.csv"
    decompress(packed, plain)
    with plain.open("rb") as lines:
        rows = sum(1 for _ in lines) - 1
    found = turns(
        {
            "alone": lambda: decompress(packed),
            "xz": packer(Fer2013(packed), scratch / "of-xz"),
            "csv": packer(Fer2013(plain), scratch / "of-csv"),
        },
        rounds,
    )
    speed = rows / statistics.median(found["csv"])
    goals = [
        at_least("prepare FER2013 from csv", speed, 20_000, " rows/s"),
        at_most("prepare FER2013 from .xz, over decompression alone", middle(found["xz"], found["alone"]), 1.3, " ×"),
    ]
    files = sorted(fairface.rglob("*.jpg"))
    found = turns(
        {
            "alone": lambda: decode_all(files),
            "prepare": packer(ClassFolders(fairface), scratch / "of-jpeg"),
        },
        rounds,
    )
    share = middle(found["alone"], found["prepare"])
    faces = len(files) / statistics.median(found["prepare"])
    what = f"prepare JPEG files ({faces:,.0f} faces/s), over decoding them alone on all cores"
    goals.append(at_least(what, share, 0.9, " ×"))
    return [*goals, *of_memory(plain, scratch)]


def decode_all(files: list[Path]) -> None:
    """Times decoding alone, with a thread a core."""
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(lambda file: Image.open(file).load(), files, chunksize=32):
            pass


def of_memory(plain: Path, scratch: Path) -> list[Goal]:
    """Measures the peak memory of the command at 1 x and 4 x the rows."""
    four = scratch / "four" / "fer2013.csv"
    four.parent.mkdir()
    with four.open("wb") as out:
        for copy in range(4):
            with plain.open("rb") as lines:
                header = lines.readline()
                if copy == 0:
                    out.write(header)
                shutil.copyfileobj(lines, out, BLOCK)
                out.write(b"\n")
    once, fourfold = (peak_of_prepare(file, scratch / "of-memory") for file in (plain, four))
    four.unlink()
    figure = f"{once:,.0f} MiB, {fourfold:,.0f} MiB"
    return [Goal("peak memory of prepare at 1 × and 4 × the rows", "does not grow", figure, fourfold < 1.1 * once)]


def peak_of_prepare(file: Path, out: Path) -> float:
    """Measures the peak resident memory in MiB of `python -m loaders.prepare`."""
    command = [sys.executable, "-m", "loaders.prepare", "fer2013", str(file), "--out", str(out), "--force"]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise SystemExit(f"loader_goals: {' '.join(command)} ended with {started.returncode}")
    return usage.ru_maxrss / 1024


def of_loaders(name: str, data: Data, options: argparse.Namespace) -> tuple[list[Goal], Measurement]:
    add_bare_loops(data)
    settings = {"batch size": options.batch_size, "rounds": options.rounds, "seconds a turn": options.seconds}
    found = measure(
        data,
        batch_size=options.batch_size,
        rounds=options.rounds,
        seconds=options.seconds,
        say=lambda t: print(t, flush=True),
    )
    rows = by_name(found)
    goals = [at_least(f"{name}: packed over folder", ratio(rows["packed"], rows["folder"]), 10, " ×")]
    for case in rows:
        if BARE + case in rows:
            share = ratio(rows[case], rows[BARE + case])
            goals.append(at_least(f"{name}: {case} over its bare loop", share, 0.85, " ×"))
    goals += [Goal(f"{name}: {source}", "measured", reason, None) for source, reason in data.left_out.items()]
    return goals, report.of_loaders(data, found, settings, "cpu")


def of_step(packed: Path, scratch: Path, options: argparse.Namespace) -> tuple[list[Goal], Measurement]:
    prepare(Fer2013(packed), scratch / "fer2013", Form())
    recipe = replace(recipe_file.read(options.recipe).recipe, data=Packed(scratch / "fer2013"))
    names = () if options.sources == "all" else tuple(options.sources.split(","))
    folder = scratch / "step"
    found = of_recipe(recipe, folder, faces=options.faces, names=names)
    rows, compiled = measure_steps(
        recipe, found, device=CPU, steps=options.steps, rounds=options.rounds, say=lambda t: print(t, flush=True)
    )
    settings = {"recipe": options.recipe, "batch size": recipe.batch_size, "steps a turn": options.steps}
    waited = {row.name: summary(row, rows[0], CPU, compiled)["wait_share"] for row in rows}
    goals = [at_most("step: waiting for data with packed", 100 * waited["packed"], 2, " %")]
    goals += [
        Goal(f"step: waiting for data with {name}", "stated", f"{100 * share:.2f} %", None)
        for name, share in waited.items()
        if name not in (CEILING, "packed")
    ]
    return goals, report.of_steps(found, rows, settings, CPU, compiled)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that HMTL_DATA names")
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated; left out: all")
    parser.add_argument("--rounds", type=int, default=5, help="in each, everything that is compared has one turn")
    parser.add_argument("--seconds", type=float, default=0.7, help="a turn of a loader is epochs until this has passed")
    parser.add_argument("--faces", type=int, default=4096, help="faces of a split that loaders read")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--recipe", default="recipes/fer2013_hmtl.py")
    parser.add_argument("--steps", type=int, default=10, help="training steps of a turn")
    parser.add_argument("--sources", default=",".join(FEEDS), help="what feeds the step; or all")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--quick", action="store_true", help="few faces, one round, few sources: whether it works")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.faces, options.steps = 1, 0.0, 512, 1
        options.sources = ",".join((*QUICK, "dali augment=loader"))
    parts = options.part or PARTS
    goals: list[Goal] = []
    tables: list[Measurement] = []
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        fairface = scratch / "jpeg"
        with zipfile.ZipFile(options.data / "fairface" / "fairface_train_5000_96px.zip") as pictures:
            names = [name for name in pictures.namelist() if name.endswith(".jpg")]
            pictures.extractall(fairface, names[: options.faces] if options.quick else names)
        packed = options.data / "fer2013" / "fer2013.csv.xz"
        if options.quick:
            packed = first_rows(packed, scratch / "fer2013.csv.xz", FEW_ROWS)
        for part in parts:
            start = time.perf_counter()
            place = scratch / part
            place.mkdir(exist_ok=True)
            if part == "prepare":
                goals += of_prepare(packed, fairface, place, max(1, options.rounds // 2))
            elif part == "step":
                found, shown = of_step(packed, place, options)
                goals, tables = [*goals, *found], [*tables, shown]
            else:
                if part == "fer2013":
                    prepare(Fer2013(packed), place / "store", Form())
                source = place / "store" if part == "fer2013" else fairface
                chosen = QUICK if options.quick else ()
                data = find(source, place / "forms", faces=options.faces, names=chosen)
                data.name = {"fer2013": "FER2013, 48 px", "fairface": "FairFace, JPEG of 96 px"}[part]
                found, shown = of_loaders(part, data, options)
                goals, tables = [*goals, *found], [*tables, shown]
            seconds[part] = time.perf_counter() - start
    write(goals, tables, seconds, options.out, quick=options.quick)


def write(goals: list[Goal], tables: list[Measurement], seconds: dict[str, float], out: Path, *, quick: bool) -> None:
    took = ", ".join(f"{part} {value:.0f} s" for part, value in seconds.items())
    facts = {key: value for key, value in describe_environment(CPU).items() if value is not None}
    facts["load at the end"] = f"{os.getloadavg()[0]:.1f}"
    lines = [
        "# Speed goals of the loaders, on the CPU",
        "",
        *(("With --quick: few faces and one round. These figures say nothing of speed.", "") if quick else ()),
        Table(("what", "goal", "figure", ""), [goal.row() for goal in goals]).markdown(),
        "",
        "\n".join(f"- {key}: {value}" for key, value in facts.items()),
        f"- run time: {took}",
        "",
        *(shown.markdown().partition("- machine:")[0].replace("# ", "## ", 1) for shown in tables),
    ]
    text = "\n".join(lines).rstrip() + "\n"
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{datetime.date.today()}-loaders-cpu.md"
    write_text(path, text)
    print(f"\n{text}\nwritten: {path}")


if __name__ == "__main__":
    main()
