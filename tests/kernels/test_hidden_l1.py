"""`hidden_l1` is the mean over hidden pixels, forward and backward, whatever stands elsewhere."""

from __future__ import annotations

import pytest
import torch

from kernels import Key, draw_holes, hidden_l1, render_views
from kernels.grid import over_pixels
from kernels.hidden import op

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-6, torch.bfloat16: 1e-6}


def pictures(batch, size, grid, dtype=torch.float32, memory_format=torch.contiguous_format):
    generator = torch.Generator().manual_seed(batch * 1000 + size)
    guess, truth = (torch.randn(batch, 3, size, size, generator=generator).to(dtype) for _ in range(2))
    shows = draw_holes(grid, Key(0, 0, torch.arange(batch)))
    return guess.to(memory_format=memory_format), truth.to(memory_format=memory_format), shows


def naive(guess, truth, shows):
    """Pixel by pixel, from the definition."""
    batch, _, size, _ = guess.shape
    grid = round(shows.shape[1] ** 0.5)
    terms = [
        (guess[b, c, y, x] - truth[b, c, y, x]).abs()
        for b in range(batch)
        for y in range(size)
        for x in range(size)
        for c in range(3)
        if shows[b, int((y + 0.5) * grid / size) * grid + int((x + 0.5) * grid / size)] < 0
    ]
    return torch.stack(terms).mean() if terms else guess.sum() * 0


@pytest.mark.parametrize(("batch", "size", "grid"), [(1, 5, 2), (3, 7, 3), (2, 10, 4), (2, 4, 1)])
def test_it_is_the_mean_over_hidden_pixels(batch, size, grid):
    guess, truth, shows = pictures(batch, size, grid, torch.float64)
    shows[0, -1] = -1
    guess.requires_grad_()
    truth.requires_grad_()
    expected = naive(guess, truth, shows)
    loss = hidden_l1(guess, truth, shows)
    assert torch.allclose(loss, expected, atol=1e-14)
    wanted = torch.autograd.grad(expected, (guess, truth))
    for gradient, value in zip(torch.autograd.grad(loss, (guess, truth)), wanted, strict=True):
        assert torch.allclose(gradient, value, atol=1e-14)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_dtype_and_memory_order(dtype, memory_format):
    guess, truth, shows = pictures(5, 14, 7, dtype, memory_format)
    guess.requires_grad_()
    loss = hidden_l1(guess, truth, shows)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    hidden = over_pixels(shows < 0, 14)[:, None].expand_as(guess)
    expected = (guess.double() - truth.double()).abs()[hidden].mean()
    assert abs(loss.double() - expected) < TOLERANCE[dtype] * max(1, expected)
    (gradient,) = torch.autograd.grad(loss * 3, guess)
    assert gradient.dtype == dtype
    assert gradient.is_contiguous(memory_format=memory_format)
    wanted = torch.where(hidden, (guess - truth).sign().double() * 3 / hidden.sum(), 0.0).to(dtype)
    assert torch.equal(gradient, wanted)


def test_pictures_of_different_dtypes_meet_in_fp32():
    guess, truth, shows = pictures(2, 8, 2)
    mixed = hidden_l1(guess.bfloat16(), truth, shows)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, hidden_l1(guess.bfloat16().float(), truth, shows))


def test_nothing_hidden_gives_zero_with_zero_gradient():
    guess, truth, shows = pictures(2, 6, 3)
    guess.requires_grad_()
    loss = hidden_l1(guess, truth, shows.abs())
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(guess.grad, torch.zeros_like(guess))


def test_it_is_one_mean_over_the_batch():
    guess, truth = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    guess[1] = 5.0
    shows = torch.tensor([[-1, -1, -1, 3], [-1, 1, 2, 3]], dtype=torch.int16)
    assert hidden_l1(guess, truth, shows).item() == pytest.approx((3 * 1 + 1 * 5) / 4)


def test_known_pixels_do_not_matter_not_even_nan():
    guess, truth, shows = pictures(2, 6, 2)
    shows[:] = torch.tensor([-1, 1, 2, 3])
    expected = hidden_l1(guess, truth, shows)
    for picture in (guess, truth):
        picture[:, :, 3:] = float("nan")
        picture[:, :, :, 3:] = float("inf")
    guess.requires_grad_()
    loss = hidden_l1(guess, truth, shows)
    loss.backward()
    assert torch.equal(loss, expected)
    assert torch.isfinite(guess.grad).all()
    assert not guess.grad[:, :, 3:].any()


