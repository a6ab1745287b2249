"""An experiment's plan and its table: what is run, what is done already, and what is printed."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine.table.report
from engine.cost import Cost
from engine.recipe.written import describe
from engine.runs.environment import as_shell
from engine.table import Experiment, Group, Row, Start
from engine.table.curve import draw_curve
from engine.table.experiment import read
from engine.table.fingerprint import is_recipe, missing_file
from engine.table.making import commands_of, reasons_of
from engine.table.plan import Plan
from engine.table.report import draw_chart, to_csv, to_markdown
from engine.table.results import make_results
from loaders import Packed, identity
from tests.engine import tiny
from tests.engine.fake_experiment import ROWS, answers, finish, plan_of, write_experiment
from tests.engine.saved_figures import keep_figures

CHARTS_ARE_DRAWN = True

RIGHT = {"one view": 100, "equal cost": 118, "puzzling": 120}
PRE_TRAINED = """Group(rows=(
    Row("pre-training", ":recipe", shown=False),
    Row("fine-tuning", ":supervised", start=Start("pre-training"), baseline=True),
)),"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "tiny_experiment.py")


def finish_all(plan: Plan, **options: Any) -> None:
    for group, rows in zip(plan.file.experiment.groups, plan.rows, strict=True):
        for row, jobs in zip(group.rows, rows, strict=True):
            for job in jobs:
                finish(plan, job, RIGHT[row.name] + job.seed, **options)


def markdown_of(plan: Plan, failed: set[str] | None = None) -> str:
    return to_markdown(make_results(plan, failed or set()), command="hmtl table x", failures={}, notes=())


