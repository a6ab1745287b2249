"""Holes have exactly the size drawn, lie about their centres and depend on nothing but their key."""

from __future__ import annotations

from math import isqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import Key, draw_holes, identity_cells
from kernels.tables.streams import Purpose, words


def key(sample, seed=11):
    return Key(seed, 2, sample).stream("holes")


def test_committed_integers_never_change():
    shows = draw_holes(5, key(torch.tensor([0, -1])))
    assert [(row < 0).nonzero().flatten().tolist() for row in shows] == GOLDEN


@pytest.mark.parametrize("grid", [1, 2, 7, 14])
def test_the_hidden_share_fills_its_range(grid):
    shows = draw_holes(grid, key(torch.arange(2000)))
    assert shows.dtype == torch.int16
    cells = grid * grid
    hidden = (shows < 0).sum(1)
    low, high = int(0.15 * cells + 0.5), int(0.35 * cells + 0.5)
    assert hidden.min() == low
    assert hidden.max() == high
    assert abs(hidden.float().mean() / cells - 0.25) < 0.004 + (0.26 if cells < 9 else 0)
    kept = shows >= 0
    assert torch.equal(shows[kept], identity_cells(grid, 2000, "cpu")[kept])


@given(st.integers(1, 24), st.floats(0, 1), st.integers(0, 2**64 - 1), st.integers(-(2**40), 2**40))
@settings(max_examples=60)
def test_exactly_the_share_is_hidden(grid, share, seed, sample):
    cells = grid * grid
    shows = draw_holes(grid, key(torch.tensor([sample]), seed), share=(share, share))
    # The share is held in steps of 2**-20.
    assert int((shows < 0).sum()) == int(round(share * 2**20) * cells / 2**20 + 0.5)


def test_a_single_block_is_a_box_of_its_aspect():
    shows = draw_holes(32, key(torch.arange(400)), share=(0.05, 0.05), blocks=(1, 1), aspect=(4.0, 4.0))
    hidden = (shows < 0).view(400, 32, 32)
    width, height = hidden.any(1).sum(1), hidden.any(2).sum(1)
    columns = torch.arange(32)
    inside = ~(hidden.any(1) & ((columns == 0) | (columns == 31))).any(1)
    inside &= ~(hidden.any(2) & ((columns == 0) | (columns == 31))).any(1)
    assert inside.sum() > 50
    # 51 cells: a box of 14.3 by 3.6.
    assert 13 <= width[inside].float().mean() <= 16
    assert 3 <= height[inside].float().mean() <= 5
    # A box has no gaps: its rows and columns are runs.
    assert (hidden.any(1)[inside].int().diff(dim=1).abs().sum(1) <= 2).all()


def test_several_blocks_occur_and_a_block_lies_anywhere():
    shows = draw_holes(16, key(torch.arange(1500)), share=(0.1, 0.1), blocks=(1, 3))
    hidden = (shows < 0).float().view(-1, 1, 16, 16)
    pieces = []
    for picture in hidden[:300]:
        label = torch.arange(1.0, 257.0).view(1, 1, 16, 16) * picture
        for _ in range(40):
            label = torch.nn.functional.max_pool2d(label, 3, 1, 1) * picture
        pieces.append(len(label.unique()) - 1)
    assert set(pieces) == {1, 2, 3}
    share = hidden.mean((0, 1))
    assert share.min() > 0.02  # corners too
    assert abs(share[:8].mean() - share[8:].mean()) < 0.02
    assert abs(share[:, :8].mean() - share[:, 8:].mean()) < 0.02


def test_holes_follow_the_written_rule():
    """The same arithmetic in Python's integers, cell by cell."""
    grid, sample = 6, torch.arange(12)
    shows = draw_holes(grid, key(sample))
    bits = words(key(sample), Purpose.HOLES, 16).tolist()
    for drawn, word in zip(shows.tolist(), bits, strict=True):
        low, high = round(0.15 * 2**20), round(0.35 * 2**20)
        count = ((low << 20) + (high - low) * (word[0] >> 12)) * 36 + 2**39 >> 40
        blocks = 1 + (word[1] * 3 >> 32)
        nearest = []
        for j in range(36):
            x, y = (2 * (j % grid) + 1) << 16, (2 * (j // grid) + 1) << 16
            away = []
            for i in range(blocks):
                cx, cy, bit = (word[4 + 4 * i + k] for k in range(3))
                aspect = ((round(0.5 * 2**24) << 20) + round(1.5 * 2**24) * (bit >> 12)) >> 20
                across = abs(x - (cx * 2 * grid >> 16)) * isqrt(2**48 // aspect)
                down = abs(y - (cy * 2 * grid >> 16)) * isqrt(aspect)
                away.append(max(across, down))
            nearest.append((min(away), j))
        hidden = {j for _, j in sorted(nearest)[:count]}
        assert drawn == [-1 if j in hidden else j for j in range(36)]


def test_holes_do_not_depend_on_the_batch():
    sample = torch.tensor([4, -1, 9])
    whole = draw_holes(14, key(sample))
    assert torch.equal(whole, torch.cat([draw_holes(14, key(s[None])) for s in sample]))
    assert not torch.equal(whole, draw_holes(14, key(sample, 12)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"share": (0.4, 0.3)}, r"draw_holes: share \(=\(0.4, 0.3\)\) must be \(lowest, highest\) in 0..1;"),
        ({"share": (0.4, 1.1)}, r"draw_holes: share .* in 0..1;"),
        ({"blocks": (0, 2)}, r"draw_holes: blocks \(=\(0, 2\)\) must be \(lowest, highest\) in 1..16;"),
        ({"blocks": (1, 2.5)}, r"draw_holes: blocks \(=\(1, 2.5\)\) must be whole numbers;"),
        ({"aspect": (0.01, 1.0)}, r"draw_holes: aspect .* in 0.0625..16;"),
        ({"aspect": (1.0, float("nan"))}, r"draw_holes: aspect .* in 0.0625..16;"),
    ],
)
def test_bad_ranges_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        draw_holes(4, key(torch.arange(2)), **changed)


GOLDEN = [[0, 1, 5, 6, 10, 11, 15], [5, 10, 11, 15, 16]]
