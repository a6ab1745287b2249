"""Puzzles, holes and our order inside FFCV's own pipelines."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Int16, UInt8
from torch import Tensor

import kernels
from kernels import Key
from loaders import FFCV, Batch, ClassBalanced, Shuffled
from loaders.ffcv import draws
from loaders.ffcv.package import ffcv, threads_kept

MEAN, STD = (0.5, 0.41, 0.33), (0.2, 0.25, 0.3)
SEEDS = st.integers(0, 2**64 - 1)
IDS = st.integers(-1, 2**62)
EPOCHS = st.integers(0, 2**32 - 1)

pytestmark = pytest.mark.usefixtures("interpreted_ffcv")


def signed(seed: int) -> int:
    return seed - 2**64 if seed >= 2**63 else seed


# --- draws -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(grid=st.integers(1, 20), seed=SEEDS, epoch=EPOCHS, sample=IDS, stream=st.text(max_size=9))
def test_permutations_are_those_of_the_kernels(grid: int, seed: int, epoch: int, sample: int, stream: str) -> None:
    found = draws.permutation(grid, signed(seed), epoch, sample, zlib.crc32(stream.encode()))
    wanted = kernels.draw_permutation(grid, Key(seed, epoch, torch.tensor([sample])).stream(stream))
    np.testing.assert_array_equal(found, wanted[0].numpy())


@settings(max_examples=60)
@given(
    grid=st.integers(1, 20), seed=SEEDS, epoch=EPOCHS, sample=IDS,
    share=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    blocks=st.tuples(st.integers(1, 16), st.integers(1, 16)).map(sorted),
    aspect=st.tuples(st.floats(1 / 16, 16), st.floats(1 / 16, 16)).map(sorted),
)  # fmt: skip
def test_holes_are_those_of_the_kernels(
    grid: int, seed: int, epoch: int, sample: int, share: list[float], blocks: list[int], aspect: list[float]
) -> None:
    found = draws.holes(
        grid,
        (round(share[0] * 2**20), round(share[1] * 2**20)),
        (blocks[0], blocks[1]),
        (round(aspect[0] * 2**24), round(aspect[1] * 2**24)),
        signed(seed),
        epoch,
        sample,
        zlib.crc32(b"holes"),
    )
    key = Key(seed, epoch, torch.tensor([sample])).stream("holes")
    wanted = kernels.draw_holes(
        grid, key, share=(share[0], share[1]), blocks=(blocks[0], blocks[1]), aspect=(aspect[0], aspect[1])
    )
    np.testing.assert_array_equal(found, wanted[0].numpy() < 0)


def test_ties_of_keys_are_broken_by_number() -> None:
    np.testing.assert_array_equal(draws._order(np.array([7, 3, 7, 3, 0], np.int64)), [4, 1, 3, 0, 2])


# --- operations --------------------------------------------------------------------------------------------------


def shown(betons: Path, operations: list[Any], order: Any, batch_size: int = 4, workers: int = 1) -> Any:
    """FFCV's own loader over val; its pipeline ends in uint8 pictures."""
    decoder = ffcv("ffcv.fields.rgb_image").SimpleRGBImageDecoder()
    with threads_kept():
        return ffcv("ffcv.loader.loader").Loader(
            str(betons / "val.beton"),
            batch_size=batch_size,
            num_workers=workers,
            order=order,
            pipelines={"image": [decoder, *operations, ffcv("ffcv.transforms.ops").ToTensor()]},
        )


def rendered(batch: Batch, cells: Int16[Tensor, "b n"], size: int) -> UInt8[Tensor, "b size size 3"]:
    """The batch through `render_views` with these cells, back to gray levels; NaN where hidden."""
    still = kernels.centre(1.0, store=(size, size), size=size, batch=len(cells), device="cpu")
    views = kernels.render_views(
        batch.store, batch.row, still.where[None], still.colour[None], cells[None],
        size=size, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255), dtype=torch.float32,
    )  # fmt: skip
    return views[0].permute(0, 2, 3, 1).round().to(torch.uint8)


@pytest.fixture
def epochs(betons: Path) -> Iterator[Any]:
    """(order of FFCV's loader, ids of val, batches of our source by epoch) for the same settings."""
    source = FFCV(betons)
    order = source.order("val", batch_size=3, seed=5, sampler=Shuffled())
    with closing(source.open("val", batch_size=3, seed=5, device="cpu", sampler=Shuffled())) as loader:
        yield order, order.split.sample, lambda epoch: list(loader.epoch(epoch))


