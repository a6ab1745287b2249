"""Runs each case in a process of its own, so that memory, threads and compiled code of one are not those of another.

The cases take turns: while one delivers, the others wait.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.bench.cases import Case
from engine.bench.usage import Memory, cpu_seconds, memory

POLL = 0.05  # seconds between two looks at a process's memory
PATIENCE = 600.0  # seconds for one answer
SHOWN = 64
"""Faces of the first batch that are compared."""


@dataclass(frozen=True, slots=True)
class First:
    """Holds the first batch of a process."""

    seconds: float
    """From opening to the first batch: import of the library, opening, compilation."""
    sample: list[int] | None
    faces: NDArray[np.uint8]
    """The first of them, "b h w c"."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Measures one or more whole epochs."""

    seconds: float
    faces: int
    order: str = ""
    """Hash of the sample ids of its first epoch, in their order."""


@dataclass(frozen=True, slots=True)
class _Failed:
    why: str


class CaseProcess:
    """Holds a case open in a process of its own; close it."""

    def __init__(self, case: Case, batch_size: int, device: str) -> None:
        self.case = case
        self.most = Memory()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not a daemon: those may have no processes of their own, and some loaders decode in processes.
        self._process = context.Process(target=_serve, args=(theirs, case, batch_size, device), name=case.name)
        self._process.start()
        theirs.close()

    def started(self) -> Memory:
        """Waits until it has imported everything but the optional packages; tells its memory then."""
        self._answer()
        base = memory(self.pid)
        self.most = self.most.most(base)
        return base

    def first(self) -> First:
        """Opens the case and reads one batch, for the first time in the process."""
        found: First = self._ask("first")
        return found

    def opened(self) -> None:
        """Opens the case once more, with no page of its files mapped."""
        self._ask("open")

    def turn(self, seconds: float) -> tuple[Turn, float]:
        """Reads whole epochs until `seconds` have passed, one at least.

        An epoch is read to its end: how long the largest takes is decided by the number of faces.

        Returns:
            The epochs, and the CPU seconds of the process and its children.
        """
        before = cpu_seconds(self.pid)
        found: Turn = self._ask("turn", seconds)
        return found, cpu_seconds(self.pid) - before

    def close(self) -> None:
        """Ends the process."""
        if self._process.is_alive():
            with suppress(OSError):  # it has ended meanwhile
                self._pipe.send(("close",))
                self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._pipe.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def _ask(self, *question: Any) -> Any:
        self._pipe.send(question)
        return self._answer()

    def _answer(self) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not self._pipe.poll(POLL):
            self.most = self.most.most(memory(self.pid))
            if time.monotonic() > deadline:
                raise ValueError(
                    f"bench: {self.case.name} must answer within {PATIENCE:.0f} s; it does not, leave it out with "
                    "--source, or take fewer --faces"
                )
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise ValueError(
                f"bench: {self.case.name} must deliver to the end; its process ended with {self._process.exitcode}"
            ) from error
        if isinstance(answer, _Failed):
            raise ValueError(f"bench: {self.case.name} must deliver to the end; {answer.why}")
        return answer


def _serve(pipe: Connection, case: Case, batch_size: int, device: str) -> None:
    multiprocessing.set_start_method(None, force=True)  # a loader's own processes start as they do for a user
    pipe.send(None)
    opened: Any = None
    epochs = iter(range(1 << 30))
    try:
        while True:
            question, *rest = pipe.recv()
            if question == "close":
                return
            try:
                if question == "first":
                    start = time.perf_counter()
                    opened = case.feed.open(batch_size, device)
                    pipe.send(_first(opened, start, device))
                elif question == "open":
                    opened.close()
                    opened = None
                    gc.collect()  # a map is closed when the last array over it goes
                    opened = case.feed.open(batch_size, device)
                    pipe.send(None)
                else:
                    pipe.send(_turn(opened, epochs, rest[0], device))
            except Exception as error:  # whatever it is, the one who asked must hear of it
                pipe.send(_Failed(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"))
    except (EOFError, KeyboardInterrupt):
        return  # whoever asked is gone
    finally:
        if opened is not None:
            opened.close()


def _first(opened: Any, start: float, device: str) -> First:
    batches = opened.epoch(0)
    batch = next(batches)
    _settle(device)
    seconds = time.perf_counter() - start
    sample, faces = opened.show(batch)
    close = getattr(batches, "close", None)
    found = First(seconds, sample, faces[:SHOWN].copy())
    if close is not None:
        close()
    return found


def _turn(opened: Any, epochs: Iterator[int], seconds: float, device: str) -> Turn:
    order: list[Any] = []
    faces, passed, epochs_read = 0, 0.0, 0
    start = time.perf_counter()
    while epochs_read == 0 or passed < seconds:
        for batch in opened.epoch(next(epochs)):
            faces += opened.count(batch)
            if epochs_read == 0:
                order.append(getattr(batch, "sample", None))
        _settle(device)
        epochs_read += 1
        passed = time.perf_counter() - start
    ids = [sample.tolist() for sample in order if sample is not None]
    return Turn(passed, faces, hashlib.sha256(repr(ids).encode()).hexdigest() if ids else "")


def _settle(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
