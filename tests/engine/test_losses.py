"""How losses are joined over views and tasks."""

from __future__ import annotations

import math

import pytest
import torch

from engine.losses import Geometric, Total, Uncertainty, WeightedGeometric, WeightedSum, geometric_mean, join_views

A, B = torch.tensor(2.0), torch.tensor(8.0)


def test_geometric_mean_of_equal_losses_is_that_loss() -> None:
    assert geometric_mean([torch.tensor(1.7)] * 5).item() == pytest.approx(1.7, rel=1e-6)


def test_geometric_mean_is_the_root_of_the_product_and_is_computed_in_fp32() -> None:
    mean = geometric_mean([A.half(), B.half()])
    assert mean.dtype == torch.float32
    assert mean.item() == pytest.approx(4.0, rel=1e-6)


def test_a_loss_of_zero_neither_makes_the_geometric_mean_zero_nor_its_gradient_infinite() -> None:
    zero = torch.zeros((), requires_grad=True)
    mean = geometric_mean([zero, torch.tensor(1.0)])
    mean.backward()
    assert mean.item() == pytest.approx(1e-3, rel=1e-5)
    assert zero.grad is not None
    assert torch.isfinite(zero.grad)


@pytest.mark.parametrize(("join", "expected"), [("sum", 10.0), ("mean", 5.0), ("geometric", 4.0), ("focused", 8.0)])
def test_join_over_views(join: str, expected: float) -> None:
    assert join_views([A, B], join).item() == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (WeightedSum(), 1 * 2 + 3 * 8 + 0.5 * 4),
        (Geometric(), math.sqrt((1 * 2) * (3 * 8)) + 0.5 * 4),
        (WeightedGeometric(), (2**1 * 8**3 * 4**0.5) ** (1 / 4.5)),
        (WeightedGeometric(focused=True), (2**1 * 8**3 * 4**0.5) ** (1.5 / 4.5)),
        (Uncertainty(), 1 * 2 + 3 * 8 + 0.5 * 4),  # at its start, s = 0
    ],
)
def test_total_of_two_supervised_tasks_and_a_pretext_one(total: Total, expected: float) -> None:
    built = total.build(["a", "b", "pretext"], frozenset({"a", "b"}))
    weights = {"a": 1.0, "b": 3.0, "pretext": 0.5}
    assert built({"a": A, "b": B, "pretext": torch.tensor(4.0)}, weights).item() == pytest.approx(expected, rel=1e-6)


def test_geometric_total_without_a_supervised_task_is_the_weighted_sum() -> None:
    built = Geometric().build(["pretext"], frozenset())
    assert built({"pretext": torch.tensor(4.0)}, {"pretext": 0.5}).item() == 2.0


def test_the_weighted_geometric_total_of_two_equal_weights_is_the_authors() -> None:
    losses = {"tiles": torch.tensor(2.0, requires_grad=True), "expression": torch.tensor(8.0, requires_grad=True)}
    built = WeightedGeometric().build(losses, frozenset({"expression"}))
    total = built(losses, {"tiles": 0.3, "expression": 0.3})
    assert total.item() == pytest.approx(math.sqrt(2 * 8), rel=1e-6)
    total.backward()
    gradients = [loss.grad.item() for loss in losses.values() if loss.grad is not None]
    assert gradients == pytest.approx([0.5 * math.sqrt(8 / 2), 0.5 * math.sqrt(2 / 8)], rel=1e-6)


def test_the_weighted_geometric_total_hands_over_to_what_is_left_without_a_jump() -> None:
    built = WeightedGeometric().build(["expression", "puzzle"], frozenset({"expression"}))
    nearly = built({"expression": A, "puzzle": B}, {"expression": 1.0, "puzzle": 1e-6})
    alone = built({"expression": A}, {"expression": 0.7, "puzzle": 0.0})
    assert nearly.item() == pytest.approx(alone.item(), rel=1e-5)
    assert alone.item() == pytest.approx(2.0, rel=1e-6)


def test_uncertainty_weighs_a_loss_down_the_greater_it_is() -> None:
    built = Uncertainty().build(["small", "great"], frozenset({"small"}))
    optimiser = torch.optim.SGD(built.parameters(), lr=0.05)
    for _ in range(500):
        optimiser.zero_grad()
        losses = {"small": torch.tensor(0.5), "great": torch.tensor(5.0)}
        built(losses, {"small": 1.0, "great": 1.0}).backward()
        optimiser.step()
    found = {name: value.item() for name, value in built.log_variance.items()}  # type: ignore[operator, union-attr]
    # d/ds (exp(-s) L + s/2) = 0 at s = ln(2 L).
    assert found == pytest.approx({"small": math.log(2 * 0.5), "great": math.log(2 * 5.0)}, abs=1e-2)
