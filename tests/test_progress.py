"""What long work says where there is no terminal: after ten seconds, then once a minute."""

from __future__ import annotations

import io

import pytest

from engine.training.progress import Bars
from loaders.progress import progress
from loaders.terminal import Terminal


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("loaders.progress.time", found)
    return found


def test_lines_come_after_ten_seconds_and_then_once_a_minute(clock: Clock) -> None:
    text = io.StringIO()
    with progress("faces", 1_400, Terminal(text)) as advance:
        for _ in range(140):
            clock.now += 1
            advance(10)
    assert text.getvalue() == (
        "faces: 100 of 1,400, 10/s\nfaces: 700 of 1,400, 10/s\nfaces: 1,300 of 1,400, 10/s\n"
    )  # after 10, 70 and 130 seconds


def test_short_work_and_a_quiet_console_say_nothing(clock: Clock) -> None:
    text = io.StringIO()
    with progress("faces", None, Terminal(text)) as advance:
        clock.now += 9.9
        advance(1)
    with progress("faces", None, Terminal(text, quiet=True)) as advance:
        clock.now += 100
        advance(1)
    assert text.getvalue() == ""


def test_a_long_epoch_says_where_it_is_and_a_line_of_an_epoch_counts(clock: Clock) -> None:
    text = io.StringIO()
    with Bars(Terminal(text), epochs=3, steps=1_000) as bars:
        bars.at(0, 1)
        clock.now += 11
        bars.at(0, 2)
        clock.now += 59
        bars.note("loss 1.234")
        bars.at(0, 3)
        clock.now += 2
        bars.at(0, 400)
        clock.now += 59
        bars.say("epoch 1/3  loss 1.2")
        clock.now += 59
        bars.at(1, 5)
        clock.now += 2
        bars.at(1, 0)  # between two epochs
        bars.at(1, 6)
    assert text.getvalue().splitlines() == [
        "epoch 1/3: batch 2 of 1,000",
        "epoch 1/3: batch 400 of 1,000, loss 1.234",
        "epoch 1/3  loss 1.2",
        "epoch 2/3: batch 6 of 1,000, loss 1.234",
    ]
