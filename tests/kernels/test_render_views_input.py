"""Bad input of `render_views` is refused before work starts, with what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kernels import identity_cells, render_views
from kernels.views import reference


def good():
    return {
        "store": torch.zeros(4, 6, 6, 3, dtype=torch.uint8),
        "row": torch.tensor([0, 3]),
        "where": torch.eye(2, 3).repeat(1, 2, 1, 1),
        "colour": torch.eye(3, 4).repeat(1, 2, 1, 1),
        "shows": identity_cells(2, 2, "cpu")[None].clone(),
        "size": 6,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
    }


def test_the_good_arguments_are_good():
    assert render_views(**good()).shape == (1, 2, 3, 6, 6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"store": torch.zeros(4, 6, 6, 3)},
            r"store \(=torch.float32 of shape \(4, 6, 6, 3\)\) must be uint8",
        ),
        ({"store": torch.zeros(4, 6, 6, 2, dtype=torch.uint8)}, r"store .* must be uint8 of shape \(s, h, w, 3\)"),
        ({"store": torch.zeros(0, 6, 6, 3, dtype=torch.uint8)}, r"store .* none of them 0;"),
        ({"store": torch.zeros(4, 3, 6, 6, dtype=torch.uint8).permute(0, 2, 3, 1)}, r"store must be contiguous;"),
        ({"store": np.zeros((4, 6, 6, 3), np.uint8)}, r"store \(a ndarray\) must be a tensor; torch.from_numpy makes"),
        (
            {"shows": torch.zeros(1, 0, 4, dtype=torch.int16)},
            r".*\(1, 0, 4\)\) must hold a view, a sample and a cell; skip",
        ),
        ({"shows": torch.zeros(2, 4, dtype=torch.int16)}, r"shows \(of shape \(2, 4\)\) must have axes v, b, n;"),
        ({"shows": torch.zeros(1, 2, 4)}, r"shows \(=torch.float32 of shape \(1, 2, 4\)\) must be torch.int16"),
        ({"shows": torch.zeros(1, 2, 5, dtype=torch.int16)}, r"cells in `shows` \(=5\) must be a square number;"),
        ({"shows": torch.zeros(1, 2, 49, dtype=torch.int16)}, r"size \(=6\) must be at least the grid \(=7\);"),
        ({"row": torch.zeros(2, dtype=torch.int32)}, r"row \(=torch.int32 of shape \(2,\)\) must be torch.int64"),
        ({"row": torch.zeros(3, dtype=torch.int64)}, r"row .* of shape \(2,\); views and batch are those of `shows`"),
        ({"where": torch.eye(2, 3).repeat(2, 2, 1, 1)}, r"where .* must be torch.float32 of shape \(1, 2, 2, 3\);"),
        ({"colour": torch.eye(3, 4).double().repeat(1, 2, 1, 1)}, r"colour \(=torch.float64 .* must be torch.float32"),
        ({"blur": torch.zeros(2)}, r"blur .* of shape \(1, 2\);"),
        ({"noise": torch.zeros(1, 2), "key": torch.zeros(1, 2)}, r"key .* must be torch.int64 of shape \(1, 2\);"),
        ({"noise": torch.zeros(1, 2)}, r"noise needs `key`;"),
        ({"turn": torch.zeros(1, 2, 9, dtype=torch.uint8)}, r"turn .* must be torch.uint8 of shape \(1, 2, 4\);"),
        ({"cut": torch.zeros(1, 2, 4)}, r"cut .* must be torch.int16 of shape \(1, 2, 4\);"),
        (
            {"row": torch.zeros(2, dtype=torch.int64, device="meta")},
            r"row \(on meta\) must be where the store is",
        ),
        ({"size": 40_000}, r"size \(=40000\) must be below 32768;"),
        ({"mean": (0.5, 0.5)}, r"mean \(=\(0.5, 0.5\)\) must be three finite numbers;"),
        ({"std": (0.5, 0.5, float("nan"))}, r"std .* must be three finite numbers;"),
        ({"std": (0.5, 0.0, 0.5)}, r"std \(=\(0.5, 0.0, 0.5\)\) must be above 0;"),
        ({"dtype": torch.float64}, r"dtype \(=torch.float64\) must be float32, float16 or bfloat16;"),
        ({"supersample": 3}, r"supersample \(=3\) must be 1 or 2;"),
        ({"row": torch.tensor([0, 4])}, r"row \(=0..4\) must be in 0..3; the store has 4 faces"),
        ({"row": torch.tensor([-1, 2])}, r"row \(=-1..2\) must be in 0..3;"),
        ({"shows": torch.full((1, 2, 4), 4, dtype=torch.int16)}, r"shows \(=4..4\) must be in -1..3;"),
        ({"shows": torch.full((1, 2, 4), -2, dtype=torch.int16)}, r"shows \(=-2..-2\) must be in -1..3;"),
        ({"where": torch.full((1, 2, 2, 3), float("nan"))}, r"where must be finite;"),
        ({"turn": torch.full((1, 2, 4), 4, dtype=torch.uint8)}, r"turn \(=4\) must be in 0..3;"),
    ],
)
def test_bad_input_is_refused(changed, message):
    with pytest.raises(ValueError, match=f"render_views: {message}"):
        render_views(**(good() | changed))


def test_the_rule_itself_clamps_what_a_device_cannot_report():
    """On a device values are not checked; the reference, which runs there, stays inside the store."""
    arguments = good() | {"dtype": torch.float32}
    arguments["store"] = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 6, 6, 1).contiguous()
    arguments |= {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
    arguments["row"] = torch.tensor([-7, 2**40])
    arguments["where"][0, 0, 0, 2] = float("nan")
    arguments["where"][0, 1, 1, 0] = float("inf")
    arguments["shows"][0, 0] = torch.tensor([99, -9, 0, 1])
    arguments["turn"] = torch.full((1, 2, 4), 7, dtype=torch.uint8)
    shown = reference.render_views(**arguments)[0]
    assert torch.allclose(shown[0], torch.zeros(()))
    assert torch.allclose(shown[1], torch.tensor(3.0))
