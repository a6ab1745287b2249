"""Each task has known answers: what is right costs nothing, what is flat costs its chance value."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.tasks import SYNTHETIC_7, Expression, Inpaint, SolvePuzzle, SolveTurns, Task
from engine.tasks.base import Features, Look, Rows, Shape
from engine.tasks.inpaint import completed, hidden_pixels
from engine.tasks.softmax import class_weight
from engine.training.evaluate import figures
from engine.views import Cells, Frame, HiddenParts, Holes, Plain, Puzzle, Turned
from kernels import Key
from loaders.base import Classes, Numbers
from tests.engine import tiny

VIEWS = {
    "plain": Plain(),
    "puzzle": Puzzle(grid=2),
    "puzzle3": Puzzle(grid=3),
    "holes": Holes(grid=4),
    "parts": HiddenParts(),
    "turned": Turned(grid=2),
    "both": Puzzle(grid=3, turn=True),
}


def look(target: list[int] | None = None, shows: Tensor | None = None, whole: Tensor | None = None) -> Look:
    shows = torch.zeros(2, 1, dtype=torch.int16) if shows is None else shows
    size = 8 if whole is None else whole.shape[-1]
    return Look(
        picture=torch.zeros(len(shows), 3, size, size),
        cells=Cells(shows),
        where=torch.eye(2, 3).expand(len(shows), 2, 3),
        whole=whole,
        target={"expression": torch.tensor(target or [])},
    )


def expression_loss(logits: Tensor, target: list[int], train: list[int] | None = None, **fields: Any) -> float:
    criterion = Expression(SYNTHETIC_7, **fields).criterion(tiny.split(train or list(range(7))))
    return criterion.loss(logits, look(target)).item()


def test_expression_right_logits_cost_nothing() -> None:
    logits = 100 * torch.eye(7)
    assert expression_loss(logits, list(range(7))) == pytest.approx(0, abs=1e-6)


def test_expression_flat_logits_cost_ln_of_the_classes() -> None:
    assert expression_loss(torch.zeros(3, 7), [0, 3, 6]) == pytest.approx(math.log(7), rel=1e-6)


class MeasuresLess(Expression):
    def measure(self, rows: Rows) -> dict[str, float]:
        return {"accuracy": 1.0, "surprise": 0.0}


def test_a_task_that_measures_other_figures_than_it_declares_is_refused() -> None:
    message = (
        r"MeasuresLess 'expression': measure \(=accuracy, surprise\) must give the figures that it declares "
        r"\(=accuracy, macro_f1, .*\); make measure and figures agree"
    )
    with pytest.raises(ValueError, match=message):
        figures([MeasuresLess(SYNTHETIC_7)], VIEWS, {"expression": {}})


def test_expression_leaves_missing_labels_out_of_loss_and_figures() -> None:
    logits = torch.cat([torch.zeros(1, 7), 100 * torch.eye(7)[:1]])
    assert expression_loss(logits, [2, -1]) == pytest.approx(math.log(7), rel=1e-6)
    assert expression_loss(logits, [-1, -1]) == 0
    rows = {"probability": np.eye(7, dtype=np.float32)[[1, 2, 3]], "target": np.array([1, -1, 4])}
    assert Expression(SYNTHETIC_7).measure(rows)["accuracy"] == 0.5


def test_expression_without_any_label_has_no_figures_rather_than_zero() -> None:
    rows = {"probability": np.eye(7, dtype=np.float32)[:2], "target": np.array([-1, -1])}
    assert all(math.isnan(value) for value in Expression(SYNTHETIC_7).measure(rows).values())


@pytest.mark.parametrize(
    ("kind", "cap", "expected"),
    [
        ("none", None, [1.0, 1.0, 1.0]),
        ("balanced", None, [1.0, 9.0, 1.0]),
        ("sqrt", None, [1.0, 3.0, 1.0]),
        ("balanced", 4.0, [1.0, 4.0, 1.0]),
    ],
)
def test_class_weights_are_the_largest_count_over_each(kind: Any, cap: float | None, expected: list[float]) -> None:
    assert class_weight(torch.tensor([18, 2, 0]), kind, cap).tolist() == expected


def test_class_weights_enter_the_loss() -> None:
    train = [0, 0, 0, 0, 1]
    flat = expression_loss(torch.zeros(1, 7), [1], train, class_weights="balanced")
    assert flat == pytest.approx(4 * math.log(7), rel=1e-6)


def test_label_smoothing_makes_certainty_cost() -> None:
    assert expression_loss(20 * torch.eye(7)[:1], [0], label_smoothing=0.1) == pytest.approx(0.1 * 20 * 6 / 7, rel=1e-4)


@pytest.mark.parametrize("grid", [2, 3])
def test_puzzle_flat_logits_cost_ln_of_the_cells_a_tile_and_right_ones_nothing(grid: int) -> None:
    cells = grid * grid
    shows = torch.stack([torch.randperm(cells) for _ in range(5)]).to(torch.int16)
    criterion = SolvePuzzle().criterion(tiny.split([0]))
    flat = criterion.loss(torch.zeros(5, cells, cells), look(shows=shows)).item()
    assert flat == pytest.approx(cells * math.log(cells), rel=1e-6)
    right = 100 * torch.nn.functional.one_hot(shows.long(), cells).float()
    assert criterion.loss(right, look(shows=shows)).item() == pytest.approx(0, abs=1e-6)


def test_puzzle_figures_count_tiles_and_whole_puzzles() -> None:
    shows = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    guess = np.array([[0, 1, 2, 3], [3, 2, 0, 1]])
    assert SolvePuzzle().measure({"guess": guess, "shows": shows}) == {"tile_accuracy": 0.75, "puzzle_accuracy": 0.5}


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_turns_right_logits_cost_nothing_and_flat_ones_ln_4_a_tile(grid: int) -> None:
    cells = grid * grid
    turn = torch.randint(0, 4, (5, cells), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    seen = replace(look(shows=torch.zeros(5, cells, dtype=torch.int16)), cells=Cells(turn.to(torch.int16), turn))
    criterion = SolveTurns().criterion(tiny.split([0]))
    assert criterion.loss(torch.zeros(5, cells, 4), seen).item() == pytest.approx(cells * math.log(4), rel=1e-6)
    right = 100 * torch.nn.functional.one_hot(turn.long(), 4).float()
    assert criterion.loss(right, seen).item() == pytest.approx(0, abs=1e-6)
    assert torch.equal(criterion.rows(right, seen)["guess"], turn)
    assert torch.equal(criterion.rows(right, seen)["turn"], turn)


def test_turns_figures_count_tiles_and_whole_faces_and_guessing_is_right_for_a_quarter() -> None:
    turn, guess = np.array([[0, 1, 2, 3], [3, 3, 1, 0]]), np.array([[0, 1, 2, 3], [3, 3, 0, 1]])
    assert SolveTurns().measure({"guess": guess, "turn": turn}) == {"tile_accuracy": 0.75, "all_tiles_accuracy": 0.5}
    drawn = Turned(grid=3).cells(Key(1, 0, torch.arange(2000)), Frame(torch.eye(2, 3), 9, (9, 9)))
    assert drawn.turn is not None
    always = np.zeros_like(drawn.turn.numpy())
    assert SolveTurns().measure({"guess": always, "turn": drawn.turn.numpy()})["tile_accuracy"] == pytest.approx(
        0.25, abs=4 * (0.25 * 0.75 / 18000) ** 0.5
    )


def test_puzzling_and_rotation_ask_two_questions_of_one_view() -> None:
    shape, features = Shape(8, 6, 4), Features(torch.randn(2, 8, 2, 2), torch.randn(2, 6))
    assert SolvePuzzle(on="both").build_head(shape, VIEWS)(features).shape == (2, 9, 9)  # type: ignore[arg-type]
    assert SolveTurns(on="both").build_head(shape, VIEWS)(features).shape == (2, 9, 4)  # type: ignore[arg-type]
    for task in (SolvePuzzle(on=("both",)), SolveTurns(on=("both",)), Inpaint(on=("parts",))):
        task.check(VIEWS)


@pytest.mark.parametrize("side", [1, 2, 6, 7])
@pytest.mark.parametrize("head", ["pooled", "map"])
def test_tile_heads_answer_for_every_tile_on_a_map_of_any_side(head: Any, side: int) -> None:
    features = Features(torch.randn(3, 8, side, side), torch.randn(3, 6))
    for task, tiles, classes in (
        (SolvePuzzle(head=head), 4, 4),
        (SolvePuzzle(on=("both",), head=head), 9, 9),
        (SolveTurns(on=("both",), head=head), 9, 4),
    ):
        assert task.build_head(Shape(8, 6, 32), VIEWS)(features).shape == (3, tiles, classes)


def test_the_branch_of_the_map_is_what_numpy_computes_of_its_weights() -> None:
    module = SolveTurns(head="map").build_head(Shape(5, 3, 32), VIEWS)
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(0.2 * torch.rand(tensor.shape, generator=generator) + 0.01)  # variances are positive
    feature_map = torch.randn(2, 5, 2, 3, generator=generator)
    state = {name: value.double().numpy() for name, value in module.state_dict().items()}
    expected = feature_map.double().numpy()
    for convolution, normalisation in ((0, 1), (3, 4), (6, 7)):
        weight = state[f"branch.{convolution}.weight"]
        edge = weight.shape[2] // 2
        height, width = expected.shape[2:]
        padded = np.pad(expected, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
        expected = sum(
            np.einsum("oc,bcyx->boyx", weight[:, :, i, j], padded[:, :, i : i + height, j : j + width])
            for i in range(2 * edge + 1)
            for j in range(2 * edge + 1)
        )
        mean, variance, scale, shift = (
            state[f"branch.{normalisation}.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        expected = np.maximum((expected - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)
    pooled = expected.mean(axis=(2, 3))
    answers = []
    for tile in range(4):
        units, classes = slice(16 * tile, 16 * (tile + 1)), slice(4 * tile, 4 * (tile + 1))
        hidden = np.maximum(pooled @ state["hidden.weight"][units].T + state["hidden.bias"][units], 0)
        answers.append(hidden @ state["linear.weight"][classes, :, 0].T + state["linear.bias"][classes])
    found = module.eval()(Features(feature_map, torch.zeros(2, 3)))
    np.testing.assert_allclose(found.detach().numpy(), np.stack(answers, axis=1), rtol=1e-4)


@pytest.mark.parametrize("cut", [None, [True, False, True, False, True]])
@pytest.mark.parametrize(("join", "share"), [("sum", 1.0), ("mean", 0.25)])
def test_tiles_are_summed_or_averaged_over_the_cut_samples(join: Any, share: float, cut: list[bool] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 4, generator=generator)
    shows = torch.stack([torch.randperm(4, generator=generator) for _ in range(5)])
    cells = Cells(shows.to(torch.int16), cut=None if cut is None else torch.tensor(cut))
    probability = logits.double().softmax(dim=2).numpy()
    samples = [b for b in range(5) if cut is None or cut[b]]
    expected = -sum(math.log(probability[b, i, shows[b, i]]) for b in samples for i in range(4)) / len(samples)
    criterion = SolvePuzzle(join_tiles=join).criterion(tiny.split([0]))
    found = criterion.loss(logits, replace(look(shows=cells.shows), cells=cells)).item()
    assert found == pytest.approx(share * expected, rel=1e-5)


def test_inpaint_costs_nothing_when_perfect_and_counts_hidden_pixels_alone() -> None:
    whole = torch.rand(2, 3, 8, 8)
    shows = torch.arange(16, dtype=torch.int16).repeat(2, 1)
    shows[0, 5] = -1
    criterion = Inpaint().criterion(tiny.split([0]))
    seen = look(shows=shows, whole=whole)
    assert criterion.loss(whole.clone(), seen).item() == 0
    wrong_where_known = torch.where(hidden_pixels(seen), whole, whole + 5)
    assert criterion.loss(wrong_where_known, seen).item() == 0
    assert criterion.loss(whole + 0.25, seen).item() == pytest.approx(0.25, rel=1e-5)
    rows = {name: value.numpy() for name, value in criterion.rows(whole + 0.25, seen).items()}
    assert Inpaint().measure(rows)["l1"] == pytest.approx(0.25, rel=1e-5)
    assert rows["hidden"].tolist() == [2 * 2 * 3, 0]


def test_inpaint_keeps_known_pixels_and_fills_hidden_ones() -> None:
    shows = torch.arange(4, dtype=torch.int16).repeat(1, 1)
    shows[0, 3] = -1
    seen = replace(look(shows=shows, whole=torch.rand(1, 3, 8, 8)), picture=torch.full((1, 3, 8, 8), 7.0))
    filled = completed(torch.full((1, 3, 8, 8), 2.0), seen)
    assert (filled[0, :, 4:, 4:] == 2).all()
    assert filled.sum().item() == 3 * (48 * 7 + 16 * 2)


@pytest.mark.parametrize(("stride", "map_side", "size"), [(32, 2, 48), (16, 4, 64), (4, 7, 28), (32, 7, 224)])
def test_inpaint_decoder_reaches_the_size_of_the_view(stride: int, map_side: int, size: int) -> None:
    head = Inpaint(width=32).build_head(Shape(channels=6, width=6, stride=stride), VIEWS)
    guess = head(Features(torch.randn(2, 6, map_side, map_side), torch.randn(2, 6)))
    whole = torch.randn(2, 3, size, size)
    shows = torch.full((2, 16), -1, dtype=torch.int16)
    assert guess.shape[-1] >= size / 2
    assert completed(guess, look(shows=shows, whole=whole)).shape == whole.shape


def test_one_view_may_be_named_without_a_tuple() -> None:
    assert SolvePuzzle(on="puzzle").on == ("puzzle",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Expression(SYNTHETIC_7, on=()), r"Expression 'expression': on \(=\(\)\) must name at least one view"),
        (Expression(SYNTHETIC_7, on=("plane",)), r"on names the view 'plane', the recipe has plain, puzzle"),
        (Expression(SYNTHETIC_7, on=("plain", "plain")), r"names a view twice"),
        (Expression(SYNTHETIC_7, weight=-1), r"weight \(=-1\) must be 0 or more"),
        (Expression(SYNTHETIC_7, dropout=1.0), r"dropout \(=1.0\) must be 0 or more and below 1"),
        (Expression(("a", "a")), r"must be two or more different class names"),
        (Expression(SYNTHETIC_7, label_smoothing=1), r"label_smoothing \(=1\)"),
        (Expression(SYNTHETIC_7, cap=0.5), r"cap \(=0.5\) must be 1 or more"),
        (SolvePuzzle(on=("plain",)), r"on names 'plain' .* which is no puzzle"),
        (SolvePuzzle(on=("puzzle", "puzzle3")), r"SolvePuzzle .*views of different grids; use one SolvePuzzle"),
        (SolvePuzzle(dropout=-0.1), r"dropout \(=-0.1\)"),
        (SolveTurns(on=("plain",)), r"SolveTurns 'turns': on names 'plain' .* which turns nothing"),
        (SolveTurns(on=("puzzle",)), r"on names 'puzzle' .* which turns nothing"),
        (SolveTurns(on=("turned", "both")), r"SolveTurns .*views of different grids; use one SolveTurns"),
        (SolveTurns(dropout=1.0), r"SolveTurns 'turns': dropout \(=1.0\)"),
        (Inpaint(on=("puzzle",)), r"on names 'puzzle' .* which hides nothing"),
        (Inpaint(width=8), r"width \(=8\) must be 16 or more"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task.check(VIEWS)


def test_labels_that_are_not_the_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be the classes of the data in its order \(=Sad, Happy\)"):
        Expression(("Happy", "Sad")).check_labels({"expression": Classes(("Sad", "Happy"))})
    with pytest.raises(ValueError, match=r"label 'expression' holds numbers, not classes"):
        Expression(SYNTHETIC_7).check_labels({"expression": Numbers(("yaw",))})
