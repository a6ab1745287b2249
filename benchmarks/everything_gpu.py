"""Runs all that only a GPU can show, step by step: tests, short trainings, tables of views, sweep of configurations.

    python -m benchmarks.everything_gpu --out /tmp/results                     # every step, one after another
    python -m benchmarks.everything_gpu --out /tmp/results --steps kernels     # one, in less than ten minutes

Each step ends by `--limit` seconds. What it prints is in `<step>.log` once it is done, and called again with the same
`--out` it is passed over; one that fails or runs out of time leaves `<step>.failed.log`, is named at the end and runs
again. The others still run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.view_cases import CASES
from benchmarks.views_table import ROOT

LIMIT = 540
"""Seconds of a step: machines that are lent take a command away after ten minutes."""

TABLE = ("-m", "benchmarks.compare_views_gpu", "--out", "{out}")
_TESTS = ("-m", "pytest", "-q", "-n", "12", "-p", "no:cacheprovider", "-m", "not slow", "-k")
"""The slow ones need no GPU."""
_TRAIN = ("-m", "engine.run", "--device", "cuda", "--smoke", "--resume", "--set", "compile=True", "--out")
_GRAPHS = (*_TRAIN[:-2], "compile='reduce-overhead'", "--out")


def _tables() -> dict[str, tuple[str, ...]]:
    """Names a step for each size and case: the reference is compiled anew for each, which takes longest."""
    return {
        f"table-{size}-{case.replace(' + ', '-')}": (
            *TABLE, "--sizes", str(size), "--cases", case, "--name", f"{size} px {case}"
        )
        for size in (112, 224)
        for case in CASES
    }  # fmt: skip


STEPS: dict[str, tuple[str, ...]] = {
    # The tests of the Triton kernels run compiled where there is a GPU, interpreted elsewhere.
    "kernels": (*_TESTS, "test_triton or (gpu and not test_compare_views_gpu)", "tests/kernels"),
    "loaders": (*_TESTS, "gpu", "tests/loaders"),
    "engine": (*_TESTS, "gpu", "tests/engine"),
    "train-hybrid": (*_TRAIN, "{out}/train-hybrid", "fer2013_hmtl"),
    "train-inpaint": (*_TRAIN, "{out}/train-inpaint", "affectnet_inpaint"),
    "train-semi": (*_TRAIN, "{out}/train-semi", "fer2013_semi"),
    "train-graphs": (*_GRAPHS, "{out}/train-graphs", "fer2013_hmtl"),
    "check": (*TABLE, "--quick", "--name", "quick"),
    **_tables(),
    "sweep": (*TABLE, "--sweep", "--sizes", "112", "--batches", "256"),
}
"""Arguments of Python, in the order in which they are worth having; "{out}" is the folder of `--out`."""


def run(steps: list[str], out: Path, limit: float) -> list[str]:
    """Runs those steps one after another that are not done yet; returns what went wrong."""
    out.mkdir(parents=True, exist_ok=True)
    wrong = []
    for step in steps:
        done, failed = out / f"{step}.log", out / f"{step}.failed.log"
        if done.exists():
            print(f"{step}: done before, {done}", flush=True)
            continue
        command = [sys.executable, *(argument.format(out=out.resolve()) for argument in STEPS[step])]
        start = time.perf_counter()
        with failed.open("w") as log:
            try:
                code = subprocess.run(
                    command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=limit, check=False
                ).returncode
                result = "done" if code == 0 else f"failed with exit status {code}"
            except subprocess.TimeoutExpired:
                code, result = 1, f"stopped after {limit:g} s"
        if code:
            wrong.append(f"{step} {result}")
        else:
            failed.rename(done)
        print(f"{step}: {result}, {time.perf_counter() - start:.0f} s, {failed if code else done}", flush=True)
    return wrong


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables and of what the steps print")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"seconds of each step ({LIMIT})")
    options = parser.parse_args(arguments)
    if wrong := run(options.steps, options.out, options.limit):
        raise SystemExit(f"everything_gpu: {'; '.join(wrong)}; read the logs in {options.out}")


if __name__ == "__main__":
    main()