@pytest.mark.parametrize("grid", [2, 5])
def test_shuffled_tiles_are_those_of_render_views(betons: Path, epochs: Any, grid: int) -> None:
    from loaders.ffcv.operations import ShuffleTiles
    from loaders.ffcv.traversal import InOrder

    order, ids, batches = epochs
    shuffle = ShuffleTiles(grid, seed=9, sample=ids)
    loader = shown(betons, [shuffle], InOrder(order, [shuffle], first=3), batch_size=3)
    for epoch in (3, 4):
        moved = 0
        for (faces, sample, *_), batch in zip(loader, batches(epoch), strict=True):
            assert torch.equal(sample[:, 0], batch.sample)
            cells = kernels.draw_permutation(grid, Key(9, epoch, batch.sample).stream(f"Puzzle {grid}"))
            assert torch.equal(faces, rendered(batch, cells, 10))
            moved += int((faces != batch.store).any())
        assert moved == 2


@pytest.mark.parametrize("grid", [3, 10])
def test_hidden_cells_are_those_of_render_views_in_the_mean_colour(betons: Path, epochs: Any, grid: int) -> None:
    from loaders.ffcv.operations import HideCells
    from loaders.ffcv.traversal import InOrder

    order, ids, batches = epochs
    hide = HideCells(grid, seed=9, mean=MEAN, sample=ids)
    loader = shown(betons, [hide], InOrder(order, [hide]), batch_size=3)
    for (faces, *_), batch in zip(loader, batches(0), strict=True):
        cells = kernels.draw_holes(grid, Key(9, 0, batch.sample).stream(f"Holes {grid}"))
        still = kernels.centre(1.0, store=(10, 10), size=10, batch=3, device="cpu")
        view = kernels.render_views(
            batch.store, batch.row, still.where[None], still.colour[None], cells[None],
            size=10, mean=MEAN, std=STD, dtype=torch.float32,
        )[0].permute(0, 2, 3, 1)  # fmt: skip
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        hidden = torch.isclose(faces.float(), (255 * mean).round(), atol=0.0).all(-1) & (view == 0).all(-1)
        assert 0.1 < hidden.float().mean() < 0.4
        assert torch.equal(faces[~hidden], batch.store[~hidden])
        normal = (faces.float() / 255 - mean) / std
        assert ((normal - view).abs() <= 0.5 / 255 / std + 1e-6).all()


def test_other_epochs_seeds_streams_and_samples_draw_other_views(betons: Path, epochs: Any) -> None:
    from loaders.ffcv.operations import ShuffleTiles
    from loaders.ffcv.traversal import InOrder

    order, ids, _ = epochs

    def first(epoch: int = 0, **options: Any) -> Tensor:
        shuffle = ShuffleTiles(5, **({"seed": 1, "sample": ids} | options))
        shuffle.epoch = epoch
        faces: Tensor = next(iter(shown(betons, [shuffle], InOrder(order), batch_size=3)))[0]
        return faces.clone()

    plain = first()
    assert torch.equal(first(), plain)
    for other in (first(epoch=1), first(seed=2), first(stream="b"), first(sample=ids + 1), first(sample=None)):
        assert not torch.equal(other, plain)


@pytest.mark.slow
def test_compiled_on_two_threads_operations_give_the_same(betons: Path) -> None:
    code = f"""
import torch
from loaders import FFCV, Shuffled
from loaders.ffcv.operations import HideCells, ShuffleTiles
from loaders.ffcv.traversal import InOrder
from loaders.ffcv.package import ffcv
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.loader import Loader
from ffcv.transforms import ToTensor
order = FFCV({str(betons)!r}).order("train", batch_size=4, seed=2, sampler=Shuffled())
ids = order.split.sample
seen, others = [], ("sample", "mean", "expression")  # not compiled
for compiled, workers in ((True, 2), (False, 1)):
    ffcv("ffcv.pipeline.compiler").Compiler.set_enabled(compiled)
    operations = [ShuffleTiles(2, seed=2**64 - 1, sample=ids), HideCells(7, seed=3, mean=(0.5, 0.5, 0.5), sample=ids)]
    loader = Loader(
        {str(betons / "train.beton")!r}, batch_size=4, num_workers=workers, order=InOrder(order, operations),
        pipelines={{"image": [SimpleRGBImageDecoder(), *operations, ToTensor()], **dict.fromkeys(others)}},
    )
    seen.append(torch.stack([batch[0].clone() for _ in range(2) for batch in loader]))
assert torch.equal(seen[0], seen[1]), "differ"
print("equal", len(seen[0]))
"""
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": "omp"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["equal", "10"], done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"grid": 0}, r"ShuffleTiles: grid \(=0\) must be in 1..181; cell numbers are int16"),
        ({"seed": -1}, r"ShuffleTiles: seed \(=-1\) must be in 0..2\*\*64-1; it is the generator's 64-bit key"),
        (
            {"sample": torch.zeros(3)},
            r"sample \(=torch.float32 of shape \(3,\)\) must be int64 of one axis",
        ),
    ],
)
def test_wrong_shuffles_are_refused(arguments: dict[str, Any], error: str) -> None:
    from loaders.ffcv.operations import ShuffleTiles

    with pytest.raises(ValueError, match=error):
        ShuffleTiles(**({"grid": 2, "seed": 0} | arguments))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mean": (0.5, 0.5)}, r"HideCells: mean \(=\(0.5, 0.5\)\) must be three in 0..1; give those"),
        ({"mean": (0.5, 127.0, 0.5)}, r"must be three in 0..1"),
        ({"share": (0.5, 0.2)}, r"HideCells: share \(=\(0.5, 0.2\)\) must be \(lowest, highest\) in 0..1"),
        ({"blocks": (1, 17)}, r"HideCells: blocks \(=\(1, 17\)\) must be \(lowest, highest\) in 1..16"),
        ({"aspect": (0.01, 2)}, r"HideCells: aspect \(=\(0.01, 2\)\) must be \(lowest, highest\) in 0.0625..16"),
    ],
)
def test_wrong_holes_are_refused(arguments: dict[str, Any], error: str) -> None:
    from loaders.ffcv.operations import HideCells

    with pytest.raises(ValueError, match=error):
        HideCells(2, **({"seed": 0, "mean": MEAN} | arguments))


