"""Reading ahead: one background thread that runs an iterator while its items are used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _End:
    pass


class Ahead(Generic[T]):
    """Iterates over `items` in a background thread, at most `depth` items ahead of the consumer.

    An error in the thread is raised in the consumer, after the items before it. Close it: then the thread has ended
    and, where `items` is a generator, its `finally` clauses have run.
    """

    def __init__(self, items: Iterable[T], depth: int, name: str) -> None:
        assert depth >= 1
        self._queue: queue.Queue[T | _Failed | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._stop.is_set():
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, _End):
            self.close()
            raise StopIteration
        if isinstance(item, _Failed):
            self.close()
            raise item.error
        return item

    def close(self) -> None:
        """End the thread and wait for it; safe to call twice."""
        self._stop.set()
        while self._thread.is_alive():
            # The thread may be waiting for room in the queue.
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(timeout=0.01)

    def _run(self, items: Iterable[T]) -> None:
        last: _Failed | _End = _End()
        try:
            for item in items:
                if self._stop.is_set():
                    break
                self._queue.put(item)
                if self._stop.is_set():
                    break
        except BaseException as error:  # whatever it is, the consumer must hear of it
            last = _Failed(error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        self._queue.put(last)
