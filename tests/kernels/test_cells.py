"""Permutations and turns: uniform, reproducible, invertible."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from kernels import Key, draw_hidden_parts, draw_holes, draw_permutation, draw_turns, identity_cells, inverse


def key(sample, epoch=3):
    return Key(7, epoch, sample).stream("puzzle")


def test_committed_integers_never_change():
    sample = torch.tensor([0, 1, -1])
    assert draw_permutation(3, key(sample)).tolist() == GOLDEN_PERMUTATIONS
    assert draw_turns(3, key(sample)).tolist() == GOLDEN_TURNS


def test_identity_shows_every_cell_itself():
    cells = identity_cells(3, 2, "cpu")
    assert cells.dtype == torch.int16
    assert cells.tolist() == [list(range(9))] * 2


@pytest.mark.parametrize("grid", [1, 2, 3, 5, 14])
def test_every_draw_is_a_permutation(grid):
    shows = draw_permutation(grid, key(torch.arange(50)))
    assert shows.dtype == torch.int16
    assert torch.equal(shows.sort(dim=1).values, identity_cells(grid, 50, "cpu"))


def test_all_24_permutations_of_four_cells_are_equally_likely():
    shows = draw_permutation(2, key(torch.arange(24_000))).long()
    code = (shows * torch.tensor([64, 16, 4, 1])).sum(1)
    kinds = {64 * a + 16 * b + 4 * c + d for a, b, c, d in permutations(range(4))}
    values, counts = code.unique(return_counts=True)
    assert set(values.tolist()) == kinds
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 58  # 23 degrees of freedom: exceeded by one stream in 13,000


def test_each_of_nine_cells_stands_everywhere_equally_often():
    shows = draw_permutation(3, key(torch.arange(18_000))).long()
    counts = torch.nn.functional.one_hot(shows, 9).sum(0).float()
    assert ((counts - 2000) ** 2 / 2000).sum() < 120  # 64 degrees of freedom


def test_turns_are_equally_likely_and_independent():
    turn = draw_turns(3, key(torch.arange(8000)))
    assert turn.dtype == torch.uint8
    assert turn.shape == (8000, 9)
    counts = torch.bincount(turn.flatten().int(), minlength=4)
    assert counts.numel() == 4
    assert ((counts - 18_000.0) ** 2 / 18_000).sum() < 22  # 3 degrees of freedom
    pairs = torch.bincount((turn[:, 0].int() * 4 + turn[:, 1]), minlength=16)
    assert ((pairs - 500.0) ** 2 / 500).sum() < 45  # 15 degrees of freedom


@pytest.mark.parametrize("drawing", [draw_permutation, draw_turns])
def test_draws_do_not_depend_on_the_batch(drawing):
    sample = torch.tensor([4, -1, 9, 4])
    whole = drawing(3, key(sample))
    assert torch.equal(whole, torch.cat([drawing(3, key(s[None])) for s in sample]))
    assert torch.equal(whole[0], whole[3])
    assert not torch.equal(whole[0], drawing(3, key(sample, 4))[0])


def test_permutation_and_turns_of_one_stream_are_different_words():
    sample = torch.arange(4000)
    first = (draw_permutation(2, key(sample))[:, 0] == 0).float()
    turn = draw_turns(2, key(sample))[:, 0].float()
    assert abs(torch.corrcoef(torch.stack([first, turn]))[0, 1]) < 0.06


def test_inverse_puts_the_puzzle_together():
    shows = torch.stack([draw_permutation(4, key(torch.arange(20) + v)) for v in range(2)])
    back = inverse(shows)
    assert back.dtype == torch.int16
    assert torch.equal(shows.gather(-1, back.long()), identity_cells(4, 20, "cpu").expand(2, 20, 16))


@pytest.mark.parametrize("drawing", [draw_permutation, draw_turns, draw_holes])
@pytest.mark.parametrize("grid", [0, 182])
def test_grids_beyond_int16_are_refused(drawing, grid):
    message = rf"{drawing.__name__}: grid \(={grid}\) must be in 1..181; cell numbers are int16"
    with pytest.raises(ValueError, match=message):
        drawing(grid, key(torch.arange(2)))


def test_parts_that_cannot_be_hidden_are_refused():
    where, sample = torch.zeros(2, 2, 3), key(torch.arange(2))
    asked = {"where": where, "store": (8, 8), "size": 8, "parts": [(0.1, 0.1, 0.5, 0.5)]}
    assert draw_hidden_parts(3, sample, **asked).shape == (2, 9)
    for wrong, message in (
        ({"parts": []}, r"draw_hidden_parts: parts \(=\[\]\) must be 1 to 16 boxes;"),
        ({"parts": asked["parts"] * 17}, r"must be 1 to 16 boxes;"),
        ({"where": where.double()}, r"where \(=torch.float64 of shape \(2, 2, 3\)\) must be float32 of shape"),
        ({"where": where[:1]}, r"where \(=torch.float32 of shape \(1, 2, 3\)\) must be float32 of shape \(2, 2, 3\);"),
        ({"where": where.to("meta")}, r"where \(on meta\) must be where sample is \(cpu\); move it there"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_hidden_parts(3, sample, **asked | wrong)
    with pytest.raises(ValueError, match=r"draw_hidden_parts: grid \(=0\) must be in 1..181;"):
        draw_hidden_parts(0, sample, **asked)


def test_bad_cells_are_refused():
    with pytest.raises(ValueError, match=r"identity_cells: grid \(=-1\) must be in"):
        identity_cells(-1, 2, "cpu")
    with pytest.raises(ValueError, match=r"identity_cells: batch \(=0\) must be at least 1;"):
        identity_cells(2, 0, "cpu")
    with pytest.raises(ValueError, match=r"inverse: shows \(=torch.int64\) must be int16;"):
        inverse(torch.arange(4))
    for cells in ([0, 1, -1, 3], [0, 1, 1, 3]):
        with pytest.raises(ValueError, match=r"inverse: shows must be a permutation of 0..n-1;"):
            inverse(torch.tensor([cells], dtype=torch.int16))


GOLDEN_PERMUTATIONS = [[0, 3, 6, 5, 7, 8, 4, 2, 1], [0, 7, 1, 2, 5, 3, 8, 4, 6], [7, 2, 1, 3, 0, 6, 5, 8, 4]]
GOLDEN_TURNS = [[2, 0, 2, 1, 1, 3, 1, 1, 1], [0, 1, 1, 0, 2, 0, 0, 3, 0], [2, 2, 0, 1, 2, 1, 1, 3, 0]]


def of_next_sample(first, last, epoch):
    """The permutation's number 0..23 of samples first..last-1 and of each one's next."""
    code = draw_permutation(2, Key(1, epoch, torch.arange(first, last + 1)).stream("p")).long()
    number = (code * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_inverse=True)[1]
    return number[:-1], number[1:]


def test_permutations_are_independent_across_samples_and_epochs():
    one, following = of_next_sample(0, 57_600, epoch=0)
    later, _ = of_next_sample(0, 57_600, epoch=1)
    for other in (following, later):
        counts = torch.bincount(one * 24 + other, minlength=576)
        assert counts.numel() == 576
        assert ((counts - 100.0) ** 2 / 100).sum() < 740  # 575 degrees of freedom: the mean and 4.9 deviations
