"""Whether a value is what an annotation asks for: recipes are checked by the types of their own fields."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type an annotation asks for."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(fits(item, args[0]) for item in value)
        return len(value) == len(args) and all(fits(item, arg) for item, arg in zip(value, args, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(k, args[0]) and fits(v, args[1]) for k, v in value.items())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is None:
        return value is None
    return isinstance(value, hint) and not isinstance(value, type)


def readable(hint: Any) -> str:
    """An annotation in words."""
    if get_origin(hint) is Literal:
        return " or ".join(repr(arg) for arg in get_args(hint))
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("typing.", "").replace("pathlib.", "")


def check_fields(value: Any, where: str, *, leave: tuple[str, ...] = ()) -> None:
    """Refuses a dataclass of which a field is not of its type; a mistyped choice would train something else in silence.

    Raises:
        ValueError: Names the field, its value and its type.
    """
    hints = get_type_hints(type(value))
    for field in fields(value):
        found = getattr(value, field.name)
        if field.name not in leave and not fits(found, hints[field.name]):
            hint = readable(hints[field.name])
            raise ValueError(f"{where}: {field.name} (={found!r}) must be of type {hint}; give a value like that")
