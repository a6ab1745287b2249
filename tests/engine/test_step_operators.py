"""What the host asks for in one training step does not grow unseen: a fast GPU would wait for it."""

from __future__ import annotations

import pytest
import torch

from benchmarks import step_operators
from benchmarks.step_operators import PARTS, RECIPES
from engine.recipe import file as recipe_file


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_no_part_of_a_step_asks_for_more_operators_than_it_did(name: str) -> None:
    """A smaller count is kept by a new table: python -m benchmarks.step_operators --out benchmarks/results."""
    recorded = step_operators.file_of(step_operators.ROOT / "benchmarks" / "results")
    if not recorded.exists():
        pytest.skip(f"no counts were recorded with this torch: {recorded.name}")
    rows = [line.strip("| ").split(" | ") for line in recorded.read_text().splitlines() if line.startswith("| ")]
    limit = {row[0]: dict(zip(PARTS, map(int, row[1:-1]), strict=True)) for row in rows[2:]}
    found = step_operators.operators(recipe_file.read(name).recipe)
    assert {part: seen.total() for part, seen in found.items() if seen.total() > limit[name][part]} == {}, found


def test_operators_are_counted_for_the_part_that_asked() -> None:
    counting = step_operators.Operators()
    with counting:
        zeros = torch.zeros(2)
        counting.of("views", lambda: counting.of("forward", lambda: zeros + 1)().mul(2))()
    assert {part: dict(seen) for part, seen in counting.seen.items()} == {
        "views": {"aten::mul": 1},
        "forward": {"aten::add": 1},
        "backward": {},
        "optimiser": {},
        "rest": {"aten::zeros": 1},
    }
