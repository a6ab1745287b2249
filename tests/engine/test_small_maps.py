"""Convolutions of small maps by a matrix product are convolutions: values, gradients, weights, cost and inference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from timm import create_model
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import small_maps as benchmark
from engine.recipe import file as recipe_file
from engine.training import small_maps
from engine.training.small_maps import SMALL, SmallMapConv2d, use_matrix_products

CASES: list[tuple[tuple[int, int], dict[str, Any]]] = [
    ((2, 2), {"kernel_size": 3, "padding": 1}),
    ((3, 3), {"kernel_size": 3, "padding": 1, "stride": 2}),
    ((4, 3), {"kernel_size": 3, "padding": 1, "stride": 2}),  # a last row that no window reaches
    ((2, 2), {"kernel_size": 1}),
    ((3, 4), {"kernel_size": 1, "stride": 2}),
    ((1, 1), {"kernel_size": 3, "padding": 1}),
    ((2, 5), {"kernel_size": (1, 3), "padding": (0, 1), "stride": (1, 3)}),
    ((5, 5), {"kernel_size": 5, "padding": 2, "stride": 4, "bias": False}),
    ((4, 4), {"kernel_size": 4, "stride": 4}),
]


def pair(**options: Any) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A convolution, and the same one by products."""
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 7, **options)
    products = copy.deepcopy(plain)
    use_matrix_products(products)
    assert isinstance(products, SmallMapConv2d)
    return plain, products


def gradients(convolution: nn.Conv2d, x: Tensor) -> list[Tensor]:
    """What it gives, and the gradients of its input and weights."""
    x = x.clone().requires_grad_()
    y = convolution(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in convolution.parameters() if p.grad is not None)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("size", "options"), CASES)
def test_values_and_gradients_are_those_of_the_convolution(
    size: tuple[int, int], options: dict[str, Any], layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, products = (each.to(memory_format=layout) for each in pair(**options))  # type: ignore[call-overload]
    x = torch.randn(3, 5, *size).to(memory_format=layout)
    calls = counted(monkeypatch)
    for expected, found in zip(gradients(plain, x), gradients(products, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert calls == [1]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the convolutions that are a product."""
    calls, apply = [0], small_maps._Product.apply

    def called(*arguments: Any) -> Any:
        calls[0] += 1
        return apply(*arguments)

    monkeypatch.setattr(small_maps._Product, "apply", called)
    return calls


@pytest.mark.parametrize(
    ("size", "products"),
    [((2, 2), True), ((3, 3), torch.cpu.get_capabilities().get("amx_bf16", False)), ((5, 5), False)],
)
def test_in_bf16_too_and_there_up_to_a_size_that_the_processor_decides(
    size: tuple[int, int], products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, calls = pair(kernel_size=3, padding=1), counted(monkeypatch)
    x = torch.randn(3, 5, *size)
    with torch.autocast("cpu", torch.bfloat16):
        results = [gradients(convolution, x) for convolution in both]
    for expected, found in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found.float(), expected.float(), rtol=0.03, atol=0.03)
    assert calls == [int(products)]


@pytest.mark.parametrize("case", ["large", "no gradients", "no batch", "compiled"])
def test_what_is_no_small_map_of_a_training_is_convolved(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (plain, products), calls = pair(kernel_size=3, padding=1), counted(monkeypatch)
    x = torch.randn(2, 5, *((3, 3) if case == "large" else (2, 2)))
    x = x[0] if case == "no batch" else x
    if case == "compiled":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with torch.set_grad_enabled(case != "no gradients"):
        assert torch.equal(plain(x), products(x))
    assert calls == [0]
    assert SMALL < 9


@pytest.mark.parametrize("options", [{"groups": 5}, {"dilation": 2}, {"padding_mode": "reflect"}, {"padding": "same"}])
def test_other_convolutions_stay_what_they_are(options: dict[str, Any]) -> None:
    network = nn.Sequential(nn.Conv2d(5, 5, **{"kernel_size": 3, "padding": 1} | options), nn.ConvTranspose2d(5, 5, 2))
    use_matrix_products(network)
    assert [type(module) for module in network] == [nn.Conv2d, nn.ConvTranspose2d]


def test_a_network_keeps_its_weights_its_cost_and_almost_its_gradients() -> None:
    torch.manual_seed(0)
    plain = create_model("test_resnet", num_classes=7)
    products = copy.deepcopy(plain)
    use_matrix_products(products)
    assert any(isinstance(module, SmallMapConv2d) for module in products.modules())
    assert [name for name, _ in products.state_dict().items()] == [name for name, _ in plain.state_dict().items()]
    products.load_state_dict(copy.deepcopy(products).state_dict())
    x, flops = torch.randn(4, 3, 32, 32), []
    for network in (plain, products):
        with FlopCounterMode(display=False) as counter:
            network(x).square().mean().backward()
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1]
    for (name, one), other in zip(plain.named_parameters(), products.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_benchmark_compares_before_it_times_and_shows_both_ways() -> None:
    lines = "\n".join(benchmark.report([benchmark.Layer(2, 4, 4, 2)], [], rounds=2))
    assert "3 x 3, 4 to 4, 2 x 2 to 2 x 2, 2 faces" in lines
    row = benchmark.step_row("pose", recipe_file.read("pointing04_hmtl").recipe, "fp32", rounds=1)
    assert row[:2] == ["pose", "fp32"]
