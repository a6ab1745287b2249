"""Orders of an epoch, and the shares that `Fraction` takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loaders import ClassBalanced, Classes, Fraction, Numbers, Shuffled, Split, SquareRootBalanced
from loaders.feed.order import Order, occurrences
from loaders.feed.samplers import chosen_from
from loaders.feed.strata import apportion

COUNTS = (700, 200, 80, 20)


def split(counts: tuple[int, ...] = COUNTS, missing: int = 0, first: int = 0) -> Split:
    """Classes in blocks, then samples without a label."""
    target = torch.cat([torch.full((n,), kind) for kind, n in enumerate(counts)] + [torch.full((missing,), -1)])
    return Split(
        name="train",
        sample=torch.arange(first, first + len(target)),
        shape=(4, 4, 1),
        labels={"kind": Classes(tuple(f"k{i}" for i in range(len(counts)))), "pose": Numbers(("yaw",))},
        target={"kind": target, "pose": torch.zeros(len(target), 1)},
    )


def test_shuffled_is_a_permutation_of_each_epoch() -> None:
    orders = [Shuffled().order(split(), seed=s, epoch=e) for s, e in [(0, 0), (0, 1), (1, 0)]]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(1000))
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert torch.equal(orders[0], Shuffled().order(split(), seed=0, epoch=0))


def test_shuffled_has_no_pull_towards_any_place() -> None:
    # The mean place of each of 20 samples over 400 epochs: 9.5 with a standard error of 0.288.
    places = torch.stack([Shuffled().order(split((20,)), seed=5, epoch=e).argsort() for e in range(400)])
    assert float((places.double().mean(0) - 9.5).abs().max()) < 4 * 0.288


def test_shuffled_keys_a_sample_by_its_id() -> None:
    # The samples that two splits share come in the same order relative to each other.
    one, other = split((50,), first=0), split((50,), first=10)
    shown = [s.sample[Shuffled().order(s, seed=0, epoch=0)].tolist() for s in (one, other)]
    shared = set(range(10, 50))
    assert [i for i in shown[0] if i in shared] == [i for i in shown[1] if i in shared]


@pytest.mark.parametrize(
    ("sampler", "weights"),
    [(ClassBalanced("kind"), [1.0] * 4), (SquareRootBalanced("kind"), [n**0.5 for n in COUNTS])],
)
def test_balanced_samplers_draw_classes_by_their_weights(sampler: Any, weights: list[float]) -> None:
    part = split(missing=50)
    drawn = torch.cat([sampler.order(part, seed=2, epoch=epoch) for epoch in range(20)])
    assert len(drawn) == 20 * 1000  # those without a label are neither counted nor drawn
    classes = part.target["kind"][drawn]
    assert int(classes.min()) == 0
    share = torch.bincount(classes).double() / len(drawn)
    wanted = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    error = (wanted * (1 - wanted) / len(drawn)).sqrt()
    assert bool(((share - wanted).abs() < 4 * error).all())
    # Within a class all are drawn alike: each of the 20 rarest about as often as any other.
    rare = torch.bincount(drawn[classes == 3] - 980, minlength=20).double()
    assert float((rare - rare.mean()).abs().max()) < 5 * float(rare.mean()) ** 0.5


@pytest.mark.parametrize("sampler", [ClassBalanced("kind"), SquareRootBalanced("kind")])
def test_balanced_samplers_are_functions_of_seed_and_epoch(sampler: Any) -> None:
    first = sampler.order(split(), seed=0, epoch=0)
    assert torch.equal(first, sampler.order(split(), seed=0, epoch=0))
    assert not torch.equal(first, sampler.order(split(), seed=0, epoch=1))
    assert not torch.equal(first, sampler.order(split(), seed=1, epoch=0))


@pytest.mark.parametrize("sampler", [ClassBalanced, SquareRootBalanced, lambda name: Fraction(0.5, name)])
def test_samplers_refuse_labels_that_are_not_of_classes(sampler: Any) -> None:
    with pytest.raises(ValueError, match=r"sampler: label \(='age'\) must be a label of 'train'; it has kind, pose"):
        sampler("age").order(split(), seed=0, epoch=0)
    numeric = r"label \(='pose'\) must be a label with classes; it is numeric \(yaw\); labels with classes: kind$"
    with pytest.raises(ValueError, match=numeric):
        sampler("pose").order(split(), seed=0, epoch=0)
    with pytest.raises(ValueError, match=r"\(='yaw'\) must .*; it is a number of the numeric label 'pose'; .*: kind$"):
        sampler("yaw").order(split(), seed=0, epoch=0)
    without = replace(split(), labels={"pose": Numbers(("yaw",))})
    with pytest.raises(ValueError, match=r"it is numeric \(yaw\); none has classes, take a sampler without label"):
        sampler("pose").order(without, seed=0, epoch=0)


@pytest.mark.parametrize("sampler", [ClassBalanced("kind"), SquareRootBalanced("kind")])
def test_balanced_samplers_refuse_a_split_without_the_label(sampler: Any) -> None:
    part = split((3,))
    part.target["kind"].fill_(-1)
    with pytest.raises(ValueError, match=r"label \(='kind'\) must not be missing on all samples of 'train'"):
        sampler.order(part, seed=0, epoch=0)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"Fraction: share \(=.*\) must be above 0 and at most 1"):
        Fraction(share)


def test_a_share_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share \(=0.01\) must leave a sample of the 20 of 'train'"):
        Fraction(0.01).order(split((20,)), seed=0, epoch=0)


@pytest.mark.parametrize("label", [None, "kind"])
def test_a_fraction_is_the_same_part_in_every_epoch_in_another_order(label: str | None) -> None:
    orders = [Fraction(0.2, label).order(split(), seed=7, epoch=e) for e in (0, 1)]
    assert not torch.equal(*orders)
    assert torch.equal(orders[0].sort().values, orders[1].sort().values)
    assert len(orders[0]) == len(set(orders[0].tolist())) == 200
    other = Fraction(0.2, label).order(split(), seed=8, epoch=0)
    assert not torch.equal(orders[0].sort().values, other.sort().values)


def test_a_seed_of_its_own_fixes_the_part_against_the_loaders() -> None:
    orders = [Fraction(0.2, "kind", seed=1).order(split(), seed=s, epoch=0) for s in (0, 5)]
    assert torch.equal(orders[0].sort().values, orders[1].sort().values)
    assert not torch.equal(*orders)


def test_a_stratified_fraction_keeps_the_proportions() -> None:
    part = Fraction(0.2, "kind").order(split(missing=100), seed=0, epoch=0)
    assert torch.bincount(split(missing=100).target["kind"][part] + 1).tolist() == [20, 140, 40, 16, 4]


@pytest.mark.parametrize("label", [None, "kind"])
def test_fractions_are_nested(label: str | None) -> None:
    parts = [set(Fraction(s / 100, label).order(split(), seed=3, epoch=0).tolist()) for s in (1, 5, 20, 21, 50, 100)]
    assert all(small < large for small, large in pairwise(parts))
    assert len(parts[-1]) == 1000


@pytest.mark.parametrize(
    ("sampler", "count"),
    [
        (Shuffled(), 1000),
        (ClassBalanced("kind"), 1000),
        (Fraction(0.2, "kind"), 200),
        (Fraction(0.5, of=Fraction(0.3, seed=4)), 150),
        (Fraction(0.1, of=ClassBalanced("kind")), 100),
    ],
)
def test_what_is_chosen_from_is_what_epochs_show_and_no_more(sampler: Any, count: int) -> None:
    assert len(chosen_from(sampler, split(), seed=3).sample) == count
    shown = torch.cat([sampler.order(split(), seed=3, epoch=e) for e in range(60)]).unique()
    assert 0.9 * count <= len(shown) <= count


def test_the_inner_sampler_sees_the_part_only() -> None:
    part = set(Fraction(0.1, "kind").order(split(), seed=0, epoch=0).tolist())
    drawn = Fraction(0.1, "kind", of=ClassBalanced("kind")).order(split(), seed=0, epoch=0)
    assert len(drawn) == 100
    assert set(drawn.tolist()) <= part
    assert int((split().target["kind"][drawn] == 3).sum()) > 10  # 2 of 100 without balance, 25 on average with it


@given(st.lists(st.integers(0, 60), min_size=1, max_size=9), st.integers(0, 10**6))
def test_apportion_takes_the_total_in_proportion_and_grows_with_it(counts: list[int], draw: int) -> None:
    n = sum(counts)
    total = draw % (n + 1)
    places = apportion(counts, total)
    assert sum(places) == total
    assert all(0 <= p <= count for p, count in zip(places, counts, strict=True))
    if n:
        # Webster's places lie this near to exact proportion: half a place for rounding, the rest for the common sum.
        near = [0.5 + count / n * (len(counts) + 1) / 2 for count in counts]
        assert all(
            abs(p - total * count / n) <= bound + 1e-9 for p, count, bound in zip(places, counts, near, strict=True)
        )
    if total < n:
        assert all(more >= p for more, p in zip(apportion(counts, total + 1), places, strict=True))


@dataclass(frozen=True)
class _Gives:
    """A sampler that gives what it was told, or longer orders in later epochs."""

    what: Any
    grows: bool = False

    def order(self, split: Split, *, seed: int, epoch: int) -> Tensor:
        order = torch.as_tensor(self.what)
        return order.repeat(1 + epoch) if self.grows else order


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (_Gives([0.5]), r"must give int64 positions on one axis; it gave torch.float32 of shape \(1,\)"),
        (_Gives([[0]]), r"must give int64 positions on one axis; it gave torch.int64 of shape \(1, 1\)"),
        (_Gives([0, 5]), r"must give positions 0 to 4"),
        (_Gives([-1]), r"must give positions 0 to 4"),
    ],
)
def test_an_order_that_is_none_is_refused(sampler: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Order(split((5,)), 1, 0, sampler=sampler)


def test_an_order_that_changes_its_length_is_refused() -> None:
    order = Order(split((5,)), 2, 0, sampler=_Gives([0, 1], grows=True))
    assert order.plan(0).position.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match=r"epoch 0 fills 1 batches and epoch 1 2"):
        order.plan(1)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loader: split \(='train'\) must hold samples; it is empty"):
        Order(split(()), 1, 0)


def test_ranks_take_every_world_th_batch() -> None:
    part = split((11,))
    assert Order(part, 2, 0, rank=1, world=3).plan(0).position.tolist() == [[2, 3], [8, 9]]
    assert Order(part, 2, 0, rank=2, world=3).plan(0).position.tolist() == [[4, 5], [10, -1]]
    # A rank may get nothing but padding; it still steps as often as the others.
    assert Order(split((1,)), 2, 0, rank=2, world=3).plan(0).position.tolist() == [[-1, -1]]


@given(st.lists(st.integers(0, 4)))
def test_an_occurrence_counts_what_was_shown_before(order: list[int]) -> None:
    expected = [order[:place].count(position) for place, position in enumerate(order)]
    found = occurrences(torch.tensor(order, dtype=torch.int64))
    assert found.dtype == torch.int32
    assert found.tolist() == expected


def test_an_occurrence_depends_on_neither_batch_size_nor_rank_nor_start() -> None:
    part, sampler = split((60, 4)), ClassBalanced("kind")

    def shown(batch_size: int, rank: int = 0, world: int = 1, start: int = 0) -> list[tuple[int, int]]:
        plan = Order(part, batch_size, 3, rank, world, sampler).plan(5, start=start)
        return list(zip(plan.position.flatten().tolist(), plan.occurrence.flatten().tolist(), strict=True))

    whole = shown(64)
    assert max(times for _, times in whole) >= 4  # 4 samples share about 32 places
    assert len(set(whole)) == len(whole)  # no sample is shown twice with one key
    assert shown(16) == whole
    assert shown(16, start=2) == whole[32:]
    assert shown(16, rank=1, world=2) == whole[16:32] + whole[48:]


def test_without_replacement_and_in_padding_an_occurrence_is_0() -> None:
    part = split((11,))
    assert not Order(part, 4, 0, sampler=Shuffled()).plan(2).occurrence.any()
    assert Order(part, 4, 0).plan(0).occurrence.tolist() == [[0] * 4] * 3
