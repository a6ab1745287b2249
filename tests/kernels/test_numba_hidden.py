"""`hidden_l1` in numba against the reference."""

from __future__ import annotations

import pytest
import torch

from kernels.grid import over_pixels
from kernels.hidden import numba_kernel, reference
from tests.kernels.pairwise import name_of, pairwise

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
FACTORS = {
    "guess": DTYPES,
    "truth": DTYPES,
    "guess_layout": ["contiguous", "channels_last", "sliced"],
    "truth_layout": ["contiguous", "channels_last", "sliced"],
    "size": [1, 17, 64, 300],
    "grid": [1, 3, 14, 15],
    "batch": [1, 3],
    "hidden": ["none", "some", "all"],
    "threads": [1, 2],
}
CASES = pairwise(FACTORS, lambda case: case.get("size", 300) >= case.get("grid", 1))


def laid_out(picture, layout):
    if layout == "channels_last":
        return picture.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":  # of a larger picture, as after a crop
        large = torch.full((*picture.shape[:2], picture.shape[2] + 2, picture.shape[3] + 3), 7.0, dtype=picture.dtype)
        large[:, :, 1:-1, 2:-1] = picture
        return large[:, :, 1:-1, 2:-1]
    return picture


def inputs(case):
    generator = torch.Generator().manual_seed(case["size"] + case["grid"])
    batch, size, cells = case["batch"], case["size"], case["grid"] ** 2
    guess = torch.randn(batch, 3, size, size, generator=generator).to(case["guess"])
    truth = torch.randn(batch, 3, size, size, generator=generator).to(case["truth"])
    truth[..., :1] = guess[..., :1].to(case["truth"])  # equal where the dtypes are: their sign is 0
    share = {"none": 0.0, "some": 0.4, "all": 1.0}[case["hidden"]]
    shows = torch.where(torch.rand(batch, cells, generator=generator) < share, -1, 0).to(torch.int16)
    known = ~over_pixels(shows < 0, size)[:, None]
    guess = guess.masked_fill(known, float("nan"))  # what stands there does not matter
    return laid_out(guess, case["guess_layout"]), laid_out(truth, case["truth_layout"]), shows


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_it_follows_the_reference(case):
    guess, truth, shows = inputs(case)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(case["threads"])
        loss = numba_kernel.hidden_l1(guess, truth, shows)
        gradient = numba_kernel.hidden_l1_backward(torch.tensor(-3.0), guess, truth, shows)
    finally:
        torch.set_num_threads(before)
    expected = reference.hidden_l1(guess.double(), truth.double(), shows)
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert abs(loss - expected) <= 1e-6 * expected
    wanted = reference.hidden_l1_backward(torch.tensor(-3.0), guess, truth, shows)
    assert gradient.dtype == guess.dtype
    assert gradient.stride() == wanted.stride()
    assert torch.equal(gradient, wanted)


def test_special_numbers_come_through():
    """Subnormal, largest and infinite fp16 and bf16 are read for what they are."""
    for dtype in (torch.float16, torch.bfloat16):
        guess = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
        guess = guess[guess.abs() < 1e30]  # their sum stays finite in fp32
        size = 8
        for numbers in guess.split(3 * size * size):
            picture = torch.zeros(3 * size * size, dtype=dtype)
            picture[: numbers.numel()] = numbers
            picture = picture.view(1, 3, size, size)
            shows = torch.tensor([[-1]], dtype=torch.int16)
            loss = numba_kernel.hidden_l1(picture, torch.zeros_like(picture), shows)
            expected = reference.hidden_l1(picture.double(), torch.zeros_like(picture).double(), shows)
            assert abs(loss - expected) <= 1e-6 * expected
    for value in (float("inf"), float("nan")):
        picture = torch.full((1, 3, 4, 4), value, dtype=torch.float16)
        loss = numba_kernel.hidden_l1(picture, torch.zeros(1, 3, 4, 4), torch.tensor([[-1]], dtype=torch.int16))
        assert torch.equal(loss, torch.tensor(abs(value))) or (loss.isnan() and value != value)


def test_the_loss_does_not_depend_on_the_threads():
    generator = torch.Generator().manual_seed(0)
    guess, truth = torch.randn(2, 7, 3, 50, 50, generator=generator)
    shows = torch.where(torch.rand(7, 49, generator=generator) < 0.3, -1, 0).to(torch.int16)
    before = torch.get_num_threads()
    try:
        losses = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            losses.append(numba_kernel.hidden_l1(guess, truth, shows))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_fp64_is_left_to_the_reference(dtypes):
    generator = torch.Generator().manual_seed(0)
    guess, truth = (torch.randn(2, 3, 9, 9, dtype=dtype, generator=generator) for dtype in dtypes)
    shows = torch.tensor([[-1, 1, 2, 3], [0, -1, -1, 3]], dtype=torch.int16)
    loss = numba_kernel.hidden_l1(guess, truth, shows)
    assert loss.dtype == torch.float64
    assert torch.equal(loss, reference.hidden_l1(guess, truth, shows))
    grad = torch.tensor(1.0, dtype=torch.float64)
    gradient = numba_kernel.hidden_l1_backward(grad, guess, truth, shows)
    assert torch.equal(gradient, reference.hidden_l1_backward(grad, guess, truth, shows))
