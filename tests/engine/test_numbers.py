"""Ages, valence and arousal, and votes: losses and figures by an independent computation, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from engine.deployed.evaluation import evaluate
from engine.metrics import measure_affect, measure_numbers
from engine.reports.evaluation import predictions_csv
from engine.tasks import FERPLUS_8, Affect, Expression, Number, OrdinalNumber, Task, VotedExpression
from engine.tasks.affect import concordance
from engine.tasks.base import Features, Look, Shape
from engine.tasks.number import RankHead
from engine.views import Cells, Plain
from loaders import HideLabels, Synthetic
from loaders.base import Classes, Label, Numbers, Split
from loaders.importers import ferplus
from tests.engine import tiny
from tests.engine.test_resume import run

NAN = float("nan")
VIEWS = {"plain": Plain()}


def look(**target: Any) -> Look:
    none = torch.zeros(0)
    return Look(none, Cells(none), none, None, {name: torch.as_tensor(each) for name, each in target.items()})


def split(labels: dict[str, Label], **target: Any) -> Split:
    tensors = {name: torch.as_tensor(each) for name, each in target.items()}
    samples = torch.arange(len(next(iter(tensors.values()))))
    return Split(name="train", sample=samples, shape=(24, 24, 3), labels=labels, target=tensors)


def lost(task: Task, data: Split, output: Tensor, **target: Any) -> float:
    return float(task.criterion(data).loss(output, look(**target)))


# One number.

YEARS: dict[str, Any] = {"label": "age", "column": "years"}
AGE = {"age": Numbers(("years",))}
AGES = split(AGE, age=[[20.0], [60.0], [NAN]])
GUESSES = torch.tensor([[-1.0], [0.0], [0.7], [1.3]])


def test_regression_costs_the_mean_absolute_error_of_the_known_numbers() -> None:
    task = Number(**YEARS, low=0, high=80, unit="years")
    says = np.array([20.0, 40.0, 54.0, 66.0])
    assert task.answer(GUESSES)[:, 0].tolist() == pytest.approx(says)
    found = lost(task, AGES, GUESSES, age=[[25.0], [38.0], [NAN], [90.0]])
    assert found == pytest.approx(np.mean([5, 2, 24]))
    assert lost(task, AGES, GUESSES, age=[[NAN]] * 4) == 0


def test_errors_below_beta_are_squared() -> None:
    task = Number(**YEARS, low=0, high=80, beta=4.0)
    found = lost(task, AGES, GUESSES, age=[[25.0], [38.0], [NAN], [NAN]])
    assert found == pytest.approx(np.mean([5 - 2, 2**2 / 8]))


def test_ordinal_answers_and_losses_are_those_of_one_question_after_another() -> None:
    task = OrdinalNumber(**YEARS, low=10, high=14, step=1)
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chance = 1 / (1 + np.exp(-logits.numpy()))
    assert task.answer(logits)[:, 0].tolist() == pytest.approx(10 + chance.sum(axis=1), rel=1e-6)
    ages = (10.0, 12.0, 99.0)
    total = 0.0
    for face, age in enumerate(ages):
        for question, threshold in enumerate((10.5, 11.5, 12.5, 13.5)):
            right = chance[face, question] if age > threshold else 1 - chance[face, question]
            total -= np.log(right)
    assert lost(task, AGES, logits, age=[[age] for age in ages]) == pytest.approx(total / 3, rel=1e-6)


def test_the_questions_of_a_rank_head_share_their_weights() -> None:
    head = RankHead(6, 5, dropout=0.0)
    seen = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    logits = head(Features(map=seen[..., None, None], pooled=seen))
    assert logits.shape == (2, 5)
    assert (logits - head.bias).std(dim=1).abs().max() < 1e-6
    assert head.linear.weight.shape == (1, 6)


def test_a_column_is_found_by_its_name() -> None:
    two = {"body": Numbers(("height", "weight"))}
    data = split(two, body=[[1.0, 50.0], [2.0, 90.0]])
    task = Number(label="body", column="weight", low=0, high=100)
    assert task.name == "body"
    assert task.answers == ("weight",)
    assert lost(task, data, torch.zeros(1, 1), body=[[NAN, 60.0]]) == pytest.approx(10)
    assert task.constant_guess(data, split(two, body=[[0.0, 75.0]])) == pytest.approx({"mae": 5, "rmse": 5}, abs=1e-5)


def test_figures_of_numbers_are_those_of_scipy_and_leave_missing_ones_out() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(50, 10, 40)
    guess = truth + generator.normal(0, 5, 40)
    truth[3] = NAN
    known = ~np.isnan(truth)
    assert measure_numbers(guess, truth) == pytest.approx(
        {
            "mae": np.abs(guess - truth)[known].mean(),
            "rmse": np.sqrt(((guess - truth)[known] ** 2).mean()),
            "correlation": stats.pearsonr(guess[known], truth[known]).statistic,
        }
    )
    assert all(np.isnan(value) for value in measure_numbers(guess, np.full(40, NAN)).values())
    assert np.isnan(measure_numbers(np.zeros(2), np.array([1.0, 2.0]))["correlation"])


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (
            Number(**YEARS, low=5, high=5),
            AGE,
            r"Number 'age': low \(=5\) must be below high \(=5\)",
        ),
        (Number(**YEARS, beta=-1), AGE, r"beta \(=-1\) must be 0 or more"),
        (Number(label="age", column="months"), AGE, r"column \(='months'\) must be one of those of .* \(=years\)"),
        (
            Number(label="b", column="z"),
            {"b": Numbers(("x", "y"))},
            r"column \(='z'\) must be one of those of the label 'b' \(=x, y",
        ),
        (
            Number(label="b", column="z"),
            {"b": Classes(("x", "y"))},
            r"label 'b' holds classes, not numbers; name another",
        ),
        (
            OrdinalNumber(**YEARS, low=0, high=10, step=3),
            AGE,
            r"step \(=3\) must part low to high .* whole steps",
        ),
        (
            OrdinalNumber(**YEARS, beta=1),
            AGE,
            r"beta \(=1\) must be 0; it belongs to the loss of Number",
        ),
    ],
)
def test_a_number_that_cannot_be_learned_is_refused(task: Number, labels: dict[str, Label], message: str) -> None:
    with pytest.raises(ValueError, match=message):  # noqa: PT012 - which of the two checks refuses is its own affair
        task.check(VIEWS)
        task.check_labels(labels)


def test_a_split_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Number 'age': no sample of the split 'train' has its number"):
        Number(**YEARS).criterion(split(AGE, age=[[NAN]]))
    missing = split({"affect": Numbers(("valence", "arousal"))}, affect=[[0.1, NAN]])
    with pytest.raises(ValueError, match=r"Affect 'affect': arousal is missing in every sample of the split 'train'"):
        Affect().criterion(missing)


# Valence and arousal.

AFFECT: dict[str, Label] = {"affect": Numbers(("valence", "arousal"))}


def ccc(one: np.ndarray, other: np.ndarray) -> float:
    """The CCC from correlation and standard deviations, as AffectNet's paper writes it."""
    rho = stats.pearsonr(one, other).statistic
    return float(2 * rho * one.std() * other.std() / (one.var() + other.var() + (one.mean() - other.mean()) ** 2))


