"""Writes a recipe, or any part of one, as plain JSON values, reads it back, and tells where two of them differ.

A dataclass is written as its fields beside its `kind`, the name of its class; a tuple as a list; a path as text.
Reading executes no code and imports nothing: a kind is looked up among the classes that are there already.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import FunctionType
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
        ValueError: It holds something else than dataclasses, finite numbers, strings, tuples, paths and mappings of
            strings.
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
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(
        f"Recipe: {value!r} of type {type(value).__name__} cannot be written down; "
        "use dataclasses, finite numbers, strings, tuples and mappings"
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


_ABSENT = object()
"""Stands for what one of two recipes does not have."""


def assignments(recipe: Mapping[str, Any]) -> list[str]:
    """Writes a described recipe as lines `field=value`, as `--set` takes them, but for fields at their defaults."""
    writer = _Writer.of_what_is_known()
    default = writer.defaults(str(recipe["kind"]))
    lines = []
    for field, value in recipe.items():
        if field != "kind" and (field not in default or default[field] != value):
            parts = _by_name(value)
            lines += (
                [f"{field}={writer.text(value)}"]
                if parts is None
                else [f"{field}.{name}={writer.text(part)}" for name, part in parts.items()]
            )
    return lines


def differences(old: Any, new: Any) -> list[str]:
    """Tells where two described recipes differ, in lines `field: old -> new`; – stands for what one does not have.

    Values are written as `--set` takes them. A field that one of them lacks, which was added since, has its default.
    """
    writer = _Writer.of_what_is_known()
    return [f"{where}: {writer.text(one)} -> {writer.text(other)}" for where, one, other in writer.pairs(old, new, "")]


def _by_name(value: Any) -> dict[str, Any] | None:
    """Maps name to part of a mapping, and of a list whose parts have names, as tasks do; None of any other value."""
    if isinstance(value, dict):
        return None if "kind" in value else value
    if isinstance(value, list) and value and all(isinstance(part, dict) and "name" in part for part in value):
        return {part["name"]: part for part in value}
    return None


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes described values as Python would make them."""

    kinds: Mapping[str, Mapping[str, type]]
    words: Mapping[str, str]
    """A described value, as JSON, to the word that recipes have for it, such as FER2013_7 or weak()."""

    @classmethod
    def of_what_is_known(cls) -> _Writer:
        known = vocabulary().items()
        words = {json.dumps(describe(thing)): word for word, thing in known if isinstance(thing, tuple)}
        words |= {json.dumps(describe(f())): f"{word}()" for word, f in known if isinstance(f, FunctionType)}
        return cls(_kinds(), words)

    def defaults(self, kind: str) -> dict[str, Any]:
        """Describes the default of each field of a kind that has one; none of a kind that is not known."""
        found: dict[str, Any] = {}
        for maker in self.kinds.get(kind, {}).values():
            for field in fields(maker) if is_dataclass(maker) else ():
                if field.default is not MISSING:
                    found[field.name] = describe(field.default)
                elif field.default_factory is not MISSING:
                    found[field.name] = describe(field.default_factory())
        return found

    def text(self, value: Any) -> str:
        """Writes a described value, a call without the fields that are at their defaults."""
        if isinstance(value, dict | list) and (word := self.words.get(json.dumps(value))):
            return word
        if isinstance(value, dict) and "kind" in value:
            default = self.defaults(value["kind"])
            given = {name: item for name, item in value.items() if name not in default or default[name] != item}
            kind = given.pop("kind")
            return f"{kind}({', '.join(f'{name}={self.text(item)}' for name, item in given.items())})"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{name!r}: {self.text(item)}' for name, item in value.items())}}}"
        if isinstance(value, list):
            return f"({', '.join(map(self.text, value))}{',' if len(value) == 1 else ''})"
        return "–" if value is _ABSENT else repr(value)

    def pairs(self, old: Any, new: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
        """Lists the places where two described values differ, each with both values there."""
        if old == new:
            return
        one, other = _by_name(old), _by_name(new)
        default: dict[str, Any] = {}
        if isinstance(old, dict) and isinstance(new, dict) and "kind" in old and old["kind"] == new.get("kind"):
            one, other, default = old, new, self.defaults(old["kind"])
        if one is None or other is None or (isinstance(old, list) and _order(one, other) != _order(other, one)):
            yield where, old, new
            return
        for name in dict.fromkeys((*one, *other)):
            absent = default.get(name, _ABSENT)
            inside = f"{where}.{name}" if where else name
            yield from self.pairs(one.get(name, absent), other.get(name, absent), inside)


def _order(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Lists the names of one that the other has too, in its order: of tasks the first one chooses the epoch."""
    return [name for name in one if name in other]
