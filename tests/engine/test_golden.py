"""What trainings compute does not change unseen: small runs give the numbers that were recorded, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine import golden


@pytest.mark.slow
def test_runs_give_the_recorded_numbers(tmp_path: Path) -> None:
    here = golden.environment()
    recorded = golden.recorded(here)
    if recorded is None:
        pytest.skip(f"no bits were recorded in this environment: {here}")
    found = golden.train(golden.ROOT, tmp_path, golden.RUNS)
    # Where figures are computed otherwise on purpose, those of a processor that is not at hand are no longer recorded.
    found = {name: {kind: found[name][kind] for kind in kinds} for name, kinds in recorded.items()}
    assert found.keys() == golden.RUNS.keys()
    assert found == recorded, "if the change is meant, record anew: python tests/engine/golden.py --record"


def test_a_resumed_run_was_recorded_equal_to_the_whole_one() -> None:
    for recorded in json.loads(golden.RECORDED.read_text()):
        assert recorded["runs"]["resumed"] == recorded["runs"]["demo"]
        assert recorded["runs"]["resumed"] != recorded["runs"]["supervised"]