def cells(text: str, row: str) -> list[list[str]]:
    """The Markdown lines that name a row, cell by cell."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [line for line in found if row in line]


# --- the experiment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), r"group '': rows \(=\[\]\) must be one or more with different names"),
        ((Row("a", "x"), Row("a", "y")), r"rows \(=\['a', 'a'\]\) must be one or more with different names"),
        ((Row("a", "x", against=("b",)),), r"row 'a': against names 'b'; name other rows, of a"),
        ((Row("a", "x", against=("a",)),), r"row 'a': against names 'a'; name other rows, of a"),
        ((Row("a", "x", start=Start("b")), Row("b", "x")), r"start names the row 'b', which must stand before it"),
        ((Row("a", "x", published="61"),), r"row 'a': published \(='61'\) must be of type"),  # type: ignore[arg-type]
    ],
)
def test_rows_that_do_not_fit_each_other_are_refused(rows: tuple[Row, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Experiment(title="t", table="t", data="d", groups=(Group(rows),))


def test_fields_of_an_experiment_are_checked() -> None:
    group = Group((Row("a", "x"),))
    with pytest.raises(ValueError, match=r"Experiment: metric \(='accuracy'\) must read task/metric"):
        Experiment(title="t", table="t", data="d", groups=(group,), metric="accuracy")
    with pytest.raises(ValueError, match=r"Experiment: seeds \(=0\) must be 1 or more"):
        Experiment(title="t", table="t", data="d", groups=(group,), seeds=0)
    with pytest.raises(ValueError, match=r"Experiment: groups \(titles \['', ''\]\) must be one or more"):
        Experiment(title="t", table="t", data="d", groups=(group, group))


def test_a_file_without_an_experiment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text("experiment = 1\n")
    with pytest.raises(ValueError, match=r"has no Experiment called 'experiment'; see recipes/e2_fer2013.py"):
        read(tmp_path / "recipe.py")
    with pytest.raises(ValueError, match=r"experiment: .*nothing.py is not there"):
        read(tmp_path / "nothing.py")


def test_only_some_groups_may_be_taken(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "x.py", ROWS + ROWS.replace("all data", "20 % of it"))
    assert [group.title for group in read(path).only(["20 %"]).experiment.groups] == ["20 % of it"]
    with pytest.raises(ValueError, match=r"only \(=half\) must be in the title of a group; there are 'all data', '20"):
        read(path).only(["half"])


# --- the plan ----------------------------------------------------------------------------------------------------


def test_every_row_is_run_once_for_each_seed_which_alone_differs(path: Path) -> None:
    plan = plan_of(path)
    assert [len(row) for row in plan.rows[0]] == [2, 2, 2]
    assert len(plan.missing) == 6
    one, other = plan.rows[0][2]
    assert (one.seed, other.seed) == (0, 1)
    recipes = [dict(job.identity["recipe"]) for job in (one, other)]
    assert [recipe.pop("seed") for recipe in recipes] == [0, 1]
    assert recipes[0] == recipes[1]
    assert one.words[:2] == ("-m", "engine.run")
    assert one.words[2] == f"{path}:recipe"
    assert one.words[-2:] == ("--set", "seed=0")


def test_a_list_has_a_command_a_missing_run_and_says_how_to_get_data_that_is_not_there(tmp_path: Path) -> None:
    path = write_experiment(
        tmp_path / "x.py",
        """Group((Row("one view", ":supervised"), Row("elsewhere", ":recipe", set=("data=Packed('no/data')",)))),""",
    )
    prepare = "hmtl prepare fer2013 fer2013.csv --out no/data --size 48"
    path.write_text(path.read_text().replace("of the tests.", f"of the tests.\n\nRun:     {prepare}   (once)"))
    plan = plan_of(path, seeds=2)
    first, second = reasons_of(plan)
    assert first == f"no/data is not there; prepare it: {prepare}"
    assert second == "not run, 2 of 4 runs: no data: no/data is not there"
    commands = list(commands_of(plan))
    assert [re.findall(r"^hmtl train \S+:supervised .*seed=(\d)$", line) for line in commands] == [["0"], ["1"]]


def test_a_run_of_two_rows_is_made_once(tmp_path: Path) -> None:
    groups = (
        ROWS
        + ROWS.replace("all data", "again")
        + ROWS.replace("all data", "longer").replace('title="longer",', 'title="longer", set=("epochs=3",),')
    )
    plan = plan_of(write_experiment(tmp_path / "x.py", groups))
    assert len(plan.jobs) == 12
    assert plan.rows[0] == plan.rows[1]
    assert {job.identity["recipe"]["epochs"] for row in plan.rows[2] for job in row} == {3}


def test_what_is_set_for_all_comes_last_and_a_wrong_field_names_its_row(path: Path) -> None:
    plan = plan_of(path, set_=["epochs=5"], device="cpu")
    assert {job.identity["recipe"]["epochs"] for job in plan.jobs} == {5}
    assert "--device" in plan.jobs[0].words
    with pytest.raises(ValueError, match=r"table: row 'one view': --set: views.puzzle is not a field"):
        plan_of(path, set_=["views.puzzle.grid=3"])


def test_a_run_may_start_from_anothers_weights(tmp_path: Path) -> None:
    plan = plan_of(write_experiment(tmp_path / "x.py", PRE_TRAINED))
    first, second = plan.rows[0][0][1], plan.rows[0][1][1]
    assert second.needs == first.key
    assert second.missing is None  # the weights will be there when it is its turn
    assert f"init='{first.folder / 'checkpoints' / 'last'}'" in second.words
    assert second.identity["recipe"]["init"] == f"run {first.key} last"  # known by the run, not by where it lies
    assert [row.name for row in make_results(plan, set()).rows] == ["fine-tuning"]
    finish(plan, first, 100)
    again = plan_of(tmp_path / "x.py").rows[0][1][1]
    assert again.key == second.key
    assert again.missing is not None
    assert "was trained elsewhere" in again.missing


def test_what_a_run_started_from_is_part_of_its_cost(tmp_path: Path) -> None:
    plan = plan_of(write_experiment(tmp_path / "x.py", PRE_TRAINED))
    finish(plan, plan.rows[0][1][0], 100)
    (row,) = make_results(plan_of(tmp_path / "x.py"), set()).rows
    assert row.cost.pictures is None, "half of the cost is no cost"
    assert row.minutes.values == ()
    finish(plan, plan.rows[0][0][0], 100)
    (row,) = make_results(plan_of(tmp_path / "x.py"), set()).rows
    assert row.cost == Cost(2 * 64, 0, 2 * 640)
    assert row.minutes.values == (2 * 1.5,)


def test_rows_of_unequal_cost_say_so_and_of_older_runs_only_pictures_are_known(path: Path) -> None:
    plan = plan_of(path)
    finish_all(plan)
    for job in plan.rows[0][0]:
        finish(plan, job, 100, training_flops=320)
    for job in plan.rows[0][1]:
        finish(plan, job, 100, pictures_forward_only=None, training_flops=None)
    text = markdown_of(plan_of(path))
    assert cells(text, plan.file.experiment.groups[0].rows[1].name)[0][-3:-1] == ["64 in all", "–"]
    assert [line[7] for line in cells(text, "puzzling") if line[2] in ("one view", "equal cost")] == [
        "not equal: +100 % FLOPs",
        "equal pictures within 0.1 %",
    ]


def test_commands_can_be_pasted_into_a_shell() -> None:
    assert as_shell(["python", "--set", "sampler=Fraction(0.2, label='expression')"]) == (
        """python --set "sampler=Fraction(0.2, label='expression')\""""
    )
    assert as_shell(["a b", "it's $x"]) == """'a b' 'it'"'"'s $x'"""


