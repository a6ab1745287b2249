"""Reads from Linux's /proc what a process and its children use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Holds bytes, added up over a process and its children; what forked processes share counts in each."""

    resident: int = 0
    """In memory, mapped files and libraries included."""
    own: int = 0
    """Of it allocated: not a part of any file."""

    def most(self, other: Memory) -> Memory:
        """Takes the larger of each."""
        return Memory(max(self.resident, other.resident), max(self.own, other.own))


def family(pid: int) -> list[int]:
    """Lists a process and everything it started that still runs."""
    found, open_ends = [], [pid]
    while open_ends:
        one = open_ends.pop()
        found.append(one)
        try:
            for task in (PROC / str(one) / "task").iterdir():
                open_ends += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it ended meanwhile
    return found


def cpu_seconds(pid: int) -> float:
    """Reads the time on all cores of a process and its children, those that ended included; in steps of 10 ms."""
    ticks = 0
    for one in family(pid):
        try:
            fields = (PROC / str(one) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))  # user and system, then those of children that were waited for
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> Memory:
    """Reads the memory of a process and its children at this moment."""
    resident = own = 0
    for one in family(pid):
        try:
            lines = (PROC / str(one) / "status").read_text().splitlines()
        except OSError:
            continue
        kib = {key: value for key, _, value in (line.partition(":") for line in lines)}
        resident += 1024 * int(kib.get("VmRSS", "0").split()[0])
        own += 1024 * int(kib.get("RssAnon", "0").split()[0])
    return Memory(resident, own)
