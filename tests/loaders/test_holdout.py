"""Splits of our own: in proportion, nested, of whole people, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from loaders.importers.holdout import by_group, check_shares, stratified

KINDS = [0] * 600 + [1] * 300 + [2] * 100


def test_a_share_is_held_out_of_every_kind() -> None:
    held = stratified(KINDS, 0.05, 0)
    assert Counter(KINDS[place] for place in held) == {0: 30, 1: 15, 2: 5}


def test_a_larger_share_holds_the_smaller_one() -> None:
    assert stratified(KINDS, 0.05, 3) < stratified(KINDS, 0.2, 3)


def test_the_seed_and_nothing_else_chooses() -> None:
    assert stratified(KINDS, 0.1, 1) == stratified(list(KINDS), 0.1, 1)
    assert stratified(KINDS, 0.1, 1) != stratified(KINDS, 0.1, 2)


def test_no_share_and_no_pictures_hold_nothing() -> None:
    assert stratified(KINDS, 0.0, 0) == stratified([], 0.5, 0) == frozenset()
    assert stratified(KINDS, 1.0, 0) == frozenset(range(1000))


def test_groups_are_split_whatever_their_order() -> None:
    people = [f"S{number:03}" for number in range(50)]
    shares = {"test": 0.2, "val": 0.1}
    split_of = by_group(people, shares, 0)
    assert Counter(split_of.values()) == {"train": 35, "test": 10, "val": 5}
    assert by_group(reversed(people * 3), shares, 0) == split_of
    assert by_group(people, shares, 1) != split_of


def test_a_share_above_zero_gets_at_least_one_group() -> None:
    assert Counter(by_group("abc", {"test": 0.01, "val": 0.0}, 0).values()) == {"test": 1, "train": 2}
    assert by_group([], {"test": 0.5}, 0) == {}
    assert set(by_group("abc", {"test": 1.0}, 0).values()) == {"test"}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"val_share": -0.1}, r"a /x: val_share \(=-0.1\) must be in 0\.\.1; it is the share"),
        ({"val_share": 1.5}, r"val_share \(=1.5\) must be in 0\.\.1"),
        (
            {"test_share": 0.7, "val_share": 0.4},
            r"a /x: shares \(=test_share 0.7, val_share 0.4\) must add up to at most 1; lower one",
        ),
    ],
)
def test_wrong_shares_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_shares("a /x", **shares)