# --- what is done ------------------------------------------------------------------------------------------------


def test_finished_runs_are_found_by_recipe_and_data(path: Path) -> None:
    plan = plan_of(path)
    finish(plan, plan.rows[0][0][1], 100)
    again = plan_of(path)
    assert [job.done is not None for job in again.rows[0][0]] == [False, True]
    assert len(again.missing) == 5
    assert len(plan_of(path, set_=["epochs=3"]).missing) == 6
    assert len(plan_of(path, set_=["data=Synthetic(train=40, val=12, test=12, size=32)"]).missing) == 6


def test_a_field_that_was_added_since_does_not_count_at_its_default() -> None:
    recipe = tiny.recipe()
    old = json.loads(json.dumps(describe(recipe)))
    assert is_recipe(old, recipe, {})
    del old["ema"], old["optim"]["warmup_epochs"], old["tasks"][1]["dropout"]
    assert is_recipe(old, recipe, {})
    assert not is_recipe(old, tiny.recipe(ema=0.9), {})
    assert not is_recipe(old | {"gone": 1}, recipe, {})
    assert not is_recipe(old | {"epochs": 3}, recipe, {})
    assert not is_recipe(old | {"tasks": old["tasks"][:1]}, recipe, {})
    assert not is_recipe(old | {"views": {"plain": old["views"]["plain"]}}, recipe, {})


def store(folder: Path, pixels: str) -> Path:
    folder.mkdir()
    (folder / "source.json").write_text(json.dumps({"images_sha256": pixels, "manifest_sha256": "m", "notes": []}))
    return folder


def test_a_prepared_store_is_known_by_its_hashes_not_by_its_path(tmp_path: Path) -> None:
    one, copy, other = (store(tmp_path / name, pixels) for name, pixels in (("a", "1"), ("b", "1"), ("c", "2")))
    known = [identity(Packed(str(folder))) for folder in (one, copy, other)]
    assert known[0] == {"images_sha256": "1", "manifest_sha256": "m"} == known[1] != known[2]


def test_where_the_data_is_not_a_run_from_elsewhere_counts(tmp_path: Path) -> None:
    folder = store(tmp_path / "faces", "1")
    groups = ROWS.replace('title="all data",', f"""title="all data", set=("data=Packed('{folder}')",),""")
    path = write_experiment(tmp_path / "x.py", groups)
    plan = plan_of(path)
    finish_all(plan)
    (folder / "source.json").write_text(json.dumps({"images_sha256": "changed", "manifest_sha256": "m"}))
    assert len(plan_of(path).missing) == 6
    (folder / "source.json").unlink()
    folder.rmdir()
    elsewhere = plan_of(path)
    assert all(job.done is not None for job in elsewhere.jobs)
    assert "not run" not in markdown_of(elsewhere)


