"""Checks recipes by the types of their fields: whether a value is what an annotation asks for."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fits(value: Any, hint: Any) -> bool:
    """Says whether a value is of the type an annotation asks for."""
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
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is None:
        return value is None
    return isinstance(value, hint) and not isinstance(value, type)


def readable(hint: Any) -> str:
    """Puts an annotation into words."""
    if get_origin(hint) is Literal:
        return " or ".join(repr(arg) for arg in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(readable, get_args(hint)))
    if hint is type(None):
        return "None"
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("typing.", "").replace("pathlib.", "")


def shown(value: Any) -> str:
    """Shows a value as it was written: a class or a function by its name."""
    return str(value.__name__) if _is_maker(value) else repr(value)


def advice(value: Any, hint: Any, otherwise: str = "give a value like that") -> str:
    """Says what to do about a value that does not fit: to call the class or function that makes one that does."""
    if any(isinstance(item, float) and not math.isfinite(item) for item in _items(value)):
        return "give a finite number"
    maker = next((item for item in _items(value) if _is_maker(item) and _makes(item, hint)), None)
    if maker is None:
        return otherwise
    needed = [
        f"{name}=..."
        for name, parameter in inspect.signature(maker).parameters.items()
        if parameter.default is parameter.empty
    ]
    kind = "class" if isinstance(maker, type) else "function"
    return f"{maker.__name__} is a {kind}, write {maker.__name__}({', '.join(needed)})"


def _is_maker(value: Any) -> bool:
    """Says whether it is a class of plain data or a function: what a recipe calls to get a value."""
    return isinstance(value, types.FunctionType) or (isinstance(value, type) and is_dataclass(value))


def _items(value: Any) -> Iterable[Any]:
    """Lists a value, and what stands in it where it is a tuple or a mapping."""
    return (value, *(value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()))


def _makes(maker: Any, hint: Any) -> bool:
    """Says whether what a class or a function makes fits an annotation, or an item of one."""
    if args := get_args(hint):
        return any(_makes(maker, arg) for arg in args)
    made = maker if isinstance(maker, type) else get_type_hints(maker).get("return")
    if getattr(hint, "_is_protocol", False):
        return isinstance(made, hint)  # a class has the names of its values; issubclass refuses such protocols
    return isinstance(hint, type) and isinstance(made, type) and issubclass(made, hint)


def check_fields(value: Any, where: str, *, leave: tuple[str, ...] = ()) -> None:
    """Refuses a dataclass of which a field, or a field of a value in it, is not of its type.

    A mistyped choice would train something else in silence.

    Raises:
        ValueError: Names the field, its value and its type.
    """
    hints = get_type_hints(type(value))
    for field in fields(value):
        found = getattr(value, field.name)
        if field.name in leave:
            continue
        if not fits(found, hints[field.name]):
            hint = hints[field.name]
            rule = f"must be of type {readable(hint)}; {advice(found, hint)}"
            raise ValueError(f"{where}: {field.name} (={shown(found)}) {rule}")
        for place, item in _dataclasses(found, f"{where}: {field.name}"):
            check_fields(item, place)


def _dataclasses(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Lists the values of plain data that a field holds, itself or those in tuples and mappings, with their places."""
    if is_dataclass(value):
        yield where, value
    elif isinstance(value, tuple | Mapping):
        for place, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _dataclasses(item, f"{where}[{place!r}]")
