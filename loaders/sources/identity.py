"""Identifies a source by the data it holds, not by where that lies, so that runs and tables can compare it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from loaders.store.opening import SOURCE
from loaders.targets import with_home


def identity(source: object) -> Any:
    """Identifies a source, as JSON values that are equal where the data is.

    A prepared store goes by the hashes of its manifest and its pixels, one that wraps or joins others by theirs beside
    its own fields, and what has no hashes, drawn faces or picture files, by its fields.
    """
    if is_dataclass(source) and not isinstance(source, type):
        hashes = stored_hashes(source)
        own = {field.name: identity(getattr(source, field.name)) for field in fields(source) if not hashes}
        return hashes or {"kind": type(source).__name__} | own
    if isinstance(source, Mapping):
        return {key: identity(item) for key, item in source.items()}
    if isinstance(source, list | tuple):
        return [identity(item) for item in source]
    return str(source) if isinstance(source, Path) else source


def stored_hashes(source: object) -> dict[str, Any]:
    """Reads the hashes of the prepared store that a source names by its `path`; none where there is no such store."""
    folder = getattr(source, "path", None)
    file = with_home(folder) / SOURCE if isinstance(folder, str | Path) else None
    if file is None or not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}  # cut or edited, which opening it says
    if not isinstance(said, dict):
        return {}
    hashes = {key: value for key, value in said.items() if key.endswith("sha256")}
    files = {split: of["sha256"] for split, of in said.get("files", {}).items()}  # of an FFCV store
    return hashes | ({"files": files} if files else {})
