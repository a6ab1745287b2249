"""`--set field=value`: reaches any field of a recipe, checked by the field's type."""

from __future__ import annotations

import ast
import difflib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

import engine.averaging
import engine.backbone
import engine.losses
import engine.optim
import engine.tasks
import engine.views
import kernels
import loaders
from engine.recipe.definition import Recipe
from engine.recipe.hints import advice, fits, readable
from engine.tasks import Task
from engine.views import View

_MODULES = (
    engine.averaging,
    engine.backbone,
    engine.losses,
    engine.optim,
    engine.tasks,
    engine.views,
    kernels,
    loaders,
)


def apply(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """The recipe with each `field=value` carried out in turn.

    A field is a path: `epochs`, `optim.lr`, `views.puzzle.grid`, `tasks.puzzle.weight` (a task by its name or index).
    A value is a Python literal, a bare word where the field is a string, or a call such as `Plain(fresh=True)`.

    Raises:
        ValueError: A field that does not exist (the nearest that do are named), or a value of another type.
    """
    pending = list(assignments)
    while pending:
        refused: list[tuple[str, ValueError]] = []
        for assignment in pending:
            try:
                recipe = _apply(recipe, assignment)
            except ValueError as error:
                refused.append((assignment, error))
        if len(refused) == len(pending):
            raise refused[0][1]
        pending = [assignment for assignment, _ in refused]  # may hold together with what was set after it
    return recipe


def _apply(recipe: Recipe, assignment: str) -> Recipe:
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise ValueError(f"--set: {assignment!r} must read field=value; e.g. --set optim.lr=3e-4")
    changed = _set(recipe, path.strip().split("."), text.strip(), ())
    assert isinstance(changed, Recipe)
    return changed


def _set(owner: Any, path: list[str], text: str, before: tuple[str, ...]) -> Any:
    name, rest = path[0], path[1:]
    here = ".".join((*before, name))
    if is_dataclass(owner) and not isinstance(owner, type):
        _refuse_unknown(name, [field.name for field in fields(owner)], before, here, type(owner).__name__)
        hint = get_type_hints(type(owner))[name]
        return replace(owner, **{name: _inner(getattr(owner, name), hint, rest, text, (*before, name))})
    if isinstance(owner, Mapping):
        _refuse_unknown(name, [str(key) for key in owner], before, here, ".".join(before))
        return {
            key: _inner(item, _kind(item), rest, text, (*before, name)) if str(key) == name else item
            for key, item in owner.items()
        }
    if isinstance(owner, tuple):
        names = [str(getattr(item, "name", index)) for index, item in enumerate(owner)]
        index = int(name) if name.isdigit() and int(name) < len(owner) else None
        if index is None:
            _refuse_unknown(name, names, before, here, ".".join(before))
            index = names.index(name)
        changed = _inner(owner[index], _kind(owner[index]), rest, text, (*before, name))
        return (*owner[:index], changed, *owner[index + 1 :])
    raise ValueError(f"--set: {'.'.join(before)} (={owner!r}) has no fields; it cannot be followed by .{name}")


def _kind(item: Any) -> Any:
    """What may stand in the place of an item: any task for a task, any view for a view, else the same type."""
    return next((kind for kind in (Task, View) if isinstance(item, kind)), type(item))


def _inner(value: Any, hint: Any, rest: list[str], text: str, here: tuple[str, ...]) -> Any:
    return _set(value, rest, text, here) if rest else parse(text, hint, "--set: " + ".".join(here))


def _refuse_unknown(name: str, known: list[str], before: tuple[str, ...], here: str, owner: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    prefix = ".".join(before) + "." if before else ""
    hint = f"did you mean {' or '.join(prefix + n for n in near)}?" if near else f"it has {', '.join(known)}"
    raise ValueError(f"--set: {here} is not a field of {owner}; {hint}")


def parse(text: str, hint: Any, where: str) -> Any:
    """The value a text stands for, of the type that `hint` asks for.

    Raises:
        ValueError: The text stands for nothing of that type.
    """
    try:
        tree = ast.parse(text, mode="eval").body
        value = _evaluate(tree, where)
        if isinstance(value, str) and not isinstance(tree, ast.Constant):
            value = text  # a path reads as a division: it is the text as given, not as Python would write it
    except SyntaxError:
        value = text
    for candidate in (value, text):
        if fits(candidate, hint):
            return float(candidate) if hint is float else candidate
    raise ValueError(f"{where} (={text}) must be of type {readable(hint)}; {advice(value, hint)}")


def _evaluate(node: ast.expr, where: str) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(op=ast.Pow(), left=ast.Constant(value=int() as base), right=ast.Constant(value=int() as power)):
            return base**power
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_evaluate(item, where) for item in items)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {_evaluate(k, where): _evaluate(v, where) for k, v in pairs if k is not None}
        case ast.Name(id=name):
            return vocabulary().get(name, name)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            return _call(name, [_evaluate(a, where) for a in args], _keywords(keywords, where), where)
    return ast.unparse(node)


def _keywords(keywords: list[ast.keyword], where: str) -> dict[str, Any]:
    return {str(k.arg): _evaluate(k.value, where) for k in keywords}


def _call(name: str, args: list[Any], keywords: dict[str, Any], where: str) -> Any:
    known = {word: thing for word, thing in vocabulary().items() if callable(thing)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise ValueError(
            f"{where}: {name} is unknown; "
            + (f"did you mean {' or '.join(near)}?" if near else "use what recipes import, such as Plain(fresh=True)")
        )
    function: Callable[..., Any] = known[name]
    try:
        return function(*args, **keywords)
    except TypeError as error:
        raise ValueError(f"{where}: {name}(...): {error}; see its fields in the source") from error


def vocabulary() -> dict[str, Any]:
    """The words a value may use: what recipes import from the rooms, frozen values and what makes them."""
    words: dict[str, Any] = {}
    for module in _MODULES:
        for name, thing in vars(module).items():
            if name.startswith("_"):
                continue
            is_value = isinstance(thing, tuple) and name.isupper()
            is_kind = isinstance(thing, type) and is_dataclass(thing)
            is_preset = isinstance(thing, types.FunctionType) and get_type_hints(thing) == {"return": kernels.Augment}
            if is_value or is_kind or is_preset:
                words[name] = thing
    return words
