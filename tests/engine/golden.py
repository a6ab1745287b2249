"""Trains small runs and hashes what they leave: weights, predictions, rows of metrics.csv and final figures.

python tests/engine/golden.py --record              # re-makes tests/engine/golden.json on this machine
python tests/engine/golden.py --tree OTHER          # prints the hashes of another checkout, to be compared
python tests/engine/golden.py --fer2013 STORE       # adds a run on a prepared store of FER2013
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path(__file__).with_suffix(".json")
TIMES = ("seconds", "images_per_second", "wait_share")
DEMO = "tests/engine/golden_recipe/demo.py"
FACES = "data=Synthetic(train=192, val=48, test=48, size=48)"
SHORT = ("epochs=2", "optim.warmup_epochs=0", "batch_size=32", "log_every=2", "precision='fp32'", "compile=False")

RUNS: dict[str, tuple[str, ...]] = {
    "demo": (DEMO, FACES, *SHORT),
    "supervised": (f"{DEMO}:supervised_equal_cost", FACES, *SHORT),
    "pose": ("recipes/synthetic_pose_hmtl.py", FACES, *SHORT),
    "inpaint-pl": (
        DEMO,
        FACES,
        *SHORT,
        "backbone=Backbone('resnet10t')",
        "tasks=(Expression(SYNTHETIC_7, on=('plain', 'puzzle')),)",
        "views.puzzle=Holes(grid=8)",
        "tasks=(Expression(SYNTHETIC_7), Inpaint(on='puzzle', perceptual=Perceptual()))",
        "augment=strong()",
    ),
    "parts": (
        DEMO,
        FACES,
        *SHORT,
        "tasks=(Expression(SYNTHETIC_7, on=('plain', 'puzzle')),)",
        "views.puzzle=HiddenParts(grid=8, fresh=True)",
        "tasks=(Expression(SYNTHETIC_7), Inpaint(on='puzzle'))",
    ),
    "multi-size": (
        DEMO,
        FACES,
        *SHORT,
        "views.puzzle=Puzzle(grid=2, turn=True, size=(32, 40, 48))",
        "tasks=(Expression(SYNTHETIC_7, on=('plain', 'puzzle'), join='geometric'), SolvePuzzle(weight=0.1),"
        " SolveTurns(on='puzzle', weight=0.1))",
        "total=Uncertainty()",
        "batch_statistics='per_view_plain'",
        "accumulate=2",
    ),
    "frozen": (
        f"{DEMO}:supervised",
        FACES,
        *SHORT,
        "init={folder}/demo",
        "frozen_encoder=True",
    ),
    "averaged": (
        DEMO,
        FACES,
        *SHORT,
        "sampler=Fraction(0.5, label='expression')",
        "test_time=Averaging(flip=True, crops=5)",
        "gradient_cosine_every=2",
        "tasks=(Expression(SYNTHETIC_7), Attribute(label='glasses', names=NO_YES, group='expression',"
        " group_names=SYNTHETIC_7), SolvePuzzle(weight=0.1))",
    ),
}
RUNS["resumed"] = RUNS["demo"]
"""Name to a recipe and what is set in it: options, not files, so that checkouts of other layouts run them."""


def hashes(run: Path) -> dict[str, str]:
    """Hashes of a finished run: equal where and only where the numbers are equal bit for bit."""
    return {
        "weights": _hash(_tensors(run / "checkpoints" / "last" / "weights.safetensors")),
        "best": _hash(_tensors(run / "checkpoints" / "best" / "weights.safetensors")),
        "predictions": _hash(path.read_bytes() for path in _arrays(run)),
        "csv": _hash(_rows(run / "metrics.csv")),
        "figures": _hash([_figures(run / "result.json").encode()]),
    }


def _hash(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _tensors(path: Path) -> list[bytes]:
    """Header without metadata, and bytes, of a safetensors file: the metadata may be written otherwise."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return [json.dumps(header, sort_keys=True).encode(), data[8 + length :]]


def _arrays(run: Path) -> list[Path]:
    return sorted((run / "predictions").glob("*.npz"))