def test_the_hidden_pixels_are_those_that_render_views_hides():
    shows = draw_holes(3, Key(0, 0, torch.arange(4)))
    store = torch.full((1, 5, 5, 3), 200, dtype=torch.uint8)
    where = torch.eye(2, 3).repeat(1, 4, 1, 1)
    colour = torch.eye(3, 4).repeat(1, 4, 1, 1)
    row = torch.zeros(4, dtype=torch.int64)
    numbers = {"size": 11, "mean": (0.0,) * 3, "std": (1.0,) * 3, "dtype": torch.float32}
    shown = render_views(store, row, where, colour, shows[None], **numbers)[0]
    loss = hidden_l1((shown == 0).float(), torch.zeros_like(shown), shows)
    assert loss.item() == 1.0
    assert hidden_l1((shown != 0).float(), torch.zeros_like(shown), shows).item() == 0.0


def test_gradcheck():
    guess, truth, shows = pictures(2, 5, 3, torch.float64)
    truth = guess + torch.where(truth > 0, 0.5, -0.5)  # away from the kink
    assert torch.autograd.gradcheck(
        lambda g, t: hidden_l1(g, t, shows), (guess.requires_grad_(), truth.requires_grad_())
    )


def test_no_gradient_flows_where_none_is_asked():
    guess, truth, shows = pictures(2, 5, 3)
    truth.requires_grad_()
    hidden_l1(guess, truth, shows).backward()
    assert guess.grad is None
    assert truth.grad is not None


def test_the_operators_pass_torch_s_own_checks():
    guess, truth, shows = pictures(2, 6, 3, memory_format=torch.channels_last)
    torch.library.opcheck(op._hidden_l1, (guess, truth, shows))
    torch.library.opcheck(op._hidden_l1, (guess.bfloat16().requires_grad_(), truth.requires_grad_(), shows))
    torch.library.opcheck(op._hidden_l1_backward, (torch.ones(()), guess.detach(), truth.detach(), shows))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"guess": torch.zeros(2, 1, 6, 6)}, r"guess \(of shape \(2, 1, 6, 6\)\) must have axes b, 3, size, size;"),
        ({"guess": torch.zeros(2, 3, 6, 5)}, r"guess .* must have axes b, 3, size, size;"),
        ({"truth": torch.zeros(2, 3, 5, 5)}, r"truth .* must have the shape of guess \(2, 3, 6, 6\);"),
        ({"truth": torch.zeros(2, 3, 6, 6, dtype=torch.uint8)}, r"truth \(=torch.uint8\) must be floating-point;"),
        ({"shows": torch.zeros(2, 4)}, r"shows \(=torch.float32 of shape \(2, 4\)\) must be int16 of shape \(2, n\);"),
        ({"shows": torch.zeros(1, 4, dtype=torch.int16)}, r"shows .* must be int16 of shape \(2, n\);"),
        ({"shows": torch.zeros(2, 5, dtype=torch.int16)}, r"cells in `shows` \(=5\) must be a square number;"),
        ({"shows": torch.zeros(2, 64, dtype=torch.int16)}, r"size \(=6\) must be at least the grid \(=8\);"),
        ({"truth": torch.zeros(2, 3, 6, 6, device="meta")}, r"truth \(on meta\) must be where guess is \(cpu\);"),
        ({"shows": torch.zeros(2, 4, dtype=torch.int16, device="meta")}, r"shows \(on meta\) must be where guess is"),
    ],
)
def test_bad_input_is_refused(changed, message):
    guess, truth, shows = pictures(2, 6, 2)
    with pytest.raises(ValueError, match=f"hidden_l1: {message}"):
        hidden_l1(**({"guess": guess, "truth": truth, "shows": shows} | changed))


def test_compiled_code_may_meet_many_grids() -> None:
    """After the second, torch.compile makes the number of cells a symbol."""
    compiled = torch.compile(hidden_l1, fullgraph=True, backend="aot_eager")
    guess, truth = torch.randn(2, 3, 28, 28), torch.randn(2, 3, 28, 28)
    for grid in (2, 3, 4, 7, 14):
        shows = torch.full((2, grid * grid), -1, dtype=torch.int16)
        torch.testing.assert_close(compiled(guess, truth, shows), hidden_l1(guess, truth, shows))
