"""Composed batches: so many samples with a label, then so many without, whatever the rank; also in phases of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from loaders import Classes, Composed, Faces, Fraction, Loader, Numbers, Phased, Split
from loaders.feed.composed import composition, has_label, over
from loaders.feed.order import Order


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
    assert alone.labelled == (4,) * 10
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
    assert plan.labelled == (2,) * 5
    assert known[plan.position].tolist() == [[True, True, False, False]] * 5


TWO = Composed(labelled=2, unlabelled=2)


def phased(*starts: float) -> Phased:
    return Phased(tuple((start, TWO) for start in starts))


def test_a_part_may_be_left_out() -> None:
    for counts, sampler in (
        ((3, 9), Composed(labelled=0, unlabelled=4)),
        ((0, 9), Composed(labelled=0, unlabelled=4)),
        ((9, 0), Composed(labelled=4, unlabelled=0, epoch="labelled")),
    ):
        assert [(len(few), len(many)) for few, many in batches(split(*counts), sampler, 1)] == [
            (sampler.labelled, sampler.unlabelled)
        ] * 2


def test_a_phase_has_the_order_of_its_composition_alone_and_may_begin_inside_an_epoch() -> None:
    part = split(labelled=10, unlabelled=40)
    first, second = Composed(labelled=2, unlabelled=4), Composed(labelled=4, unlabelled=2, epoch="labelled")
    last = Composed(labelled=1, unlabelled=5)
    sampler = Phased(((0.0, first), (0.4, second), (0.8, last)))
    run = over(sampler, epochs=3, accumulate=2)  # 8 batches an epoch, 12 steps: phases from step 5 and from step 10 on
    orders = [run.order(part, seed=3, epoch=epoch).view(8, 6) for epoch in range(3)]
    plans = [Order(part, 6, 3, sampler=run).plan(epoch) for epoch in range(3)]
    assert [plan.labelled for plan in plans] == [(2,) * 8, (2, 2) + (4,) * 6, (4,) * 4 + (1,) * 4]
    assert torch.equal(orders[2][4:], last.order(part, seed=3, epoch=2).view(8, 6)[4:])
    for composed, phase in (first, [*orders[0], *orders[1][:2]]), (second, [*orders[1][2:], *orders[2][:4]]):
        known = has_label(part)[torch.stack(phase)]
        assert bool(known[:, : composed.labelled].all())
        assert not bool(known[:, composed.labelled :].any())
    unlabelled = torch.stack([*orders[0], *orders[1][:2]])[:, 2:].flatten()
    assert sorted(unlabelled.tolist()) == torch.nonzero(~has_label(part)).flatten().tolist()  # goes on after epoch 0
    for plan, order in zip(plans, orders, strict=True):
        assert torch.equal(plan.position, order)
        shown = list(zip(plan.position.flatten().tolist(), plan.occurrence.flatten().tolist(), strict=True))
        assert len(set(shown)) == len(shown)


def test_one_phase_is_a_composition_throughout() -> None:
    part = split(labelled=10, unlabelled=47)
    alone = Composed(labelled=4, unlabelled=6)
    run = over(Phased(((0.0, alone),)), epochs=2)
    for epoch in range(2):
        assert torch.equal(run.order(part, seed=3, epoch=epoch), alone.order(part, seed=3, epoch=epoch))


def test_ranks_share_out_the_batches_of_phases_and_an_epoch_is_gone_on_with_inside_one() -> None:
    part = split(labelled=10, unlabelled=60)
    phases = Phased(((0.0, Composed(labelled=0, unlabelled=8)), (0.3, Composed(labelled=4, unlabelled=4))))
    sampler = over(Fraction(0.9, of=phases), epochs=2, accumulate=4)  # 13 batches, 6 steps: the second phase at step 2
    alone = Order(part, 8, 0, sampler=sampler).plan(0)
    assert alone.labelled == (0,) * 8 + (4,) * 5
    for world in (2, 4):
        plans = [Order(part, 8, 0, rank, world, sampler).plan(0) for rank in range(world)]
        dealt = torch.stack([plan.position for plan in plans], dim=1).flatten(0, 1)
        assert torch.equal(dealt, alone.position[:12])
        together = zip(*(plan.labelled or () for plan in plans), strict=True)
        assert [count for step in together for count in step] == list(alone.labelled[:12])
    later = Order(part, 8, 0, sampler=sampler).plan(0, start=9)
    assert torch.equal(later.position, alone.position[9:])
    assert later.labelled == (4,) * 4


@pytest.mark.parametrize(
    ("sampler", "counts", "message"),
    [
        (lambda: Composed(labelled=-1, unlabelled=2), (4, 4), r"labelled \(=-1\) must be 0 or more samples of a batch"),
        (
            lambda: Composed(labelled=4, unlabelled=0),
            (4, 4),
            r"unlabelled \(=0\) must be 1 or more samples of a batch where an epoch is a pass over them",
        ),
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
        (
            lambda: Phased(((0, Composed(labelled=2, unlabelled=2)),)),
            (4, 4),
            r"run whose length must be known; give the",
        ),
        (
            lambda: over(Phased(((0, Composed(labelled=1, unlabelled=2)),)), epochs=1),
            (4, 4),
            r"and unlabelled \(=2\) must add up to batch_size \(=4\)",
        ),
        (lambda: Phased({0.0: Composed(labelled=2, unlabelled=2)}), (4, 4), r"must be pairs of a share .* and a Comp"),  # type: ignore[arg-type]
        (lambda: Phased(()), (4, 4), r"phases \(=\(\)\) must be pairs"),
        (lambda: phased(0.5), (4, 4), r"phases begin at 0.5 of the training, which must rise from 0 and stay below 1"),
        (lambda: phased(0.0, 0.5, 0.5), (4, 4), r"phases begin at 0.0, 0.5, 0.5 of the training"),
        (lambda: phased(0.0, 1.0), (4, 4), r"phases begin at 0.0, 1.0 of the training"),
        (
            lambda: Phased(((0, Composed(labelled=2, unlabelled=2)), (0.5, Composed(labelled=2, unlabelled=3)))),
            (4, 4),
            r"labelled \+ unlabelled \(=4, 5\) must be the same in all phases",
        ),
        (
            lambda: Phased(((0, Composed(labelled=2, unlabelled=2, label="kind")), (0.5, TWO))),
            (4, 4),
            r"label \(=kind, None\) must be the same in all phases",
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
