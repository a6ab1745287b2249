"""Runs what is missing, several runs at once, each in a process of its own.

A run's process holds a lock on a file beside its folder as long as it lives. So runs that outlive a killed table, or
belong to another table over the same folder, are waited for and not started a second time; one that goes without having
ended is then gone on with.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.table.plan import Job

_TAIL_LINES = 15
_POLL_SECONDS = 0.1
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Ended:
    """Tells how a run ended."""

    job: Job
    code: int
    """Exit status; negative for a signal."""
    tail: str
    """The last lines of what it printed."""
    seconds: float

    @property
    def how(self) -> str:
        """Says its exit status in words."""
        if self.code >= 0:
            return f"exit status {self.code}"
        by = signal.Signals(-self.code).name
        memory = ", as the system does where memory runs out" if -self.code == signal.SIGKILL else ""
        return f"killed by {by}{memory}; the same command goes on with it"


@dataclass(slots=True, eq=False)
class _Running:
    job: Job
    process: subprocess.Popen[bytes] | None
    """None while another process has the run."""
    lock: int | None
    started: float


class InterruptedTableError(RuntimeError):
    """Says that the table was asked to stop; its runs have been stopped, with checkpoints."""


def run_all(
    jobs: Sequence[Job],
    *,
    at_once: int,
    started: Callable[[Job, bool], None],
    ended: Callable[[Ended], None],
) -> None:
    """Runs all, at most `at_once` at a time, a run after the one it starts from; its output goes to `log_of` it.

    Args:
        jobs: In an order in which a run stands after the one it needs.
        started: Told of each run as it starts, and whether another process has it already.
        ended: Told of each run as it ends. A run whose start failed ends with code 1 without being run.

    Raises:
        InterruptedTableError: On Ctrl-C or SIGTERM.
    """
    waiting, failed = list(jobs), set[str]()
    running: list[_Running] = []
    with _signals_noticed() as stop_asked, ExitStack() as stack:
        stack.callback(_stop, running)  # however the loop ends; none is left where all have ended
        while (waiting or running) and not stop_asked():
            for one in [one for one in running if _has_ended(one)]:
                running.remove(one)
                if (result := _end(one)) is None:
                    waiting.insert(0, one.job)
                    continue
                if result.code != 0:
                    failed.add(one.job.key)
                ended(result)
            pending = {job.key for job in waiting} | {one.job.key for one in running}
            for job in [job for job in waiting if job.needs in failed]:
                waiting.remove(job)
                failed.add(job.key)
                ended(Ended(job, 1, "not started: the run whose weights it starts from failed", 0.0))
            ready = [job for job in waiting if job.needs not in pending]
            if ready and len(running) < at_once:
                waiting.remove(ready[0])
                running.append(_start(ready[0], at_once))
                started(ready[0], running[-1].process is None)
            elif running:
                time.sleep(_POLL_SECONDS)
    if waiting or running:
        raise InterruptedTableError("stopped; the same command goes on")


def log_of(job: Job) -> Path:
    """Names the file where a run's output is kept."""
    return job.folder.with_name(f"{job.folder.name}.log")


def lock_of(job: Job) -> Path:
    """Names the file on which a run's process holds a lock."""
    return job.folder.with_name(f".{job.folder.name}.lock")


def _start(job: Job, at_once: int) -> _Running:
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(lock_of(job), os.O_RDWR | os.O_CREAT)
    if not _locked(lock):
        return _Running(job, None, lock, time.monotonic())
    environment = dict(os.environ)
    if at_once > 1:  # runs that each take all cores stand in each other's way
        share = str(max(1, len(os.sched_getaffinity(0)) // at_once))
        environment = dict.fromkeys(_THREADS, share) | environment
    with log_of(job).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *job.words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(lock,),  # held by the run itself: it outlives a table that is killed
        )
    os.close(lock)
    return _Running(job, process, None, time.monotonic())


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_ended(one: _Running) -> bool:
    if one.process is not None:
        return one.process.poll() is not None
    assert one.lock is not None
    return _locked(one.lock)


def _end(one: _Running) -> Ended | None:
    """Tells how a run ended; None if another process had it and went without ending it: it is still to be done."""
    code = 0
    if one.process is not None:
        code = one.process.returncode
    else:
        assert one.lock is not None
        os.close(one.lock)
        if not (one.job.folder / "result.json").is_file():
            return None
    return Ended(one.job, code, tail(log_of(one.job)), time.monotonic() - one.started)


def _stop(running: Sequence[_Running]) -> None:
    """Asks all to stop after their step, with a checkpoint, and waits for them."""
    for one in running:
        if one.process is not None and one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
    for one in running:
        if one.process is not None:
            one.process.wait()


def tail(log: Path) -> str:
    """Reads the last lines of a file, "" where there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL_LINES:])


@contextmanager
def _signals_noticed() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or SIGTERM came, when asked: an exception could lose a run that is just starting."""
    numbers: list[int] = []

    def notice(number: int, frame: object) -> None:
        numbers.append(number)

    before = {number: signal.signal(number, notice) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(numbers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
