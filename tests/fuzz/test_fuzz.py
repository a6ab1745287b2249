"""A fixed part of what `make fuzz` tries: every door ends well or in a sentence, whatever comes in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.targets import TARGETS, check
from tests.loaders.conftest import NO_FFCV


@pytest.mark.parametrize("name", TARGETS)
def test_a_door_ends_well_or_in_a_sentence(name: str, request: pytest.FixtureRequest) -> None:
    if name == "beton":
        pytest.importorskip("ffcv", reason=NO_FFCV)
    if name == "video":
        request.getfixturevalue("faces_extra")

    @settings(max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TARGETS[name].cases)
    def tried(case: Any) -> None:
        check(TARGETS[name], case)

    tried()
