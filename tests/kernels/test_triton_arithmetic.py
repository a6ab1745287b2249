"""Division by multiplication, random words and fast functions, as the Triton kernels have them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given
from hypothesis import strategies as st

from kernels.grid import LARGEST_GRID, cell_of_pixel
from kernels.tables.philox import philox4x32
from kernels.triton_arithmetic import divide, divisor, fast_cos, fast_log2, fast_sin, philox
from kernels.views.triton_kernel import _over_unit

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def _divide(out, number, multiplier, shift, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, divide(tl.load(number + i), multiplier, shift))


@triton.jit
def _functions(out, x, angle, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, fast_log2(tl.load(x + i)))
    tl.store(out + BLOCK + i, fast_cos(tl.load(angle + i)))
    tl.store(out + 2 * BLOCK + i, fast_sin(tl.load(angle + i)))


@triton.jit
def _philox(out, key, counter, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    word0, word1, word2, word3 = philox(
        tl.load(key + i), tl.load(counter + i), tl.load(counter + BLOCK + i), tl.load(counter + 2 * BLOCK + i), 7
    )
    tl.store(out + i, word0)
    tl.store(out + BLOCK + i, word1)
    tl.store(out + 2 * BLOCK + i, word2)
    tl.store(out + 3 * BLOCK + i, word3)


@triton.jit
def _unit(out, number, per_unit, grid, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, _over_unit(tl.load(number + i), per_unit, grid))


@given(st.integers(2, 2**16), st.data())
def test_a_divisor_divides_every_number_up_to_its_largest(number, data):
    largest = data.draw(st.integers(number, 2**30 - 1))
    multiplier, shift = divisor(number, largest)
    assert -(2**31) <= multiplier < 2**31
    value = data.draw(st.integers(0, largest))
    for n in (value, value // number * number, max(0, value // number * number - 1), largest):
        assert (n * (multiplier % 2**32)) >> (32 + shift) == n // number


@pytest.mark.parametrize("size", [2, 3, 113, 181, 240, 1625, 1626, 32767])
def test_pixels_are_split_in_line_and_column_by_divide(size):
    ends = torch.arange(size, dtype=torch.int64) * size
    numbers = torch.cat([ends, ends + size - 1]).to(torch.int32)
    padded = torch.zeros(triton.next_power_of_2(len(numbers)), dtype=torch.int32)
    padded[: len(numbers)] = numbers
    out = torch.empty_like(padded, device=DEVICE)
    _divide[(1,)](out, padded.to(DEVICE), *divisor(size, size * size - 1), BLOCK=len(padded))
    assert torch.equal(out.cpu(), padded // size)


@pytest.mark.parametrize(("size", "grid"), [(1, 1), (2, 2), (17, 15), (224, 3), (240, 14), (32767, LARGEST_GRID)])
def test_pixels_find_their_cell_by_divide(size, grid):
    pixel = torch.arange(triton.next_power_of_2(size), dtype=torch.int32)
    out = torch.empty_like(pixel, device=DEVICE)
    _divide[(1,)](out, ((2 * pixel + 1) * grid).to(DEVICE), *divisor(2 * size, 2 * size * grid), BLOCK=len(pixel))
    assert torch.equal(out[:size].cpu(), cell_of_pixel(size, grid, torch.device("cpu")))


def test_the_cells_of_a_grid_are_split_in_line_and_column_by_23_bits():
    for grid in range(1, LARGEST_GRID + 1):
        cell = np.arange(grid * grid, dtype=np.int64)
        product = cell * -(-(2**23) // grid)
        assert product.max() < 2**31
        assert np.array_equal(product >> 23, cell // grid)


@pytest.mark.parametrize("grid", [1, 2, 3, 5, 7, 14, 15, 100, LARGEST_GRID])
def test_a_position_is_divided_by_its_unit(grid):
    whole = torch.arange(1, 2**16, 2, dtype=torch.int32)
    whole = torch.cat([whole, whole.new_zeros(1)])[: 2**15]
    out = torch.empty(2**15, dtype=torch.float32, device=DEVICE)
    _unit[(1,)](out, whole.to(DEVICE), 1 / (2 * grid), grid, BLOCK=2**15)
    exact = whole.float() / (2 * grid)
    if DEVICE == "cuda":
        assert torch.equal(out.cpu(), exact)
    else:  # interpreted, tl.fma rounds twice and the repair comes to nothing
        assert ((out - exact).abs() <= exact * 2.0**-23).all()


def test_the_repaired_quotient_is_the_correctly_rounded_one_for_every_grid_and_position():
    """The same steps with a true fused multiply-add, which fp64 gives here: every product has at most 48 bits."""
    for grid in range(1, LARGEST_GRID + 1):
        whole = np.arange(1, 2 * 256 * min(grid, 64), dtype=np.float32)
        unit, reciprocal = np.float32(2 * grid), np.float32(1 / (2 * grid))
        first = whole * reciprocal
        rest = (whole.astype(np.float64) - first.astype(np.float64) * np.float64(unit)).astype(np.float32)
        repaired = (first.astype(np.float64) + rest.astype(np.float64) * np.float64(reciprocal)).astype(np.float32)
        assert np.array_equal(repaired, whole / unit)


def test_fast_functions_are_as_close_as_they_say():
    generator = torch.Generator().manual_seed(0)
    x = (torch.randint(0, 2**24, (4096,), generator=generator) + 1.0) * 2.0**-24
    x[:64] = 1.0 - torch.arange(64) * 2.0**-24
    angle = torch.randint(-(2**23), 2**23, (4096,), generator=generator) * (2 * math.pi * 2.0**-24)
    angle[:5] = torch.arange(-2, 3) * (math.pi / 2)
    out = torch.empty(3, 4096, device=DEVICE)
    _functions[(1,)](out, x.to(DEVICE), angle.to(DEVICE), BLOCK=4096)
    logarithm, cosine, sine = out.cpu().double()
    exact = x.double().log2()
    assert ((logarithm - exact).abs() <= 2.0**-22 * exact.abs().clamp(min=1.0)).all()
    assert (cosine - angle.double().cos()).abs().max() < 2.0**-20
    assert (sine - angle.double().sin()).abs().max() < 2.0**-20


def test_random_words_are_those_of_philox():
    generator = torch.Generator().manual_seed(0)
    key = torch.randint(-(2**63), 2**63 - 1, (256,), generator=generator)
    key[:3] = torch.tensor([0, -1, 2**32 - 1])
    counter = torch.randint(0, 2**32, (3, 256), generator=generator)
    counter[:, :3] = torch.tensor([0, 2**32 - 1, 2**31])
    out = torch.empty(4, 256, dtype=torch.int32, device=DEVICE)
    _philox[(1,)](out, key.to(DEVICE), counter.to(torch.uint32).view(torch.int32).to(DEVICE), BLOCK=256)
    expected = philox4x32((*counter, torch.full((256,), 7)), (key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF))
    assert torch.equal(out.cpu().long() & 0xFFFFFFFF, torch.stack(expected))
