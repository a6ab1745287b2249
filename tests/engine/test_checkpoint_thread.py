"""Checkpoints are written while training goes on: as the training was then, in order, with their errors told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import nn

from engine.runs import checkpoint
from engine.runs.folder import RunDir


class Writing:
    """Stands for `checkpoint.save`: lets a test say when the files may be written, or that they cannot be."""

    def __init__(self) -> None:
        self.allowed, self.names = Event(), list[str]()
        self.error: OSError | None = None
        self._save = checkpoint.save

    def __call__(self, folder: Path, name: str, *args: Any) -> None:
        assert self.allowed.wait(60)
        self.names.append(name)
        if self.error is not None:
            raise self.error
        self._save(folder, name, *args)


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Writing]:
    writing = Writing()
    monkeypatch.setattr(checkpoint, "save", writing)
    yield writing
    writing.allowed.set()


def test_it_holds_the_weights_and_the_state_of_the_step_that_asked_for_it(tmp_path: Path, writing: Writing) -> None:
    run = RunDir.create(tmp_path / "run", {})
    model, moments = nn.Linear(2, 2), torch.ones(1, 3, 2, 2).to(memory_format=torch.channels_last)
    before = model.weight.detach().clone()
    run.checkpoint(checkpoint.LAST, model, {"classes": {}}, {"optimiser": {"state": [(moments, 5)]}})
    with torch.no_grad():  # training goes on
        model.weight.zero_()
        moments.zero_()
    assert not (run.path / "checkpoints" / checkpoint.LAST).exists()
    writing.allowed.set()
    run.settle()
    kept = run.path / "checkpoints" / checkpoint.LAST
    assert torch.equal(checkpoint.load_weights(kept).tensors["weight"], before)
    [(held, number)] = checkpoint.load_state(kept)["optimiser"]["state"]
    assert held.is_contiguous(memory_format=torch.channels_last)  # as the weights, which fused optimisers rely on
    assert (held.sum(), number) == (12, 5)
    run.close()


def test_they_are_written_in_order_and_a_run_that_is_closed_has_them_all(tmp_path: Path, writing: Writing) -> None:
    run = RunDir.create(tmp_path / "run", {})
    for name in (checkpoint.BEST, checkpoint.LAST):
        run.checkpoint(name, nn.Linear(2, 2), {"step": 1}, {})
    assert not writing.names
    writing.allowed.set()
    run.close()
    assert writing.names == [checkpoint.BEST, checkpoint.LAST]
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {checkpoint.BEST, checkpoint.LAST}


def ask_again(run: RunDir) -> None:
    wait([*run._unwritten])
    run.checkpoint(checkpoint.LAST, nn.Linear(2, 2), {"step": 2}, {})


@pytest.mark.parametrize(
    "telling",
    [ask_again, RunDir.settle, lambda run: run.step_back(1), RunDir.close],
    ids=["next", "settle", "step_back", "close"],
)
def test_one_that_cannot_be_written_is_told_and_no_later_one_is_written(
    tmp_path: Path, writing: Writing, telling: Callable[[RunDir], None]
) -> None:
    run = RunDir.create(tmp_path / "run", {})
    writing.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    run.checkpoint(checkpoint.BEST, nn.Linear(2, 2), {"step": 1}, {})
    run.checkpoint(checkpoint.LAST, nn.Linear(2, 2), {"step": 1}, {})
    writing.allowed.set()
    with pytest.raises(OSError, match="No space left"):
        telling(run)
    assert writing.names == [checkpoint.BEST]
    with suppress(OSError):  # of the second
        run.close()
    RunDir.reopen(run.path, [], []).close()  # it is open no more
