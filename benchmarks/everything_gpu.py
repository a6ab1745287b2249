"""Runs all that only a GPU can show, in one call: tests, tables of views, sweep of configurations.

    python -m benchmarks.everything_gpu --out /tmp/results      # about 25 minutes; --steps picks some

Each step has its own time limit; one that fails or runs out of time is named at the end, and the others still run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.views_table import ROOT

TABLE = ("-m", "benchmarks.compare_views_gpu")
STEPS: dict[str, tuple[int, tuple[str, ...]]] = {
    # The tests of the Triton kernels run compiled where there is a GPU, interpreted elsewhere.
    "tests": (600, ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "triton or gpu", "tests/kernels")),
    "check": (180, (*TABLE, "--quick", "--name", "quick")),
    "table-112": (600, (*TABLE, "--sizes", "112", "--name", "112 px")),
    "table-224": (600, (*TABLE, "--sizes", "224", "--name", "224 px")),
    "sweep": (300, (*TABLE, "--sweep", "--sizes", "112", "--batches", "256")),
}
"""Seconds at most and arguments of Python, in the order in which they are worth having."""


def run(steps: list[str], out: Path) -> list[str]:
    """Runs steps one after another, what each prints in `<step>.log`; returns what went wrong."""
    out.mkdir(parents=True, exist_ok=True)
    wrong = []
    for step in steps:
        limit, arguments = STEPS[step]
        command = [sys.executable, *arguments, *(["--out", str(out)] if TABLE[1] in arguments else [])]
        start = time.perf_counter()
        with (out / f"{step}.log").open("w") as log:
            try:
                code = subprocess.run(
                    command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=limit, check=False
                ).returncode
                result = "done" if code == 0 else f"failed with exit status {code}"
            except subprocess.TimeoutExpired:
                code, result = 1, f"stopped after {limit} s"
        print(f"{step}: {result}, {time.perf_counter() - start:.0f} s, {out / step}.log", flush=True)
        if code:
            wrong.append(f"{step} {result}")
    return wrong


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables and of what the steps print")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    options = parser.parse_args(arguments)
    if wrong := run(options.steps, options.out):
        raise SystemExit(f"everything_gpu: {'; '.join(wrong)}; read the logs in {options.out}")


if __name__ == "__main__":
    main()
