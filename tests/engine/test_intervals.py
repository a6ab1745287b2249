"""Intervals over groups of pictures that belong together: against cases worked by hand, and through all reports."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from engine.deployed.evaluation import evaluate
from engine.evaluate import app
from engine.figures import Figure
from engine.intervals.answers import AngleErrors, ClassAnswers, figures_of, from_arrays, joined, unpack
from engine.intervals.bootstrap import FEW, intervals, paired_difference, resampled
from engine.intervals.groups import (
    Groups,
    drawn_over,
    joined_groups,
    read_groups,
    shared_groups,
    unpack_groups,
)
from engine.metrics import group_error_rates
from engine.reports.classwise import recall_intervals
from engine.reports.report import write_report
from engine.runs.result import read_arrays
from engine.table import finished
from engine.table.report import to_csv, to_markdown
from engine.table.results import make_results
from engine.training.evaluate import groups_of
from engine.training.finish import faces_without_label
from loaders import Folds, Packed, Split, Synthetic
from loaders.base import Classes
from loaders.decoding.reading import Face
from loaders.importers import Record
from loaders.store.writing import new_store
from tests.engine import tiny
from tests.engine.fake_experiment import finish, plan_of, write_experiment
from tests.engine.fake_run import FIGURES as FAKE
from tests.engine.fake_run import declare, write_fake_run

FIGURES = ("accuracy", "macro_f1", "mean_recall")


def own(count: int) -> Groups:
    """So many groups of one picture each."""
    return Groups("person", np.arange(count))


def answers(person: np.ndarray, *, spread: float = 0.3, classes: int = 4, seed: int = 0) -> ClassAnswers:
    """Answers whose rate of being right differs from person to person."""
    random = np.random.default_rng(seed)
    target = random.integers(0, classes, len(person))
    rate = np.clip(0.6 + spread * random.normal(size=person.max() + 1), 0, 1)
    wrong = (target + random.integers(1, classes, len(person))) % classes
    return ClassAnswers(target, np.where(random.random(len(person)) < rate[person], target, wrong), classes)


def test_copies_of_a_picture_of_each_person_say_no_more_than_the_picture() -> None:
    persons = answers(np.arange(30))
    copies = ClassAnswers(np.repeat(persons.target, 7), np.repeat(persons.prediction, 7), 4)
    groups = Groups("person", np.repeat(np.arange(30), 7))
    of_copies = intervals(figures_of(copies, FIGURES), copies.count, groups)
    of_persons = intervals(figures_of(persons, FIGURES), persons.count, own(30))
    assert of_copies.of.keys() == set(FIGURES)
    for name, ends in of_copies.of.items():
        assert ends == pytest.approx(of_persons.of[name], abs=1e-6)
    # Seven copies look like seven times as many pictures, so that interval is narrower by a factor of sqrt(7).
    assert of_copies.misleading.keys() == set(FIGURES)
    low, high = of_copies.misleading["accuracy"]
    assert (high - low) * 7**0.5 == pytest.approx(np.diff(of_copies.of["accuracy"])[0], rel=0.1)


def test_three_groups_worked_by_hand() -> None:
    # Right and pictures of each group: 1 of 1, 1 of 2, 0 of 3. Two groups are drawn of three, nine ways alike likely.
    right, group = np.array([1, 1, 0, 0, 0, 0]), np.array([0, 1, 1, 2, 2, 2])
    ways = itertools.product(((1, 1), (1, 2), (0, 3)), repeat=2)
    expected = Counter(round((a[0] + b[0]) / (a[1] + b[1]), 6) for a, b in ways)
    kept = ClassAnswers(np.ones(6, np.int64), right, 2)
    drawn = resampled(list(figures_of(kept, ["accuracy"]).values()), 6, groups=Groups("g", group), resamples=20_000)
    assert drawn[0, 0] == pytest.approx(2 / 6)
    found = Counter(np.round(drawn[1:, 0], 6).tolist())
    assert found.keys() == expected.keys() == {1.0, 0.666667, 0.25, 0.5, 0.2, 0.0}
    for value, times in expected.items():
        assert found[value] / 20_000 == pytest.approx(times / 9, abs=0.01)


def test_the_spread_is_the_linearised_variance_of_a_ratio_over_clusters() -> None:
    random = np.random.default_rng(3)
    person = np.repeat(np.arange(60), random.integers(1, 30, 60))
    kept = answers(person)
    right = (kept.prediction == kept.target).astype(float)
    share, n, count = right.mean(), len(right), 60
    residual = np.bincount(person, right) - share * np.bincount(person)  # Cochran 1977, section 9A
    expected = np.sqrt(count / (count - 1) * np.square(residual).sum()) / n
    drawn = resampled(list(figures_of(kept, ["accuracy"]).values()), n, groups=Groups("person", person), resamples=8000)
    assert drawn[1:].std() == pytest.approx(expected, rel=0.04)
    assert expected > 2 * np.sqrt(share * (1 - share) / n)  # what pictures as independent ones would say


def test_errors_of_angles_and_differences_are_drawn_by_group() -> None:
    random = np.random.default_rng(4)
    person = np.repeat(np.arange(40), 25)
    gain = random.normal(1.0, 0.5, 40)[person]
    base = 10 + random.normal(size=1000)
    first, second = (AngleErrors({"yaw": values}) for values in (base + gain, base))
    drawn = [
        resampled(list(figures_of(each, ["mae_yaw"]).values()), 1000, groups=Groups("person", person))
        for each in (first, second)
    ]
    interval = paired_difference(*drawn)
    by_person = np.bincount(person, gain) / 25
    reach = 1.96 * by_person.std(ddof=1) / 40**0.5
    assert interval.difference == pytest.approx(by_person.mean(), abs=1e-6)
    assert interval.high - interval.low == pytest.approx(2 * reach, rel=0.06)


def test_the_interval_over_groups_holds_the_truth_where_that_over_pictures_does_not() -> None:
    random = np.random.default_rng(5)
    person, held = np.repeat(np.arange(25), 20), Counter[str]()
    for _ in range(120):
        values = (random.normal(size=25)[person] + 0.5 * random.normal(size=500)).astype(np.float64)
        figure = {"mean": lambda w, v=values: w @ v / w.sum(axis=1)}
        for name, groups in (("groups", Groups("person", person)), ("pictures", None)):
            low, high = intervals(figure, 500, groups).of["mean"]
            held[name] += low <= 0 <= high
    assert 0.87 <= held["groups"] / 120 <= 1.0
    assert held["pictures"] / 120 < 0.6


def test_pictures_without_a_group_are_groups_of_their_own() -> None:
    groups = Groups("person", np.array([7, -1, 2, 7, -1]))
    assert groups.count == 4
    assert groups.place.tolist() == [1, 2, 0, 1, 3]
    assert str(groups) == drawn_over(groups, 5) == "4 groups (person)"
    assert drawn_over(None, 1234) == "1,234 pictures"
    values = np.random.default_rng(0).random(50)
    alone = resampled([lambda w: w @ values / w.sum(axis=1)], 50, groups=Groups("person", np.full(50, -1)))
    apart = resampled([lambda w: w @ values / w.sum(axis=1)], 50, groups=own(50))
    np.testing.assert_array_equal(alone, apart)


def test_a_single_group_gives_no_interval() -> None:
    groups = Groups("person", np.zeros(20, np.int64))
    kept = answers(np.zeros(20, np.int64))
    found = intervals(figures_of(kept, FIGURES), 20, groups)
    assert (found.of, found.over) == ({}, "1 group (person)")
    with pytest.raises(
        ValueError, match=r"bootstrap: groups \(=1 group \(person\)\) must be 2 or more to draw from; dr"
    ):
        resampled(list(figures_of(kept, FIGURES).values()), 20, groups=groups)


def test_groups_are_written_and_read_joined_and_compared() -> None:
    groups, other = Groups("person", np.array([3, -1, 40_000])), Groups("person", np.array([0]))
    for again in (read_groups({"sample": np.arange(3), **groups.arrays()}), unpack_groups(groups.pack())):
        assert groups.same(again)
    assert read_groups({"sample": np.arange(3), "t.target": np.arange(3)}) is unpack_groups(None) is None
    both = joined_groups([groups, other])
    assert both is not None
    assert both.number.tolist() == [3, -1, 40_000, 0]
    assert joined_groups([groups, None]) is joined_groups([groups, Groups("camera", np.array([0]))]) is None
    assert shared_groups([groups, groups]) is groups
    assert shared_groups([groups, other]) is shared_groups([groups, None]) is shared_groups([None, groups]) is None


@pytest.mark.parametrize("number", [np.zeros(2, np.int64), np.zeros((3, 1), np.int64), np.array(["a", "b", "c"])])
def test_groups_that_are_not_one_number_a_picture_are_none(number: np.ndarray) -> None:
    assert read_groups({"sample": np.arange(3), "group/person": number}) is None
    assert read_groups({"group/person": number}) is None


def test_answers_that_are_damaged_or_not_finite_are_none() -> None:
    target, nothing = np.zeros(3, np.int64), np.full((3, 2), np.nan)
    for probability in (np.zeros((2, 2)), np.full((3, 2), "x"), nothing):
        assert from_arrays({"t.target": target, "t.probability": probability}, "t", {}) is None
    hidden = from_arrays({"t.target": target - 1, "t.probability": nothing}, "t", {})
    assert hidden is not None  # no picture has a label, so that nobody looks at its scores
    assert hidden.support("accuracy") == 0


def test_recalls_are_over_groups_and_missing_where_one_group_has_the_class() -> None:
    target = np.array([0] * 40 + [1] * 10 + [-1] * 5)
    person = np.concatenate([np.repeat(np.arange(10), 4), np.zeros(10, np.int64), np.arange(5)])
    right = np.isin(person, (0, 1, 2))  # three people are recognised, all their pictures alike
    probability = np.eye(3)[np.where(right, np.maximum(target, 0), 2)]
    low, high = recall_intervals(("a", "b", "c"), target, probability, Groups("person", person))
    assert np.isnan([low[1], low[2], high[1], high[2]]).all()
    people = intervals({"share": lambda w: w @ (np.arange(10) < 3) / w.sum(axis=1)}, 10, own(10)).of["share"]
    assert (low[0], high[0]) == pytest.approx(people)
    wilson = recall_intervals(("a", "b", "c"), target, probability, None)
    assert wilson[1][0] - wilson[0][0] < 0.6 * (high[0] - low[0])


def test_the_error_rate_of_each_kind_is_that_of_the_metrics_and_is_kept() -> None:
    random = np.random.default_rng(6)
    target, kind = random.integers(-1, 3, 200), random.integers(-1, 2, 200)
    probability = random.random((200, 3)).astype(np.float32)
    arrays = {"t.target": target, "t.probability": probability, "t.group": kind}
    kept = from_arrays(arrays, "t", {"group_names": ("north", "south")})
    assert isinstance(kept, ClassAnswers)
    expected = group_error_rates(probability, target, kind, ("north", "south"))
    for answer in (kept, unpack(kept.pack(), lambda: lambda rows: {}), joined([kept, kept])):
        for name in ("north", "south"):
            found = answer.figure(f"{name} error_rate", np.ones((1, answer.count), np.float32))
            assert found is not None
            assert found[0] == pytest.approx(expected[f"{name} error_rate"])
        assert answer.figure("west error_rate", np.ones((1, answer.count), np.float32)) is None
    assert kept.support("accuracy") == int((target >= 0).sum())
    assert kept.support("south error_rate") == int(((target >= 0) & (kind == 1)).sum())
    assert from_arrays(arrays, "t", {}).figure("north error_rate", np.ones((1, 200), np.float32)) is None  # type: ignore[union-attr]


def test_the_groups_of_samples_are_found_by_their_ids() -> None:
    labels = {"person": Classes(("a", "b", "c"))}
    split = Split("test", torch.tensor([5, 2, 9]), (2, 2, 1), labels, {"person": torch.tensor([0, 2, -1])})
    assert groups_of(split, np.array([5, 2, 9])) is None
    found = groups_of(replace(split, group="person"), np.array([9, 5, 2]))
    assert found is not None
    assert (found.label, found.number.tolist()) == ("person", [-1, 0, 2])


# --- reports -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose data says which faces belong together."""
    recipe = tiny.recipe(data=Folds(Synthetic(train=32, val=16, test=16, size=32), k=3, by="expression"))
    return tiny.trained(recipe, tmp_path_factory.mktemp("intervals") / "run")


