"""Sets fields of a recipe from the command line: `--set field=value`, each value checked by its field's type."""

from __future__ import annotations

import ast
import difflib
import itertools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

import typer.core

import engine.averaging
import engine.backbone
import engine.losses
import engine.mixing
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
    engine.mixing,
    engine.optim,
    engine.tasks,
    engine.views,
    kernels,
    loaders,
)


class CommandWithSet(typer.core.TyperCommand):
    """Tells whoever takes a field of the recipe for an option of the command how fields are set."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments."""
        parameters = self.get_params(ctx)
        known = [name for each in parameters for name in (*each.opts, *each.secondary_opts)]
        with_value = {name for each in parameters for name in each.opts if not getattr(each, "is_flag", False)}
        for before, word in itertools.pairwise(["", *args]):
            if before in with_value:  # as in --sbatch --time=1
                continue
            option, _, value = word.partition("=")
            name = option.removeprefix("--").replace("-", "_")
            unknown = option.startswith("--") and name.isidentifier() and option not in known
            if unknown and not difflib.get_close_matches(option, known, cutoff=0.8):
                ctx.fail(f"No such option: {option}; a field of the recipe is set by --set {name}={value or 'VALUE'}")
        return super().parse_args(ctx, args)


@dataclass(slots=True)
class _Change:
    """What is set at one place of a recipe, and within it."""

    text: str | None = None
    """The value that takes this place, None where it stays."""
    within: dict[str, _Change] = field(default_factory=dict)
    """Field, key or index to what is then set there."""


def apply(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Sets each `field=value` of a recipe; a later one wins.

    All are set at once: fields that only hold together may be set together, in any order.

    A field is a path: `epochs`, `optim.lr`, `views.puzzle.grid`, `tasks.puzzle.weight` (a task by its name or index).
    A value is a Python literal, a bare word where the field is a string, or a call such as `Plain(fresh=True)`.

    Raises:
        ValueError: A field that does not exist (the nearest that do are named), or a value of another type.
    """
    root = _Change()
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ValueError(f"--set: {assignment!r} must read field=value; e.g. --set optim.lr=3e-4")
        *owners, name = path.strip().split(".")
        change = root
        for owner in owners:
            change = change.within.setdefault(owner, _Change())
        change.within[name] = _Change(text.strip())
    changed = _changed(recipe, Recipe, root, ())
    assert isinstance(changed, Recipe)
    return changed


def _changed(value: Any, hint: Any, change: _Change, path: tuple[str, ...]) -> Any:
    """Carries out what is set at a place; every dataclass on the way is made once, of all its new fields."""
    here = ".".join(path)
    if change.text is not None:
        value = parse(change.text, hint, f"--set: {here}")
    if not change.within:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        _refuse_unknown(change.within, value, path, type(value).__name__)
        return replace(
            value, **{n: _changed(getattr(value, n), hints[n], c, (*path, n)) for n, c in change.within.items()}
        )
    if isinstance(value, Mapping):
        _refuse_unknown(change.within, value, path, here)
        return {**value, **{n: _changed(value[n], _kind(value[n]), c, (*path, n)) for n, c in change.within.items()}}
    if isinstance(value, tuple):
        items, names = list(value), list(_parts(value))
        _refuse_unknown([n for n in change.within if not _is_index(n, items)], value, path, here)
        for n, c in change.within.items():
            index = int(n) if _is_index(n, items) else names.index(n)
            items[index] = _changed(items[index], _kind(items[index]), c, (*path, n))
        return tuple(items)
    raise ValueError(f"--set: {here} (={value!r}) has no fields; it cannot be followed by .{next(iter(change.within))}")


def has(recipe: Recipe, field: str) -> bool:
    """Tells whether a recipe has the field of this path, such as "optim.lr"; see `apply`."""
    value: Any = recipe
    for name in field.split("."):
        parts = _parts(value)
        if isinstance(value, tuple) and _is_index(name, value):
            value = value[int(name)]
        elif name in parts:
            value = parts[name]
        else:
            return False
    return True


def _is_index(name: str, items: Sequence[Any]) -> bool:
    return name.isdigit() and int(name) < len(items)


def _kind(item: Any) -> Any:
    """Says what may take the place of an item: any task of a task, any view of a view, else the same type."""
    return next((kind for kind in (Task, View) if isinstance(item, kind)), type(item))


def _refuse_unknown(names: Iterable[str], value: Any, path: tuple[str, ...], owner: str) -> None:
    known = _parts(value)
    for name in names:
        if name not in known:
            near = [*difflib.get_close_matches(name, known, n=3, cutoff=0.5), *_below(value, name)][:3]
            matches = " or ".join(".".join((*path, n)) for n in near)
            hint = f"did you mean {matches}?" if near else f"it has {', '.join(known)}"
            raise ValueError(f"--set: {'.'.join((*path, name))} is not a field of {owner}; {hint}")


def _below(value: Any, name: str) -> Iterator[str]:
    """Finds the fields of this name further down, as paths from here."""
    for part, item in _parts(value).items():
        if name in _parts(item):
            yield f"{part}.{name}"
        yield from (f"{part}.{path}" for path in _below(item, name))


def _parts(value: Any) -> dict[str, Any]:
    """Lists what a path can name next."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, tuple):
        return {str(getattr(item, "name", index)): item for index, item in enumerate(value)}
    return {}


def parse(text: str, hint: Any, where: str) -> Any:
    """Reads a value of the type that `hint` asks for from a text.

    Raises:
        ValueError: The text stands for nothing of that type.
    """
    try:
        value = _evaluate(ast.parse(text, mode="eval").body, where, text)
        unread = ""
    except SyntaxError:
        value = text
        unread = "; text inside a call goes in quotes, as in Packed('data/faces')" if "(" in text else ""
    kinds = get_args(hint) or (hint,)
    for candidate in (value, text):
        if fits(candidate, hint):
            whole = type(candidate) is int and float in kinds and int not in kinds
            return float(candidate) if whole else candidate
    raise ValueError(f"{where} (={text}) must be of type {readable(hint)}; {advice(value, hint)}{unread}")


def _evaluate(node: ast.expr, where: str, source: str) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(op=ast.Pow(), left=ast.Constant(value=int() as base), right=ast.Constant(value=int() as power)):
            return base**power
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_evaluate(item, where, source) for item in items)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {_evaluate(k, where, source): _evaluate(v, where, source) for k, v in pairs if k is not None}
        case ast.Name(id=name):
            return vocabulary().get(name, name)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            return _call(name, [_evaluate(a, where, source) for a in args], _keywords(keywords, where, source), where)
    return ast.get_source_segment(source, node)  # a path reads as a division: it is the text as it was given


def _keywords(keywords: list[ast.keyword], where: str, source: str) -> dict[str, Any]:
    return {str(k.arg): _evaluate(k.value, where, source) for k in keywords}


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
    """Lists the words a value may use: what recipes import from the rooms, frozen values and what makes them."""
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
