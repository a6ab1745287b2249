"""Views are drawn and rendered as pure functions of (seed, epoch, sample), one launch a size and grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import kernels
from engine.training.render import Centre, Launch, Renderer, launches
from engine.views import (
    EVALUATION,
    Cells,
    Frame,
    HiddenParts,
    Holes,
    Plain,
    Puzzle,
    Turned,
    View,
    identity_cells,
    size_at,
)
from kernels import Augment
from loaders import ClassBalanced, Composed, HideLabels, Loader, Sampler, Source, SquareRootBalanced, Synthetic
from tests.engine import tiny


def renderer(views: Mapping[str, View], augment: Augment | None = None, **changes: Any) -> Renderer:
    made = Renderer(
        views=views,
        augment=augment or kernels.weak(),
        image_size=24,
        evaluation_crop=1.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        seed=3,
    )
    return replace(made, **changes)


def test_views_of_a_sample_share_their_augmentation_and_differ_by_their_cells() -> None:
    rendered = renderer({"plain": Plain(), "puzzle": Puzzle(grid=2)}).training(tiny.batch(), epoch=1, step=0)
    plain, puzzle = rendered.pictures["plain"], rendered.pictures["puzzle"]
    for sample, shows in enumerate(rendered.cells["puzzle"].shows.tolist()):
        for cell, source in enumerate(shows):
            y, x, from_y, from_x = cell // 2 * 12, cell % 2 * 12, source // 2 * 12, source % 2 * 12
            here = puzzle[sample, :, y : y + 12, x : x + 12]
            # Positions in the un-cut view are exact, so tiles agree to the last bits of one interpolation.
            torch.testing.assert_close(here, plain[sample, :, from_y : from_y + 12, from_x : from_x + 12])


def test_a_fresh_view_draws_its_own_augmentation() -> None:
    views = {"a": Plain(), "b": Plain(), "c": Plain(fresh=True), "d": Plain(fresh=True)}
    pictures = renderer(views).training(tiny.batch(), epoch=0, step=0).pictures
    assert torch.equal(pictures["a"], pictures["b"])
    assert not torch.equal(pictures["a"], pictures["c"])
    assert not torch.equal(pictures["c"], pictures["d"])


def test_a_view_depends_on_seed_epoch_sample_and_occurrence_and_on_nothing_else() -> None:
    views = {"plain": Plain(), "puzzle": Puzzle(grid=3), "holes": Holes(grid=6)}
    batch = tiny.batch(6)
    whole = renderer(views).training(batch, epoch=2, step=0)
    part = replace(batch, **{name: getattr(batch, name)[[4, 1]] for name in ("row", "sample", "occurrence", "mean")})
    for name, picture in renderer(views).training(part, epoch=2, step=9).pictures.items():
        assert torch.equal(picture, whole.pictures[name][[4, 1]])
    for other in (
        renderer(views).training(batch, epoch=3, step=0),
        renderer(views, seed=4).training(batch, epoch=2, step=0),
        renderer(views).training(replace(batch, occurrence=batch.occurrence + 1), epoch=2, step=0),
    ):
        assert all(not torch.equal(other.pictures[name], whole.pictures[name]) for name in views)


AGAIN = (
    ClassBalanced("expression"),
    SquareRootBalanced("expression"),
    Composed(labelled=2, unlabelled=6, label="expression"),
)


def shown_alike(sampler: Sampler) -> set[str]:
    """The views in which an epoch of 40 draws, some of them of one face, has the same picture twice."""
    views: dict[str, View] = {"plain": Plain(), "puzzle": Puzzle(grid=2), "holes": Holes(grid=4)}
    drawn, found = Synthetic(train=40, size=24), dict[str, list[bytes]]()
    source: Source = HideLabels(drawn, 4) if isinstance(sampler, Composed) else drawn
    with closing(Loader.open(source, "train", batch_size=8, seed=3, device="cpu", sampler=sampler)) as loader:
        for step, batch in enumerate(loader.epoch(0)):
            for name, pictures in renderer(views).training(batch, epoch=0, step=step).pictures.items():
                found.setdefault(name, []).extend(picture.numpy().tobytes() for picture in pictures)
    return {name for name, pictures in found.items() if len(set(pictures)) < len(pictures)}


@pytest.mark.parametrize("sampler", AGAIN, ids=lambda sampler: type(sampler).__name__)
def test_a_face_that_an_epoch_shows_again_looks_different(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_alike(sampler) == set()
    # The fault of old: a key without the occurrence.
    monkeypatch.setattr("engine.training.render.Key", lambda seed, epoch, sample, _: kernels.Key(seed, epoch, sample))
    assert shown_alike(sampler) == {"plain", "puzzle", "holes"}


def test_dropping_a_pretext_view_leaves_the_plain_view_bit_for_bit() -> None:
    both = renderer({"plain": Plain(), "puzzle": Puzzle(grid=3)}).training(tiny.batch(), epoch=0, step=0)
    alone = renderer({"plain": Plain()}).training(tiny.batch(), epoch=0, step=0)
    assert torch.equal(both.pictures["plain"], alone.pictures["plain"])


@pytest.mark.parametrize("augment", [kernels.weak(), kernels.strong()])
def test_the_twin_of_a_hole_is_the_same_view_with_nothing_hidden(augment: Augment) -> None:
    views = {"holes": Holes(grid=4)}
    rendered = renderer(views, replace(augment, cut=0.0), hiding=frozenset(views)).training(
        tiny.batch(), epoch=0, step=0
    )
    hidden = (rendered.pictures["holes"] == 0) & (rendered.whole["holes"] != 0)
    assert 0.1 < hidden.float().mean() < 0.4
    assert torch.equal(rendered.pictures["holes"][~hidden], rendered.whole["holes"][~hidden])
    assert set(rendered.pictures) == {"holes"}  # the twin is no view: it is not encoded


def test_the_plain_view_serves_as_the_twin_unless_it_has_a_cut_out() -> None:
    views = {"plain": Plain(), "holes": Holes(grid=4)}
    same = renderer(views, hiding=frozenset({"holes"})).training(tiny.batch(), epoch=0, step=0)
    assert same.whole["holes"].data_ptr() == same.pictures["plain"].data_ptr()
    cut = renderer(views, kernels.strong(), hiding=frozenset({"holes"})).training(tiny.batch(), epoch=0, step=0)
    assert not torch.equal(cut.whole["holes"], cut.pictures["plain"])
    assert (cut.pictures["plain"] == 0).any()
    assert (cut.whole["holes"] == 0).float().mean() < 0.001


def test_a_puzzle_shown_at_several_sizes_keeps_its_permutation() -> None:
    views = {"large": Puzzle(grid=2, size=(24,)), "small": Puzzle(grid=2, size=(12, 16))}
    maker = renderer(views)
    first = maker.training(tiny.batch(), epoch=0, step=0)
    assert torch.equal(first.cells["large"].shows, first.cells["small"].shows)
    sizes = {maker.training(tiny.batch(), epoch=0, step=step).pictures["small"].shape[-1] for step in range(20)}
    assert sizes == {12, 16}
    again = maker.training(tiny.batch(), epoch=0, step=0)
    assert again.pictures["small"].shape == first.pictures["small"].shape


def test_evaluation_shows_the_whole_face_and_asks_the_same_puzzle_every_time() -> None:
    maker = renderer({"plain": Plain(), "puzzle": Puzzle(grid=2)}, kernels.strong())
    batch = tiny.batch()
    first, second = maker.evaluation(batch, ("puzzle",)), maker.evaluation(batch, ("puzzle",))
    stored = (batch.store.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    assert torch.equal(first.pictures[EVALUATION], stored)
    assert torch.equal(first.pictures["puzzle"], second.pictures["puzzle"])


def test_views_share_a_launch_by_size_and_grid() -> None:
    views = {
        "plain": Plain(),
        "puzzle": Puzzle(grid=3),
        "holes": Holes(grid=14),
        "other": Plain(),
        "turned": Turned(grid=1),
        "small": Puzzle(grid=3),
    }
    draws = {name: (Centre(1.0, 12 if name == "small" else 24), view.of) for name, view in views.items()}
    assert launches(views, draws) == (
        Launch(("plain", "puzzle", "other"), 24, 3),
        Launch(("holes",), 24, 14),
        Launch(("turned",), 24, 1),  # on a finer grid each cell would be turned by itself
        Launch(("small",), 12, 3),
    )


class _Operators(TorchDispatchMode):
    """Counts the operators that the host asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def test_a_step_is_draws_and_launches_and_what_all_views_share_is_not_copied() -> None:
    maker, batch = renderer({"plain": Plain(), "puzzle": Puzzle(grid=2)}), tiny.batch()
    maker.training(batch, epoch=0, step=0), maker.evaluation(batch, ("puzzle",))
    with _Operators() as training:
        maker.training(batch, epoch=1, step=1)
    with _Operators() as evaluation:
        maker.evaluation(batch, ("puzzle",))
    launch = {"hmtl::render_views": 1, "aten::expand": 2, "aten::stack": 1, "aten::unbind": 1}
    assert evaluation.seen == {"hmtl::draw_permutation": 1} | launch
    assert training.seen == {"hmtl::draw_tables": 1, "hmtl::draw_permutation": 1} | launch


