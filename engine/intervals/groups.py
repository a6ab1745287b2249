"""Says which pictures belong together, such as those of one person: they are not independent of each other."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

_KEY = "group/"
"""What the name of an array of predictions begins with that holds groups; the label follows."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Holds the group of each picture."""

    label: str
    """The label of the data that names them, such as "person"."""
    number: Int64[np.ndarray, " n"]
    """Class of that label, as the data counts them; -1 for a picture that is a group of its own."""

    @property
    def place(self) -> Int64[np.ndarray, " n"]:
        """Numbers the groups from 0 on, those of a single picture too; gives that of each picture."""
        place: Int64[np.ndarray, " n"] = np.empty_like(self.number)
        known = self.number >= 0
        names, place[known] = np.unique(self.number[known], return_inverse=True)
        place[~known] = len(names) + np.arange(int((~known).sum()))
        return place

    @property
    def count(self) -> int:
        """Counts the groups, those of a single picture too."""
        return len(np.unique(self.number[self.number >= 0])) + int((self.number < 0).sum())

    def __str__(self) -> str:
        return f"{self.count:,} group{'' if self.count == 1 else 's'} ({self.label})"

    def same(self, other: Groups | None) -> bool:
        """Tells whether another split, or run, puts its pictures into the same groups."""
        return other is not None and self.label == other.label and np.array_equal(self.number, other.number)

    def arrays(self) -> dict[str, np.ndarray]:
        """Writes itself as an array of a file of predictions; see `read_groups`."""
        return {f"{_KEY}{self.label}": self.number}

    def pack(self) -> dict[str, Any]:
        """Writes itself as JSON; see `unpack_groups`."""
        kept = zlib.compress(self.number.astype("<i4").tobytes(), 9)
        return {"label": self.label, "number": base64.b64encode(kept).decode("ascii")}


def read_groups(arrays: Mapping[str, np.ndarray]) -> Groups | None:
    """Reads the groups from the arrays of a run's predictions.

    Returns:
        None where it keeps none, as runs of version 0.2 and older, or what it keeps is not one number a picture.
    """
    found = next((name for name in arrays if name.startswith(_KEY)), None)
    if found is None:
        return None
    number = arrays[found]
    if number.shape != np.shape(arrays.get("sample", ())) or not np.issubdtype(number.dtype, np.integer):
        return None
    return Groups(found.removeprefix(_KEY), number.astype(np.int64))


def unpack_groups(packed: Mapping[str, Any] | None) -> Groups | None:
    """Reads what `Groups.pack` wrote; None of None."""
    if packed is None:
        return None
    kept = np.frombuffer(zlib.decompress(base64.b64decode(packed["number"])), "<i4")
    return Groups(packed["label"], kept.astype(np.int64))


def joined_groups(each: Sequence[Groups | None]) -> Groups | None:
    """Puts the groups of several splits of one data set one after another; None where one has none, or others."""
    known = [groups for groups in each if groups is not None]
    if len(known) < len(each) or len({groups.label for groups in known}) != 1:
        return None
    return Groups(known[0].label, np.concatenate([groups.number for groups in known]))


def shared_groups(each: Sequence[Groups | None]) -> Groups | None:
    """Finds the groups that several runs on the same pictures agree on; None where one knows none, or other ones."""
    first, *others = each
    return first if first is not None and all(first.same(other) for other in others) else None


def drawn_over(groups: Groups | None, pictures: int) -> str:
    """Says what an interval draws: "15 groups (person)" where they are known, else "2,790 pictures"."""
    return f"{pictures:,} pictures" if groups is None else str(groups)
