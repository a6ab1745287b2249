"""Times training on a CPU beside timm's own training script, on the same faces, network, batch, size and precision.

    python -m benchmarks.timm_train data/fer2013 --timm-train pytorch-image-models/train.py --out benchmarks/results

STORE is a prepared store of FER2013; timm reads the same faces from a folder of PNG files, written for the occasion.
Both crop, flip and train by AdamW; ours changes contrast too, and shows a face in one view (supervised) or in two (one
of them puzzled). What is compared is pictures through the network a second, without the first steps of a process. The
two take turns, and a ratio is the median over rounds of the ratios of each round.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image

from benchmarks.views_table import write
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from loaders import Loader, Packed

ROOT = Path(__file__).resolve().parents[1]
FIRST = 3
"""Steps of timm's that are left out, while libraries start up; of ours one."""


@dataclass(frozen=True, slots=True)
class Case:
    """What both train."""

    network: str
    size: int
    batch: int
    steps: int


CASES = (Case("resnet10t", 48, 128, 40), Case("resnet18", 64, 64, 20), Case("efficientnet_b0", 112, 32, 16))
VIEWS = {"supervised": "recipes/fer2013_hmtl.py:supervised", "two views": "recipes/fer2013_hmtl.py"}


def write_pictures(store: str, faces: int, folder: Path) -> None:
    """Writes the first faces of a store's training split, and a few of val, as PNG files in folders of their class."""
    for split, name, wanted in (("train", "train", faces), ("val", "validation", 64)):
        loader = Loader.open(Packed(store), split, batch_size=64, seed=0, device="cpu")
        names, written = loader.split.labels["expression"].names, 0
        for batch in loader.epoch(0):
            for row, sample, kind in zip(batch.row, batch.sample, batch.target["expression"], strict=True):
                if written < wanted and sample >= 0 and kind >= 0:
                    path = folder / name / names[kind] / f"{int(sample)}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(batch.store[row, :, :, 0].numpy()).save(path)
                    written += 1


_SCRIPT = """
import runpy, sys
import engine.torchvision_ops  # some builds of torchvision cannot be imported beside this torch without it
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _of_timm(script: Path, case: Case, pictures: Path, out: Path, workers: int, precision: str) -> float:
    """Trains one epoch by timm's script; gives pictures a second."""
    options = {
        "data-dir": pictures, "model": case.network, "num-classes": 7, "img-size": case.size, "batch-size": case.batch,
        "epochs": 1, "warmup-epochs": 0, "opt": "adamw", "lr": 1e-3, "device": "cpu", "workers": workers,
        "color-jitter": 0, "log-interval": 1, "output": out,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    ranges = ["--scale", "0.7", "1.0", "--ratio", "1.0", "1.0"]
    mixed = ["--amp", "--amp-dtype", "bfloat16"] if precision == "bf16" else []
    said = _run(["-c", _SCRIPT, str(script), *words, *ranges, *mixed, "--channels-last"])
    seconds = [float(each) for each in re.findall(r"Train: 0 \[.*Time: ([0-9.]+)s", said)][FIRST:]
    return case.batch * len(seconds) / sum(seconds)


def _of_ours(recipe: str, case: Case, store: str, share: float, out: Path, precision: str) -> float:
    """Trains one epoch of a recipe; gives pictures a second, a face in two views being two."""
    settings = (
        f"data=Packed({store!r})", f"sampler=Fraction({share}, label='expression')", "epochs=1", "test=None",
        f"backbone=Backbone({case.network!r})", f"image_size={case.size}", f"batch_size={case.batch}", "accumulate=1",
        "optim=AdamW(lr=1e-3)", f"precision={precision!r}", "ema=None",
    )  # fmt: skip
    words = [word for setting in settings for word in ("--set", setting)]
    _run(["-m", "engine.run", recipe, "--device", "cpu", "--out", str(out), *words])
    result = json.loads((out / "result.json").read_text())
    return float(result["speed"]["images_per_second"] * len(result["views"]))


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"timm_train: {words[-1]} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def compare(
    case: Case, store: str, script: Path, *, workers: Sequence[int], rounds: int, precision: str
) -> Iterator[list[str]]:
    """Measures one case in turns; gives a row of the table for each of ours."""
    found: dict[str, list[float]] = {name: [] for name in (*VIEWS, "timm")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        faces = case.batch * case.steps
        write_pictures(store, faces, folder / "pictures")
        whole = len(Loader.open(Packed(store), "train", batch_size=1, seed=0, device="cpu").split.sample)
        for turn in range(rounds):
            tried = [
                _of_timm(script, case, folder / "pictures", folder / f"timm-{turn}-{n}", n, precision) for n in workers
            ]
            found["timm"].append(max(tried))
            for name, recipe in VIEWS.items():
                out = folder / f"{name}-{turn}".replace(" ", "-")
                found[name].append(_of_ours(recipe, case, store, faces / whole, out, precision))
    for name in VIEWS:
        ratios = [ours / theirs for ours, theirs in zip(found[name], found["timm"], strict=True)]
        speeds = [statistics.median(found[which]) for which in (name, "timm")]
        network = f"{case.network}, {case.size} px, {case.batch} faces a batch"
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        yield [network, name, *(f"{speed:,.0f}" for speed in speeds), spread]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="a prepared store of FER2013")
    parser.add_argument("--timm-train", type=Path, required=True, help="train.py of timm's repository")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 1, 2], help="of timm's loader; the fastest counts"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="fp32 where bf16 is emulated")
    parser.add_argument("--networks", nargs="+", default=[case.network for case in CASES])
    parser.add_argument("--out", type=Path, help="folder of the file that keeps the table")
    options = parser.parse_args(arguments)
    columns = ("network", "ours in", "ours, pictures/s", "timm, pictures/s", "ours over timm")
    rows = [
        row
        for case in CASES
        if case.network in options.networks
        for row in compare(
            case,
            options.store,
            options.timm_train.resolve(),
            workers=options.workers,
            rounds=options.rounds,
            precision=options.precision,
        )
    ]
    facts = describe_environment(torch.device("cpu"))
    text = "\n".join(
        [
            "# Training on a CPU beside timm's own script",
            "",
            f"timm {version('timm')}, torch {torch.__version__}, {options.precision}, AdamW. Ratios are the median of "
            f"those of the rounds, and their range. Of {options.workers} workers, timm's loader has the fastest of a "
            "round.",
            "",
            f"`python -m benchmarks.timm_train STORE --timm-train train.py --precision {options.precision} "
            f"--rounds {options.rounds}`",
            "",
            Table(columns, rows, left=2, keys=2).markdown(),
            "",
            f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads, load {os.getloadavg()[0]:.1f} at the "
            f"end; commit {facts['commit'] or 'unknown'}, {datetime.date.today()}.",
            "",
        ]
    )
    print(text)
    if options.out:
        write(options.out / f"{datetime.date.today()}-timm-train-cpu.md", text)


if __name__ == "__main__":
    main()