@pytest.mark.parametrize(
    ("view", "more"),
    [
        (Turned(grid=2), 1),
        (Holes(grid=4), 0),
        (HiddenParts(), 0),
        (Puzzle(grid=2, size=(12, 24)), 0),
        (Puzzle(grid=2, samples=0.5), 4),  # which samples are cut, and the others whole
    ],
)
def test_no_kind_of_view_takes_many_more_operators_than_a_puzzle(view: View, more: int) -> None:
    counts = []
    for each in (Puzzle(grid=2), view):
        maker, batch = renderer({"cut": each}), tiny.batch()
        maker.training(batch, epoch=0, step=0)
        with _Operators() as seen:
            maker.training(batch, epoch=0, step=1)
        counts.append(seen.seen.total())
    assert counts[1] <= counts[0] + more


def test_a_size_is_drawn_by_its_step_alone() -> None:
    view, steps = Puzzle(grid=2, size=(12, 16, 20)), torch.arange(1100)
    key = kernels.Key(5, 2, steps).stream("size of small")
    wanted = [view.size[bits % 3] for bits in kernels.random_bits(key, 1).flatten().tolist()]
    assert [size_at(view, 24, name="small", seed=5, epoch=2, step=step) for step in steps.tolist()] == wanted


def test_what_evaluation_made_in_inference_mode_serves_a_later_backward_pass() -> None:
    with torch.inference_mode():
        made = identity_cells(7, 3, torch.device("cpu"))
    assert identity_cells(7, 3, torch.device("cpu")) is made
    assert not made.is_inference()


