"""Many attributes at once: loss and figures by an independent computation, a training, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_accuracy, multiclass_recall

from engine.deployed.evaluation import evaluate
from engine.metrics import measure_attributes
from engine.recipe.smoke import Relabelled
from engine.reports.evaluation import predictions_csv
from engine.tasks import CELEBA_40, NO_YES, Attributes
from engine.tasks.base import Features, Shape
from engine.views import Plain
from loaders import Synthetic
from loaders.base import Classes, Numbers, Split
from tests.engine import tiny
from tests.engine.test_numbers import look

NAMES = ("glasses", "hat", "smile")
TASK = Attributes(labels=NAMES)
LABELS = dict.fromkeys(NAMES, Classes(NO_YES))
VIEWS = {"plain": Plain()}
GIVEN = {
    "glasses": torch.tensor([0, 1, 1, -1]),
    "hat": torch.tensor([1, -1, 0, -1]),
    "smile": torch.tensor([-1, -1, 1, -1]),
}


def split(**target: torch.Tensor) -> Split:
    return Split("train", torch.arange(4), (24, 24, 3), LABELS, GIVEN | target)


def test_the_loss_is_the_mean_over_known_attributes_worked_by_hand() -> None:
    output = torch.tensor([[0.0, 2.0, 9.0], [-1.0, 9.0, 9.0], [3.0, -2.0, 0.5], [9.0, 9.0, 9.0]])
    known = [(0.0, 0), (2.0, 1), (-1.0, 1), (3.0, 1), (-2.0, 0), (0.5, 1)]
    costs = [-math.log(1 / (1 + math.exp(-z if yes else z))) for z, yes in known]
    criterion = TASK.criterion(split())
    assert float(criterion.loss(output, look(**GIVEN))) == pytest.approx(sum(costs) / 6, rel=1e-6)
    assert float(criterion.loss(torch.zeros(4, 3), look(**GIVEN))) == pytest.approx(math.log(2))  # at chance
    nothing = {name: torch.full((4,), -1) for name in NAMES}
    leaf = output.clone().requires_grad_()
    loss = criterion.loss(leaf, look(**nothing))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss) == 0
    assert leaf.grad is not None
    assert not leaf.grad.any()


def test_what_is_kept_is_the_probability_of_having_it() -> None:
    rows = TASK.criterion(split()).rows(torch.tensor([[0.0, 2.0, -3.0]] * 4), look(**GIVEN))
    assert rows["numbers"][0].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(3))])
    assert rows["target"][:3].nan_to_num(9).tolist() == [[0, 1, 9], [1, 9, 9], [1, 0, 1]]
    assert TASK.build_head(Shape(8, 6, 32), VIEWS)(Features(torch.zeros(2, 8, 1, 1), torch.zeros(2, 6))).shape == (2, 3)
    assert (TASK.label, TASK.answers) == ("glasses", NAMES)


def test_figures_are_those_of_torchmetrics_and_leave_missing_ones_out() -> None:
    random = np.random.default_rng(0)
    truth = (random.random((50, 3)) < [0.1, 0.5, 0.8]).astype(float)
    probability = np.clip(truth * 0.4 + random.random((50, 3)) * 0.6, 0, 1)
    truth[random.random((50, 3)) < 0.2] = np.nan
    found = measure_attributes(NAMES, probability, truth)
    accuracies, balanced = [], []
    for column, name in enumerate(NAMES):
        known = ~np.isnan(truth[:, column])
        says, is_ = (torch.from_numpy(each[known, column]) for each in (probability, truth))
        accuracies.append(float(binary_accuracy(says, is_.long())))
        balanced.append(float(multiclass_recall((says >= 0.5).long(), is_.long(), num_classes=2, average="macro")))
        assert found[f"{name} accuracy"] == pytest.approx(accuracies[-1])
    assert found["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    assert found["mean_balanced_accuracy"] == pytest.approx(np.mean(balanced))
    assert list(found) == [figure.name for figure in TASK.figures(VIEWS)]


def test_attributes_that_are_not_known_or_do_not_vary_have_no_figure() -> None:
    truth = np.array([[1, np.nan, 0], [1, np.nan, 1]])
    found = measure_attributes(NAMES, np.full((2, 3), 0.9), truth)
    assert found["glasses accuracy"] == 1
    assert math.isnan(found["hat accuracy"])
    assert found["mean_accuracy"] == pytest.approx(np.mean([1, 0.5]))
    assert found["mean_balanced_accuracy"] == 0.5  # of the third alone
    nothing = measure_attributes(NAMES, np.full((2, 3), 0.9), np.full((2, 3), np.nan))
    assert all(math.isnan(value) for value in nothing.values())


def test_the_constant_guess_says_the_commoner_answer_of_training() -> None:
    other = split(glasses=torch.tensor([0, 0, 1, 0]), hat=torch.tensor([1, 1, 0, -1]), smile=torch.full((4,), 1))
    found = TASK.constant_guess(split(), other)  # glasses: yes, hat: even, so yes; smile: yes
    assert found["glasses accuracy"] == 0.25
    assert found["hat accuracy"] == pytest.approx(2 / 3)
    assert found["smile accuracy"] == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            Attributes(labels=("hat",)),
            r"labels \(=\('hat',\)\) must be two or more different labels; of one",
        ),
        (Attributes(labels=("hat", "hat")), "must be two or more different labels"),
        (Attributes(labels=()), "must be two or more different labels"),
        (Attributes(labels=("hat", "a/b")), r"labels \(='a/b'\) must hold no '/', which parts the names of figures"),
        (
            Attributes(labels=NAMES, names=("no", "no")),
            r"names \(=.*\) must be two different classes: without",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(task: Attributes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task.check(VIEWS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"smile": None}, r"label 'smile' is not in the data, it has glasses, hat; name those it has"),
        (
            {"hat": Classes(("yes", "no"))},
            r"names \(=no, yes\) must be the classes of the data in its order \(=y",
        ),
        ({"hat": Numbers(("size",))}, "label 'hat' holds numbers, not classes"),
    ],
)
def test_other_data_is_refused(changed: dict[str, Any], message: str) -> None:
    labels = {name: label for name, label in (LABELS | changed).items() if label is not None}
    with pytest.raises(ValueError, match=message):
        TASK.check_labels(labels)


def test_a_run_learns_them_and_says_each_of_another_store(tmp_path: Path) -> None:
    data = Relabelled(Synthetic(train=32, val=12, test=12, size=32), LABELS, None)
    recipe = tiny.recipe(data=data, tasks=(TASK,), views=VIEWS, epochs=1)
    run = tiny.trained(recipe, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    assert result["classes"] == {}
    assert set(result["last"]["test"]) == {f"attributes/{figure.name}" for figure in TASK.figures(VIEWS)}
    found = evaluate(run, data, "test", checkpoint="last")
    assert {f"attributes/{each.figure.name}": each.value for each in found.figures} == pytest.approx(
        result["last"]["test"], rel=1e-5
    )
    (row, *rest) = csv.DictReader(io.StringIO(predictions_csv(found)))
    assert len(rest) == 11
    assert {f"attributes/{name}" for name in NAMES} | {f"attributes/label/{name}" for name in NAMES} <= row.keys()


def test_the_names_are_those_of_celeba() -> None:
    assert len(set(CELEBA_40)) == 40
    assert {"Male", "Smiling", "Young", "5_o_Clock_Shadow"} < set(CELEBA_40)
