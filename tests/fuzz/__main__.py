"""Fuzzes every door in batches, each chosen by its number, and goes on where it was stopped: `make fuzz`."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, Phase, given, seed, settings

from loaders.files import write_json
from tests.fuzz.targets import TARGETS, check

BATCH = 250
BYTES = 8 << 30
"""How much memory the process may ask for: a case that wants more is a find. Torch alone asks for some 3 GiB."""


def main(
    cases: Annotated[int, typer.Option(help="Cases over all doors.")] = 100_000,
    file: Annotated[Path, typer.Option(help="Keeps what was done.")] = Path("build/fuzz.json"),
    only: Annotated[str, typer.Option(help="One door.")] = "",
) -> None:
    """Tries CASES over all doors, prints each find with its batch, and ends with 1 where there are any."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    names = [only] if only else list(TARGETS)
    done: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for number in range(-(-cases // (BATCH * len(names)))):
        for name in names:
            if f"{name} {number}" in done:
                continue
            start = time.perf_counter()
            found = _find(name, number)
            done[f"{name} {number}"] = found
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, done)
            print(f"{name} {number}: {BATCH} cases, {time.perf_counter() - start:.1f} s", found or "", flush=True)
    for name in names:
        batches = {key: value for key, value in done.items() if key.rpartition(" ")[0] == name}
        print(f"{name}: {len(batches) * BATCH:,} cases, {sum(map(bool, batches.values()))} batches with a find")
    sys.exit(any(done.values()))


def _find(name: str, number: int) -> str:
    """Tries one batch; returns the smallest case that ends wrongly, and how."""

    @seed(number)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(TARGETS[name].cases)
    def tried(case: Any) -> None:
        last[0] = case
        check(TARGETS[name], case)

    last: list[Any] = [None]
    try:
        tried()
    except Exception as error:
        return f"{type(error).__name__}: {error}; {last[0]!r}"
    return ""


if __name__ == "__main__":
    typer.run(main)
