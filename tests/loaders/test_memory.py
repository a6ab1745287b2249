"""Memory stays flat over epochs, with every source."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

import numpy as np
import pytest
from PIL import Image

from engine.bench.cases import Case, Data, find
from engine.bench.usage import Memory, memory
from tests.loaders.conftest import NO_DALI, NO_FFCV

MIB = 2**20
FACES, SIDE, BATCH = 128, 64, 32
EPOCHS = {"folder": 20}
"""Read of each source; of the others 100. Folder starts its processes anew in each."""
GROWTH = BATCH * SIDE * SIDE * 3 / 2
"""Bytes an epoch: half of what it would be were one batch of each epoch kept. Over 100 epochs that is 17 MiB;
the allocators of DALI and FFCV settle by 3 and 5 here."""
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
    """Reads epochs, and tells the memory of its process with its children after a tenth of them and after all."""
    multiprocessing.set_start_method(None, force=True)  # a loader's own processes start as they do for a user
    with closing(case.feed.open(BATCH, "cpu")) as opened:
        for epoch in range(1, epochs + 1):
            assert sum(opened.count(batch) for batch in opened.epoch(epoch)) == FACES
            if epoch in (epochs // 10, epochs):
                pipe.send(memory(os.getpid()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packed", "resident", "folder", "dali", "ffcv", "ffcv-jpeg"])
def test_memory_is_flat_over_epochs(name: str, data: Data, processes: ForkServerContext) -> None:
    if name in data.left_out:
        pytest.skip(NO_DALI if name == "dali" else NO_FFCV)
    case = next(case for case in data.cases if case.name == name)
    pipe, theirs = processes.Pipe()
    epochs = EPOCHS.get(name, 100)
    process = processes.Process(target=read, args=(theirs, case, epochs))
    process.start()
    theirs.close()
    try:
        settled, last = (_answer(pipe) for _ in range(2))
        process.join(PATIENCE)
        assert process.exitcode == 0
    finally:
        process.kill()
        pipe.close()
    found = (
        f"{name}: RSS {settled.resident / MIB:.1f} MiB after epoch {epochs // 10} and {last.resident / MIB:.1f} after "
        f"{epochs}; of it no part of a file {settled.own / MIB:.1f} and {last.own / MIB:.1f}"
    )
    print(found)
    assert last.own - settled.own < GROWTH * (epochs - epochs // 10), found


def _answer(pipe: Connection) -> Memory:
    assert pipe.poll(PATIENCE), f"it must answer within {PATIENCE} s"
    told: Memory = pipe.recv()
    return told