def test_a_run_keeps_the_groups_and_its_report_draws_them(run: Path) -> None:
    for split in ("val", "test"):
        groups = read_groups(read_arrays(run / "predictions" / f"{split}-last.npz"))
        assert groups is not None
        assert groups.label == "expression"
        text = (run / "report.md").read_text()
        assert f"| {groups} |" in text
    assert "pictures of one group are drawn together" in text
    assert f"> **Warning.** {FEW}." in text  # seven classes at the most
    assert "pictures count as independent" not in text


def test_a_run_keeps_what_its_stores_say_and_which_faces_lack_a_label(run: Path) -> None:
    told = json.loads((run / "result.json").read_text())
    assert told["stores"] == []  # drawn faces
    assert told["without_label"] == {"train": {}, "val": {}, "test": {}}
    recipe = tiny.recipe()
    faces = Synthetic(train=8, val=4, test=4, size=32).open("train", "cpu").split
    hidden = {**faces.target, "expression": torch.where(torch.arange(8) < 3, -1, faces.target["expression"])}
    assert faces_without_label(recipe, replace(faces, target=hidden)) == {"expression": 3}


def test_the_report_of_a_run_without_groups_draws_pictures_and_says_so(tmp_path: Path) -> None:
    run = write_fake_run(tmp_path / "run", epochs=2)
    text = write_report(run).read_text()
    arrays = read_arrays(run / "predictions" / "test-last.npz")
    target, probability = arrays["expression.target"], arrays["expression.probability"]
    labelled = target >= 0
    right = 100 * (probability.argmax(1) == target)[labelled]
    reach = 1.96 * right.std() / len(right) ** 0.5
    line = next(line for line in text.splitlines() if "accuracy" in line and "| 3,326 pictures |" in line)
    low, _, high = line.split("|")[6].split()
    assert (float(low), float(high)) == pytest.approx((right.mean() - reach, right.mean() + reach), abs=0.2)
    assert any("macro-F1" in line and "| 3,326 pictures |" in line for line in text.splitlines())
    assert "95 % intervals of the last epoch, of this run alone (2,000 bootstrap draws); pictures count as ind" in text
    assert "Warning" not in text


