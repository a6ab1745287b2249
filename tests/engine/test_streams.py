"""Views of a part of a composed batch, and views that cut a share of its samples."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from engine.baselines import supervised, supervised_equal_cost
from engine.recipe import file as recipe_file
from engine.recipe import settings
from engine.recipe.smoke import smoke
from engine.recipe.written import describe, read
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, Perceptual, PoseRegression, SolvePuzzle, SolveTurns
from engine.tasks.base import Look
from engine.training.cost import cost_of
from engine.training.evaluate import look
from engine.training.objective import Objective, compile_objective
from engine.training.render import Renderer
from engine.views import EVALUATION, Cells, HiddenParts, Holes, Plain, Puzzle, Turned, View
from kernels import Augment
from loaders import Composed, Fraction, HideLabels, Synthetic
from loaders.base import Augmented, Batch
from loaders.feed.streams import augment
from tests.engine import tiny
from tests.engine.test_objective import counting
from tests.engine.test_render import renderer
from tests.engine.test_train import run, trainer

ROOT = Path(__file__).resolve().parents[2]


def composed_recipe(**changes: Any) -> Any:
    """Supervision on 3 labelled faces of a batch of 8, the puzzle on the 5 others."""
    plain = {
        "data": HideLabels(Synthetic(train=40, val=12, test=12, size=32), keep=10),
        "sampler": Composed(labelled=3, unlabelled=5, label="expression"),
        "views": {"plain": Plain(of="labelled"), "puzzle": Puzzle(grid=2, of="unlabelled")},
    }
    return tiny.recipe(**{**plain, **changes})


def composed(faces: int = 6, labelled: int = 2) -> Batch:
    return replace(tiny.batch(faces), labelled=labelled)


# Parts


@pytest.mark.parametrize("of", ["labelled", "unlabelled"])
def test_a_view_of_a_part_shows_its_samples_as_a_view_of_all_shows_them(of: Any) -> None:
    strong = replace(kernels.strong(), cut=0.3)
    views: dict[str, View] = {
        "plain": Plain(),
        "puzzle": Puzzle(grid=3),
        "holes": Holes(grid=4),
        "parts": HiddenParts(),
    }
    chosen = slice(2) if of == "labelled" else slice(2, None)
    maker = renderer(views, strong, hiding=frozenset({"holes"}))
    everything = maker.training(composed(), epoch=1, step=0)
    mixed = {name: replace(view, of=of) if name != "plain" else view for name, view in views.items()}
    part = renderer(mixed, strong, hiding=frozenset({"holes"})).training(composed(), epoch=1, step=0)
    assert torch.equal(part.pictures["plain"], everything.pictures["plain"])
    assert torch.equal(part.whole["holes"], everything.whole["holes"][chosen])
    for name in ("puzzle", "holes", "parts"):
        assert torch.equal(part.pictures[name], everything.pictures[name][chosen])
        seen, of_all = look(part, name), look(everything, name)
        assert torch.equal(seen.where, of_all.where[chosen])
        assert torch.equal(seen.cells.shows, of_all.cells.shows[chosen])
        assert torch.equal(seen.target["expression"], of_all.target["expression"][chosen])


def test_no_picture_is_rendered_that_no_view_is_of() -> None:
    views: dict[str, View] = {
        "plain": Plain(of="labelled"),
        "puzzle": Puzzle(grid=2, of="unlabelled"),
        "holes": Holes(grid=4, of="unlabelled"),
    }
    shown = 0

    class Counting(Renderer):
        def show(self, batch: Batch, where: Tensor, *args: Any, **options: Any) -> Tensor:
            nonlocal shown
            shown += where.shape[0] * where.shape[1]
            return Renderer.show(self, batch, where, *args, **options)

    made = renderer(views, hiding=frozenset({"holes"}))
    fields = {name: getattr(made, name) for name in ("augment", "image_size", "evaluation_crop", "mean", "std", "seed")}
    Counting(views=views, hiding=made.hiding, **fields).training(composed(9, labelled=2), epoch=0, step=0)
    assert shown == 2 + 7 + 7 + 7  # plain, puzzle, holes and what the holes hide


def test_a_plain_view_of_all_serves_as_the_twin_of_holes_of_a_part() -> None:
    views: dict[str, View] = {"plain": Plain(), "holes": Holes(grid=4, of="unlabelled")}
    rendered = renderer(views, hiding=frozenset({"holes"})).training(composed(), epoch=0, step=0)
    assert rendered.whole["holes"].data_ptr() == rendered.pictures["plain"][2:].data_ptr()
    known = rendered.pictures["holes"] != 0
    assert torch.equal(rendered.pictures["holes"][known], rendered.whole["holes"][known])


def test_a_view_may_have_its_own_augmentation_and_shares_its_draw_with_its_equals() -> None:
    strong = replace(kernels.strong(), cut=0.4)
    views: dict[str, View] = {
        "weak": Plain(),
        "strong": Plain(augment=strong, of="unlabelled"),
        "puzzle": Puzzle(grid=2, augment=strong, of="unlabelled"),
    }
    both = renderer(views).training(composed(), epoch=2, step=0)
    alone = renderer({"strong": Plain()}, strong).training(composed(), epoch=2, step=0)
    assert torch.equal(both.pictures["strong"], alone.pictures["strong"][2:])
    weak = renderer({"weak": Plain()}).training(composed(), epoch=2, step=0)
    assert torch.equal(both.pictures["weak"], weak.pictures["weak"])
    assert torch.equal(both.where["strong"], both.where["puzzle"])
    assert not torch.equal(both.where["strong"], both.where["weak"][2:])


def test_a_source_that_augments_by_itself_gives_parts_but_no_second_augmentation() -> None:
    made = renderer({"plain": Plain(of="labelled"), "puzzle": Puzzle(grid=2, of="unlabelled")})
    draw, batch = made.shared(), composed()
    tables = draw(kernels.Key(made.seed, 1, batch.sample, batch.occurrence), batch.mean, (24, 24))
    faces = augment(batch.store, tables, size=24, blurs=draw.blurs)
    ahead = replace(batch, store=faces, augmented=Augmented(tables, (24, 24)))
    found, expected = (made.training(each, epoch=1, step=0) for each in (ahead, batch))
    for name, picture in found.pictures.items():
        assert torch.equal(found.where[name], expected.where[name])
        torch.testing.assert_close(picture, expected.pictures[name], atol=0.6 / 255 / 0.25, rtol=0)  # whole gray levels
    with pytest.raises(ValueError, match=r"set data.augment='kernel', or let all views have one size and one augment"):
        renderer({"plain": Plain(), "strong": Plain(augment=kernels.strong())}).shared()


# Shares


@pytest.mark.parametrize(
    "view", [Puzzle(grid=3), Puzzle(grid=2, turn=True), Turned(grid=2), Holes(grid=4), HiddenParts(grid=6)]
)
def test_a_share_of_the_samples_is_cut_as_ever_and_the_others_are_whole(view: Any) -> None:
    batch = tiny.batch(64)
    every = renderer({"view": view, "plain": Plain()}).training(batch, epoch=0, step=0)
    some = renderer({"view": replace(view, samples=0.3), "plain": Plain()}).training(batch, epoch=0, step=0)
    cut = some.cells["view"].cut
    assert cut is not None
    assert every.cells["view"].cut is None
    assert 8 <= int(cut.sum()) <= 32  # 19 are expected, with a standard deviation of 3.7
    assert torch.equal(some.pictures["view"][cut], every.pictures["view"][cut])
    torch.testing.assert_close(some.pictures["view"][~cut], some.pictures["plain"][~cut])
    assert torch.equal(some.pictures["plain"], every.pictures["plain"])


def test_which_samples_are_cut_is_drawn_by_sample_and_epoch_and_shared_by_sizes() -> None:
    views = {"large": Puzzle(grid=2, samples=0.5), "small": Puzzle(grid=2, samples=0.5, size=(16,))}

    def cut(batch: Batch, epoch: int = 0) -> list[Tensor]:
        cells = renderer(views).training(batch, epoch=epoch, step=0).cells
        return [found for each in cells.values() if (found := each.cut) is not None]

    batch = tiny.batch(40)
    large, small = cut(batch)
    assert torch.equal(large, small)
    assert torch.equal(cut(batch.part("all"))[0], large)
    assert torch.equal(cut(replace(batch, labelled=12).part("unlabelled"))[0], large[12:])
    assert not torch.equal(cut(batch, epoch=1)[0], large)
    shares = [cut(replace(tiny.batch(40), sample=torch.arange(40) + 40 * i))[0] for i in range(25)]
    assert abs(float(torch.cat(shares).double().mean()) - 0.5) < 4 * 0.5 / 1000**0.5


def test_evaluation_cuts_all_samples_augments_none_and_knows_no_parts() -> None:
    odd = {"view": Puzzle(grid=2, samples=0.1, of="unlabelled", augment=kernels.strong())}
    batch = tiny.batch(8)
    found = renderer(odd).evaluation(batch, ("view",))
    expected = renderer({"view": Puzzle(grid=2)}).evaluation(batch, ("view",))
    assert found.cells["view"].cut is None
    for name in (EVALUATION, "view"):
        assert torch.equal(found.pictures[name], expected.pictures[name])


# Losses


def seen(shows: Tensor, cut: Tensor | None, **fields: Any) -> Look:
    made = Look(
        picture=torch.zeros(len(shows), 3, 8, 8),
        cells=Cells(shows, fields.pop("turn", None), cut),
        where=torch.eye(2, 3).expand(len(shows), 2, 3),
        whole=None,
        target={},
    )
    return replace(made, **fields)


@pytest.mark.parametrize("task", [SolvePuzzle(), SolveTurns(on="puzzle")])
def test_tile_losses_are_those_of_the_cut_samples_alone(task: Any) -> None:
    shows = torch.stack([torch.randperm(4) for _ in range(5)]).to(torch.int16)
    turn = torch.randint(0, 4, (5, 4), dtype=torch.uint8)
    output = torch.randn(5, 4, 4)
    cut = torch.tensor([True, False, True, True, False])
    criterion = task.criterion(tiny.split([0]))
    answer = shows if isinstance(task, SolvePuzzle) else turn
    by_hand = [
        sum(float(F.cross_entropy(output[i, j], answer[i, j].long())) for j in range(4)) for i in range(5) if cut[i]
    ]
    found = criterion.loss(output, seen(shows, cut, turn=turn))
    assert found.item() == pytest.approx(sum(by_hand) / 3, rel=1e-5)
    assert criterion.loss(output, seen(shows, torch.zeros(5, dtype=torch.bool), turn=turn)).item() == 0
    everything = criterion.loss(output, seen(shows, torch.ones(5, dtype=torch.bool), turn=turn))
    torch.testing.assert_close(everything, criterion.loss(output, seen(shows, None, turn=turn)))


def test_in_painting_looks_at_the_cut_samples_alone() -> None:
    rendered = renderer({"holes": Holes(grid=4, samples=0.5)}, hiding=frozenset({"holes"})).training(
        tiny.batch(12), epoch=0, step=0
    )
    some = look(rendered, "holes")
    assert some.cut is not None
    assert some.whole is not None
    guess = torch.randn_like(some.picture)
    of_cut = replace(
        some,
        picture=some.picture[some.cut],
        cells=Cells(some.cells.shows[some.cut]),
        whole=some.whole[some.cut],
    )
    for task in (Inpaint(), Inpaint(perceptual=Perceptual(from_epoch=0))):
        criterion = task.criterion(tiny.split([0]))
        criterion.attach(tiny.BACKBONE.build(), (0.5,) * 3, (0.25,) * 3)
        torch.testing.assert_close(criterion.loss(guess, some), criterion.loss(guess[some.cut], of_cut))


def test_a_supervised_task_looks_at_all_samples_or_at_the_whole_ones_alone() -> None:
    recipe = tiny.recipe(
        views={"puzzle": Puzzle(grid=2, samples=0.5)},
        tasks=(Expression(SYNTHETIC_7, on="puzzle", dropout=0.0), SolvePuzzle(weight=0.3, dropout=0.0)),
        batch_size=16,
    )
    chosen = replace(recipe, tasks=(replace(recipe.tasks[0], whole_only=True), recipe.tasks[1]))
    made = trainer(recipe)
    batch = next(iter(made.train.epoch(0)))
    rendered = made.renderer.training(batch, epoch=0, step=0)
    made.model.eval()
    losses = Objective(made.model, recipe.tasks, made.criteria)(rendered)
    of_whole = Objective(made.model, chosen.tasks, made.criteria)(rendered)
    cut = rendered.cells["puzzle"].cut
    assert cut is not None
    logits = made.model(rendered.pictures)["expression"]["puzzle"]
    target = batch.target["expression"]
    torch.testing.assert_close(losses["expression"], F.cross_entropy(logits, target))
    torch.testing.assert_close(of_whole["expression"], F.cross_entropy(logits[~cut], target[~cut]))
    assert losses["puzzle"] == of_whole["puzzle"]


def test_numbers_are_left_out_of_the_cut_samples_too() -> None:
    pose = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    cut = torch.tensor([True, False])
    found = seen(torch.zeros(2, 1, dtype=torch.int16), cut, target={"pose": pose}).of_whole().target["pose"]
    assert found[0].isnan().all()
    assert torch.equal(found[1], pose[1])


# The model


@pytest.mark.parametrize("statistics", ["joint", "per_view", "per_view_plain"])
def test_views_of_different_lengths_pass_the_encoder_together(statistics: Any) -> None:
    recipe = composed_recipe(batch_statistics=statistics)
    made = trainer(recipe)
    rendered = made.renderer.training(next(iter(made.train.epoch(0))), epoch=0, step=0)
    assert {name: len(picture) for name, picture in rendered.pictures.items()} == {"plain": 3, "puzzle": 5}
    other = copy.deepcopy(made.model)
    found = made.model.encode(rendered.pictures)
    if statistics == "joint":
        pooled = other.encoder(torch.cat(list(rendered.pictures.values()))).pooled.split([3, 5])
    else:
        pooled = [other.encode({name: picture})[name].pooled for name, picture in rendered.pictures.items()]
    for name, expected in zip(rendered.pictures, pooled, strict=True):
        torch.testing.assert_close(found[name].pooled, expected, atol=1e-4, rtol=1e-4)
    moved = dict(made.model.encoder.named_buffers())
    if statistics == "per_view_plain":
        for name, buffer in other.encoder.named_buffers():
            torch.testing.assert_close(moved[name], buffer, atol=1e-4, rtol=1e-4, msg=name)


def test_a_composition_compiles_one_graph() -> None:
    recipe = composed_recipe(batch_statistics="per_view")
    made = trainer(recipe)
    graphs: list[object] = []
    plain = Objective(made.model, recipe.tasks, made.criteria)
    made.model.eval()
    torch.compiler.reset()
    rendered = [made.renderer.training(batch, epoch=0, step=step) for step, batch in enumerate(made.train.epoch(0))]
    expected = [plain(each) for each in rendered]
    objective = compile_objective(plain, recipe.views, recipe.image_size, backend=counting(graphs))
    for each, losses in zip(rendered, expected, strict=True):
        for name, loss in objective(each).items():
            torch.testing.assert_close(loss, losses[name], atol=1e-5, rtol=1e-5)
    assert len(graphs) == 1
    torch.compiler.reset()


# The recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 9}, r"labelled \(=3\) and unlabelled \(=5\) must add up to batch_size \(=9\)"),
        ({"sampler": Fraction(0.5)}, r"views\['plain'\] is of \(='labelled'\) a part of composed batches, and sampler"),
        (
            {"views": {"plain": Plain(), "puzzle": Puzzle(grid=2)}},
            r"only Expression 'expression' looks at it, .* of='lab",
        ),
        ({"views": {"plain": Plain(of="unlabelled"), "puzzle": Puzzle(grid=2)}}, r"whose samples have no label; name"),
        ({"views": {"plain": Plain(of="others"), "puzzle": Puzzle(grid=2)}}, r"of \(='others'\) must be of type 'all'"),
        (
            {"tasks": (Expression(SYNTHETIC_7, on=("plain", "puzzle"), whole_only=True), SolvePuzzle())},
            r"whose samples have no label",
        ),
        (
            {"views": {"plain": Plain(of="labelled", augment=Augment(rotation=(-9, 9)))}, "tasks": (PoseRegression(),)},
            r"augment.rotation \(=\(-9.0, 9.0\)\) must be",
        ),
    ],
)
def test_parts_that_cannot_be_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        composed_recipe(**changes)


def test_a_share_that_cannot_be_is_refused() -> None:
    for make in (Puzzle, Turned, Holes, HiddenParts):
        for share in (0.0, 1.5):
            with pytest.raises(ValueError, match=rf"{make.__name__}: samples \(={share}\) must be above 0 and at most"):
                make(samples=share)
    with pytest.raises(ValueError, match=r"whole_only leaves nothing of 'puzzle' .* give it samples below 1"):
        tiny.recipe(tasks=(Expression(SYNTHETIC_7, on=("plain", "puzzle"), whole_only=True), SolvePuzzle()))


def test_a_label_that_is_there_without_the_one_composed_by_may_be_learnt_from_all() -> None:
    sampler = Composed(labelled=3, unlabelled=5, label="glasses")
    views = {"plain": Plain(), "puzzle": Puzzle(grid=2)}
    assert composed_recipe(sampler=sampler, views=views).sampler == sampler


def test_parts_and_shares_are_set_from_the_command_line() -> None:
    wanted = ["plain.of=labelled", "plain.augment=strong()", "puzzle.samples=0.3"]
    composing = ["sampler=Composed(labelled=3, unlabelled=5)", "views.puzzle.of='unlabelled'"]
    found = settings.apply(tiny.recipe(), [*(f"views.{field}" for field in wanted), *composing])
    assert found.views["plain"] == Plain(of="labelled", augment=kernels.strong())
    assert found.views["puzzle"] == Puzzle(grid=2, samples=0.3, of="unlabelled")
    assert found.sampler == Composed(labelled=3, unlabelled=5)
    assert read(describe(found.views["plain"]), View, "a view") == found.views["plain"]


def test_baselines_of_a_composed_recipe_see_its_labelled_faces_alone() -> None:
    hybrid = composed_recipe()
    assert cost_of(hybrid, steps=1).pictures == hybrid.epochs * (3 + 5)
    one = supervised(hybrid)
    assert one.views == {"plain": Plain(of="labelled")}
    assert cost_of(one, steps=1).pictures == hybrid.epochs * 3
    equal = supervised_equal_cost(replace(hybrid, epochs=27))
    assert (len(equal.views), equal.epochs) == (3, 24)
    assert cost_of(equal, steps=1).pictures == 27 * 8


def test_a_composed_recipe_trains_and_says_what_it_saw(tmp_path: Path) -> None:
    out = run(composed_recipe(), tmp_path / "run").parent
    result = json.loads((out / "result.json").read_text())
    # 30 faces without a label fill 6 batches of 5
    assert result["steps"] == 12
    assert result["shown"] == {"labelled": {"faces": 10, "shown": 36}, "unlabelled": {"faces": 30, "shown": 60}}
    assert result["pictures_through_encoder"] == 12 * 8
    assert (
        "batches of two parts: 10 labelled faces, shown 36 times in all, and 30 unlabelled faces, shown 60 times in all"
        in (out / "report.md").read_text()
    )


def test_smoke_keeps_the_composition() -> None:
    small = smoke(composed_recipe(batch_size=64, sampler=Fraction(0.5, of=Composed(labelled=16, unlabelled=48))))
    assert (small.batch_size, small.sampler) == (16, Composed(labelled=4, unlabelled=12))
    made = trainer(small)
    batches = list(made.train.epoch(0))
    assert len(batches) == 3
    for batch in batches:
        assert (batch.target["expression"] >= 0).tolist() == [True] * 4 + [False] * 12
        assert bool(batch.part("unlabelled").target["pose"].isnan().all())
    assert all(bool((batch.target["expression"] >= 0).any()) for batch in made.select.epoch(0))


@pytest.mark.parametrize("variant", ["one_stream", "shared_stream", "second_repository"])
def test_one_stream_is_one_view_that_both_heads_look_at(variant: str) -> None:
    recipe = recipe_file.read(f"{ROOT / 'recipes/fer2013_hmtl.py'}:{variant}").recipe
    one = cost_of(supervised(recipe), steps=1)
    assert one.pictures == recipe.epochs * recipe.batch_size
    costs = "not equal: +7 % FLOPs" if variant == "second_repository" else "equal FLOPs within 0.1 %"  # its head
    assert cost_of(recipe, steps=1).beside(one) == costs
    assert [task.on for task in recipe.tasks] == [("puzzle",)] * 2
    made = trainer(replace(smoke(recipe), precision="fp32"))
    rendered = made.renderer.training(next(iter(made.train.epoch(0))), epoch=0, step=0)
    assert list(rendered.pictures) == ["puzzle"]
    assert (rendered.cells["puzzle"].cut is None) == (variant != "shared_stream")
    losses = made.trains(made.phases[0].tasks).objective(rendered)
    assert all(bool(loss.isfinite()) for loss in losses.values())
