"""The draws in numba against the reference: integers bit for bit, reals within 4 units in the last place."""

from __future__ import annotations

import pytest
import torch

from kernels import Augment, Key, none, simclr_strong, strong, weak
from kernels.tables import numba_kernel, reference

EVERYTHING = Augment(
    flip=0.5,
    jitter=0.6,
    contrast=(0.5, 1.5),
    brightness=(-0.1, 0.1),
    brightness_factor=(0.5, 1.4),
    saturation=(0.0, 1.5),
    hue=(-0.5, 0.5),
    gray=0.3,
    noise=(0.0, 0.1),
    blur=1.2,
    blur_probability=0.5,
    resize=(0.5, 1.2),
    resize_probability=0.4,
    rotation=(-400.0, 400.0),
    crop=(0.5, 1.2),
    scale=(0.8, 1.2),
    shift=(-0.1, 0.2),
    aspect=(0.5, 2.0),
    cut=0.3,
    cut_probability=0.5,
)
SAMPLES = torch.cat([torch.arange(-3, 500), torch.tensor([2**31, 2**40 + 5, -(2**50)])])
OCCURRENCES = torch.tensor([0, 1, 7, 2**31 - 1], dtype=torch.int32).repeat(200)[: len(SAMPLES)]
SEEDS = (0, 12345678901234567890, 2**64 - 3)


def close(found, wanted, term):
    """Within 4 units in the last place of the largest term that is added up, a number or one a sample."""
    return ((found.double() - wanted.double()).abs() <= 4 * 2.0**-23 * term).all()


@pytest.mark.parametrize("augment", [Augment(), none(), weak(), strong(), simclr_strong(), EVERYTHING])
@pytest.mark.parametrize(("seed", "occurrence"), list(zip(SEEDS, (None, None, OCCURRENCES), strict=True)))
def test_tables_follow_the_reference(augment, seed, occurrence):
    generator = torch.Generator().manual_seed(1)
    mean = torch.rand(SAMPLES.shape[0], 3, generator=generator) * 255
    height, width, size = 97, 113, 64
    arguments = (Key(seed, 2**32 - 1, SAMPLES, occurrence), mean, augment, (height, width), size)
    drawn, wanted = (room.draw_tables(*arguments) for room in (numba_kernel, reference))
    where, colour, blur, noise, key, cut = zip(drawn, wanted, strict=True)
    for found, expected in (key, cut):
        assert torch.equal(found, expected)
    for found, expected in zip(drawn, wanted, strict=True):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
    assert close(*noise, 255 * 0.1)
    assert close(*blur, 2.0)
    assert close(where[0][:, :, :2], where[1][:, :, :2], where[1].abs()[:, :, :2].amax((1, 2), keepdim=True))
    assert close(where[0][:, :, 2], where[1][:, :, 2], 2 * max(height, width))
    assert close(colour[0][:, :, :3], colour[1][:, :, :3], 4.0)
    assert close(colour[0][:, :, 3], colour[1][:, :, 3], 4 * 255.0)


def test_samples_may_be_any_memory():
    """Every other sample of a tensor, and means of a transposed one."""
    samples, mean = torch.arange(20)[::2], (torch.rand(3, 10) * 255).T
    again = samples.flip(0).int()
    strided = torch.stack([again, again], dim=1)[:, 0]
    arguments = (EVERYTHING, (32, 32), 24)
    found = numba_kernel.draw_tables(Key(7, 0, samples, strided), mean, *arguments)
    wanted = numba_kernel.draw_tables(Key(7, 0, samples.contiguous(), again), mean.contiguous(), *arguments)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


@pytest.mark.parametrize("grid", [1, 2, 3, 14, 31])
@pytest.mark.parametrize("share", [(0.0, 0.0), (1.0, 1.0), (0.15, 0.35), (0.0, 1.0)])
@pytest.mark.parametrize(("blocks", "aspect"), [((1, 3), (0.5, 2.0)), ((1, 1), (1.0, 1.0)), ((5, 16), (1 / 16, 16.0))])
def test_holes_follow_the_reference(grid, share, blocks, aspect):
    ranges = ([round(x * 2**20) for x in share], list(blocks), [round(x * 2**24) for x in aspect])
    for seed, occurrence in zip(SEEDS[1:], (None, OCCURRENCES[:60]), strict=True):
        key = Key(seed, 3, SAMPLES[:60], occurrence)
        assert torch.equal(numba_kernel.draw_holes(key, grid, *ranges), reference.draw_holes(key, grid, *ranges))


def test_ties_are_hidden_by_number():
    """One block in the middle of a cell's edge is as near to both neighbours: the lower numbers win, as in a sort."""
    ranges = ([2**19] * 2, [16, 16], [2**24] * 2)
    key = Key(0, 0, torch.arange(400))
    found = numba_kernel.draw_holes(key, 2, *ranges)
    assert torch.equal(found, reference.draw_holes(key, 2, *ranges))
    assert ((found < 0).sum(1) == 2).all()