def test_the_error_rate_of_each_kind_has_its_number_and_interval_in_the_report(tmp_path: Path) -> None:
    run = write_fake_run(tmp_path / "run", epochs=2)
    kind = np.arange(3326) % 4
    wrong = 0.0
    for which in ("last", "best"):
        path = run / "predictions" / f"test-{which}.npz"
        arrays = read_arrays(path)
        np.savez(path, **arrays, **{"expression.group": kind})
        if which == "last":
            of_one = (kind == 1) & (arrays["expression.target"] >= 0)
            answer = arrays["expression.probability"].argmax(1)
            wrong = float((answer != arrays["expression.target"])[of_one].mean())
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["tasks"][0]["group_names"] = ["a", "b", "c", "d"]
    (run / "recipe.json").write_text(json.dumps(recipe))
    declare(run, FAKE | {"expression/b error_rate": Figure("b error_rate", unit="%")})
    result = json.loads((run / "result.json").read_text())
    result["last"]["test"]["expression/b error_rate"] = wrong
    (run / "result.json").write_text(json.dumps(result))
    text = write_report(run).read_text().partition("95 % intervals")[2]
    row = [cell.strip() for cell in next(line for line in text.splitlines() if "b error rate" in line).split("|")]
    assert row[3:6] == ["test", f"{of_one.sum():,}", f"{100 * wrong:.2f} %"]
    low, _, high = row[6].split()
    reach = 1.96 * (wrong * (1 - wrong) / of_one.sum()) ** 0.5
    assert (float(low), float(high)) == pytest.approx((100 * (wrong - reach), 100 * (wrong + reach)), abs=0.4)


