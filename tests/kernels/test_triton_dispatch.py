"""What is registered for CUDA takes its operator's arguments and agrees with what is registered for the CPU.

The dispatcher only picks it for tensors on a GPU; here it is called as the dispatcher would call it.
"""

from __future__ import annotations

import pytest
import torch

import kernels
from kernels.hidden import op as hidden
from kernels.tables import op as tables
from kernels.views import op as views

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def arguments() -> dict[str, tuple[object, tuple[object, ...]]]:
    generator = torch.Generator().manual_seed(0)
    sample, mean = torch.arange(3), torch.rand(3, 3, generator=generator) * 255
    key = kernels.Key(0, 0, sample, torch.tensor([0, 1, 2], dtype=torch.int32))
    drawn = kernels.draw(kernels.strong(), key, mean=mean, store=(9, 9), size=8)
    shows = kernels.draw_permutation(2, key)
    store = torch.randint(0, 256, (3, 9, 9, 3), dtype=torch.uint8, generator=generator)
    options = [table[None] for table in (drawn.blur, drawn.noise, drawn.key)]
    options += [torch.ones(1, 3, 4, dtype=torch.uint8), drawn.cut[None]]
    required = (store, sample, drawn.where[None], drawn.colour[None], shows[None])
    numbers = (8, [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], torch.float32, 1)
    guess, truth = torch.randn(2, 3, 3, 8, 8, generator=generator)
    holes = kernels.draw_holes(4, key)
    address = tables.address(key)
    return {
        "render_views": (views._render_views, (*required, *options, *numbers)),
        "render_views without options": (views._render_views, (*required, *[None] * 5, *numbers)),
        "draw_tables": (tables.draw_tables, (*address, mean, kernels.strong().numbers(), 20, 30, 16)),
        "draw_permutation": (tables.draw_permutation, (*address, 3)),
        "draw_turns": (tables.draw_turns, (*address, 3)),
        "random_bits": (tables.random_bits, (*address, 5)),
        "draw_hidden_parts": (tables.draw_hidden_parts, (*address, drawn.where, 4, 8, [9, 9], [0.1, 0.2, 0.6, 0.8])),
        "draw_holes": (tables.draw_holes, (*address, 4, [0, 2**20], [1, 3], [2**23, 2**25])),
        "hidden_l1": (hidden._hidden_l1, (guess, truth, holes)),
        "hidden_l1_backward": (hidden._hidden_l1_backward, (torch.ones(()), guess, truth, holes)),
    }


@pytest.mark.parametrize("name", arguments())
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_the_registered_kernel_agrees_with_the_cpu_s(name):
    operator, given = arguments()[name]
    moved = [value.to(DEVICE) if isinstance(value, torch.Tensor) else value for value in given]
    expected, found = operator(*given), operator._backend_fns["cuda"](*moved)
    if isinstance(expected, torch.Tensor):
        expected, found = [expected], [found]
    for rule, ours in zip(expected, found, strict=True):
        assert ours.dtype == rule.dtype
        assert ours.stride() == rule.stride()
        assert torch.allclose(ours.cpu(), rule, rtol=1e-6, atol=1e-4)
