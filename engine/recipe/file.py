"""Reads a recipe from its file, or from the folder of a run."""

from __future__ import annotations

import importlib.util
import json
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import catalogue
from engine.recipe import written
from engine.recipe.definition import Recipe


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """Holds a recipe with the file it came from."""

    name: str
    """The file's stem, and the recipe's name where it is not the file's main one; of a folder FOLDER-again."""
    recipe: Recipe
    source: str
    """The text of the file; of a folder that of its recipe.py."""


def read(where: str) -> RecipeFile:
    """Reads `path.py`, whose recipe is called `recipe`, or `path.py:name` for another of the file's recipes.

    A recipe of the package needs no path: `NAME` or `NAME:name`.
    Of the folder of a run (`./NAME` where a recipe has its name) it reads the recipe as that run resolved it.

    Raises:
        ValueError: No such file, a file that cannot be run, or no recipe of that name in it; a folder without one, or
            whose recipe has classes of its own file.
    """
    if Path(where).is_dir() and where not in catalogue.names():
        return _read_run(Path(where))
    text, name = _file_and_name(where)
    path = catalogue.find(text)
    defined = run_file(path)
    found = {key: value for key, value in defined.items() if isinstance(value, Recipe)}
    wanted = name or "recipe"
    if wanted not in found:
        has = f"it has {', '.join(f'{path}:{key}' for key in found)}" if found else "it defines no Recipe at all"
        if "experiment" in defined:
            has += f"; the whole experiment is run by hmtl table {text}"
        raise ValueError(f"recipe: {path} has no Recipe called {wanted!r}; {has}")
    with tokenize.open(path) as source:  # in the encoding that Python itself reads it in
        return RecipeFile(f"{path.stem}-{name}" if name else path.stem, found[wanted], source.read())


def _file_and_name(where: str) -> tuple[str, str]:
    """Parts `path.py:name`; a path that is there is a path, and a folder may have a colon in its name too."""
    text, _, name = where.rpartition(":")
    return (text, name) if name.isidentifier() and text and not Path(where).is_file() else (where, "")


def _read_run(folder: Path) -> RecipeFile:
    """Reads the recipe of a run again, of which recipe.json holds the values and recipe.py the source."""
    file, source = folder / "recipe.json", folder / "recipe.py"
    if not file.is_file():
        raise ValueError(f"recipe: {folder} is no run folder, it has no recipe.json; name a recipe's file or a run")
    by_source = f"run its source, {source}, with the options it was started with (environment.json has them)"
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"recipe: {file} is cut or damaged ({error}); {by_source}") from error
    recipe = written.read(described, Recipe, f"recipe: {file}", unknown=by_source)
    return RecipeFile(f"{folder.resolve().name}-again", recipe, source.read_text(encoding="utf-8"))


def run_file(path: Path, *, what: str = "recipe") -> dict[str, Any]:
    """Runs a Python file and gives what it defines, name to value.

    What it should define opens the messages: a `recipe` or `experiment`, which may be named too, or `tasks`. It may
    import what lies beside it: tasks, views, sources and importers of one's own need not be in the package.

    Raises:
        ValueError: No such file, or one that cannot be run.
    """
    if not path.is_file():
        near = None if what == "tasks" else catalogue.nearest(str(path))
        or_name = "" if what == "tasks" else ", or a name that `hmtl recipes` lists"
        hint = f"did you mean {near}?" if near else f"give the path of one{or_name}"
        raise ValueError(f"{what}: {path} is not there; {hint}")
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise ValueError(f"{what}: {path} must be a Python file that defines `{what}`; see recipes/demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    beside = str(path.parent.resolve())
    sys.path.append(beside)  # as of a script, what lies beside the file may be imported
    try:
        spec.loader.exec_module(module)
    except ValueError:
        raise  # a recipe that refuses itself has said why
    except Exception as error:
        raise ValueError(f"{what}: {path} does not run: {type(error).__name__}: {error}; mend the file") from error
    finally:
        sys.path.remove(beside)
    return vars(module)
