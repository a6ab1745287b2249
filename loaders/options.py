"""Builds the options of `loaders.prepare` from parameters of functions and dataclasses and from their docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

Function = Callable[..., object]


def described(function: Function) -> tuple[str, dict[str, str]]:
    """Reads a docstring: the text above its sections, and what `Args` or `Attributes` says of each name."""
    about, _, rest = re.sub(r"^(Args|Attributes):$", "\0", inspect.getdoc(function) or "", flags=re.M).partition("\0")
    section = re.split(r"^(?=\S)", rest, maxsplit=1, flags=re.M)[0]
    _, *entries = re.split(r"^ {4}(\w+): ", section, flags=re.M)
    said = zip(entries[::2], entries[1::2], strict=True)
    return about.strip(), {name: " ".join(text.split()) for name, text in said}


def options(
    function: Function,
    *,
    leave_out: Collection[str] = (),
    argument: str | None = None,
) -> list[inspect.Parameter]:
    """Builds an option for each parameter, to be put into the signature of a command.

    A parameter is a bool, int, float, str, Path, `Literal` of strings or tuple of strings, or one of these or None.
    Where False is allowed too, a second option `--no-NAME` stands for it; so it does for a bool that is True by
    default. The choices of a `Literal` are shown, and `function` refuses others in its own words.

    Args:
        function: A function or dataclass; its docstring describes every parameter.
        leave_out: Names of parameters that get no option.
        argument: Name of a parameter that is given by its place, without an option.
    """
    _, said = described(function)
    hints = get_type_hints(function)
    found: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == argument:
            found.append(
                _parameter(name, hints[name] | None, None, typer.Argument(help=said[name], metavar=name.upper()))
            )
        elif name not in leave_out:
            found.extend(_options(parameter, hints[name], said[name]))
    return found


def _options(parameter: inspect.Parameter, hint: Any, text: str) -> Iterator[inspect.Parameter]:
    name = parameter.name
    flag, opposite = written(name), written(f"no_{name}")
    kind, *others = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    default = None if parameter.default in (parameter.empty, ()) else parameter.default
    flags = f"{flag}/{opposite}" if default is True else flag
    metavar = None
    if get_origin(kind) is Literal:
        kind, metavar = str, "|".join(get_args(kind))
    elif get_origin(kind) is tuple:
        kind, metavar = list[str], "<str>"
    shown = typer.Option(flags, help=text, metavar=metavar)
    yield _parameter(name, kind if default is not None else kind | None, default, shown)
    if Literal[False] in others:
        none = typer.Option(opposite, help=f"Take none, not even what is found without {flag}.")
        yield _parameter(f"no_{name}", bool, False, none)


def _parameter(name: str, kind: Any, default: Any, shown: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown])


def given(context: typer.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Picks the values that stand on the command line; `--no-NAME` gives False as the value of NAME.

    Raises:
        ValueError: `--NAME` and `--no-NAME` are both given.
    """
    sources = {name: context.get_parameter_source(name) for name in values}
    chosen = {name: values[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    for opposite in [name for name in chosen if name.startswith("no_") and name.removeprefix("no_") in values]:
        name = opposite.removeprefix("no_")
        if name in chosen:
            raise ValueError(
                f"prepare: {written(name)} (={chosen[name]}) must be left out where {written(opposite)} is given; "
                "drop one"
            )
        chosen[name] = not chosen.pop(opposite)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()}


def written(name: str) -> str:
    """Writes the name of a parameter as an option."""
    return f"--{name.replace('_', '-')}"
