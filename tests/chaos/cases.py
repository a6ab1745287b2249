"""What the tests of the suite share: how much of it runs, and how a case is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.chaos.server import Ending

T = TypeVar("T")

SEED = int(os.environ.get("HMTL_CHAOS_SEED", "15"))
"""Of all moments; `make chaos` with another one tries others."""
WHOLE = "HMTL_CHAOS" in os.environ
"""Whether the whole suite runs, as `make chaos` asks; else a short form of it."""


def some(cases: Sequence[T], *places: int) -> list[T]:
    """Gives all cases to the whole suite and those at some places to the short form."""
    return list(cases) if WHOLE else [cases[place] for place in places]


def tell(record: Callable[[str, object], None], name: str, *endings: Ending) -> None:
    """Keeps one row of the table at the end: what each run was about to do last, and its status."""
    row = "; ".join(f"{ending.moments[-1] if ending.moments else 'start'} -> {ending.status}" for ending in endings)
    print(f"{name}: {row}")
    record("chaos", f"{name}: {row}")