def test_rows_without_data_or_weights_say_so_and_the_others_go_on(tmp_path: Path) -> None:
    groups = """Group(rows=(
        Row("here", ":recipe", baseline=True),
        Row("no data", ":recipe", set=("data=Packed('nowhere/faces')",)),
        Row("ImageNet", ":recipe", set=("init='nowhere/b0.safetensors'",)),
    )),"""
    plan = plan_of(write_experiment(tmp_path / "x.py", groups))
    assert len(plan.missing) == 2
    finish(plan, plan.rows[0][0][0], 100)
    text = markdown_of(plan_of(tmp_path / "x.py"))
    assert cells(text, "no data")[0][-1].startswith("not run: no data: nowhere/faces is not there")
    assert cells(text, "ImageNet")[0][-1] == "not run: no weights: nowhere/b0.safetensors (init) is not there"
    assert cells(text, "here")[0][-1] == "1 of 2 not run yet"
    assert missing_file(tiny.recipe()) is None


def test_a_damaged_small_file_counts_as_not_done_and_is_named(path: Path) -> None:
    plan = plan_of(path)
    done = finish(plan, plan.rows[0][0][0], 100)
    done.path.write_text(done.path.read_text()[:100])
    (done.path.parent / "other.json").write_text("{}")
    again = plan_of(path)
    assert len(again.missing) == 6
    assert re.search(r"cannot be read .*; left out", " ".join(again.notes))
    assert "other.json is no finished run of version 1" in " ".join(again.notes)
    content = json.loads(finish(plan, plan.rows[0][1][0], 100).path.read_text())
    (done.path.parent / "other.json").write_text(json.dumps({k: content[k] for k in content if k != "recipe"}))
    assert "other.json has no recipe; left out" in " ".join(plan_of(path).notes)


# --- the table ---------------------------------------------------------------------------------------------------


COST = ("64 / 0", "640")
"""Pictures and FLOPs of each run that `finish` leaves."""


def test_a_row_has_published_and_ours_and_its_cost(path: Path) -> None:
    finish_all(plan_of(path))
    text = markdown_of(plan_of(path))
    assert text.startswith(
        "# Does it win?\n\nE2 of a paper. Ours: drawn faces; accuracy of expression (%) on test; guessing"
    )
    # 120 and 121 of 200.
    assert cells(text, "puzzling")[0] == ["", "puzzling", "61.09", "60.25 ± 0.35", "60.25 ± 0.35", "2", *COST, "1.5"]
    assert cells(text, "one view")[0] == ["all data", "one view", "60.34", *["50.25 ± 0.35"] * 2, "2", *COST, "1.5"]
    assert "CPU-minutes a run" in text
    assert "6 runs on one of ours, threads: 2" in text


def test_runs_in_two_precisions_stand_in_two_lines(path: Path) -> None:
    plan = plan_of(path)
    finish_all(plan, environment={"device": "cpu", "cpu": "one of ours", "threads": 2, "precision": "bf16"})
    finish(
        plan, plan.jobs[0], 120, environment={"device": "cpu", "cpu": "one of ours", "threads": 2, "precision": "fp32"}
    )
    text = markdown_of(plan_of(path))
    assert "5 runs on one of ours, threads: 2, bf16;" in text
    assert "1 runs on one of ours, threads: 2, fp32;" in text


