"""Measures `hmtl predict` from its start, on a picture and on a folder, beside bare onnxruntime on the exported file.

    OMP_NUM_THREADS=1 python -m benchmarks.predict_speed RUN --pictures 1000 > table.md      # minutes

RUN is any run whose faces are square. The pictures are drawn faces of its size, as PNG, so that nothing is resized.
Bare is the shortest program that decodes them with Pillow and asks `hmtl export`'s file in batches of 64; both must say
the same before they are timed. A rate is what the pictures after the first take, so without the start.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from engine.deployed import Deployed, load
from engine.deployed.export import export, faces_of
from engine.deployed.pictures import columns
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from loaders import Synthetic

BARE = """
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

model, folder, out, mode = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
files = sorted(Path(folder).iterdir())
said = []
for first in range(0, len(files), 64):
    faces = np.stack([np.asarray(Image.open(file).convert(mode)) for file in files[first : first + 64]])
    said.append(session.run(None, {"faces": faces.reshape(len(faces), *faces.shape[1:3], -1)})[0])
np.save(out, np.concatenate(said))
"""


def write_pictures(folder: Path, count: int, model: Deployed) -> Path:
    """Draws so many faces in the form of a model's, and writes them as PNG, named by their numbers."""
    folder.mkdir()
    faces = faces_of(model, Synthetic(train=1, val=1, test=count, size=model.faces[0]), "test")
    for number, face in enumerate(faces.numpy()):
        Image.fromarray(face.squeeze()).save(folder / f"{number:05}.png")
    return folder


def seconds(command: list[str], repeats: int) -> tuple[float, float, float]:
    """Runs a command some times, to its end: the least seconds, their median, and the median of those of processor."""
    clock, processor = [], []
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        clock.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(clock), statistics.median(clock), statistics.median(processor)


def check(run: Path, folder: Path, said: Path, bare: Path) -> None:
    """Holds what both said of the pictures against each other.

    Raises:
        SystemExit: They differ.
    """
    model = load(run)
    (task, *_) = model.tasks
    names = [column for column in columns(model) if column.startswith(f"{task}/")]
    rows = {Path(row["path"]).name: [float(row[name]) for name in names] for row in csv.DictReader(said.open())}
    theirs = np.array([rows[file.name] for file in sorted(folder.iterdir())])
    if not np.allclose(theirs, np.load(bare), atol=1e-3 if task in model.about["classes"] else 0.05):
        raise SystemExit("predict_speed: hmtl predict and the exported file say other things of the same pictures")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    arguments.add_argument("run", type=Path, help="a run whose faces are square")
    arguments.add_argument("--pictures", type=int, default=1000)
    arguments.add_argument("--repeats", type=int, default=5)
    given = arguments.parse_args()
    model = load(given.run)
    height, width, channels = model.faces
    if height != width:
        raise SystemExit(
            f"predict_speed: {given.run} takes faces of {width} x {height} pixels; name a run of square ones"
        )
    about = describe_environment(torch.device("cpu"))
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "numpy", "pillow"))
    print(f"{about['cpu']}, one thread; Python {about['python']}, torch {about['torch']}, {packages}; commit")
    print(f"{about['commit']}, {about['date']}; load of the machine {os.getloadavg()[0]:.1f} when it began.\n")
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        many = write_pictures(top / "many", given.pictures, model)
        one = write_pictures(top / "one", 1, model)
        file = export(model, "onnx", top)
        said, bare = top / "said.csv", top / "bare.npy"

        def ours(folder: Path) -> list[str]:
            return [sys.executable, "-m", "engine.predict", str(given.run), str(folder), "--out", str(said)]

        def theirs(folder: Path) -> list[str]:
            return [sys.executable, "-c", BARE, str(file), str(folder), str(bare), "L" if channels == 1 else "RGB"]

        for command in (ours(many), theirs(many)):  # so that files and kernels are warm
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        check(given.run, many, said, bare)
        rows = []
        for name, command in (("hmtl predict", ours), ("bare onnxruntime", theirs)):
            first, all_ = seconds(command(one), given.repeats), seconds(command(many), given.repeats)
            rate = (given.pictures - 1) / (all_[2] - first[2])
            rows.append((name, *(f"{value:.2f}" for value in (*first, *all_)), f"{rate:,.0f}"))
    heads = (
        "seconds",
        "one picture: least",
        "median",
        "of processor",
        f"{given.pictures:,} pictures: least",
        "median ",
    )
    print(Table((*heads, "of processor ", "pictures per second of processor"), rows).markdown())


if __name__ == "__main__":
    main()
