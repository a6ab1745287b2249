"""Compiles every kernel for one architecture and prints what each variant takes.

    python -m tests.kernels.compile_configurations 90            # variants where any two options meet
    python -m tests.kernels.compile_configurations 90 --light    # and all light work, and what is compiled once
    python -m tests.kernels.compile_configurations 90 --all      # every combination of options of render_views

Prints one line of JSON a variant: kernel, options, registers, shared memory, stack. Needs no GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from typing import Any

import torch

import kernels
from benchmarks.offline import Usage, compiled, times_compiled, usage
from kernels.hidden import triton_kernel as hidden
from kernels.tables import triton_kernel as tables
from kernels.views import triton_kernel as views
from tests.kernels.pairwise import pairwise

GRIDS = {"uncut": 1, "cells": 5, "tiles": 2, "turned cells": 5, "turned tiles": 2}
"""Tiles are cells that end where a group of neighbouring pixels of a line does, at 48 px."""

OPTIONS: dict[str, list[Any]] = {
    "channels": [3, 1],
    "cells": list(GRIDS),
    "cut": [False, True],
    "blur": [False, True],
    "noise": [False, True],
    "supersample": [1, 2],
    "dtype": [torch.bfloat16, torch.float16, torch.float32],
    "size": [48, 45],  # lines of whole groups of pixels, and others
}


def render(
    size: int = 48,
    *,
    grid: int | None = None,
    channels: int = 3,
    cells: str = "uncut",
    cut: bool = False,
    blur: bool = False,
    noise: bool = False,
    supersample: int = 1,
    dtype: torch.dtype = torch.bfloat16,
    batch: int = 2,
    height: int = 8,
    width: int = 8,
) -> None:
    """One launch of `render_views` with the configuration that the work is given."""
    grid = grid or GRIDS[cells]
    number = torch.zeros(1, batch)
    views.render_views(
        torch.zeros(3, height, width, channels, dtype=torch.uint8),
        torch.zeros(batch, dtype=torch.int64),
        torch.eye(2, 3).repeat(1, batch, 1, 1),
        torch.eye(3, 4).repeat(1, batch, 1, 1),
        kernels.identity_cells(grid, batch, "cpu")[None],
        number if blur else None,
        number if noise else None,
        number.long() if noise else None,
        torch.zeros(1, batch, grid * grid, dtype=torch.uint8) if cells.startswith("turned") else None,
        torch.zeros(1, batch, 4, dtype=torch.int16) if cut else None,
        size,
        (0.5, 0.4, 0.3),
        (0.2, 0.3, 0.4),
        dtype,
        supersample,
    )


def variants(everything: bool, light: bool) -> Iterator[tuple[dict[str, Any], Usage]]:
    cases = _product(OPTIONS) if everything else pairwise(OPTIONS)
    if light:  # its large blocks leave registers scarcest
        cases += _product({name: OPTIONS[name] for name in ("channels", "cells", "cut")})
    cases += [{"width": 1}]  # no right neighbour
    for case in cases:
        with compiled(ARCHITECTURE) as found:
            render(**case)
        yield case, usage(found[0])
    sample, mean = torch.arange(2), torch.zeros(2, 3)
    with compiled(ARCHITECTURE) as found:
        for key in (kernels.Key(0, 0, sample), kernels.Key(0, 0, sample, sample.int())):
            tables.draw_tables(key, mean, kernels.strong(), (8, 8), 40)
            tables.draw_turns(key, 3)
            tables.random_bits(key, 2)
            tables.draw_hidden_parts(key, torch.zeros(2, 2, 3), 3, 40, (8, 8), (0.1, 0.2, 0.6, 0.8))
    for kernel in found:
        yield {}, usage(kernel)
    for grid in (3, 5, 8, 15, 20, 32):
        with compiled(ARCHITECTURE) as found:
            tables.draw_permutation(kernels.Key(0, 0, sample), grid)
            tables.draw_holes(kernels.Key(0, 0, sample), grid, (1, 2), (1, 3), (1 << 23, 1 << 25))
        for kernel in found:
            yield {"grid": grid}, usage(kernel)
    single, half, brain, double = torch.float32, torch.float16, torch.bfloat16, torch.float64
    for guess, truth in (
        (single, single),
        (half, half),
        (brain, brain),
        (brain, single),
        (double, double),
        (brain, double),
    ):
        pictures = (torch.zeros(2, 3, 40, 40, dtype=guess), torch.zeros(2, 3, 40, 40, dtype=truth))
        shows = kernels.identity_cells(14, 2, "cpu")
        with compiled(ARCHITECTURE) as found:
            hidden.hidden_l1(*pictures, shows)
            hidden.hidden_l1_backward(torch.zeros(()), *pictures, shows)
        for kernel in found:
            yield {"guess": guess, "truth": truth}, usage(kernel)


def _product(options: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def run_time_numbers() -> dict[str, int]:
    """How often each kernel is compiled over many sizes, grids, stores, batches, seeds, epochs and samples.

    Views have sizes whose pixels are shared out alike.
    """
    with compiled(ARCHITECTURE):
        for size, grid, batch, height in ((64, 3, 1, 1), (96, 5, 16, 16), (160, 3, 3, 350), (224, 15, 32, 7)):
            render(size, grid=grid, cells="turned cells", cut=True, blur=True, noise=True, batch=batch, height=height)
        for size, grid, batch, height in (
            (1, 1, 1, 1),
            (16, 2, 16, 16),
            (64, 3, 3, 2),
            (113, 15, 32, 350),
            (224, 14, 1, 7),
        ):
            sample, mean = torch.arange(batch), torch.zeros(batch, 3)
            for seed, epoch in ((0, 0), (1, 1), (16, 16), (2**64 - 1, 2**32 - 1), (2**62, 2**31)):
                key = kernels.Key(seed, epoch, sample, sample.int())
                tables.draw_tables(key, mean, kernels.none(), (height, 1), size)
                tables.draw_turns(key, grid)
                tables.random_bits(key, grid)
                parts = (0.1, 0.2, 0.6, 0.8) * grid
                tables.draw_hidden_parts(key, torch.zeros(batch, 2, 3), grid, size, (height, 1), parts)
                tables.draw_permutation(key, min(grid, 4))
                tables.draw_holes(key, min(grid, 4), (0, size), (1, grid), (16, 16 + size))
            picture, shows = torch.zeros(batch, 3, size, size), kernels.identity_cells(grid, batch, "cpu")
            hidden.hidden_l1(picture, picture, shows)
            hidden.hidden_l1_backward(torch.zeros(()), picture, picture, shows)
    return {name: times_compiled(kernel, ARCHITECTURE) for name, kernel in RUN_TIME.items()}


RUN_TIME: dict[str, Any] = {
    "render_views": views._render,
    "draw": tables._draw,
    "draw_turns": tables._turns,
    "random_bits": tables._bits,
    "draw_hidden_parts": tables._hidden_parts,
    "draw_permutation": tables._permutation,
    "draw_holes": tables._holes,
    "hidden_l1 sums": hidden._sums,
    "hidden_l1 mean": hidden._mean,
    "hidden_l1 count": hidden._count,
    "hidden_l1 gradient": hidden._gradient,
}

if __name__ == "__main__":
    ARCHITECTURE = int(sys.argv[1])
    if "--light" in sys.argv:
        print(json.dumps({"run_time": run_time_numbers()}))
    for options, taken in variants("--all" in sys.argv, "--light" in sys.argv):
        print(
            json.dumps({"options": {name: str(value) for name, value in options.items()}} | asdict(taken)), flush=True
        )
