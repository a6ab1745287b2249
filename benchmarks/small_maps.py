"""Times convolutions of small maps as one matrix product beside torch's own, on one thread of this CPU.

    python -m benchmarks.small_maps --out benchmarks/results

First the layers of the last stages of networks, forward and backward; then whole training steps of a recipe on drawn
faces. The two ways take turns, and the figure of each is its best of `--rounds`. What they compute is compared first.
"""

from __future__ import annotations

import argparse
import datetime
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.views_table import write
from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.recipe.smoke import Relabelled, smoke
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from engine.training import small_maps
from engine.training.loop import Trainer
from engine.training.small_maps import use_matrix_products
from engine.training.train import open_split
from loaders import Synthetic


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution, and the map it sees."""

    batch: int
    inputs: int
    outputs: int
    size: int
    kernel: int = 3
    stride: int = 1

    def __str__(self) -> str:
        side = (self.size + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1
        kernel = f"{self.kernel} x {self.kernel}, {self.inputs} to {self.outputs}"
        return f"{kernel}, {self.size} x {self.size} to {side} x {side}, {self.batch} faces"


LAYERS = (
    Layer(64, 512, 512, 2),
    Layer(64, 256, 512, 3, stride=2),
    Layer(64, 256, 512, 2, kernel=1),
    Layer(64, 256, 256, 3),
    Layer(64, 128, 256, 6, stride=2),
    Layer(64, 512, 512, 4),
    Layer(64, 128, 128, 6),
    Layer(64, 512, 512, 7),
)
"""Of ResNet-10-t and ResNet-18 at 48, 112 and 224 px; the last two are too large to count as small."""
RECIPES = ("fer2013_supervised", "fer2013_hmtl")


def best(ways: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Times ways in turn; gives the least seconds of each."""
    least = [math.inf] * len(ways)
    for number, way in zip(range(rounds * len(ways)), cycle(range(len(ways))), strict=False):
        start = time.perf_counter()
        ways[way]()
        least[way] = min(least[way], time.perf_counter() - start if number >= len(ways) else math.inf)
    return least


def layer_row(layer: Layer, dtype: torch.dtype, rounds: int) -> list[str]:
    """Times one layer, after it was seen to compute the same both ways.

    Raises:
        AssertionError: It does not.
    """
    torch.manual_seed(0)
    convolution = nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.kernel // 2, bias=False)
    products = nn.Sequential(
        nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.kernel // 2, bias=False)
    )
    products[0].load_state_dict(convolution.state_dict())
    use_matrix_products(products)
    both = [each.to(dtype=dtype, memory_format=torch.channels_last) for each in (convolution, products)]
    x = torch.randn(layer.batch, layer.inputs, layer.size, layer.size, dtype=dtype)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn_like(convolution(x))

    def step(network: nn.Module) -> list[Tensor]:
        [weight], x.grad = network.parameters(), None
        weight.grad = None
        y = network(x)
        y.backward(gradient)
        assert x.grad is not None
        assert weight.grad is not None
        return [y, x.grad, weight.grad]

    with mock.patch.multiple(small_maps, SMALL=10**9, SMALL_WITH_TILES=10**9):  # sizes beyond the limit are shown too
        for one, other in zip(*map(step, both), strict=True):
            apart = (one - other).abs().max() / one.abs().max()
            assert apart < (1e-4 if dtype == torch.float32 else 0.03), f"{layer}: {apart}"
        theirs, ours = best([lambda each=each: step(each) for each in both], rounds)  # type: ignore[misc]
    return [str(layer), str(dtype)[6:], f"{1e3 * theirs:.2f}", f"{1e3 * ours:.2f}", f"{theirs / ours:.2f}"]


def step_row(name: str, recipe: Recipe, precision: str, rounds: int) -> list[str]:
    """Times training steps of one recipe: one trainer has the products, the other has not."""
    data = Relabelled(Synthetic(train=recipe.batch_size, val=16, test=16, size=48), smoke(recipe).data.labels)
    recipe = replace(recipe, data=data, precision=precision, compile=False, accumulate=1, init=None)
    loaders = [open_split(recipe, split, torch.device("cpu")) for split in ("train", "val")]
    with mock.patch("engine.training.loop.use_matrix_products"):
        plain = Trainer(recipe, *loaders, torch.device("cpu"))
    products = Trainer(recipe, *loaders, torch.device("cpu"))
    batch = next(iter(loaders[0].epoch(0)))
    theirs, ours = best([lambda: plain.step([batch]), lambda: products.step([batch])], rounds)
    return [name, precision, f"{1e3 * theirs:.0f}", f"{1e3 * ours:.0f}", f"{theirs / ours:.2f}"]


def report(layers: Sequence[Layer], recipes: Sequence[str], rounds: int) -> Iterator[str]:
    """Writes the tables, with where and when they were made."""
    facts = describe_environment(torch.device("cpu"))
    yield "# Convolutions of small maps by one matrix product, on a CPU"
    yield (
        f"{facts['cpu']}, one thread, torch {facts['torch']}, commit {facts['commit'] or 'unknown'}, "
        f"{datetime.date.today()}. Milliseconds, the best of {rounds} rounds in which the two take turns; "
        f"both compute the same. Trainings take the product for maps of up to {small_maps.SMALL} pixels, "
        f"in bf16 with matrix tiles (AMX) up to {small_maps.SMALL_WITH_TILES}."
    )
    heads = ["precision", "torch's convolution", "matrix product", "ratio"]
    dtypes = (torch.bfloat16, torch.float32)
    rows = [layer_row(layer, dtype, rounds) for dtype in dtypes for layer in layers]
    yield Table(["layer, forward and backward", *heads], rows, left=2).markdown()
    rows = [
        step_row(name, recipe_file.read(name).recipe, precision, rounds)
        for name in recipes
        for precision in ("bf16", "fp32")
    ]
    yield Table(["step of", "precision", "without", "with", "ratio"], rows, left=2).markdown()
    yield f"```sh\npython -m benchmarks.small_maps --rounds {rounds} --out benchmarks/results\n```"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path, help="folder of the page that keeps the tables")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    text = "\n\n".join(report(LAYERS, RECIPES, options.rounds))
    print(text)
    if options.out:
        write(options.out / f"{datetime.date.today()}-small-maps-cpu.md", text + "\n")


if __name__ == "__main__":
    main()
