"""The background reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from loaders.feed.ahead import Ahead


def test_items_come_in_order_and_the_thread_ends() -> None:
    ahead = Ahead(iter(range(100)), 3, "count")
    assert list(ahead) == list(range(100))
    assert "count" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(StopIteration):
        next(ahead)


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    ahead = Ahead(items(), 8, "breaks")
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert "breaks" not in {thread.name for thread in threading.enumerate()}


def test_it_runs_no_further_ahead_than_its_depth() -> None:
    made = 0
    third = threading.Event()

    def items() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            if made == 4:
                third.set()
            yield made

    ahead = Ahead(items(), 2, "bounded")
    next(ahead)
    # One was taken, two wait in the queue, the fourth is held.
    assert third.wait(60)
    assert made == 4
    ahead.close()


def test_close_ends_a_thread_that_waits_for_room_and_its_generator() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            ended.set()

    ahead = Ahead(items(), 1, "endless")
    next(ahead)
    ahead.close()
    ahead.close()
    assert ended.is_set()
    assert "endless" not in {thread.name for thread in threading.enumerate()}
