"""Locks what a process writes, so that no other writes it meanwhile."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path


class Lock:
    """Holds a lock on a thing, which dies with the process; a file beside or in the thing names who has it.

    Args:
        file: The lock's file, which is removed at the end.
        what: What is locked, as the message names it.

    Raises:
        ValueError: Another process has it.
        OSError: The file cannot be written.
    """

    def __init__(self, file: Path, what: str) -> None:
        self._file = file
        while True:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._descriptor, 1000).decode(errors="replace").strip() or "another process"
                os.close(self._descriptor)
                raise ValueError(f"{what}: {holder} is at work on it; wait for its end, or stop it first") from None
            if _is_at(self._descriptor, file):
                break
            os.close(self._descriptor)  # its holder has removed it meanwhile
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError:
            self.release()
            raise

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Lets go of the lock; once more does nothing."""
        if self._descriptor >= 0:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _is_at(descriptor: int, file: Path) -> bool:
    """Says whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
