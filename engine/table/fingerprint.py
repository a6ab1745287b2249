"""Identifies a run by its recipe as resolved; what it is trained on is known by `loaders.identity`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from engine.recipe import Recipe
from engine.recipe.written import describe
from engine.weights import WEIGHT_FILES
from loaders.targets import with_home

# Fields of this name hold a file or folder even where they are plain strings.
_FILE_FIELDS = ("path", "source", "weights", "checkpoint", "init")


def fingerprint(value: Any) -> str:
    """Hashes a value of JSON: 16 hexadecimal digits, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def described_without_data(recipe: Recipe, names: Mapping[str, str]) -> dict[str, Any]:
    """Writes a recipe as JSON without its data; strings that `names` has (paths of checkpoints) go by that name."""
    described = {key: value for key, value in describe(recipe).items() if key != "data"}
    renamed: dict[str, Any] = _renamed(described, names)
    return renamed


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def is_recipe(old: Any, new: Any, names: Mapping[str, str]) -> bool:
    """Tells whether a description is of this recipe (or part of one).

    A field that was added to a dataclass since may be absent from the description where the recipe leaves it at its
    default, for that is what the run had; a changed default does not match, for the description says the old one.
    """
    if is_dataclass(new) and not isinstance(new, type):
        if not isinstance(old, dict) or old.get("kind") != type(new).__name__:
            return False
        known = {field.name: field for field in fields(new)}
        return old.keys() <= known.keys() | {"kind"} and all(
            is_recipe(old[name], getattr(new, name), names) if name in old else _is_default(field, getattr(new, name))
            for name, field in known.items()
        )
    if isinstance(new, Mapping):
        keys = {str(key): item for key, item in new.items()}
        return (
            isinstance(old, dict)
            and old.keys() == keys.keys()
            and all(is_recipe(old[key], item, names) for key, item in keys.items())
        )
    if isinstance(new, list | tuple):
        return (
            isinstance(old, list)
            and len(old) == len(new)
            and all(is_recipe(a, b, names) for a, b in zip(old, new, strict=True))
        )
    return bool(old == _renamed(describe(new), names))


def _is_default(field: Field[Any], value: Any) -> bool:
    if field.default is not MISSING:
        return bool(value == field.default)
    return field.default_factory is not MISSING and bool(value == field.default_factory())


def missing_file(recipe: Recipe, made: frozenset[str] = frozenset()) -> str | None:
    """Says why a recipe cannot be run here: data or weights that are not there; None if all is.

    Args:
        made: Paths that another run of the table makes.
    """
    for where, file in _files(recipe, ""):
        if str(file) in made or with_home(file).exists():
            continue
        if where.startswith("data"):
            return f"no data: {file} is not there"
        return f"no weights: {file} ({where}) is not there"
    return None


def _files(value: Any, where: str) -> Iterator[tuple[str, str | Path]]:
    """Lists every file or folder that a recipe names, with the field that names it."""
    name = where.rpartition(".")[2]
    if isinstance(value, Path) or (
        isinstance(value, str) and (name in _FILE_FIELDS or value.endswith(WEIGHT_FILES)) and value
    ):
        yield where, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _files(getattr(value, field.name), f"{where}.{field.name}" if where else field.name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _files(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _files(item, f"{where}.{index}")
