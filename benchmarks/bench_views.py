"""Times the kernels on the CPU under pytest-benchmark: views, their tables, and the loss over hidden pixels.

    python -m pytest benchmarks/bench_views.py --benchmark-group-by=param:case

Each benchmark first compares its result with the reference. `benchmarks.compare_views` has the other opponents.
"""

from __future__ import annotations

import pytest
import torch

import kernels
from benchmarks import compare_views
from benchmarks import view_cases as cases
from kernels.hidden import reference as hidden_reference

BATCH = 64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("case", cases.CASES)
def test_render_views(benchmark, case, size, dtype):
    inputs = cases.make(case, BATCH, size)
    compare_views.agree(compare_views.OURS, inputs, cases.ours, dtype)
    benchmark(cases.ours, inputs, dtype)


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("case", cases.CASES)
def test_the_reference(benchmark, case, size):
    inputs = cases.make(case, BATCH, size)
    compare_views.agree("reference, eager, in blocks", inputs, cases.eager_in_blocks, torch.float32)
    benchmark(cases.eager_in_blocks, inputs, torch.float32)


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("backward", [False, True])
def test_hidden_l1(benchmark, size, backward):
    generator = torch.Generator().manual_seed(0)
    guess, truth = torch.randn(2, BATCH, 3, size, size, generator=generator).contiguous()
    guess.requires_grad_(backward)
    shows = kernels.draw_holes(14, kernels.Key(0, 0, torch.arange(BATCH)))
    expected = hidden_reference.hidden_l1(guess.detach(), truth, shows)
    torch.testing.assert_close(kernels.hidden_l1(guess, truth, shows).detach(), expected)

    def step() -> None:
        loss = kernels.hidden_l1(guess, truth, shows)
        if backward:
            torch.autograd.grad(loss, guess)

    benchmark(step)


@pytest.mark.parametrize("what", ["draw", "draw_permutation", "draw_turns", "draw_holes"])
def test_tables(benchmark, what):
    key = kernels.Key(0, 0, torch.arange(256))
    mean = torch.full((256, 3), 128.0)
    drawn = {
        "draw": lambda: kernels.draw(kernels.strong(), key, mean=mean, store=(112, 112), size=112),
        "draw_permutation": lambda: kernels.draw_permutation(3, key),
        "draw_turns": lambda: kernels.draw_turns(3, key),
        "draw_holes": lambda: kernels.draw_holes(14, key),
    }[what]
    benchmark(drawn)
