"""Tables over folds: the answers of all folds are one figure, and the folds one by one stand beside it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from engine.intervals.answers import AngleErrors, ClassAnswers, MeasuredRows, joined
from engine.table.plan import Plan
from engine.table.report import to_csv, to_markdown
from engine.table.results import RowFigures, make_results
from tests.engine.fake_experiment import finish, plan_of, write_experiment

ROWS = """Group(rows=(
    Row("one view", ":supervised", baseline=True, set=("data=FOLDED",)),
    Row("puzzling", ":recipe", set=("data=FOLDED",)),
)),""".replace("FOLDED", "Folds(Synthetic(train=32, val=12, test=12, size=32), k=3)")
RIGHT = {"one view": (100, 120, 80), "puzzling": (110, 120, 100)}  # of 200 in each fold


def planned(tmp_path: Path, rows: str = ROWS, fields: str = "folds=3,") -> Plan:
    return plan_of(write_experiment(tmp_path / "folded.py", rows, fields), seeds=2)


def finish_all(plan: Plan, *, but: int = 0) -> None:
    """Ends the runs of all folds of all seeds, but for the last few of each row."""
    for row, jobs in zip(plan.file.experiment.groups[0].rows, plan.rows[0], strict=True):
        for place, job in enumerate(jobs[: len(jobs) - but]):
            finish(plan, job, RIGHT[row.name][place % 3] + job.seed)


def row_of(plan: Plan, name: str) -> RowFigures:
    return next(row for row in make_results(plan, set()).rows if row.name == name)


def test_every_fold_of_every_seed_is_a_run_of_its_own(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert [len(jobs) for jobs in plan.rows[0]] == [6, 6]
    assert len(plan.jobs) == 12
    sets = [[word for word in job.words if word.startswith(("seed=", "data.fold="))] for job in plan.rows[0][0]]
    assert sets == [[f"seed={seed}", f"data.fold={fold}"] for seed in (0, 1) for fold in (0, 1, 2)]
    assert plan.rows[0][0][4].folder.name.startswith("folded-one-view-seed1-fold1-")


def test_a_seeds_figure_is_that_of_all_its_faces_and_costs_all_its_runs(tmp_path: Path) -> None:
    finish_all(planned(tmp_path))
    row = row_of(planned(tmp_path), "one view")
    assert row.last.values == pytest.approx((300 / 600, 303 / 600))
    assert row.over_folds.values == pytest.approx((0.5, 0.6, 0.4, 101 / 200, 121 / 200, 81 / 200))
    assert row.cost.flops == 3 * 640
    assert row.minutes.mean == pytest.approx(3 * 1.5)
    assert len(row.done) == 6
    assert row.state == ""


def test_rows_are_compared_over_the_faces_of_all_folds(tmp_path: Path) -> None:
    finish_all(planned(tmp_path))
    (difference,) = make_results(planned(tmp_path), set()).differences
    assert difference.mean == pytest.approx(30 / 600)
    assert (difference.pictures, difference.seeds) == (600, 2)
    assert difference.interval is not None
    assert difference.interval.low < 30 / 600 < difference.interval.high


def test_the_table_shows_the_folds_beside_and_says_what_a_seed_is(tmp_path: Path) -> None:
    finish_all(planned(tmp_path))
    results = make_results(planned(tmp_path), set())
    text = to_markdown(results, command="hmtl table x", failures={}, notes=())
    assert " over folds |" in text
    assert "50.25 ± 0.35" in text
    assert "50.25 ± 8.95" in text
    assert "Each seed trained 3 runs, one a fold; its figure is that of all faces" in text
    (line, _) = [line for line in csv.DictReader(io.StringIO(to_csv(results))) if line["kind"] == "row"]
    assert line["folds_values"].split()[:2] == ["0.5", "0.6"]


def test_a_seed_that_lacks_a_fold_has_no_figure(tmp_path: Path) -> None:
    finish_all(planned(tmp_path), but=1)
    plan = planned(tmp_path)
    row = row_of(plan, "one view")
    assert len(row.last.values) == 1
    assert len(row.over_folds.values) == 5
    assert row.state == "1 of 2 not run yet"
    lacking = plan.rows[0][0][-1]
    failed = make_results(plan, {lacking.key}).rows[0]
    assert failed.state == "1 of 2 failed"


def test_a_recipe_without_folds_is_refused(tmp_path: Path) -> None:
    rows = 'Group(rows=(Row("one view", ":supervised"),)),'
    with pytest.raises(ValueError, match=r"row 'one view': .*data.fold"):
        planned(tmp_path, rows)


@pytest.mark.parametrize("folds", [-1, 1, 2])
def test_too_few_folds_are_refused(tmp_path: Path, folds: int) -> None:
    with pytest.raises(ValueError, match=rf"Experiment: folds \(={folds}\) must be 3 or more, or 0 for data"):
        planned(tmp_path, fields=f"folds={folds},")


def test_answers_of_every_kind_are_joined_one_after_another() -> None:
    classes = [ClassAnswers(np.array([0, 1]), np.array([0, 0]), 3), ClassAnswers(np.array([2]), np.array([2]), 3)]
    angles = [AngleErrors({"yaw": np.array([1.0])}), AngleErrors({"yaw": np.array([5.0, np.nan])})]
    rows = [MeasuredRows({"x": np.full((n, 2), n)}, lambda rows: {"sum": float(rows["x"].sum())}) for n in (1, 3)]
    for parts, metric, expected, count in (
        (classes, "accuracy", 2 / 3, 3),
        (angles, "mae_yaw", 3.0, 3),
        (rows, "sum", 2.0 + 18.0, 4),
    ):
        whole = joined(parts)
        assert whole.count == count
        found = whole.figure(metric, np.ones((1, count), np.float32))
        assert found is not None
        assert found[0] == pytest.approx(expected)