def with_groups(run: Path, number: np.ndarray, split: str = "test") -> None:
    for which in ("last", "best"):
        path = run / "predictions" / f"{split}-{which}.npz"
        np.savez(path, **read_arrays(path), **Groups("person", number).arrays())


def test_a_report_warns_where_pictures_would_mislead(tmp_path: Path) -> None:
    run = write_fake_run(tmp_path / "run", epochs=2)
    arrays = read_arrays(run / "predictions" / "test-last.npz")
    right = arrays["expression.probability"].argmax(1) == arrays["expression.target"]
    person = np.argsort(np.argsort(~right, kind="stable")) // 200  # some people are always recognised, others never
    with_groups(run, person)
    text = write_report(run).read_text()
    assert "| 17 groups (person) |" in text
    assert FEW not in text
    assert "> **Warning.** the interval of expression accuracy on test would be" in text
    assert "wide over pictures in place of" in text


def test_a_report_says_where_all_pictures_are_of_one_group(tmp_path: Path) -> None:
    run = write_fake_run(tmp_path / "run", epochs=2)
    with_groups(run, np.zeros(3326, np.int64))
    assert "expression on test has no interval: all pictures are of 1 group (person)" in write_report(run).read_text()


@pytest.mark.parametrize("people", [1, 4])
def test_an_evaluation_draws_the_groups_of_the_store(run: Path, tmp_path: Path, people: int) -> None:
    faces = Synthetic(train=32, val=16, test=16, size=32).open("test", "cpu")
    kind = faces.split.labels["expression"]
    assert isinstance(kind, Classes)
    assert isinstance(faces.pixels, torch.Tensor)
    names = tuple(f"P{number}" for number in range(people))
    labels = {"expression": kind, "person": Classes(names)}
    with new_store(tmp_path / "store", labels, origin={}, group="person") as writer:
        for i, pixels in enumerate(faces.pixels.numpy()):
            expression = kind.names[int(faces.split.target["expression"][i])]
            person = None if i == 0 and people > 1 else names[i % people]
            record = Record("test", f"{i}.png", {"expression": expression, "person": person}, pixels)
            writer.add([Face(record, pixels)])
    found = evaluate(run, Packed(tmp_path / "store"), "test")
    measured = {f"{each.task}/{each.figure.name}": each for each in found.figures}
    result = CliRunner().invoke(
        app, [str(run), str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    report = (tmp_path / "out" / "report.md").read_text()
    if people == 1:
        assert told["intervals_over"] == "1 group (person)"
        assert all(each.interval is None for each in found.figures)
        assert "no figure has an interval: all faces are of 1 group (person)" in " ".join(result.output.split())
        return
    assert told["intervals_over"] == "5 groups (person)"  # the first face is one of its own
    assert "intervals are over 5 groups (person)" in " ".join(result.output.split())
    assert f"warning: {FEW}" in " ".join(result.output.split())
    assert measured["expression/accuracy"].interval is not None
    assert measured["expression/macro_f1"].interval is not None
    assert [row["group/person"] for row in rows] == ["", *(f"P{i % people}" for i in range(1, 16))]
    assert "Intervals are percentiles of 2,000 bootstrap draws of 5 groups (person): faces of one are drawn" in report


# --- tables ------------------------------------------------------------------------------------------------------


def finish_with_groups(tmp_path: Path, *, older: int = 0) -> Any:
    """An experiment of three rows, whose runs say which pictures belong together, but for those of the first rows."""
    tmp_path.mkdir(exist_ok=True)
    file = write_experiment(tmp_path / "grouped.py")
    plan = plan_of(file, seeds=2)
    groups = Groups("person", np.arange(200) // 20)
    for place, jobs in enumerate(plan.rows[0]):
        for job in jobs:
            made = finish(plan, job, (100, 120, 150)[place])
            content = json.loads(json.dumps(made.content))
            if place >= older:
                for at in ("last", "best"):
                    content["pictures"]["test"][at]["groups"] = groups.pack()
            finished.write(content, made.path)
    return make_results(plan_of(file, seeds=2), set())


def test_a_table_draws_groups_and_names_them(tmp_path: Path) -> None:
    results = finish_with_groups(tmp_path)
    assert {each.groups for each in results.differences} == {"10 groups (person)"}
    text = to_markdown(results, command="hmtl table x", failures={}, notes=())
    assert "10 groups (person) |" in text
    assert "pictures that belong together are drawn whole, as the groups that the table names (with fewer than" in text
    lines = [line for line in csv.DictReader(io.StringIO(to_csv(results))) if line["kind"] == "difference"]
    assert {line["groups"] for line in lines} == {"10 groups (person)"}
    # The easy pictures come first, so that some people are recognised by one row alone: few groups, wide intervals.
    plain = finish_with_groups(tmp_path / "plain", older=3)
    assert {each.groups for each in plain.differences} == {""}
    assert "pictures count as independent of each other. Costs" in to_markdown(
        plain, command="x", failures={}, notes=()
    )
    for wide, narrow in zip(results.differences, plain.differences, strict=True):
        assert wide.interval is not None
        assert narrow.interval is not None
        assert wide.interval.high - wide.interval.low > narrow.interval.high - narrow.interval.low


def test_beside_an_older_run_pictures_are_drawn_and_the_table_says_so(tmp_path: Path) -> None:
    results = finish_with_groups(tmp_path, older=1)
    assert {(each.against, each.groups) for each in results.differences} == {
        ("one view", ""),
        ("equal cost", "10 groups (person)"),
    }
    text = to_markdown(results, command="hmtl table x", failures={}, notes=())
    assert "where it says pictures, not all runs know which belong together" in text


def test_the_small_file_of_a_run_keeps_its_groups(run: Path) -> None:
    content = finished.record(run, {"key": "k"}, ["test"], "expression/accuracy")
    kept = unpack_groups(content["pictures"]["test"]["last"]["groups"])
    assert kept is not None
    assert kept.same(read_groups(read_arrays(run / "predictions" / "test-last.npz")))
