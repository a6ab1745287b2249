"""Shares of a set that keep its proportions, nested: a smaller share lies inside a larger one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def apportion(counts: Sequence[int], total: int) -> list[int]:
    """How many to take of each group so that `total` are taken in proportion to `counts`.

    Webster's method (Sainte-Laguë): the places go to the largest (2 count / (2 r + 1)), r the places a group has. A
    larger total never takes a place away from a group, which the method of largest remainders does (the Alabama
    paradox); that is what makes shares nested. Ties go to the earlier group.

    Args:
        counts: Size of each group, 0 or more.
        total: At most the sum of `counts`.

    Returns:
        Places of each group; their sum is `total`.
    """
    assert 0 <= total <= sum(counts)
    group = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    rank = torch.cat([torch.arange(count) for count in counts]) if counts else group
    size = torch.tensor(counts, dtype=torch.float64)[group]
    taken = group[torch.argsort((rank + 0.5) / size, stable=True)[:total]]
    return torch.bincount(taken, minlength=len(counts)).tolist()


def lowest(keys: Tensor, count: int) -> Tensor:
    """Positions of the `count` lowest keys, ascending; equal keys by position."""
    return torch.argsort(keys, stable=True)[:count].sort().values
