"""Reads a recipe from its file."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import catalogue
from engine.recipe.definition import Recipe


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A recipe with the file it came from."""

    name: str
    """The file's stem, and the recipe's name where it is not the file's main one."""
    recipe: Recipe
    source: str
    """The file's text."""


def read(where: str) -> RecipeFile:
    """Reads `path.py`, whose recipe is called `recipe`, or `path.py:name` for another of the file's recipes.

    A recipe of the package needs no path: `NAME` or `NAME:name`.

    Raises:
        ValueError: No such file, a file that cannot be run, or no recipe of that name in it.
    """
    text, _, name = where.partition(":")
    path = catalogue.find(text)
    defined = run_file(path)
    found = {key: value for key, value in defined.items() if isinstance(value, Recipe)}
    wanted = name or "recipe"
    if wanted not in found:
        has = f"it has {', '.join(f'{path}:{key}' for key in found)}" if found else "it defines no Recipe at all"
        if "experiment" in defined:
            has += f"; the whole experiment is run by python -m engine.table {path}"
        raise ValueError(f"recipe: {path} has no Recipe called {wanted!r}; {has}")
    return RecipeFile(f"{path.stem}-{name}" if name else path.stem, found[wanted], path.read_text())


def run_file(path: Path, *, what: str = "recipe") -> dict[str, Any]:
    """What a Python file defines, name to value; `what` it should be of opens the messages.

    Raises:
        ValueError: No such file, or one that cannot be run.
    """
    if not path.is_file():
        named = ", ".join(catalogue.names())
        raise ValueError(f"{what}: {path} is not there; give the path of one, or a name: {named}")
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise ValueError(f"{what}: {path} must be a Python file that defines `{what}`; see recipes/demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ValueError:
        raise  # a recipe that refuses itself has said why
    except Exception as error:
        raise ValueError(f"{what}: {path} does not run: {type(error).__name__}: {error}; mend the file") from error
    return vars(module)
