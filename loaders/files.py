"""Writes files whole or not at all: under a temporary name, then renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write answers where there is no room on the disk, in the user's quota, or under the process's limit."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to, renamed to `path` when the block ends well and deleted when it does not.

    Raises:
        OSError: The disk is full or does not take the file; the message says what is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise OSError(
                error.errno,
                f"no space left to write {path}; free some and start again (a run with --resume), "
                "what was there is kept",
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def _flush(path: Path) -> None:
    """On the disk before the rename is: a rename may outlive a power cut that its bytes do not."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
