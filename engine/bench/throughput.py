"""Measures how fast each source delivers, cold and warm, with what share of the cores and how much memory."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from engine.bench.agreement import Truth
from engine.bench.cases import Data
from engine.bench.page_cache import drop
from engine.bench.process import CaseProcess
from engine.bench.usage import Memory

DROPPED = 0.02
"""Share of pages that may stay in memory where a reading is called cold."""


@dataclass(slots=True)
class Row:
    """Holds what was measured of one case."""

    name: str
    first_batch_seconds: float = 0.0
    """From opening, in a process that has imported nothing optional, to the first batch; files in memory."""
    cold: float | None = None
    """Faces a second of one epoch after its files were dropped from the page cache; None where they could not be."""
    cold_note: str = ""
    turns: list[float] = field(default_factory=list)
    """Faces a second of each turn, files in memory."""
    cpu: list[float] = field(default_factory=list)
    """CPU time over wall time of each turn, with children: 1.0 is one core."""
    us: list[float] = field(default_factory=list)
    """CPU microseconds a face of each turn."""
    peak: Memory = field(default_factory=Memory)
    """Of the process with its children, from its start."""
    base: Memory = field(default_factory=Memory)
    """Before anything was opened."""
    off_mean: float = 0.0
    off_most: float = 0.0
    """Difference to the stored faces, in gray levels."""
    order: str = ""

    @property
    def warm(self) -> float:
        """Computes the median faces a second of the turns."""
        return statistics.median(self.turns)

    def percentile(self, share: float) -> float:
        """Computes the faces a second below which `share` percent of the turns lie."""
        return float(np.percentile(self.turns, share))

    def as_json(self) -> dict[str, object]:
        """Gives all that was measured as plain values."""
        found = asdict(self)
        del found["order"]
        return found | {"warm": self.warm, "warm_p20": self.percentile(20), "warm_p80": self.percentile(80)}


def measure(
    data: Data,
    *,
    batch_size: int,
    rounds: int,
    seconds: float,
    device: str = "cpu",
    cold: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Checks every case, then lets them deliver turn by turn.

    Args:
        data: The cases.
        batch_size: Faces of a batch.
        rounds: In each, every case has one turn: one slow moment of the machine meets all of them.
        seconds: A turn is whole epochs until this time has passed.
        device: Where our sources deliver to.
        cold: Also read one epoch after dropping the files from the page cache.
        say: Told what is going on.

    Raises:
        ValueError: A case delivers something else than it must, or fails.
    """
    if rounds < 1:
        raise ValueError(f"bench: rounds (={rounds}) must be 1 or more")
    truth = Truth(data, batch_size)
    rows = [Row(case.name) for case in data.cases]
    with ExitStack() as stack:
        processes = [stack.enter_context(closing(CaseProcess(case, batch_size, device))) for case in data.cases]
        for row, process in zip(rows, processes, strict=True):
            row.base = process.started()
        for row, process in zip(rows, processes, strict=True):
            say(f"{row.name}: first batch, compared with what is stored")
            first = process.first()
            row.first_batch_seconds = first.seconds
            found = truth.check(process.case, first.sample, first.faces)
            row.off_mean, row.off_most = found.mean, found.most
        for row, process in zip(rows, processes, strict=True):
            say(f"{row.name}: one epoch" + (", files dropped from the page cache" if cold else ""))
            process.opened()
            row.cold, row.cold_note, row.order = _cold(process, cold)
        _same_order(rows)
        for number in range(rounds):
            for row, process in zip(rows, processes, strict=True):
                say(f"{row.name}: round {number + 1} of {rounds}")
                delivered, cpu = process.turn(seconds)
                row.turns.append(delivered.faces / delivered.seconds)
                row.cpu.append(cpu / delivered.seconds)
                row.us.append(1e6 * cpu / delivered.faces)
                row.peak = process.most
    return rows


def _cold(process: CaseProcess, wanted: bool) -> tuple[float | None, str, str]:
    """Measures the faces a second of a cold epoch, or says why not; hashes its order."""
    files, note = process.case.files, ""
    if not wanted:
        note = "not asked for"
    elif not files:
        note = "reads no file in an epoch"
    elif (held := _dropped(files)) > DROPPED:
        note = f"{held:.0%} of its files stayed in memory"
    delivered, _ = process.turn(0.0)
    return (delivered.faces / delivered.seconds if not note else None), note, delivered.order


def _dropped(files: Sequence[Path]) -> float:
    gc.collect()  # here too, maps are closed when the last array over them goes
    return drop(files)


def _same_order(rows: Iterable[Row]) -> None:
    ordered = [row for row in rows if row.order]
    for row in ordered[1:]:
        if row.order != ordered[0].order:
            raise ValueError(
                f"bench: {row.name} must give an epoch in the order of {ordered[0].name}; it gives another"
            )


def ratio(row: Row, other: Row) -> float:
    """Computes the median over the rounds of how many times as fast `row` was as `other`."""
    return statistics.median(a / b for a, b in zip(row.turns, other.turns, strict=True))


def by_name(rows: Iterable[Row]) -> dict[str, Row]:
    """Finds rows by the name of their case."""
    return {row.name: row for row in rows}
