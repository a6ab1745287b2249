"""Memory stays flat over epochs, with every source."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from engine.bench.cases import Data, find
from engine.bench.process import CaseProcess
from engine.bench.usage import memory
from tests.loaders.conftest import NO_DALI, NO_FFCV

MIB = 2**20
FACES, SIDE, BATCH = 384, 64, 64
SETTLED, LAST = 3, 20
"""Epochs after which memory is compared."""
GROWTH = 8 * MIB
"""One batch (0.75 MiB) kept in each of the 17 epochs between would be 13 MiB."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("memory")
    (root / "faces" / "face").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for place in range(FACES):
        face = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(face).save(root / "faces" / "face" / f"{place:03}.png", compress_level=1)
    return find(root / "faces", root / "forms")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packed", "resident", "folder", "dali", "ffcv", "ffcv-jpeg"])
def test_memory_is_flat_over_20_epochs(name: str, data: Data) -> None:
    if name in data.left_out:
        pytest.skip(NO_DALI if name == "dali" else NO_FFCV)
    case = next(case for case in data.cases if case.name == name)
    after = {}
    with closing(CaseProcess(case, BATCH, "cpu")) as process:
        process.started()
        process.first()
        for epoch in range(1, LAST + 1):
            delivered, _ = process.turn(0.0)
            assert delivered.faces == FACES
            if epoch in (SETTLED, LAST):
                after[epoch] = memory(process.pid)
    found = ", ".join(f"epoch {epoch}: {used.own / MIB:.1f} MiB" for epoch, used in after.items())
    print(f"{name}: {found}")
    assert after[LAST].own - after[SETTLED].own < GROWTH, found
