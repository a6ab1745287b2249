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
FACES, SIDE, BATCH = 512, 64, 32
SETTLED, LAST = 3, 20
"""Epochs after which memory is compared."""
GROWTH = 3 * MIB
"""Half of what it would be were one batch (0.4 MiB) of each of the 17 epochs between kept."""
OF_OTHERS = {"dali": 5 * MIB, "ffcv": 5 * MIB, "ffcv-jpeg": 12 * MIB}
"""What others' allocators may still grow by: DALI's pools, by 2 to 5 MiB as with a loop in its own API, then
flat for 400 epochs; FFCV's and numba's, by 0 to 4; what FFCV with JPEG takes and gives back, 7 MiB here and 20 up
and down over 300 epochs."""
PATIENCE = 120.0
"""Seconds for an answer."""


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


def read(pipe: Connection, case: Case) -> None:
    """Reads epochs, and tells the memory of its process with its children after two of them."""
    multiprocessing.set_start_method(None, force=True)  # a loader's own processes start as they do for a user
    with closing(case.feed.open(BATCH, "cpu")) as opened:
        for epoch in range(1, LAST + 1):
            assert sum(opened.count(batch) for batch in opened.epoch(epoch)) == FACES
            if epoch in (SETTLED, LAST):
                pipe.send(memory(os.getpid()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packed", "resident", "folder", "dali", "ffcv", "ffcv-jpeg"])
def test_memory_is_flat_over_20_epochs(name: str, data: Data, processes: ForkServerContext) -> None:
    if name in data.left_out:
        pytest.skip(NO_DALI if name == "dali" else NO_FFCV)
    case = next(case for case in data.cases if case.name == name)
    pipe, theirs = processes.Pipe()
    process = processes.Process(target=read, args=(theirs, case))
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
        f"{name}: RSS {settled.resident / MIB:.1f} MiB after epoch {SETTLED} and {last.resident / MIB:.1f} after "
        f"{LAST}; of it no part of a file {settled.own / MIB:.1f} and {last.own / MIB:.1f}"
    )
    print(found)
    assert last.own - settled.own < GROWTH + OF_OTHERS.get(name, 0), found


def _answer(pipe: Connection) -> Memory:
    assert pipe.poll(PATIENCE), f"it must answer within {PATIENCE} s"
    told: Memory = pipe.recv()
    return told