def test_affect_costs_one_less_the_mean_ccc_of_the_known_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(12, 2, generator=generator) * 2 - 1
    output = truth + 0.3 * torch.randn(12, 2, generator=generator)
    truth[:3, 1] = NAN
    each = [ccc(output[:, 0].numpy(), truth[:, 0].numpy()), ccc(output[3:, 1].numpy(), truth[3:, 1].numpy())]
    data = split(AFFECT, affect=[[0.1, 0.2]])
    assert lost(Affect(), data, output, affect=truth) == pytest.approx(1 - np.mean(each), rel=1e-5)
    squares = (output - truth).square()
    assert lost(Affect(loss="mse"), data, output, affect=truth) == pytest.approx(float(squares.nanmean()), rel=1e-5)
    assert lost(Affect(), data, output[:1], affect=truth[:1]) == 0


def test_gradients_of_the_ccc_are_right_and_finite_where_nothing_varies() -> None:
    guess = torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    truth = torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    known = torch.ones(6, 2, dtype=torch.bool)
    known[0, 1] = False
    assert torch.autograd.gradcheck(lambda each: concordance(each, truth, known), guess)
    same = torch.zeros(4, 2, requires_grad=True)
    lost_all = Affect().criterion(split(AFFECT, affect=[[0.1, 0.2]])).loss(same, look(affect=torch.zeros(4, 2)))
    lost_all.backward()  # type: ignore[no-untyped-call]
    assert same.grad is not None
    assert same.grad.isfinite().all()


