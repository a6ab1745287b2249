"""Intervals of numbers, affect and attributes: against resamples computed one by one, and through every report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.deployed.evaluation import evaluate
from engine.intervals.answers import Measure, Pictures, figures_of, from_arrays, joined, naming, unpack
from engine.intervals.bootstrap import intervals, resampled
from engine.intervals.groups import Groups
from engine.metrics import measure_affect, measure_attributes, measure_numbers
from engine.recipe.smoke import Relabelled
from engine.reports.report import write_report
from engine.table import finished
from engine.tasks import NO_YES, Affect, Attributes, Number
from engine.views import Plain
from loaders import Synthetic
from loaders.base import Classes, Label
from tests.engine import tiny

Resampled = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
NAMES = tuple(f"a{number}" for number in range(40))
AFFECT = Affect().dimensions


def no_measure() -> Measure:
    raise AssertionError("numbers and attributes need no measure")


def numbers(columns: int, n: int = 60) -> dict[str, np.ndarray]:
    """Numbers that a model says and true ones, a few of which are missing."""
    random = np.random.default_rng(columns)
    target = random.normal(0.2, 0.5, (n, columns))
    said = target * 0.7 + random.normal(0, 0.3, (n, columns))
    target[random.random((n, columns)) < 0.1] = np.nan
    return {"t.numbers": said.astype(np.float32), "t.target": target.astype(np.float32)}


def attributes(n: int = 60) -> dict[str, np.ndarray]:
    """Probabilities of forty attributes, one of which is known of no face, and one that only few have."""
    random = np.random.default_rng(3)
    target = (random.random((n, 40)) < np.linspace(0.03, 0.9, 40)).astype(np.float32)
    said = np.clip(target * 0.4 + random.random((n, 40)) * 0.7, 0, 1).astype(np.float32)
    target[random.random((n, 40)) < 0.1] = np.nan
    target[:, 7] = np.nan
    return {"t.numbers": said, "t.target": target}


def of_numbers(said: np.ndarray, true: np.ndarray) -> Mapping[str, float]:
    """The figures by SciPy and by their definitions."""
    known = ~np.isnan(true[:, 0])
    one, other = said[known, 0], true[known, 0]
    return {
        "mae": float(np.abs(one - other).mean()),
        "rmse": float(np.sqrt(((one - other) ** 2).mean())),
        "correlation": float(stats.pearsonr(one, other).statistic),
    }


def of_affect(said: np.ndarray, true: np.ndarray) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for place, name in enumerate(AFFECT):
        known = ~np.isnan(true[:, place])
        one, other = said[known, place], true[known, place]
        covariance = float(np.cov(one, other, bias=True)[0, 1])
        found[f"ccc_{name}"] = 2 * covariance / (one.var() + other.var() + (one.mean() - other.mean()) ** 2)
        found[f"rmse_{name}"] = float(np.sqrt(((one - other) ** 2).mean()))
        found[f"sign_agreement_{name}"] = float((np.sign(one) == np.sign(other)).mean())
    return found | {"ccc": (found["ccc_valence"] + found["ccc_arousal"]) / 2}


def of_attributes(said: np.ndarray, true: np.ndarray) -> Mapping[str, float]:
    accuracies, balanced = [], []
    for place in range(len(NAMES)):
        known = ~np.isnan(true[:, place])
        if not known.any():
            continue
        says, has = said[known, place] >= 0.5, true[known, place] == 1
        accuracies.append(float((says == has).mean()))
        if has.any() and not has.all():
            balanced.append(float(says[has].mean() + (~says[~has]).mean()) / 2)
    first = ~np.isnan(true[:, 39])
    return {
        "mean_accuracy": float(np.mean(accuracies)),
        "mean_balanced_accuracy": float(np.mean(balanced)),
        "a39 accuracy": float(((said[first, 39] >= 0.5) == (true[first, 39] == 1)).mean()),
    }


CASES: dict[str, tuple[dict[str, np.ndarray], dict[str, Any], Resampled]] = {
    "number": (numbers(1), {"column": "years"}, of_numbers),
    "affect": (numbers(2), {"dimensions": AFFECT}, of_affect),
    "attributes": (attributes(), {"labels": NAMES}, of_attributes),
}


def case(name: str) -> tuple[Pictures, np.ndarray, np.ndarray, Resampled]:
    arrays, said, independent = CASES[name]
    kept = from_arrays(arrays, "t", said)
    assert kept is not None
    return kept, arrays["t.numbers"].astype(np.float64), arrays["t.target"].astype(np.float64), independent


@pytest.mark.parametrize("name", CASES)
def test_a_figure_of_weighted_pictures_is_that_of_the_pictures_drawn(name: str) -> None:
    kept, said, true, independent = case(name)
    drawn = np.random.default_rng(1).integers(0, 60, (50, 60))
    weights = np.stack([np.bincount(row, minlength=60) for row in drawn]).astype(np.float32)
    again = unpack(json.loads(json.dumps(kept.pack())), no_measure)
    for answers in (kept, again):
        for metric in independent(said, true):
            figures = answers.figure(metric, weights)
            assert figures is not None
            wanted = [independent(said[row], true[row])[metric] for row in drawn]
            np.testing.assert_allclose(figures, wanted, rtol=1e-5, atol=1e-6, err_msg=metric)
    assert kept.figure("length", weights) is None


@pytest.mark.parametrize("name", CASES)
def test_an_interval_is_that_of_resamples_drawn_one_by_one(name: str) -> None:
    """By NumPy's own draws, over pictures and over groups of six, n - 1 of n of them."""
    kept, said, true, independent = case(name)
    random = np.random.default_rng(0)
    group = np.arange(60) // 6
    for groups in (None, Groups("person", group)):
        found = intervals(figures_of(kept, independent(said, true)), 60, groups)
        drawn = []
        for _ in range(600):
            chosen = random.integers(0, 60, 60) if groups is None else random.integers(0, 10, 9)
            rows = chosen if groups is None else np.concatenate([np.flatnonzero(group == one) for one in chosen])
            drawn.append(independent(said[rows], true[rows]))
        for metric, (low, high) in found.of.items():
            wanted = np.quantile([each[metric] for each in drawn], [0.025, 0.975])
            assert (low, high) == pytest.approx(wanted, abs=0.2 * (wanted[1] - wanted[0])), metric


