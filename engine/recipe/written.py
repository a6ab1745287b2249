"""Writes a recipe, or any part of one, as plain JSON values, and tells where two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def describe(value: Any) -> Any:
    """A recipe, or any part of one, as plain JSON values; a dataclass becomes its fields and its `kind`."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {f.name: describe(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"Recipe: {value!r} of type {type(value).__name__} cannot be written down; "
        "use dataclasses, numbers, strings, tuples and mappings"
    )


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Where two described recipes differ: lines `field: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict) and old.get("kind") == new.get("kind"):
        return [
            line
            for key in [*old, *(key for key in new if key not in old)]
            for line in differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{where}.{i}")]
    return [] if old == new else [f"{where}: {old} -> {new}"]
