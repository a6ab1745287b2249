"""Gives classes other names: reads `--map`, and says what each class of a label became."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console

from loaders.terminal import print_table

Renamed = Mapping[str, str | None]
"""Class to the class that it is called, or to None where its faces lose the label; others keep their names."""


@dataclass(frozen=True, slots=True)
class Became:
    """Says what a class became."""

    old: str
    new: str | None
    """None where its faces lost the label."""
    faces: int
    """Faces of it."""


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Says what the classes of one label became."""

    label: str
    rows: tuple[Became, ...]

    def __str__(self) -> str:
        """Says it in a sentence, with numbers of faces, which leaves out the classes that kept their names."""
        parts = [
            f"{row.old} ({row.faces:,}) {'lost the label' if row.new is None else f'became {row.new}'}"
            for row in self.rows
            if row.new != row.old
        ]
        return f"{self.label}: {', '.join(parts) or 'all classes kept their names'}"

    def print(self, console: Console) -> None:
        """Prints it as a table, of all classes."""
        rows = [(row.old, "no label" if row.new is None else row.new, f"{row.faces:,}") for row in self.rows]
        print_table(console, ("class", "became", "faces"), rows, left=2, keys=2, title=self.label)


def class_map(label: str, counts: Mapping[str, int], renamed: Renamed) -> ClassMap:
    """Says what classes became.

    Args:
        label: Name of the label.
        counts: Class, by its old name, to its faces.
        renamed: Classes of this label, and perhaps of others, that have new names or none.
    """
    return ClassMap(label, tuple(Became(old, renamed.get(old, old), faces) for old, faces in counts.items()))


def together(maps: Iterable[ClassMap]) -> tuple[ClassMap, ...]:
    """Adds up the faces of several splits, whose classes became the same."""
    faces: dict[str, Counter[tuple[str, str | None]]] = {}
    for each in maps:
        faces.setdefault(each.label, Counter()).update({(row.old, row.new): row.faces for row in each.rows})
    return tuple(
        ClassMap(label, tuple(Became(old, new, count) for (old, new), count in of.items()))
        for label, of in faces.items()
    )


def read_map(text: str, where: str) -> dict[str, str | None]:
    """Reads `--map`: "happiness=Happy,contempt=" renames a class and takes the label from the faces of another.

    Args:
        text: What was given; empty for none.
        where: Begins errors.

    Raises:
        ValueError: A part of it is no pair, or names a class again.
    """
    renamed: dict[str, str | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        old, equals, new = (word.strip() for word in part.partition("="))
        if not old or not equals:
            raise ValueError(
                f"{where}: map (={part!r}) must read OLD=NEW, or OLD= to leave the faces of a class out; "
                'e.g. --map "happiness=Happy,contempt="'
            )
        if old in renamed:
            raise ValueError(f"{where}: map names {old!r} twice; name each class once")
        renamed[old] = new or None
    return renamed


def nearest(word: str, names: Iterable[str]) -> str:
    """Hints at the name that a word was meant to be, or lists them all."""
    names = list(names)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"those are {', '.join(names)}"
