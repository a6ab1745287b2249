"""Writes rows of timings of views as a Markdown table, with the facts that belong above it."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import torch

from benchmarks.view_cases import Inputs
from engine.runs.environment import describe_environment
from loaders.files import write_text

ROOT = Path(__file__).resolve().parents[1]
Times = tuple[float, float, float]
"""p20, p50, p80 in seconds."""
Row = dict[str, Times | None]
Rows = dict[tuple[int, int, str], tuple[Row, int]]
"""(size, batch, case) to the row and the bytes that it must move."""

OURS = "ours"
DRAWN = "ours, with drawing"
CLONE, COPY = "clone", "copy_"
"""Moving as many bytes by `torch.clone`, and by `Tensor.copy_` into memory that was written before."""


def moved(inputs: Inputs, dtype: torch.dtype) -> int:
    """Counts the bytes that must move: each face read once, each view written once."""
    views = inputs.where.shape[0] * inputs.batch * 3 * inputs.size**2
    return inputs.store.numel() + views * dtype.itemsize


def cell(found: Times | None, mine: Times) -> str:
    if found is None:
        return "–"
    low, middle, high = (1e3 * t for t in found)
    ratio = found[1] / mine[1]
    return f"{middle:.3g} ({low:.3g}–{high:.3g}) · {ratio:.3g} ×"


def table(rows: Rows, counts: dict[tuple[str, int], int]) -> str:
    """Writes one line a row; `counts` are the kernels that Inductor made of the reference, by case and size."""
    rulers = [name for name in (CLONE, COPY) if any(name in row for row, _ in rows.values())]
    names = dict.fromkeys(name for row, _ in rows.values() for name in row)
    names = [name for name in names if name not in (OURS, *rulers)]
    heads = ["px", "batch", "case", "ours, ms", "MB", "GB/s", *(f"of {name}'s" for name in rulers), *names]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for (size, batch, case), (row, count) in rows.items():
        mine = row[OURS]
        assert mine is not None
        low, middle, high = (1e3 * t for t in mine)
        shares = [found[1] / mine[1] for name in rulers if (found := row[name]) is not None]
        cells = [
            *(str(fact) for fact in (size, batch, case)),
            f"{middle:.3g} ({low:.3g}–{high:.3g})",
            f"{count / 1e6:.3g}",
            f"{count / mine[1] / 1e9:.3g}",
            *(f"{share:.0%}" for share in shares),
            *(cell(row.get(name), mine) for name in names),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    if counts:
        launches = ", ".join(f"{case} at {size} px: {count}" for (case, size), count in counts.items())
        text += f"\nKernels that Inductor made of the reference: {launches}.\n"
    return text


def setting(dtype: torch.dtype) -> list[str]:
    """Says where and when the run took place."""
    facts = describe_environment(torch.device("cpu"))
    return [
        f"- {facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads",
        f"- load {os.getloadavg()[0]:.1f} at the end of the run",
        dated(facts["commit"], dtype),
    ]


def dated(commit: object, dtype: torch.dtype) -> str:
    """Writes the line that names commit, day and output."""
    return f"- commit {commit or 'unknown'}, {datetime.date.today()}, output {str(dtype).removeprefix('torch.')}"


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