class _Turned(View):
    """A view of a user's own: quarter turns of one whole cell."""

    def cells(self, key: kernels.Key, frame: Frame) -> Cells:
        turn = torch.ones(len(key.sample), 1, dtype=torch.uint8)
        return Cells(kernels.identity_cells(1, len(key.sample), key.sample.device), turn)


def test_a_view_of_ones_own_may_turn_its_cells() -> None:
    views: dict[str, View] = {"plain": Plain(), "turned": _Turned()}
    pictures = renderer(views, Augment()).training(tiny.batch(), epoch=0, step=0).pictures
    assert torch.equal(pictures["turned"], torch.rot90(pictures["plain"], 1, (2, 3)))
    beside = renderer(views | {"puzzle": Puzzle(grid=2)}, Augment()).training(tiny.batch(), epoch=0, step=0)
    assert torch.equal(beside.pictures["turned"], pictures["turned"])


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({}, r"views \(=\{\}\) must name at least one view"),
        ({"a b": Plain()}, r"views has 'a b', a name must be an identifier"),
        ({EVALUATION: Plain()}, r"has the name 'evaluation', which is kept"),
        ({"plain": "Plain"}, r"views\['plain'\] \(='Plain'\) must be a view"),
        ({"puzzle": Puzzle(grid=15)}, r"grid \(=15\) larger than image_size \(=12\)"),
    ],
)
def test_views_that_cannot_be_are_refused(views: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.recipe(views=views, image_size=12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Puzzle(grid=1), r"Puzzle: grid \(=1\) must be 2 to 15"),
        (lambda: Puzzle(grid=3, size=(2,)), r"Puzzle: size \(=\(2,\)\) must be None or a tuple of sides of 3 px"),
        (lambda: Plain(size=()), r"Plain: size \(=\(\)\)"),
        (lambda: Turned(grid=16), r"Turned: grid \(=16\) must be 1 to 15; 1 turns the whole face"),
        (lambda: Turned(size=(1,)), r"Turned: size \(=\(1,\)\)"),
        (lambda: HiddenParts(grid=1), r"HiddenParts: grid \(=1\) must be 2 to 64"),
        (lambda: HiddenParts(parts=()), r"HiddenParts: parts \(=\(\)\) must be 1 to 16 boxes"),
        (lambda: HiddenParts(parts=((0.5, 0.1, 0.4, 0.2),)), r"parts has \(0.5, 0.1, 0.4, 0.2\), a box must be"),
        (lambda: HiddenParts(parts=((0, 0, 1),)), r"parts has \(0, 0, 1\), a box must be"),
        (lambda: HiddenParts(size=(8,)), r"HiddenParts: size \(=\(8,\)\)"),
        (lambda: Holes(grid=1), r"Holes: grid \(=1\)"),
        (lambda: Holes(share=(0.5, 0.1)), r"Holes: share \(=\(0.5, 0.1\)\)"),
        (lambda: Holes(blocks=(0, 1)), r"Holes: blocks \(=\(0, 1\)\)"),
        (lambda: Holes(blocks=(1, 17)), r"Holes: blocks \(=\(1, 17\)\)"),
        (lambda: Holes(aspect=(0, 1)), r"Holes: aspect \(=\(0, 1\)\)"),
    ],
)
def test_views_with_impossible_fields_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_view_says_how_it_lies_on_the_stored_face() -> None:
    views: dict[str, View] = {"plain": Plain(), "puzzle": Puzzle(grid=2)}
    where = renderer(views, Augment(flip=1.0)).training(tiny.batch(), epoch=0, step=0).where
    assert (where["plain"][:, 0, 0] < 0).all(), "a flipped face runs against the store's x axis"
    assert torch.equal(where["plain"], where["puzzle"])
    assert (renderer(views, Augment(flip=1.0)).evaluation(tiny.batch()).where[EVALUATION][:, 0, 0] > 0).all()
