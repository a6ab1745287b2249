"""Writes a recipe, or any part of one, as plain JSON values, reads it back, and tells where two of them differ.

A dataclass is written as its fields beside its `kind`, the name of its class; a tuple as a list; a path as text.
Reading executes no code and imports nothing: a kind is looked up among the classes that are there already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from engine.recipe.definition import Recipe
from engine.recipe.hints import check_fields, fits, readable
from engine.recipe.settings import vocabulary
from engine.recipe.smoke import Relabelled
from engine.tasks.base import Task
from engine.views import View
from loaders.importers import IMPORTERS


def describe(value: Any) -> Any:
    """Writes a recipe, or any part of one, as plain JSON values.

    Raises:
        ValueError: It holds something else than dataclasses, numbers, strings, tuples, paths and mappings of strings.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {f.name: describe(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or (key == "kind" and isinstance(item, str)):
                raise ValueError(f"Recipe: the key {key!r} of {dict(value)} cannot be written down; use another string")
        return {key: describe(item) for key, item in value.items()}
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


def read(described: Any, hint: Any, where: str, *, unknown: str = "import the file that defines it first") -> Any:
    """Reads back the value that `describe` wrote, of the type that `hint` asks for.

    It equals the value written, but that a list comes back as a tuple, and a path as text where text is allowed too. A
    field that was added to a class since has its default.

    Args:
        described: What `describe` gave, or a file of JSON with it.
        hint: The annotation of the place that the value takes.
        where: What is read, which opens the messages.
        unknown: What to do where a class is not known.

    Raises:
        ValueError: A class that is not known, or that two modules define; fields that the class does not have, lacks or
            refuses; a value of another type.
    """
    value = _Reader(where, unknown, _kinds()).value(described, hint)
    if not fits(value, hint):
        raise ValueError(f"{where} (={value!r}) must be of type {readable(hint)}; take another copy of the file")
    if is_dataclass(value) and not isinstance(value, type):
        check_fields(value, where)
    return value


@dataclass(frozen=True, slots=True)
class _Reader:
    where: str
    unknown: str
    kinds: Mapping[str, Mapping[str, type]]
    """Name of a class to the modules that define one of this name, each with its class."""

    def value(self, described: Any, hint: Any) -> Any:
        if isinstance(described, dict):
            if isinstance(described.get("kind"), str):
                return self.made(described)
            return {key: self.value(item, Any) for key, item in described.items()}
        if isinstance(described, list):
            return tuple(self.value(item, Any) for item in described)
        if isinstance(described, str) and not fits(described, hint) and fits(Path(described), hint):
            return Path(described)
        return described

    def made(self, described: Mapping[str, Any]) -> Any:
        """Makes the dataclass that is described."""
        kind: str = described["kind"]
        found = self.kinds.get(kind, {})
        if not found:
            raise ValueError(f"{self.where}: the kind {kind!r} is unknown; {self.unknown}")
        if len(found) > 1:
            raise ValueError(
                f"{self.where}: the kind {kind!r} is defined by {' and by '.join(found)}; import one of them alone"
            )
        (maker,) = found.values()
        hints = get_type_hints(maker)
        try:
            given = {name: self.value(item, hints.get(name, Any)) for name, item in described.items() if name != "kind"}
            return maker(**given)
        except TypeError as error:  # a field too many, or one that is missing
            raise ValueError(
                f"{self.where}: {kind}: {error}; another version wrote it, read it with that version"
            ) from error


def _kinds() -> dict[str, dict[str, type]]:
    """Lists the classes a written value may be of: what recipes import, and tasks and views of files run so far."""
    found: dict[str, dict[str, type]] = {}
    listed: list[object] = [*vocabulary().values(), *IMPORTERS.values(), Recipe, Relabelled]
    listed += [*_subclasses(Task), *_subclasses(View)]
    for kind in listed:
        if isinstance(kind, type) and is_dataclass(kind):
            found.setdefault(kind.__name__, {})[kind.__module__] = kind  # the last one where a file ran twice
    return found


def _subclasses(base: type) -> Iterator[type]:
    kinds: list[type] = base.__subclasses__()
    for kind in kinds:
        yield kind
        yield from _subclasses(kind)


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Tells where two described recipes differ, in lines `field: old -> new`."""
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