def test_the_interval_of_a_correlation_is_that_of_fisher() -> None:
    random = np.random.default_rng(5)
    true = random.normal(size=800)
    said = 0.6 * true + 0.8 * random.normal(size=800)
    kept = from_arrays({"t.numbers": said[:, None], "t.target": true[:, None]}, "t", {"column": "years"})
    assert kept is not None
    low, high = intervals(figures_of(kept, ["correlation"]), 800).of["correlation"]
    wanted = stats.pearsonr(said, true).confidence_interval(0.95)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.01)


@pytest.mark.parametrize("name", CASES)
def test_the_figures_are_those_of_the_metrics_and_their_support(name: str) -> None:
    kept, said, true, _ = case(name)
    measured = {
        "number": lambda: measure_numbers(said[:, 0], true[:, 0]),
        "affect": lambda: measure_affect(AFFECT, said, true),
        "attributes": lambda: measure_attributes(NAMES, said, true),
    }[name]()
    one = np.ones((1, 60), np.float32)
    for metric, value in measured.items():
        figure = kept.figure(metric, one)
        assert figure is not None
        assert figure[0] == pytest.approx(value, rel=1e-6, nan_ok=True), metric
    known = ~np.isnan(true)
    column = {"number": ("mae", 0), "affect": ("rmse_arousal", 1), "attributes": ("a3 accuracy", 3)}[name]
    assert kept.support(column[0]) == known[:, column[1]].sum()
    assert kept.support({"number": "rmse", "affect": "ccc"}.get(name, "mean_accuracy")) == known.any(axis=1).sum()
    twice = joined([kept, kept])
    assert twice.count == 120
    two = twice.figure(column[0], np.ones((1, 120), np.float32))
    assert two is not None
    assert two[0] == pytest.approx(measured[column[0]], rel=1e-6)


def test_what_does_not_vary_has_no_correlation_and_nothing_known_no_figure() -> None:
    same = from_arrays(
        {"t.numbers": np.full((9, 1), 4e6 / 3), "t.target": np.arange(9.0)[:, None]}, "t", {"column": "x"}
    )
    assert same is not None
    weights = np.random.default_rng(0).integers(0, 3, (20, 9)).astype(np.float32)
    assert np.isnan(same.figure("correlation", weights)).all()  # type: ignore[arg-type]
    nothing = from_arrays(
        {"t.numbers": np.ones((9, 2)), "t.target": np.full((9, 2), np.nan)}, "t", {"dimensions": AFFECT}
    )
    assert nothing is not None
    assert figures_of(nothing, ["ccc", "rmse_valence"]) == {}
    unknown = from_arrays(
        {"t.numbers": np.ones((9, 2)), "t.target": np.full((9, 2), np.nan)}, "t", {"labels": ("a", "b")}
    )
    assert unknown is not None
    assert figures_of(unknown, ["mean_accuracy", "a accuracy"]) == {}