def _rows(path: Path) -> list[bytes]:
    with path.open(newline="") as lines:
        rows = [{key: cell for key, cell in row.items() if key not in TIMES} for row in csv.DictReader(lines)]
    return [json.dumps(row, sort_keys=True).encode() for row in rows]


def _figures(path: Path) -> str:
    result = json.loads(path.read_text())
    return json.dumps({key: result[key] for key in ("best", "last")}, sort_keys=True)


def environment() -> dict[str, str]:
    """What the bits of a training depend on beside the code."""
    import torch

    return {
        "machine": platform.machine(),
        "vendor": _vendor(),  # whose processor it is: the libraries have other paths for AMD's than for Intel's
        "capability": torch.backends.cpu.get_cpu_capability(),
        **{name: version(name) for name in ("torch", "timm", "numpy")},
    }


def _vendor() -> str:
    """The maker of the processor as Linux names it; empty elsewhere."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def recorded(where: Mapping[str, str]) -> dict[str, dict[str, str]] | None:
    """The hashes that were recorded in such an environment; None where none were."""
    known = json.loads(RECORDED.read_text())
    return next((each["runs"] for each in known if each["environment"] == where), None)


_DRIVER = """
import json, sys
from matplotlib.figure import Figure
from PIL import Image
from engine.run import app
Figure.savefig = lambda figure, file, **options: Image.new("RGB", (1, 1)).save(file, format="png")  # charts: blank
for arguments in json.loads(sys.stdin.read()):
    app(arguments, standalone_mode=False)
"""


def train(tree: Path, folder: Path, runs: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Trains the runs of a checkout one after another, with one thread, and gives their hashes by name.

    A run called "resumed" is stopped in its midst and gone on with.
    """
    arguments = {name: _arguments(folder, name, *run) for name, run in runs.items()}
    if "resumed" in runs:
        _stop_in_the_midst(arguments["resumed"], tree, folder / "resumed")
        arguments["resumed"].append("--resume")
    command = [sys.executable, "-c", _DRIVER]
    texts = json.dumps(list(arguments.values()))
    done = subprocess.run(
        command, input=texts, cwd=tree, env=_environ(tree), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{done.stdout}\n{done.stderr}")
    return {name: hashes(folder / name) for name in runs}


def _arguments(folder: Path, name: str, recipe: str, *fields: str) -> list[str]:
    sets = [word for field in fields for word in ("--set", field.replace("{folder}", str(folder)))]
    return [recipe, "--device", "cpu", "--out", str(folder / name), *sets]


def _environ(tree: Path) -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return {**os.environ, **one, "PYTHONPATH": str(tree), "COLUMNS": "200"}


def _stop_in_the_midst(arguments: Sequence[str], tree: Path, out: Path) -> None:
    """Sends SIGTERM once a few steps are logged; the command ends with a checkpoint."""
    log = out / "log.jsonl"
    command = [sys.executable, "-m", "engine.run", *arguments]
    with subprocess.Popen(command, cwd=tree, env=_environ(tree), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (log.is_file() and log.read_text().count("\n") >= 2):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)


def main() -> None:
    """Prints or records the hashes of all runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout that is run")
    parser.add_argument("--fer2013", type=Path, help="a prepared store of FER2013: adds a run on it")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the runs")
    parser.add_argument("--record", action="store_true", help=f"write them into {RECORDED.name}")
    options = parser.parse_args()
    runs = dict(RUNS)
    if options.fer2013 is not None:
        store = f"data=Packed({str(options.fer2013.resolve())!r})"
        runs["fer2013"] = ("recipes/fer2013_hmtl.py", store, *SHORT, "sampler=Fraction(0.02, label='expression')")
    with tempfile.TemporaryDirectory() as temporary:
        found = train(options.tree.resolve(), options.keep or Path(temporary), runs)
    here = {"environment": environment(), "runs": found}
    if options.record:
        others = [each for each in json.loads(RECORDED.read_text()) if each["environment"] != here["environment"]]
        RECORDED.write_text(json.dumps([*others, here], indent=2) + "\n")
    print(json.dumps(here, indent=2))


if __name__ == "__main__":
    main()