def test_figures_of_affect_leave_missing_numbers_out() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(-1, 1, (30, 2))
    guess = truth + generator.normal(0, 0.3, (30, 2))
    truth[:4, 0] = NAN
    found = measure_affect(("valence", "arousal"), guess, truth)
    assert found["ccc_valence"] == pytest.approx(ccc(guess[4:, 0], truth[4:, 0]))
    assert found["ccc"] == pytest.approx((found["ccc_valence"] + found["ccc_arousal"]) / 2)
    assert found["rmse_arousal"] == pytest.approx(np.sqrt(((guess - truth)[:, 1] ** 2).mean()))
    assert found["sign_agreement_arousal"] == pytest.approx((np.sign(guess[:, 1]) == np.sign(truth[:, 1])).mean())
    assert list(found) == [figure.name for figure in Affect().figures(VIEWS)]
    assert np.isnan(measure_affect(("valence", "arousal"), guess, np.full((30, 2), NAN))["ccc"])


def test_one_dimension_of_affect_is_found_by_its_name() -> None:
    task = Affect(dimensions=("arousal",), loss="mse")
    data = split({"affect": Numbers(("arousal", "valence"))}, affect=[[0.5, NAN], [NAN, NAN]])
    assert lost(task, data, torch.tensor([[0.2], [0.9]]), affect=data.target["affect"]) == pytest.approx(0.09)
    rows = task.criterion(data).rows(torch.zeros(2, 1), look(affect=data.target["affect"]))
    assert rows["target"][:, 0].nan_to_num(9).tolist() == [0.5, 9]
    assert list(task.measure({key: rows[key].numpy() for key in rows})) == [each.name for each in task.figures(VIEWS)]
    both = split({"affect": Numbers(("arousal", "valence"))}, affect=[[0.5, -0.5]])
    assert lost(Affect(loss="mse"), both, torch.tensor([[0.0, 0.5]]), affect=[[0.5, -0.5]]) == pytest.approx(0.125)


@pytest.mark.parametrize("dimensions", [(), ("arousal", "valence"), ("dominance",)])
def test_other_dimensions_of_affect_are_refused(dimensions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"dimensions \(=.*\) must be one or both of valence, arousal in this order"):
        Affect(dimensions=dimensions).check(VIEWS)


def test_affect_wants_valence_and_arousal() -> None:
    with pytest.raises(ValueError, match=r"label 'affect' must have the numbers valence and arousal, it has the numb"):
        Affect().check_labels({"affect": Numbers(("arousal", "dominance"))})
    with pytest.raises(ValueError, match=r"valence and arousal, it has classes; name another"):
        Affect().check_labels({"affect": Classes(("a", "b"))})


# Votes.

NAMES = ("a", "b", "c")
VOTES: dict[str, Label] = {"ferplus": Classes(NAMES), "ferplus_votes": Numbers(NAMES)}


