"""Refuses to start where another package has written into the rooms, as the package index's `kernels` does."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("kernels", "loaders", "engine", "recipes")
ROOT = Path(__file__).parents[1]
AGAIN = "install hmtl again with pip install --force-reinstall --no-deps"


def refuse_foreign_files() -> None:
    """Compares the rooms with what was installed; in a checkout, makes sure that its own rooms are imported.

    Raises:
        ImportError: A file in a room is not ours, one of ours was replaced or is gone, or another package hides a room.
    """
    for room in ("kernels", "loaders"):
        spec = find_spec(room)
        if spec is None or spec.origin is None:
            raise ImportError(f"hmtl: {ROOT / room} must be whole, but its __init__.py is gone; {AGAIN}")
        if Path(spec.origin).parent != ROOT / room:
            raise ImportError(
                f"hmtl: the package {room!r} must lie in {ROOT} but is taken from {Path(spec.origin).parent}; "
                f"uninstall the other package of that name (pip uninstall {room}), or give hmtl its own environment"
            )
    if wrong := foreign_files(ROOT, _installed()):
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        rooms = " ".join(dict.fromkeys(name.partition("/")[0] for name in wrong))
        raise ImportError(
            f"hmtl: {shown} in {ROOT} must be as installed, but another package has written there, as Hugging Face's "
            f"`kernels` does; the two cannot share an environment: pip uninstall {rooms}, then {AGAIN}"
        )


def foreign_files(root: Path, installed: list[PackagePath]) -> list[str]:
    """Lists the Python files of the rooms in `root` that are not as `installed` says, or gone; empty in a checkout."""
    ours = {str(file): file for file in installed if file.suffix == ".py" and file.parts[0] in ROOMS}
    if "engine/__init__.py" not in ours:
        return []
    there = {path.relative_to(root).as_posix() for room in ROOMS for path in (root / room).rglob("*.py")}
    doors = [f"{room}/__init__.py" for room in ROOMS]  # what another package replaces first, and cheap to read
    replaced = {name for name in doors if name in there & ours.keys() and not _as_installed(root / name, ours[name])}
    return sorted((there ^ ours.keys()) | replaced)


def _installed() -> list[PackagePath]:
    """Lists the files of the installed package that this one belongs to; none in a checkout."""
    try:
        package = distribution("hmtl")
    except PackageNotFoundError:
        return []
    # An editable install leaves hmtl.egg-info in the checkout, whose list of files is as old as that install.
    listed = (package.files or []) if package.read_text("RECORD") else []
    here = Path(__file__)
    return listed if any(Path(file.locate()) == here for file in listed if file.name == here.name) else []


def _as_installed(path: Path, file: PackagePath) -> bool:
    if file.hash is None or file.hash.mode != "sha256":
        return True
    digest = hashlib.sha256(path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value
