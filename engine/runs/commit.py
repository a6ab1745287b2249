"""Reads which commit the code is of; `setup.py` runs this file too, so it imports the standard library alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN = Path("engine", "runs", "commit.txt")
"""What a build leaves below its root, since an installed package has no git."""


def commit() -> str | None:
    """Reads the commit that a build has written, else a checkout's from git, with `+` where files differ from it."""
    if (ROOT / WRITTEN).is_file():
        return (ROOT / WRITTEN).read_text().strip() or None
    if not (ROOT / ".git").exists():
        return None  # a repository that only holds the environment is somebody else's
    try:
        return _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
