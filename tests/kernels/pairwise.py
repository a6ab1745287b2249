"""Few cases in which every two settings meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

Case = dict[str, Any]


def pairwise(factors: Mapping[str, Sequence[Any]], allowed: Callable[[Case], bool] = lambda case: True) -> list[Case]:
    """Cases such that every pair of values of two factors is in one of them.

    `allowed` is asked about cases in the making, which lack factors: it must refuse by what is there. Pairs that it
    refuses are left out. Greedy: each case starts from a pair that is missing and takes, factor by factor, the value
    that adds most missing pairs.
    """
    missing = [
        {a: x, b: y}
        for a, b in combinations(factors, 2)
        for x in factors[a]
        for y in factors[b]
        if allowed({a: x, b: y})
    ]
    cases = []
    while missing:
        case = dict(missing[0])
        for name, values in factors.items():
            if name not in case:
                tried = [case | {name: value} for value in values if allowed(case | {name: value})]
                case = max(tried, key=lambda grown: sum(pair.items() <= grown.items() for pair in missing))
        missing = [pair for pair in missing if not pair.items() <= case.items()]
        cases.append({name: case[name] for name in factors})
    return cases


def name_of(case: Case) -> str:
    """A test's id."""
    return "-".join(f"{name}={value}".replace("torch.", "") for name, value in case.items())