def test_votes_cost_the_cross_entropy_with_their_shares() -> None:
    task = VotedExpression(NAMES)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    votes = np.array([[8, 2, 0], [0.5, 0.25, 0.25], [NAN, NAN, NAN], [0, 10, 0]], np.float32)
    log = logits.double().log_softmax(dim=1).numpy()
    expected = [-(votes[i] / votes[i].sum() * log[i]).sum() for i in (0, 1)]
    data = split(VOTES, ferplus=[0, 1, 2], ferplus_votes=votes[[0, 1, 3]])
    found = lost(task, data, logits, ferplus=[0, 0, 1, -1], ferplus_votes=votes)
    assert found == pytest.approx(np.mean(expected), rel=1e-5)


def test_sure_votes_cost_what_classes_cost() -> None:
    fields: dict[str, Any] = {"label": "ferplus", "class_weights": "balanced", "label_smoothing": 0.1}
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    data = split(VOTES, ferplus=[0, 0, 1, 2], ferplus_votes=torch.eye(3)[[0, 0, 1, 2]])
    target = {"ferplus": [0, 1, 2], "ferplus_votes": torch.eye(3)}
    assert lost(VotedExpression(NAMES, **fields), data, logits, **target) == pytest.approx(
        lost(Expression(NAMES, **fields), data, logits, **target), rel=1e-6
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"ferplus": Classes(NAMES)}, r"votes 'ferplus_votes' is not in the data, it has ferplus; name one"),
        (
            {**VOTES, "ferplus_votes": Numbers(("a", "c", "b"))},
            r"one number for each of a, b, c in this order, it has",
        ),
        ({**VOTES, "ferplus_votes": Classes(NAMES)}, r"in this order, it has classes"),
    ],
)
def test_votes_that_do_not_fit_are_refused(labels: dict[str, Label], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VotedExpression(NAMES).check_labels(labels)


def test_the_names_are_those_of_the_importer() -> None:
    assert ferplus.CLASSES == FERPLUS_8
    assert VotedExpression(FERPLUS_8).wants() == ferplus.LABELS


# In a run.


@pytest.mark.parametrize(
    "task",
    [
        Number(**YEARS, unit="years"),
        OrdinalNumber(**YEARS, low=18, high=80, step=2),
    ],
)
def test_a_run_learns_the_age_of_drawn_faces_and_writes_its_figures(task: Number, tmp_path: Path) -> None:
    recipe = tiny.recipe(views={"plain": Plain()}, tasks=(task,), data=Synthetic(train=64, val=16, test=16, size=32))
    run(recipe, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    figures = {name for name in result["last"]["test"] if name.startswith("age/")}
    assert {"age/mae", "age/rmse"} <= figures
    assert re.search(r"MAE", (tmp_path / "run" / "report.md").read_text())
    found = evaluate(tmp_path / "run", recipe.data, "test", checkpoint="last")
    measured = {each.figure.name: each for each in found.figures}
    assert measured["mae"].value == pytest.approx(result["last"]["test"]["age/mae"], rel=1e-5)
    assert measured["mae"].interval is not None
    heads = predictions_csv(found).splitlines()[0].split(",")
    assert heads == ["sample", "age/label/years", "age/years"]


def test_the_shape_of_a_head_is_that_of_its_answer() -> None:
    shape = Shape(channels=8, width=8, stride=16)
    seen = Features(map=torch.zeros(2, 8, 1, 1), pooled=torch.zeros(2, 8))
    for task in (Number(**YEARS), OrdinalNumber(**YEARS), Affect()):
        said = task.answer(task.build_head(shape, VIEWS)(seen))
        assert said.shape == (2, len(task.answers))


def test_numbers_can_be_hidden() -> None:
    faces = HideLabels(Synthetic(train=20, val=4, test=4, size=16), keep=5, label="age").open("train", "cpu")
    assert int((~faces.split.target["age"].isnan()).sum()) == 5
