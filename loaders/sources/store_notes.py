"""Reads what prepared stores say of themselves, for the report of what was trained on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from loaders.store.check_report import found_in_two_splits
from loaders.store.opening import SOURCE
from loaders.targets import with_home


def store_notes(source: object) -> list[dict[str, Any]]:
    """Lists each prepared store that a source reads, as JSON values.

    Returns:
        Of each store `path` as the source names it, its `notes`, what was `skipped` (reason to number), and
        `in_two_splits`, the different pictures that `hmtl prepare --check` found in both of two splits; None where the
        store was not checked as it is.
    """
    found = []
    for path in dict.fromkeys(_stores(source)):
        said = json.loads((with_home(path) / SOURCE).read_text(encoding="utf-8"))
        found.append(
            {
                "path": str(path),
                "notes": said.get("notes", []),
                "skipped": said.get("skipped", {}).get("reasons", {}),
                "in_two_splits": found_in_two_splits(with_home(path), said),
            }
        )
    return found


def _stores(source: object) -> Iterator[Path]:
    """Finds the folders of prepared stores in the fields of a source and of those it wraps or joins."""
    if is_dataclass(source) and not isinstance(source, type):
        path = getattr(source, "path", None)
        if isinstance(path, str | Path) and (with_home(path) / SOURCE).is_file():
            yield Path(path)
        for field in fields(source):
            yield from _stores(getattr(source, field.name))
    elif isinstance(source, Mapping):
        for item in source.values():
            yield from _stores(item)
    elif isinstance(source, list | tuple):
        for item in source:
            yield from _stores(item)