def test_differences_stand_beside_both_baselines_with_interval_and_n(path: Path) -> None:
    finish_all(plan_of(path))
    text = markdown_of(plan_of(path))
    clear, close = (line for line in cells(text, "puzzling") if line[2] in ("one view", "equal cost"))
    assert clear[2:5] == ["one view", "better", "+10.00"]
    low, high = map(float, clear[5].split(" to "))
    assert 5 < low < 10 < high < 15
    assert clear[6:] == ["+19.9 %", "equal FLOPs within 0.1 %", "2", "200"]
    assert close[2:5] == ["equal cost", "no claim: the interval holds 0", "+1.00"]
    assert float(close[5].split(" to ")[0]) <= 0


def test_less_is_better_with_errors(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "x.py", fields='metric="gender/error_rate",')
    gender = "tasks=(Attribute(SYNTHETIC_7, label='expression', name='gender'), SolvePuzzle())"
    text = path.read_text().replace("tiny.recipe()", f"tiny.recipe({gender})")
    path.write_text(text.replace("from engine.table", "from engine.tasks import *\nfrom engine.table", 1))
    finish_all(plan_of(path), metric="gender/error_rate")
    table = make_results(plan_of(path), set())
    assert table.rows[2].last.mean == pytest.approx(1 - 120.5 / 200)
    assert [each.verdict for each in table.differences] == ["better", "undecided"]
    assert table.differences[0].interval is not None
    assert table.differences[0].interval.high < 0
    assert "error rate of gender (%) on test" in markdown_of(plan_of(path))


def test_a_metric_that_no_recipe_has_is_refused(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "x.py", fields='metric="expression/acuracy",')
    with pytest.raises(ValueError, match=r"metric \(='expression/acuracy'\) must be a figure of its recipes \(=expr"):
        plan_of(path)


def test_no_interval_is_made_up(path: Path) -> None:
    plan = plan_of(path)
    finish_all(plan)
    for job in plan.rows[0][1]:
        finish(plan, job, 118, pictures={})
    finish(plan, plan.rows[0][0][0], 100, last={"test": {"expression/accuracy": 0.9}})
    one, two = make_results(plan_of(path), set()).differences
    assert (one.interval, two.interval) == (None, None)
    assert one.reason == "the kept pictures give expression/accuracy 0.5, the run reported 0.9"
    assert two.reason == "no answers of expression on test are kept, picture by picture"
    assert np.isfinite(two.mean)
    assert "no interval: no answers of expression" in markdown_of(plan_of(path))


def test_rows_that_were_tested_on_different_pictures_are_not_paired(path: Path) -> None:
    plan = plan_of(path)
    finish_all(plan)
    for job in plan.rows[0][0]:
        kept = {"expression": answers(100, seed=job.seed).pack(), "samples": "others"}
        finish(plan, job, 100, pictures={"test": {"last": kept}})
    assert (
        make_results(plan_of(path), set()).differences[0].reason == "the two were tested on different pictures of test"
    )


def test_only_seeds_that_both_rows_have_are_compared(path: Path) -> None:
    plan = plan_of(path)
    finish(plan, plan.rows[0][0][0], 100)
    for job, right in zip(plan.rows[0][2], (110, 150), strict=True):
        finish(plan, job, right)
    table = make_results(plan_of(path), set())
    (difference,) = table.differences  # nothing of the other baseline is done
    assert (difference.seeds, difference.mean) == (1, pytest.approx(0.05))
    assert table.rows[2].last.mean == pytest.approx(0.65)


def test_failed_runs_are_named_with_the_end_of_their_output(path: Path) -> None:
    plan = plan_of(path)
    failed = {job.key for job in plan.rows[0][2]}
    table = make_results(plan, failed)
    assert table.rows[2].state == "failed"
    text = to_markdown(table, command="c", failures={plan.rows[0][2][0].name: "loss was nan\nboom"}, notes=["A note."])
    assert "loss was nan\nboom\n```" in text
    assert plan.rows[0][2][0].name.replace("_", "\\_") in text or plan.rows[0][2][0].name in text
    assert "A note." in text


