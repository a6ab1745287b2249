"""Memory, open files and threads stay flat over epochs, with every source."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.bench.cases import Case, Data, find
from engine.bench.usage import Memory, memory
from tests.loaders.conftest import NO_DALI, NO_FFCV

MIB = 2**20
FACES, SIDE, BATCH = 128, 64, 32
EPOCHS = {"folder": 100 if "HMTL_CHAOS" in os.environ else 60}
"""Read of each source; of the others 100. Folder starts its processes anew in each, which takes its time."""
GROWTH = BATCH * SIDE * SIDE * 3 / 2
"""Bytes an epoch: half of what it would be were one batch of each kept. Allocators have settled by half of them."""
PATIENCE = 500.0
"""Seconds for an answer: as long as a test may take, nearly."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("memory")
    (root / "faces" / "face").mkdir(parents=True)
    for place in range(FACES):
        face = np.full((SIDE, SIDE, 3), (place % 256, place // 2, 9), np.uint8)
        Image.fromarray(face).save(root / "faces" / "face" / f"{place:03}.png", compress_level=1)
    return find(root / "faces", root / "forms")


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have imported everything but optional packages, and have run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def read(pipe: Connection, case: Case, epochs: int) -> None:
    """Reads epochs, and tells what its process holds with its children after half of them and after all."""
    multiprocessing.set_start_method(None, force=True)  # a loader's own processes start as they do for a user
    with closing(case.feed.open(BATCH, "cpu")) as opened:
        for epoch in range(1, epochs + 1):
            assert sum(opened.count(batch) for batch in opened.epoch(epoch)) == FACES
            if epoch in (epochs // 2, epochs):
                held = [len(list(Path(f"/proc/self/{of}").iterdir())) for of in ("fd", "task")]
                pipe.send((memory(os.getpid()), *held))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packed", "resident", "folder", "dali", "ffcv", "ffcv-jpeg"])
def test_memory_files_and_threads_are_flat_over_epochs(name: str, data: Data, processes: ForkServerContext) -> None:
    if name in data.left_out:
        pytest.skip(NO_DALI if name == "dali" else NO_FFCV)
    case = next(case for case in data.cases if case.name == name)
    pipe, theirs = processes.Pipe()
    epochs = EPOCHS.get(name, 100)
    process = processes.Process(target=read, args=(theirs, case, epochs))
    process.start()
    theirs.close()
    try:
        (settled, *held), (last, *held_last) = (_answer(pipe) for _ in range(2))
        process.join(PATIENCE)
        assert process.exitcode == 0
    finally:
        process.kill()
        pipe.close()
    found = (
        f"{name}: RSS {settled.resident / MIB:.1f} MiB after epoch {epochs // 2} and {last.resident / MIB:.1f} after "
        f"{epochs}; of it no part of a file {settled.own / MIB:.1f} and {last.own / MIB:.1f}; open files and threads "
        f"{held} and {held_last}"
    )
    print(found)
    # A thread may end a little after its epoch; what each epoch leaves behind would be ten times as much.
    assert all(now - before < (epochs - epochs // 2) / 10 for before, now in zip(held, held_last, strict=True)), found
    assert last.own - settled.own < GROWTH * (epochs - epochs // 2), found


def _answer(pipe: Connection) -> tuple[Memory, int, int]:
    assert pipe.poll(PATIENCE), f"it must answer within {PATIENCE} s"
    told: tuple[Memory, int, int] = pipe.recv()
    return told