def test_an_epoch_out_of_range_is_refused() -> None:
    from loaders.ffcv.operations import ShuffleTiles

    shuffle = ShuffleTiles(2, seed=0)
    shuffle.epoch = 2**32 - 1
    assert shuffle.epoch == 2**32 - 1
    with pytest.raises(ValueError, match=r"ShuffleTiles: epoch \(=4294967296\) must be in 0..2\*\*32-1"):
        shuffle.epoch = 2**32


def test_pipelines_that_cannot_work_are_refused(betons: Path, epochs: Any) -> None:
    from loaders.ffcv.operations import HideCells, ShuffleTiles
    from loaders.ffcv.traversal import InOrder

    order, ids, _ = epochs
    to_tensor = ffcv("ffcv.transforms.ops").ToTensor
    cases: list[tuple[list[Any], str]] = [
        (
            [ShuffleTiles(3, seed=0)],
            r"ShuffleTiles: grid \(=3\) must divide the pictures' height and width",
        ),
        ([HideCells(11, seed=0, mean=MEAN)], r"HideCells: pictures \(=10 x 10\) must be square, of at least 11 pixels"),
        (
            [ShuffleTiles(2, seed=0, sample=ids[:3])],
            r"sample \(=3 ids\) must have one for each of the file",
        ),
        ([to_tensor(), ShuffleTiles(2, seed=0)], r"ShuffleTiles: must stand before ToTensor and other operations"),
    ]
    for operations, error in cases:
        with pytest.raises(ValueError, match=error):
            shown(betons, operations, InOrder(order), batch_size=3)


# --- order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [None, Shuffled(), ClassBalanced("expression")])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2)])
def test_ffcvs_loader_shows_samples_in_our_order(betons: Path, sampler: Any, rank: int, world: int) -> None:
    from loaders.ffcv.traversal import InOrder

    options: dict[str, Any] = {"batch_size": 2, "seed": 4, "rank": rank, "world": world, "sampler": sampler}
    with closing(FFCV(betons).open("val", device="cpu", **options)) as loader:
        theirs = shown(betons, [], InOrder(FFCV(betons).order("val", **options)), batch_size=2)
        assert len(theirs) == len(loader)
        for epoch in range(2):
            for (faces, sample, *_), batch in zip(theirs, loader.epoch(epoch), strict=True):
                padding = batch.sample < 0
                assert torch.equal(sample[~padding, 0], batch.sample[~padding])
                assert torch.equal(faces, batch.store)


def test_an_order_of_something_else_is_refused(betons: Path) -> None:
    from loaders.ffcv.traversal import InOrder

    with pytest.raises(ValueError, match=r"InOrder: batch_size \(=4\) must be that of the order \(2\)"):
        shown(betons, [], InOrder(FFCV(betons).order("val", batch_size=2, seed=0)), batch_size=4)
    with pytest.raises(ValueError, match=r"InOrder: file \(=.*val.beton\) must be that of split 'train', of 23"):
        shown(betons, [], InOrder(FFCV(betons).order("train", batch_size=4, seed=0)), batch_size=4)
