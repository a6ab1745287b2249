"""The page of a run that is watched stands whatever befalls the training, and is the run's in the end."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.reports.watching import served
from tests.chaos.cases import SEED, some, tell
from tests.chaos.server import Server
from tests.chaos.test_training import TRAIN, Reference, reference, write_recipe
from tests.engine.test_resume import contents
from tests.engine.test_watching import ask

__all__ = ["reference"]  # a fixture
pytestmark = pytest.mark.slow

CASES = 6


@pytest.mark.parametrize("case", some(range(CASES), 3))
def test_a_watched_training_that_is_killed_keeps_its_page(
    case: int,
    server: Server,
    reference: Reference,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    draw = random.Random(f"{SEED} watching {case}")
    begun = next(i for i, moment in enumerate(reference.moments) if moment.startswith("rename .run.partial")) + 1
    at = begun + int((case + draw.random()) / CASES * (len(reference.moments) - begun))
    write_recipe(tmp_path)
    killed = server.run(TRAIN, tmp_path, at, "kill")
    assert killed.status == -signal.SIGKILL, killed.output
    run = tmp_path / "run"
    with served(run) as address:
        status, first, _ = ask(address)
        assert status == 200
        again = server.run(TRAIN, tmp_path, draw.randrange(len(reference.moments)), "kill")
        tell(record_property, f"watching {case} seed {SEED} moment {at:3} kill", killed, again)
        assert ask(address)[0] == 200
        last = server.run(TRAIN, tmp_path)
        assert last.status == 0, last.output
        assert contents(run) == reference.contents  # watching has not touched it
        status, page, _ = ask(address)
        assert status == 200
        assert page != first
    assert contents(run) == reference.contents