def test_the_csv_holds_every_figure(path: Path) -> None:
    finish_all(plan_of(path))
    table = make_results(plan_of(path), set())
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [line["kind"] for line in lines] == ["row"] * 3 + ["difference"] * 2
    assert float(lines[2]["last_mean"]) == pytest.approx(0.6025)
    assert [float(value) for value in lines[2]["last_values"].split()] == [0.6, 0.605]
    assert float(lines[3]["difference"]) == pytest.approx(0.1)
    assert lines[3]["verdict"] == "better"
    assert table.differences[0].interval is not None
    assert float(lines[3]["low"]) == pytest.approx(table.differences[0].interval.low, rel=1e-5)


def test_the_chart_is_drawn_whatever_is_there(path: Path, tmp_path: Path) -> None:
    empty = draw_chart(make_results(plan_of(path), set()), tmp_path / "empty.png").read_bytes()
    finish_all(plan_of(path))
    full = draw_chart(make_results(plan_of(path), set()), tmp_path / "chart.png").read_bytes()
    assert empty[:4] == full[:4] == b"\x89PNG"
    assert empty != full


def test_the_chart_names_groups_once_folds_long_names_and_leaves_out_what_has_not_been_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "puzzling two by two, with a name that no single line of a chart holds"
    more = ROWS.replace('title="all data"', 'title="others", set=("epochs=3",)').replace("puzzling", long)
    path = write_experiment(tmp_path / "tiny_experiment.py", ROWS + more)
    plan, figures = plan_of(path), keep_figures(monkeypatch, engine.table.report)
    for row, jobs in zip(plan.file.experiment.groups[0].rows, plan.rows[0], strict=True):
        for job in jobs:
            finish(plan, job, RIGHT[row.name] + job.seed)
    draw_chart(make_results(plan_of(path), set()), tmp_path / "chart.png")
    finish(plan, plan.rows[1][2][0], 100)
    draw_chart(make_results(plan_of(path), set()), tmp_path / "chart.png")
    few, all_ = [[label.get_text() for label in figure.axes[0].get_yticklabels()] for figure in figures]
    assert few == ["one view", "equal cost", "puzzling", "all data"]
    assert [label.replace("\n", " ") for label in all_] == [*few[:3], long, "all data", "others"]
    assert "\n" in all_[3]


def test_groups_that_say_their_labels_have_a_curve_of_the_rows_that_two_of_them_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = ROWS.replace('title="all data"', 'title="all data", labels=400')
    few = ROWS.replace('title="all data"', 'title="few", set=("epochs=3",), labels=40')
    path = write_experiment(tmp_path / "tiny_experiment.py", many + few)
    plan, figures = plan_of(path), keep_figures(monkeypatch, engine.table.curve)
    target = tmp_path / "curve.png"
    for row, jobs in zip(plan.file.experiment.groups[0].rows, plan.rows[0], strict=True):
        for job in jobs:
            finish(plan, job, RIGHT[row.name] + job.seed)
    assert draw_curve(make_results(plan_of(path), set()), target) is None  # one group alone is no curve
    finish(plan, plan.rows[1][2][0], 100)
    assert draw_curve(make_results(plan_of(path), set()), target) == target
    [axes] = figures[-1].axes
    [line] = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert (line.get_label(), line.get_xdata().tolist()) == ("puzzling", [40, 400])
    assert line.get_ydata().tolist() == pytest.approx([50.0, 60.25])
    dots = [line.get_ydata().tolist() for line in axes.get_lines() if line.get_label().startswith("_")]
    assert dots == [pytest.approx([50.0]), pytest.approx([60.0, 60.5])]


def test_a_number_of_labels_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "x.py", ROWS.replace('title="all data"', 'title="all data", labels=0'))
    with pytest.raises(ValueError, match=r"group 'all data': labels \(=0\) must be 1 or more, or None where it is"):
        read(path)


def test_a_small_file_is_small(path: Path) -> None:
    plan = plan_of(path)
    big = answers(2000, n=3589)
    done = finish(plan, plan.rows[0][0][0], 100, pictures={"test": {at: {"expression": big.pack()} for at in "ab"}})
    assert done.path.stat().st_size < 12_000
