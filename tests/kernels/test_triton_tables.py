"""The draws in Triton against their rules: on a GPU where there is one, else interpreted on the CPU."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
import triton
import triton.language as tl

from kernels import Augment, Key, Tables, draw, none, simclr_strong, strong
from kernels.tables import op, reference, triton_kernel
from tests.kernels.pairwise import name_of, pairwise

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

EVERYTHING = Augment(
    flip=0.3,
    jitter=0.8,
    contrast=(0.5, 1.5),
    brightness=(-0.1, 0.1),
    brightness_factor=(0.7, 1.2),
    saturation=(0.2, 1.8),
    hue=(-0.1, 0.1),
    gray=0.2,
    noise=(0.01, 0.05),
    blur=1.2,
    blur_probability=0.5,
    resize=(0.5, 1.1),
    resize_probability=0.5,
    rotation=(-180, 180),
    crop=(0.6, 1.2),
    scale=(0.8, 1.3),
    shift=(-0.1, 0.2),
    aspect=(0.8, 1.3),
    cut=0.3,
    cut_probability=0.6,
)

# Addresses at the ends of their ranges: seed, epoch, stream, whether samples occur again.
ADDRESSES = [
    (0, 0, "shared", False),
    (2**64 - 1, 2**32 - 1, "view 1", False),
    (2**63, 2**31, "", True),
    (2**31, 7, "ж", True),
]
OCCURRENCES = [0, 1, 2, 2**31 - 1]
SAMPLES = [0, 1, -1, 2**31, 2**40 + 5, 77]
# From the issue: of their largest term.
UNITS_IN_THE_LAST_PLACE = 4 * 2.0**-23


def samples(count):
    extra = torch.arange(1000, 1000 + max(0, count - len(SAMPLES)))
    return torch.cat([torch.tensor(SAMPLES)[:count], extra])


def keys(address, count):
    """A key on the CPU, for the rule, and the same one on the device."""
    seed, epoch, stream, repeated = address
    occurrence = torch.tensor(OCCURRENCES, dtype=torch.int32).repeat(count)[:count] if repeated else None
    on_device = None if occurrence is None else occurrence.to(DEVICE)
    sample = samples(count)
    return Key(seed, epoch, sample, occurrence, stream), Key(seed, epoch, sample.to(DEVICE), on_device, stream)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("augment", [Augment(), none(), strong(), simclr_strong(), EVERYTHING])
def test_tables_follow_their_rule(augment, address):
    key, on_device = keys(address, 150)  # more than one block
    mean = torch.rand(150, 3, generator=torch.Generator().manual_seed(0)) * 255
    expected = Tables(*reference.draw_tables(key, mean, augment, (60, 41), 113))
    drawn = Tables(*triton_kernel.draw_tables(on_device, mean.to(DEVICE), augment, (60, 41), 113))
    for field in fields(Tables):
        ours, rule = getattr(drawn, field.name).cpu(), getattr(expected, field.name)
        assert ours.dtype == rule.dtype
        assert ours.shape == rule.shape
        if rule.dtype.is_floating_point:
            largest = rule.abs().amax(dim=-1, keepdim=True) if rule.ndim > 1 else rule.abs()
            # The offsets of `where` are what is left of half the stored side.
            bound = UNITS_IN_THE_LAST_PLACE * largest.clamp(min=30 if field.name == "where" else 1)
            assert ((ours - rule).abs() <= bound).all(), field.name
        else:
            assert torch.equal(ours, rule), field.name
    assert torch.equal(drawn.where[:, 0, 0].cpu() < 0, expected.where[:, 0, 0] < 0)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("grid", [1, 2, 3, 7, 15])
def test_permutations_and_turns_equal_their_rules(grid, address):
    key, on_device = keys(address, 3)
    for name in ("draw_permutation", "draw_turns"):
        expected = getattr(reference, name)(key, grid)
        drawn = getattr(triton_kernel, name)(on_device, grid)
        assert drawn.dtype == expected.dtype
        assert torch.equal(drawn.cpu(), expected)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("count", [1, 2, 4, 7, 129])
def test_random_words_equal_their_rule(count, address):
    key, on_device = keys(address, 3)
    expected = reference.random_bits(key, count)
    drawn = triton_kernel.random_bits(on_device, count)
    assert drawn.dtype == expected.dtype
    assert torch.equal(drawn.cpu(), expected)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(("grid", "store", "parts"), [(1, (9, 9), 1), (14, (48, 48), 3), (17, (60, 41), 16)])
def test_hidden_parts_equal_their_rule(grid, store, parts, address):
    key, on_device = keys(address, 40)
    mean = torch.zeros(40, 3)
    where = draw(strong(), key, mean=mean, store=store, size=37).where
    generator = torch.Generator().manual_seed(parts)
    corners = torch.rand(parts, 2, generator=generator) * 0.8
    boxes = torch.cat([corners, corners + 0.1 + 0.1 * torch.rand(parts, 2, generator=generator)], dim=1)
    arguments = (grid, 37, store, boxes.flatten().tolist())
    expected = reference.draw_hidden_parts(key, where, *arguments)
    drawn = triton_kernel.draw_hidden_parts(on_device, where.to(DEVICE), *arguments)
    assert drawn.dtype == expected.dtype
    assert torch.equal(drawn.cpu(), expected)
    assert grid == 1 or 0 < (expected < 0).float().mean() < 0.5


HOLES = pairwise(
    {
        "grid": [1, 2, 5, 14, 15],
        "share": [(0.15, 0.35), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0)],
        "blocks": [(1, 3), (1, 1), (16, 16), (2, 16)],
        "aspect": [(0.5, 2.0), (1.0, 1.0), (1 / 16, 16.0)],
        "address": ADDRESSES,
    },
    lambda case: case.get("grid", 1) < 14 or case.get("blocks", (1, 1))[1] < 16,
)


@pytest.mark.parametrize("case", HOLES, ids=name_of)
def test_holes_equal_their_rule(case):
    key, on_device = keys(case["address"], 3)
    share = [round(end * 2**20) for end in case["share"]]
    aspect = [round(end * 2**24) for end in case["aspect"]]
    ranges = (case["grid"], share, case["blocks"], aspect)
    expected = reference.draw_holes(key, *ranges)
    drawn = triton_kernel.draw_holes(on_device, *ranges)
    assert drawn.dtype == expected.dtype
    assert torch.equal(drawn.cpu(), expected)


@triton.jit
def _rank(rank, keys, CELLS: tl.constexpr):
    cell = tl.arange(0, CELLS)
    key = tl.load(keys + cell).to(tl.uint32)
    tl.store(rank + cell, triton_kernel._earlier(key, cell, key, cell))


def test_equal_keys_are_ranked_by_number():
    """What a 32-bit key leaves open is decided as a stable sort decides it."""
    keys = torch.tensor([5, 1, 5, 0xFFFFFFFF, 1, 0xFFFFFFFF, 0, 5], dtype=torch.int64)
    rank = torch.empty(16, dtype=torch.int32, device=DEVICE)
    padded = torch.full((16,), 0xFFFFFFFF, dtype=torch.int64)
    padded[:8] = keys
    _rank[(1,)](rank, padded.to(DEVICE), CELLS=16)
    order = keys.argsort(stable=True)
    assert torch.equal(rank.cpu()[:8][order], torch.arange(8, dtype=torch.int32))


def test_grids_too_large_to_rank_are_sorted_alike():
    key, on_device = keys((3, 1, "s", True), 2)
    for grid in (16, 33):
        permutation = triton_kernel.draw_permutation(on_device, grid)
        assert torch.equal(permutation.cpu(), reference.draw_permutation(key, grid))
        ranges = ([2**17, 2**19], (1, 2), (2**23, 2**25))
        holes = triton_kernel.draw_holes(on_device, grid, *ranges)
        assert torch.equal(holes.cpu(), reference.draw_holes(key, grid, *ranges))


def test_samples_may_be_strided():
    sample, occurrence = samples(6).to(DEVICE)[::2], torch.arange(6, dtype=torch.int32, device=DEVICE)[::2]
    assert not sample.is_contiguous()
    drawn = triton_kernel.draw_permutation(Key(0, 0, sample, occurrence), 3)
    assert torch.equal(drawn, reference.draw_permutation(Key(0, 0, sample, occurrence), 3))


def test_an_augment_goes_through_numbers_and_back():
    for augment in (Augment(), strong(), EVERYTHING):
        assert Augment.of_numbers(augment.numbers()) == augment


@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1, 2**63, 2**64 - 1])
def test_seeds_pass_as_int64_of_the_same_bits(seed):
    signed = op.address(Key(seed, 0, samples(1)))[2]
    assert -(2**63) <= signed < 2**63
    assert signed % 2**64 == seed


def test_the_operators_pass_torch_s_own_checks():
    mean = torch.rand(3, 3)
    for repeated in (False, True):
        address = op.address(keys((2**64 - 1, 5, "s", repeated), 3)[0])
        torch.library.opcheck(op.draw_tables, (*address, mean, strong().numbers(), 20, 30, 16))
        torch.library.opcheck(op.draw_permutation, (*address, 3))
        torch.library.opcheck(op.draw_turns, (*address, 3))
        torch.library.opcheck(op.draw_holes, (*address, 4, [0, 2**20], [1, 3], [2**23, 2**25]))
        torch.library.opcheck(op.random_bits, (*address, 5))
        torch.library.opcheck(
            op.draw_hidden_parts, (*address, torch.rand(3, 2, 3), 4, 16, [9, 9], [0.1, 0.2, 0.6, 0.8])
        )