@pytest.mark.parametrize("said", [{"column": "years"}, {"labels": ("years",)}])
def test_damaged_numbers_and_those_of_a_diverged_model_are_no_answers(said: dict[str, Any]) -> None:
    good, true = np.ones((9, 1)), np.ones((9, 1))
    assert from_arrays({"t.numbers": good, "t.target": true}, "t", said) is not None
    assert from_arrays({"t.numbers": good[:8], "t.target": true}, "t", said) is None
    assert from_arrays({"t.numbers": np.ones((9, 2)), "t.target": np.ones((9, 2))}, "t", said) is None
    assert from_arrays({"t.numbers": good * np.nan, "t.target": true}, "t", said) is None
    assert from_arrays({"t.numbers": good, "t.target": true.astype(np.int64)}, "t", said) is None
    assert from_arrays({"t.numbers": good, "t.target": true}, "t", {}) is None  # nothing says what they are


def test_draws_of_many_numbers_agree_with_those_of_few() -> None:
    """Large numbers lose no digits where squares are subtracted."""
    random = np.random.default_rng(2)
    true, noise = random.normal(size=(50, 1)), random.normal(size=(50, 1))
    near = from_arrays({"t.numbers": true + noise, "t.target": true}, "t", {"column": "x"})
    far = from_arrays({"t.numbers": true + noise + 1e6, "t.target": true + 1e6}, "t", {"column": "x"})
    assert near is not None
    assert far is not None
    for metric in ("mae", "rmse", "correlation"):
        one, other = (resampled(list(figures_of(each, [metric]).values()), 50, resamples=50) for each in (near, far))
        np.testing.assert_allclose(one, other, rtol=1e-6)


# Through every report.

YEARS = Number(label="age", column="years", unit="years")
HAVE = tuple(f"b{number}" for number in range(33))
LABELS: dict[str, Label] = dict.fromkeys(HAVE, Classes(NO_YES))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on ages and on more attributes than rows are kept of one by one."""
    faces = Relabelled(Synthetic(train=32, val=16, test=16, size=32), LABELS)
    recipe = tiny.recipe(data=faces, views={"plain": Plain()}, tasks=(Attributes(labels=HAVE),), epochs=1)
    return tiny.trained(recipe, tmp_path_factory.mktemp("attributes") / "run")


@pytest.fixture(scope="module")
def ages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny.recipe(
        data=Synthetic(train=32, val=16, test=16, size=32), views={"plain": Plain()}, tasks=(YEARS,), epochs=1
    )
    return tiny.trained(recipe, tmp_path_factory.mktemp("ages") / "run")


def rows_of(report: str, figure: str) -> list[list[str]]:
    table = report.partition("95 % intervals of the last epoch")[2]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return [row for row in cells if len(row) == 7 and row[1] == figure]


def test_reports_have_them(run: Path, ages: Path) -> None:
    text = write_report(ages).read_text()
    for figure in ("MAE", "RMSE", "correlation"):
        rows = rows_of(text, figure)
        assert [row[2:4] for row in rows] == [["val", "16"], ["test", "16"]]
        assert all(" to " in row[5] and row[6] == "16 pictures" for row in rows)
    of_many = write_report(run).read_text()
    assert len(rows_of(of_many, "mean accuracy")) == len(rows_of(of_many, "b32 accuracy")) == 2


def test_evaluations_have_them_all(run: Path, ages: Path) -> None:
    faces = Synthetic(train=32, val=16, test=16, size=32)
    of_ages = evaluate(ages, faces, "test")
    found = {each.figure.name: each for each in of_ages.figures}
    for name in ("mae", "rmse", "correlation"):
        low, high = found[name].interval or (1, 0)
        assert low < high
        assert low <= found[name].value <= high
        assert found[name].support == 16
    kept = from_arrays(of_ages.arrays, "age", naming(YEARS))
    assert kept is not None
    assert intervals(figures_of(kept, ["mae"]), 16).of["mae"] == found["mae"].interval
    of_many = evaluate(run, Relabelled(faces, LABELS), "test")
    assert {each.figure.name for each in of_many.figures if each.interval is None} == set()


def test_the_small_file_of_a_run_keeps_them(run: Path, ages: Path) -> None:
    for path, task, metric, kind in (
        (ages, "age", "mae", "numbers"),
        (run, "attributes", "mean_balanced_accuracy", "attributes"),
    ):
        content = finished.record(path, {"key": "k", "recipe": {"tasks": []}}, ["test"], f"{task}/{metric}")
        assert content["pictures"]["test"]["last"][task]["kind"] == kind
        answers = finished.Finished(path, content).answers("last", "test", f"{task}/{metric}")
        assert not isinstance(answers, str), answers
        drawn = resampled(list(figures_of(answers.pictures, [metric]).values()), 16, resamples=100)
        assert drawn[0, 0] == pytest.approx(content["last"]["test"][f"{task}/{metric}"], rel=1e-5)
        assert drawn.std() > 0
