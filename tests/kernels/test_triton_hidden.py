"""`hidden_l1` in Triton against the reference: on a GPU where there is one, else interpreted on the CPU."""

from __future__ import annotations

import math

import pytest
import torch

from kernels.grid import over_pixels
from kernels.hidden import reference, triton_kernel
from tests.kernels.pairwise import name_of, pairwise

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Of a sum in fp32, and one unit of the gradient's dtype (interpreted, bf16 is cut off instead of rounded).
LOSS_TOLERANCE = 1e-5
UNIT = {torch.float64: 2.0**-22, torch.float32: 2.0**-22, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}

CASES = pairwise(
    {
        "batch": [1, 3],
        "size": [1, 16, 17, 41],  # 41 * 41 is more than one block
        "grid": [1, 2, 5, 14],
        "guess": [torch.float32, torch.float16, torch.bfloat16, torch.float64],
        "truth": [torch.float32, torch.float16, torch.bfloat16, torch.float64],
        "guess_order": [torch.channels_last, torch.contiguous_format],
        "truth_order": [torch.channels_last, torch.contiguous_format],
        "hidden": ["some", "none", "all"],
    },
    lambda case: case.get("size", 41) >= case.get("grid", 1),
)


def pictures(case, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch, size, grid = case["batch"], case["size"], case["grid"]
    drawn = []
    for name in ("guess", "truth"):
        picture = torch.randn(batch, 3, size, size, generator=generator).to(DEVICE, case[name])
        drawn.append(picture.contiguous(memory_format=case[f"{name}_order"]))
    shows = torch.arange(grid * grid, dtype=torch.int16).repeat(batch, 1)
    if case["hidden"] == "all":
        shows.fill_(-1)
    elif case["hidden"] == "some":
        shows[torch.rand(shows.shape, generator=generator) < 0.4] = -1
        shows[:, 0] = -5
    return *drawn, shows.to(DEVICE)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_loss_and_gradients_follow_the_reference(case, monkeypatch):
    guess, truth, shows = pictures(case)
    # What stands in known pixels must not matter.
    known = ~over_pixels(shows < 0, case["size"])[:, None].expand_as(guess)
    guess[known], truth[known] = float("nan"), float("inf")
    expected = reference.hidden_l1(guess, truth, shows)
    loss = triton_kernel.hidden_l1(guess, truth, shows)
    assert loss.dtype == expected.dtype
    assert loss.shape == expected.shape
    assert abs(loss - expected) <= LOSS_TOLERANCE * abs(expected)

    empty_like = torch.empty_like
    monkeypatch.setattr(triton_kernel.torch, "empty_like", lambda like: empty_like(like).fill_(float("nan")))
    grad = torch.tensor(-1.7, dtype=loss.dtype, device=DEVICE)
    for one, other in ((guess, truth), (truth, guess)):
        rule = reference.hidden_l1_backward(grad, one, other, shows)
        gradient = triton_kernel.hidden_l1_backward(grad, one, other, shows)
        assert gradient.dtype == one.dtype
        assert gradient.stride() == rule.stride()
        assert ((gradient.double() - rule.double()).abs() <= UNIT[one.dtype] * rule.double().abs()).all()


def test_equal_pixels_have_gradient_zero():
    case = {"batch": 1, "size": 4, "grid": 1, "hidden": "all"} | dict.fromkeys(("guess", "truth"), torch.float32)
    guess, _, shows = pictures(case | dict.fromkeys(("guess_order", "truth_order"), torch.channels_last))
    truth = guess.clone()
    truth[0, 0, 0, 0] += 1
    gradient = triton_kernel.hidden_l1_backward(torch.ones((), device=DEVICE), guess, truth, shows)
    assert gradient.flatten()[0] == -1 / 48
    assert gradient.count_nonzero() == 1


def test_pictures_of_any_strides_are_read():
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2, 3, 20, 44, generator=generator).to(DEVICE)
    guess, truth = wide[..., 3:43:2], wide[:1, :, :, :20].expand(2, 3, 20, 20)
    shows = torch.tensor([[-1, 0, 1, 2], [0, 0, -1, -1]], dtype=torch.int16, device=DEVICE)
    assert torch.allclose(triton_kernel.hidden_l1(guess, truth, shows), reference.hidden_l1(guess, truth, shows))
    grad = torch.ones((), device=DEVICE)
    rule = reference.hidden_l1_backward(grad, guess, truth, shows)
    assert torch.allclose(triton_kernel.hidden_l1_backward(grad, guess, truth, shows), rule)


def test_the_sum_is_the_same_in_every_run():
    case = dict.fromkeys(("guess", "truth"), torch.float32) | {"batch": 3, "size": 61, "grid": 5, "hidden": "some"}
    arguments = pictures(case | dict.fromkeys(("guess_order", "truth_order"), torch.channels_last))
    first = triton_kernel.hidden_l1(*arguments)
    assert all(torch.equal(triton_kernel.hidden_l1(*arguments), first) for _ in range(3))


@pytest.mark.parametrize(("size", "grid"), [(1, 1), (17, 15), (33, 14), (40, 3), (181, 181)])
def test_hidden_pixels_are_counted_from_the_areas_of_cells(size, grid):
    shows = torch.randint(-1, 1, (2, grid * grid), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    counts = torch.empty(2, dtype=torch.int32, device=DEVICE)
    cells = 256 if size < 100 else 8192
    triton_kernel._count[(2,)](counts, shows.to(DEVICE), size, math.isqrt(shows.shape[1]), CELLS=cells)
    assert torch.equal(counts.cpu(), over_pixels(shows < 0, size).sum(dim=(1, 2)).int())
