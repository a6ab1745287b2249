"""Decodes records to faces in parallel, in the importer's order, with a bounded number in flight.

Threads and not processes: Pillow decodes without the interpreter's lock, and faces need no copy between processes.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loaders.decoding.pictures import Form, UnreadableError, decode
from loaders.decoding.records import Record, Skipped

CHUNK = 32  # pictures a task: large enough that handing over costs nothing, small enough to keep memory low


@dataclass(frozen=True, slots=True)
class Face:
    """Holds a decoded record."""

    record: Record
    pixels: NDArray[np.uint8]
    """ "h w c", c = 1 or 3."""


def cores() -> int:
    """Counts the cores this process may use."""
    return len(os.sched_getaffinity(0))


def read_faces(
    records: Iterable[Record | Skipped], form: Form, *, workers: int | None = None
) -> Generator[list[Face | Skipped], None, None]:
    """Decodes records, a list at a time, in their order; pictures that cannot be read become `Skipped`.

    Args:
        records: What an importer lists.
        form: What faces look like.
        workers: Decoding threads; None takes one more than there are cores, since some wait for files.

    Raises:
        ValueError: Pictures of different sizes without a size in `form`, or what the importer raises.
    """
    workers = cores() + 1 if workers is None else workers
    chunks = _chunks(records)
    first: Face | None = None
    pending: deque[Future[list[Face | Skipped]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            for chunk in itertools.islice(chunks, 3 * workers - len(pending)):
                pending.append(_start(pool, chunk, form))
            if not pending:
                return
            faces = pending.popleft().result()
            for face in faces:
                if isinstance(face, Face):
                    first = first or face
                    _check_same_size(first, face)
            yield faces
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(records: Iterable[Record | Skipped]) -> Iterator[list[Record | Skipped]]:
    source = iter(records)
    while chunk := list(itertools.islice(source, CHUNK)):
        yield chunk


def _start(pool: ThreadPoolExecutor, chunk: list[Record | Skipped], form: Form) -> Future[list[Face | Skipped]]:
    if form.size is None and not any(isinstance(r, Record) and not isinstance(r.picture, np.ndarray) for r in chunk):
        # Pixels that only pass through: handing them to a thread and back costs more than it saves.
        done: Future[list[Face | Skipped]] = Future()
        done.set_result(_decode_all(chunk, form))
        return done
    return pool.submit(_decode_all, chunk, form)


def _decode_all(records: list[Record | Skipped], form: Form) -> list[Face | Skipped]:
    return [record if isinstance(record, Skipped) else _decode(record, form) for record in records]


def _decode(record: Record, form: Form) -> Face | Skipped:
    try:
        return Face(record, decode(record.picture, form, record.box))
    except UnreadableError as error:
        return Skipped(record.path, error.reason, error.detail)


def _check_same_size(first: Face, face: Face) -> None:
    if face.pixels.shape[:2] != first.pixels.shape[:2]:
        (h, w), (other_h, other_w) = first.pixels.shape[:2], face.pixels.shape[:2]
        raise ValueError(
            f"pictures: all must have one size where none is given; {first.record.path} is {w} x {h} and "
            f"{face.record.path} is {other_w} x {other_h} (width x height); give --size N (size=N) to make all N x N"
        )
