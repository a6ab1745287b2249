"""Counts the instructions of `render_views` in its machine code, and predicts from them how fast GPUs can be.

    python -m benchmarks.roofline                                  # prints the tables
    python -m benchmarks.roofline --out benchmarks/results         # keeps them, for this version of Triton

Needs no GPU. A case takes the longer of two times: its bytes at the speed of memory, and its instructions at the rate
at which a GPU issues them. What a cache holds back, and how the two overlap, is not in it: a measured time lies above.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.views_table import write
from engine.runs.commit import commit

ROOT = Path(__file__).resolve().parents[1]
SIZE, BATCH = 112, 256
ARCHITECTURES = (80, 90, 100)

CASES: dict[str, dict[str, Any]] = {
    "identity, weak": {},
    "weak, gray": {"channels": 1},
    "weak + puzzle, whole tiles": {"cells": 2},
    "weak + puzzle, whole tiles, gray": {"cells": 2, "channels": 1},
    "weak + puzzle, other cells": {"cells": 3},
    "weak + turned tiles": {"cells": 2, "turn": True},
    "weak, cut-out": {"cut": True},
    "weak, float32": {"dtype": "float32"},
    "strong, sharp": {"noise": True, "cut": True},
}
"""Options of one launch; `cells` is the side of the grid. A blurred view runs loops, which a count does not tell."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a prediction needs to know of a GPU; bytes are what a copy of a large tensor reaches."""

    name: str
    architecture: int
    bytes_a_second: float
    instructions_a_second: float
    """Of one lane: multiprocessors x 4 schedulers x 32 lanes x clock, of which 80 % are reached."""


GPUS = (
    Gpu("H100", 90, 3.0e12, 132 * 4 * 32 * 1.98e9 * 0.8),
    Gpu("H200", 90, 4.3e12, 132 * 4 * 32 * 1.98e9 * 0.8),
)


@dataclass(frozen=True, slots=True)
class Count:
    """Holds what a pixel of a case takes on one architecture."""

    case: str
    architecture: int
    instructions: float
    registers: int
    store: str
    """The instruction that writes, which says how wide."""
    idle: float
    """Share of lanes past the end of the view."""


def bytes_of(case: str) -> float:
    """Gives the bytes a pixel that memory sees: a store as large as the view is read once, the view written."""
    options = CASES[case]
    return options.get("channels", 3) + 3 * (4 if options.get("dtype") == "float32" else 2)


def counts(architecture: int) -> Iterator[Count]:
    """Compiles each case for an architecture, 90 for sm_90, and counts; where TRITON_INTERPRET is not set."""
    import torch

    import kernels
    from benchmarks.offline import compiled, instructions, usage
    from kernels.views import triton_kernel

    for case, options in CASES.items():
        grid, number = options.get("cells", 1), torch.zeros(1, 2)
        noise, cut, turn = (options.get(name, False) for name in ("noise", "cut", "turn"))
        with compiled(architecture) as found:
            triton_kernel.render_views(
                torch.zeros(2, SIZE, SIZE, options.get("channels", 3), dtype=torch.uint8),
                torch.zeros(2, dtype=torch.int64),
                torch.eye(2, 3).repeat(1, 2, 1, 1),
                torch.eye(3, 4).repeat(1, 2, 1, 1),
                kernels.identity_cells(grid, 2, "cpu")[None],
                None,
                number if noise else None,
                number.long() if noise else None,
                torch.zeros(1, 2, grid * grid, dtype=torch.uint8) if turn else None,
                torch.zeros(1, 2, 4, dtype=torch.int16) if cut else None,
                SIZE,
                (0.5, 0.4, 0.3),
                (0.2, 0.3, 0.4),
                getattr(torch, options.get("dtype", "bfloat16")),
                1,
            )
        block = triton_kernel.configuration(SIZE, heavy=noise).block
        taken, total = usage(found[0]), instructions(found[0])
        each = block / taken.threads
        [store] = [name for name in total if name.startswith("STG")]
        idle = -(SIZE * SIZE) % block / (SIZE * SIZE + -(SIZE * SIZE) % block)
        yield Count(case, architecture, sum(total.values()) / each, taken.registers, store, idle)


def seconds(count: Count, gpu: Gpu) -> tuple[float, float]:
    """Predicts seconds a pixel: of its bytes alone, as a copy takes them, and of the case."""
    copy = bytes_of(count.case) / gpu.bytes_a_second
    return copy, max(copy, count.instructions / (1.0 - count.idle) / gpu.instructions_a_second)


def tables(found: dict[int, list[Count]]) -> Iterator[str]:
    """Writes the counts by architecture and the predictions by GPU as Markdown."""
    names = " | ".join(f"sm_{architecture}" for architecture in found)
    yield f"| instructions a pixel | {names} | registers | writes by |"
    yield "| --- |" + " ---: |" * (len(found) + 1) + " --- |"
    for row in zip(*found.values(), strict=True):
        numbers = " | ".join(f"{count.instructions:.1f}" for count in row)
        registers = " / ".join(str(count.registers) for count in row)
        yield f"| {row[0].case} | {numbers} | {registers} | {row[-1].store} |"
    yield ""
    pixels = SIZE * SIZE * BATCH
    yield (
        f"| {BATCH} views of {SIZE} px, predicted | bytes a pixel | "
        + " | ".join(f"{gpu.name}, µs | of a copy's speed" for gpu in GPUS)
        + " |"
    )
    yield "| --- | ---: |" + " ---: | ---: |" * len(GPUS)
    for count in found[90]:
        cells = []
        for gpu in GPUS:
            copy, whole = seconds(count, gpu)
            cells.append(f"{whole * pixels * 1e6:.1f} | {copy / whole:.0%}")
        yield f"| {count.case} | {bytes_of(count.case):.0f} | {' | '.join(cells)} |"


def compiled_apart(architecture: int) -> list[Count]:
    """Counts in a process of its own: one that interprets Triton cannot compile, and each architecture has a driver."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.roofline", "--count", str(architecture)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [Count(**json.loads(line)) for line in done.stdout.splitlines()]


def file_of(triton: str, folder: Path) -> Path:
    """Names the file of tables of one version of Triton."""
    return folder / f"views-instructions-triton-{triton}.md"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, metavar="ARCHITECTURE", help="print one line of JSON a case and no table")
    parser.add_argument("--out", type=Path, help="folder of the file that keeps the tables")
    options = parser.parse_args(arguments)
    if options.count:
        for count in counts(options.count):
            fields = {name: getattr(count, name) for name in Count.__slots__}
            print(json.dumps(fields), flush=True)
        return
    triton = version("triton")
    text = "\n".join(
        [
            f"# Instructions of `render_views` by Triton {triton}",
            "",
            f"Views of {SIZE} px in bfloat16 where no other type is named, compiled and disassembled; python -m "
            "benchmarks.roofline.",
            f"Commit {commit()}, {datetime.date.today()}. **Nothing here was measured on a GPU.**",
            "",
            *tables({architecture: compiled_apart(architecture) for architecture in ARCHITECTURES}),
        ]
    )
    print(text)
    if options.out:
        write(file_of(triton, options.out), text + "\n")


if __name__ == "__main__":
    main()
