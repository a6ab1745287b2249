"""Attributes: error rates, of each group too, and the same head and loss as expression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from engine.metrics import group_error_rates
from engine.tasks import FAIRFACE_RACES, GENDERS, NO_YES, SYNTHETIC_7, UTKFACE_RACES, Attribute, Expression
from engine.tasks.base import Look
from engine.views import Cells, Plain
from loaders.base import Classes, Numbers, Split
from loaders.importers import celeba, fairface, utkface

GROUPS = ("north", "south", "west")
TASK = Attribute(GENDERS, label="gender", group="region", group_names=GROUPS)
LABELS = {"gender": Classes(GENDERS), "region": Classes(GROUPS)}


def split(gender: list[int], name: str = "train") -> Split:
    n = len(gender)
    target = {"gender": torch.tensor(gender), "region": torch.zeros(n, dtype=torch.int64)}
    return Split(name=name, sample=torch.arange(n), shape=(24, 24, 3), labels=LABELS, target=target)


def look(gender: list[int], region: list[int]) -> Look:
    n = len(gender)
    return Look(
        picture=torch.zeros(n, 3, 8, 8),
        cells=Cells(torch.zeros(n, 1, dtype=torch.int16)),
        where=torch.eye(2, 3).expand(n, 2, 3),
        whole=None,
        target={"gender": torch.tensor(gender), "region": torch.tensor(region)},
    )


def measured(task: Attribute, says: list[int], gender: list[int], region: list[int]) -> dict[str, float]:
    """The figures of sure answers, through the criterion's rows."""
    logits = 50 * torch.nn.functional.one_hot(torch.tensor(says), len(task.names)).float()
    rows = task.criterion(split([0, 1])).rows(logits, look(gender, region))
    return task.measure({name: value.numpy() for name, value in rows.items()})


def test_the_names_are_those_of_the_importers() -> None:
    assert GENDERS == fairface.GENDERS == utkface.GENDERS == celeba.GENDERS
    assert (fairface.RACES, utkface.RACES) == (FAIRFACE_RACES, UTKFACE_RACES)
    assert tuple(celeba.ANSWERS.values()) in (NO_YES, NO_YES[::-1])


def test_the_error_rate_is_that_of_all_and_of_each_group() -> None:
    found = measured(TASK, [0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, -1], [0, 0, 1, 1, 0, 1])
    assert found["error_rate"] == pytest.approx(2 / 5)
    assert found["north error_rate"] == pytest.approx(2 / 3)
    assert found["south error_rate"] == 0
    assert math.isnan(found["west error_rate"])
    assert found["spread_of_error_rate"] == pytest.approx(2 / 3)
    declared = TASK.figures({})
    assert list(found) == [figure.name for figure in declared]
    assert (declared[0].name, declared[0].greater_is_better, declared[0].chance) == ("error_rate", False, 0.5)


def test_without_groups_there_is_one_error_rate() -> None:
    found = measured(Attribute(GENDERS, label="gender"), [0, 1], [0, 0], [0, 1])
    assert [name for name in found if "error_rate" in name] == ["error_rate"]
    assert found["error_rate"] == 0.5


def test_a_group_without_a_name_is_in_none_and_one_group_has_no_spread() -> None:
    sure = np.eye(2, dtype=np.float32)
    found = group_error_rates(sure, np.array([0, 0]), np.array([1, -1]), GROUPS)
    assert found["south error_rate"] == 0
    assert math.isnan(found["north error_rate"])
    assert math.isnan(found["spread_of_error_rate"])


def test_training_costs_what_expression_costs() -> None:
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    names = ("a", "b")
    seen = look([0, 1, 1, -1], [0, 1, 2, -1])
    one = Attribute(names, label="gender", class_weights="balanced", label_smoothing=0.1).criterion(split([0, 1, 1]))
    other = Expression(names, label="gender", class_weights="balanced", label_smoothing=0.1).criterion(split([0, 1, 1]))
    assert one.loss(logits, seen).equal(other.loss(logits, seen))


def test_the_constant_guess_is_the_largest_class_of_train() -> None:
    train, val = split([1, 1, 0, -1]), split([0, 0, 0, 1, -1], "val")
    assert TASK.constant_guess(train, val) == {"error_rate": 0.75}
    names = ("a", "b")
    assert Expression(names, label="gender").constant_guess(train, val) == {"accuracy": 0.25}


def test_the_name_is_the_labels_unless_it_is_given() -> None:
    assert (TASK.name, TASK.label) == ("gender", "gender")
    assert Attribute(NO_YES, label="Smiling", name="smile").name == "smile"


def test_it_wants_its_label_and_its_groups() -> None:
    assert TASK.wants() == LABELS
    assert Attribute(NO_YES, label="Smiling").wants() == {"Smiling": Classes(NO_YES)}
    assert Expression(SYNTHETIC_7).wants() == {"expression": Classes(SYNTHETIC_7)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": "race"}, r"Attribute 'gender': group \(='race'\) and group_names \(=\(\)\) must be given together"),
        ({"group_names": GROUPS}, r"group \(=None\) and group_names .* must be given together"),
        ({"group": "gender", "group_names": GENDERS}, r"must be another label than the one it learns"),
        ({"group": "race", "group_names": ("a/b", "c")}, r"group_names .* must differ and hold no '/'"),
        ({"group": "race", "group_names": ("a", "a")}, r"group_names .* must differ"),
        ({"names": ("a",)}, r"names \(=\('a',\)\) must be two or more different class names"),
        ({"cap": 0.5}, r"cap \(=0.5\) must be 1 or more"),
        ({"on": ("plane",)}, r"on names the view 'plane'"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    task = Attribute(**{"names": GENDERS, "label": "gender", **fields})
    with pytest.raises(ValueError, match=message):
        task.check({"plain": Plain()})


def test_labels_that_are_not_the_tasks_are_refused() -> None:
    TASK.check_labels(LABELS)
    with pytest.raises(ValueError, match=r"Attribute 'gender': group 'region' is not in the data, it has gender; name"):
        TASK.check_labels({"gender": Classes(GENDERS)})
    with pytest.raises(ValueError, match=r"group_names \(=north, south, west\) must be the classes of the data"):
        TASK.check_labels(LABELS | {"region": Classes(("south", "north", "west"))})
    with pytest.raises(ValueError, match=r"names \(=Male, Female\) must be the classes of the data in its order"):
        TASK.check_labels(LABELS | {"gender": Classes(("Female", "Male"))})
    with pytest.raises(ValueError, match=r"label 'gender' holds numbers, not classes"):
        TASK.check_labels(LABELS | {"gender": Numbers(("gender",))})
