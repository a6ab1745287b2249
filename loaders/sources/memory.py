"""Measures how much memory is free, on the host and on a GPU."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_LIMITS = (
    # (limit, in use, statistics, what can be taken back of the use) of control groups 2 and 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def free_on_host(root: Path = Path("/")) -> int:
    """Counts the bytes that this process can still take: what the system has, within the limit of its container.

    Args:
        root: Where `proc` and `sys` are mounted.
    """
    free = 1024 * _numbers(root / "proc/meminfo")["MemAvailable:"]
    groups = root / "sys/fs/cgroup"
    for limit, use, statistics, idle in _LIMITS:
        if (groups / limit).is_file() and (most := (groups / limit).read_text().strip()) != "max":
            taken = int((groups / use).read_text()) - _numbers(groups / statistics).get(idle, 0)
            free = min(free, int(most) - taken)
    return max(0, free)


def free_on_gpu(device: torch.device) -> int:
    """Counts the bytes that are free on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return free


def ranks_on_host() -> int:
    """Counts the ranks that share this host's memory, as `torchrun` tells each of them; 1 where nothing is told."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def gigabytes(count: int) -> str:
    """Writes a number of bytes for people."""
    return f"{count / 1e9:.3g} GB"


def _numbers(file: Path) -> dict[str, int]:
    """Reads the first number of each line, by the word before it."""
    return {words[0]: int(words[1]) for line in file.read_text().splitlines() if len(words := line.split()) > 1}
