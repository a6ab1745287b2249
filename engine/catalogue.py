"""Finds the recipe files that come with the package, by name; imports no torch."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "recipes"
"""Where the recipes lie: beside the engine, in a checkout and where a wheel is installed."""


def names() -> list[str]:
    """Lists the names of the recipes and experiments of the package."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def first_line(name: str) -> str:
    """Reads the first line of a recipe's docstring, without running the recipe."""
    return (ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))) or "").partition("\n")[0]


def nearest(name: str) -> str | None:
    """Finds the name that a mistyped one may stand for."""
    return next(iter(difflib.get_close_matches(name, names(), n=1)), None)


def copy(name: str) -> Path:
    """Writes a recipe of the package as NAME.py into the working directory.

    Raises:
        ValueError: There is no such recipe, or such a file is here already.
    """
    if name not in names():
        near = nearest(name)
        hint = f"did you mean {near}?" if near else "`hmtl recipes` lists them"
        raise ValueError(f"recipes: NAME (={name}) must be one of the package; {hint}")
    to = Path(f"{name}.py")
    if to.exists():
        raise ValueError(f"recipes: {to} must not be here yet; move it away, or copy into another folder")
    to.write_bytes((FOLDER / to).read_bytes())
    return to


def find(where: str) -> Path:
    """Finds the file that a command names: a path, or a recipe of the package.

    Args:
        where: A path; or `NAME` or `recipes/NAME.py`, which are the package's where no such file is here.

    Returns:
        The file; `where` itself where there is neither, so that the caller says what to do.
    """
    path = Path(where)
    by_name = path.parent == Path() and not path.suffix
    own = FOLDER / f"{path.stem}.py"
    if not path.is_file() and (by_name or path == Path("recipes", own.name)) and path.stem in names():
        return own
    return path
