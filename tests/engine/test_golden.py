"""What trainings compute does not change unseen: small runs give the numbers that were recorded, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine import golden


@pytest.mark.slow
def test_runs_give_the_recorded_numbers(tmp_path: Path) -> None:
    recorded = json.loads(golden.RECORDED.read_text())
    here = golden.environment()
    if here != recorded["environment"]:
        pytest.skip(f"bits were recorded with {recorded['environment']}, this is {here}")
    found = golden.train(golden.ROOT, tmp_path, golden.RUNS)
    assert found == recorded["runs"], "if the change is meant, record anew: python tests/engine/golden.py --record"


def test_a_resumed_run_was_recorded_equal_to_the_whole_one() -> None:
    recorded = json.loads(golden.RECORDED.read_text())["runs"]
    assert recorded["resumed"] == recorded["demo"]
    assert recorded["resumed"] != recorded["supervised"]
