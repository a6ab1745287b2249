"""Composed batches: so many samples with a label, then so many without, whatever the rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from loaders import Classes, Composed, Faces, Fraction, Loader, Numbers, Split
from loaders.feed.order import Order
from loaders.feed.samplers import composition, has_label


def split(labelled: int, unlabelled: int) -> Split:
    """Every third sample is labelled while there are some; sample ids start at 100."""
    n = labelled + unlabelled
    target = torch.full((n,), -1)
    target[torch.arange(n).mul(3).remainder(n).argsort()[:labelled]] = 0
    pose = torch.full((n, 2), float("nan"))
    return Split(
        name="train",
        sample=torch.arange(100, 100 + n),
        shape=(4, 4, 1),
        labels={"kind": Classes(("k0",)), "pose": Numbers(("yaw", "pitch"))},
        target={"kind": target, "pose": pose},
    )


def batches(part: Split, sampler: Composed, epoch: int) -> list[tuple[list[int], list[int]]]:
    """The labelled and the unlabelled positions of each batch."""
    size = sampler.labelled + sampler.unlabelled
    order = sampler.order(part, seed=7, epoch=epoch).view(-1, size)
    known = has_label(part)
    assert bool(known[order[:, : sampler.labelled]].all())
    assert not bool(known[order[:, sampler.labelled :]].any())
    return [(row[: sampler.labelled], row[sampler.labelled :]) for row in order.tolist()]


def test_an_epoch_is_a_pass_over_its_part_and_the_other_part_comes_in_whole_passes() -> None:
    part = split(labelled=10, unlabelled=47)
    sampler = Composed(labelled=4, unlabelled=6)
    shown: list[int] = []
    for epoch in range(5):
        drawn = batches(part, sampler, epoch)
        assert len(drawn) == 7  # 47 // 6
        assert max(Counter(i for _, many in drawn for i in many).values()) == 1
        shown += [i for few, _ in drawn for i in few]
    assert len(shown) == 5 * 28
    passes = [shown[start : start + 10] for start in range(0, len(shown), 10)]  # they go on from epoch to epoch
    assert all(len(set(one)) == 10 for one in passes)
    assert len({tuple(one) for one in passes}) == len(passes)


def test_an_epoch_over_the_labelled_part_shows_what_the_last_has_left_of_the_other() -> None:
    part = split(labelled=9, unlabelled=40)
    sampler = Composed(labelled=4, unlabelled=5, epoch="labelled")
    epochs = [batches(part, sampler, epoch) for epoch in range(4)]
    assert [len(drawn) for drawn in epochs] == [2] * 4
    assert Counter(i for drawn in epochs for _, many in drawn for i in many) == Counter(
        torch.nonzero(~has_label(part)).flatten().tolist()
    )
    few = [sorted(i for few, _ in drawn for i in few) for drawn in epochs]
    assert all(len(set(one)) == 8 for one in few)
    assert len({tuple(one) for one in few}) > 1  # what fills no batch is another sample in each epoch


def test_an_order_is_a_function_of_seed_and_epoch() -> None:
    part, sampler = split(10, 40), Composed(labelled=4, unlabelled=4)
    first = sampler.order(part, seed=0, epoch=3)
    assert torch.equal(first, sampler.order(part, seed=0, epoch=3))
    assert not torch.equal(first, sampler.order(part, seed=1, epoch=3))
    assert not torch.equal(first, sampler.order(part, seed=0, epoch=4))


def test_ranks_share_out_whole_batches() -> None:
    part, sampler = split(10, 40), Composed(labelled=4, unlabelled=4)
    alone = Order(part, 8, 0, sampler=sampler).plan(2)
    assert alone.labelled == 4
    for world in (2, 3, 5):
        plans = [Order(part, 8, 0, rank, world, sampler).plan(2) for rank in range(world)]
        for name in ("position", "occurrence"):
            dealt = torch.stack([getattr(plan, name) for plan in plans], dim=1).flatten(0, 1)
            assert torch.equal(dealt, getattr(alone, name)[: len(dealt)])
    later = Order(part, 8, 0, sampler=sampler).plan(2, start=3)
    assert torch.equal(later.position, alone.position[3:])
    keys = list(zip(alone.position.flatten().tolist(), alone.occurrence.flatten().tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert alone.occurrence[:, :4].flatten().tolist() == [n for n in range(4) for _ in range(10)]  # 10 are labelled
    assert not alone.occurrence[:, 4:].any()


def test_a_sample_with_one_number_of_several_is_labelled_and_a_label_may_be_named() -> None:
    part = split(3, 6)
    known = has_label(part)
    assert int(known.sum()) == 3
    bare = int(torch.nonzero(~known)[0])
    part.target["pose"][bare, 1] = 5.0
    assert torch.equal(torch.nonzero(has_label(part) ^ known).flatten(), torch.tensor([bare]))
    assert torch.equal(has_label(part, "kind"), known)
    assert torch.nonzero(has_label(part, "pose")).tolist() == [[bare]]
    order = Composed(labelled=1, unlabelled=2, label="pose").order(part, seed=0, epoch=0).view(-1, 3)
    assert set(order[:, 0].tolist()) == {bare}


def test_a_fraction_composes_as_what_orders_it() -> None:
    inner = Composed(labelled=2, unlabelled=2)
    part, sampler = split(20, 20), Fraction(0.5, label="kind", of=inner)
    assert composition(sampler) is inner
    assert composition(Fraction(0.5)) is None
    known = has_label(part)
    plan = Order(part, 4, 0, sampler=sampler).plan(0)
    assert plan.labelled == 2
    assert known[plan.position].tolist() == [[True, True, False, False]] * 5


@pytest.mark.parametrize(
    ("sampler", "counts", "message"),
    [
        (lambda: Composed(labelled=0, unlabelled=2), (4, 4), r"labelled \(=0\) must be 1 or more samples of a batch"),
        (lambda: Composed(labelled=2, unlabelled=2, epoch="both"), (4, 4), r"epoch \(='both'\) must be 'labelled' or"),
        (lambda: Composed(labelled=1, unlabelled=2), (4, 4), r"and unlabelled \(=2\) must add up to batch_size \(=4\)"),
        (
            lambda: Composed(labelled=2, unlabelled=2),
            (0, 4),
            r"1 or more labelled samples .* 0 of 4; choose other data",
        ),
        (
            lambda: Composed(labelled=2, unlabelled=2, epoch="labelled"),
            (1, 4),
            r"must hold 2 or more labelled samples .* it has 1 of 5; lower labelled, or let the epoch be of the others",
        ),
        (
            lambda: Composed(labelled=2, unlabelled=2, label="age"),
            (4, 4),
            r"label \(='age'\) must be a label of 'train'",
        ),
    ],
)
def test_a_composition_that_cannot_be_is_refused(sampler: Any, counts: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Order(split(*counts), 4, 0, sampler=sampler())


@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_says_where_its_unlabelled_samples_begin_and_gives_each_part(resident: bool) -> None:
    part = split(4, 8)
    pixels = torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 4, 1)

    def stream(plan: Any, draw: Any) -> Iterator[Tensor]:
        yield from (pixels[position] for position in plan.position)

    mean = torch.arange(12.0)[:, None].expand(-1, 3)
    faces = Faces(part, mean, pixels if resident else stream, torch.device("cpu"))  # type: ignore[arg-type]
    loader = Loader(faces, Order(part, 6, 0, sampler=Composed(labelled=2, unlabelled=4)))
    for batch in loader.epoch(0):
        assert batch.labelled == 2
        labelled, unlabelled = batch.part("labelled"), batch.part("unlabelled")
        assert bool((labelled.target["kind"] == 0).all())
        assert bool((unlabelled.target["kind"] == -1).all())
        for name in ("sample", "occurrence", "mean"):
            joined = torch.cat([getattr(labelled, name), getattr(unlabelled, name)])
            assert torch.equal(joined, getattr(batch, name))
        for piece in (labelled, unlabelled):
            assert torch.equal(piece.store[piece.row][:, 0, 0, 0].long(), piece.sample - 100)
            assert piece.part("labelled") is piece
    loader.close()
    evaluated = Loader(faces, Order(part, 6, 0))
    batch = next(iter(evaluated.epoch(0)))
    assert batch.part("unlabelled") is batch
    evaluated.close()
