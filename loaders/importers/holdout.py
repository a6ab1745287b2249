"""Makes splits that a source does not have: a stratified share of its train pictures, or whole people.

Pure functions of the seed and the order of the source, so that the same source always gives the same split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from kernels import Key, random_bits
from loaders.feed.strata import apportion, lowest
from loaders.store.manifest import in_usual_order


def check_shares(where: str, **shares: float) -> None:
    """Refuses shares that are no shares, or that together leave no room for each other.

    Raises:
        ValueError: A share is not in 0..1, or their sum is above 1; names it.
    """
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"{where}: {name} (={share}) must be in 0..1; it is the share of the pictures held out")
    if sum(shares.values()) > 1.0:
        given = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ValueError(f"{where}: shares (={given}) must add up to at most 1; lower one")


def stratified(kinds: Sequence[int], share: float, seed: int) -> frozenset[int]:
    """Chooses places to hold out: `share` of the whole, in proportion of every kind.

    Args:
        kinds: For each picture in the source's order, which of the kinds 0, 1, 2, ... it is of.
        share: 0..1. A larger share holds a smaller one.
        seed: Chooses the places.
    """
    kind = torch.as_tensor(kinds, dtype=torch.int64)
    if kind.numel() == 0 or share == 0.0:
        return frozenset()
    keys = random_bits(Key(seed, 0, torch.arange(len(kind))).stream("val"), 1)[:, 0]
    counts = torch.bincount(kind).tolist()
    held: set[int] = set()
    for number, places in enumerate(apportion(counts, round(share * len(kind)))):
        members = torch.nonzero(kind == number).flatten()
        held.update(members[lowest(keys[members], places)].tolist())
    return frozenset(held)


def held_out_note(share: float, seed: int, by: str) -> str:
    """Says what the labels' user must know of a val that is ours."""
    return f"val is {share:g} of the source's train pictures, stratified by {by} and chosen by seed {seed} (ours)"


def public_val_split(split: str, place: int, held: frozenset[int], val_share: float) -> str:
    """Chooses the split of a picture where val is the only public test: that becomes test if val can be ours.

    Args:
        split: "train" or "val" in the source.
        place: Of the picture in the source's train, as in `stratified`.
        held: What `stratified` holds out of train, our val.
        val_share: How much that is; at 0 the splits are the source's.
    """
    if split == "val":
        return "test" if val_share else "val"
    return "val" if place in held else "train"


def public_val_notes(val_share: float, seed: int, by: str) -> tuple[str, ...]:
    """Says what the labels' user must know of the splits that `public_val_split` makes."""
    if val_share:
        return "test is the source's validation set, its only public test", held_out_note(val_share, seed, by)
    return ("val is the source's validation set, its only public test: what is chosen on it is optimistic",)


def by_group(groups: Iterable[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Chooses a split for each group of pictures that must stay together, such as those of one person.

    Args:
        groups: Names, in any order and repeated at will.
        shares: Split to its share of the *groups*, rounded to whole groups; what is left over is train. A split with a
            share above 0 gets at least one group while groups last.
        seed: Chooses the groups.
    """
    names = sorted(set(groups))
    keys = random_bits(Key(seed, 0, torch.arange(len(names))).stream("groups"), 1)[:, 0]
    order = [names[place] for place in torch.argsort(keys, stable=True).tolist()] if names else []
    split_of: dict[str, str] = {}
    first = 0
    for split, share in shares.items():
        count = max(1, round(share * len(names))) if share > 0.0 else 0
        split_of |= dict.fromkeys(order[first : first + count], split)
        first += count
    return split_of | dict.fromkeys(order[first:], "train")


def group_notes(name: str, of: Mapping[str, Sequence[str | None]]) -> Iterator[str]:
    """Says how many groups each split has, which splits share some, and how many pictures have none.

    Args:
        name: Of the label of groups, such as "person".
        of: Split to the group of each of its pictures; None for a picture without.
    """
    usual = sorted(of.items(), key=lambda item: in_usual_order(item[0]))
    names = {split: {group for group in groups if group is not None} for split, groups in usual}
    yield f"pictures of one {name} stay together: " + ", ".join(
        f"{len(found):,} of them in {split}" for split, found in names.items()
    )
    times = Counter(group for found in names.values() for group in found)
    if torn := sorted(group for group, count in times.items() if count > 1):
        splits = [split for split, found in names.items() if found & set(torn)]
        yield f"{len(torn):,} {name}(s) are in more than one of {', '.join(splits)}, such as {torn[0]}"
    if alone := sum(group is None for groups in of.values() for group in groups):
        yield f"{alone:,} picture(s) have no {name}: each is a group of its own"
