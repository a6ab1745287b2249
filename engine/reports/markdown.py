"""Writes pieces of Markdown, in which nothing that comes from data can act as a mark."""

from __future__ import annotations

import re
from collections.abc import Iterable


def plain(text: str) -> str:
    """Escapes text, joined to one line, so that Markdown shows it as it is."""
    # An underscore inside a word is only that.
    return re.sub(r"[\\`*<>\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))


def fence(text: str, language: str = "text") -> str:
    """Makes a block of code that nothing in `text` can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{text}\n{marks}"


def bullets(texts: Iterable[str]) -> str:
    """Makes a list of texts that are Markdown already."""
    return "\n".join(f"- {text}" for text in texts)


def document(parts: Iterable[str]) -> str:
    """Joins the parts of a document, of which empty ones are left out."""
    return "\n\n".join(part.strip() for part in parts if part) + "\n"
