"""A search over fields of an experiment's rows, which never opens the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine import run
from engine.recipe import settings
from engine.table.__main__ import app
from engine.table.experiment import read
from engine.table.plan import Plan, make_plan
from engine.table.results import make_results
from engine.table.sweep import Search, make_search, read_sweep, to_markdown, to_table
from loaders import Faces, Synthetic
from tests.engine import tiny
from tests.engine.fake_experiment import finish, write_experiment


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "tiny_experiment.py")


def search(path: Path, *sweeps: str, **options: Any) -> Search:
    return make_search(read(path), [read_sweep(text) for text in sweeps], **options)


def plan_of(search: Search, folder: Path, seeds: int | None = None) -> Plan:
    return make_plan(search.file, seeds=seeds, out=folder / "runs", results=folder / "sweeps")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("optim.lr=1e-3,4e-3", ("1e-3", "4e-3")),
        ("sampler=Fraction(0.1, label='a'), Fraction(0.2)", ("Fraction(0.1, label='a')", "Fraction(0.2)")),
        ("augment.scale=(0.8, 1),(0.9, 1),(0.8, 1)", ("(0.8, 1)", "(0.9, 1)")),
        ("init='a,b',\"c(\"", ("'a,b'", '"c("')),
    ],
)
def test_values_are_split_at_commas_outside_brackets_and_quotes(text: str, values: tuple[str, ...]) -> None:
    assert read_sweep(text).values == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim.lr", "must read FIELD=VALUE,VALUE"),
        ("optim.lr=", "must read FIELD=VALUE,VALUE"),
        ("=1", "must read FIELD=VALUE,VALUE"),
        ("optim.lr=1,,2", "must read FIELD=VALUE,VALUE"),
        ("select=val,test", "must not name a split"),
    ],
)
def test_a_search_that_does_not_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_sweep(text)


def test_every_combination_is_a_trial_without_test_and_a_row_is_searched_over_its_own_fields(path: Path) -> None:
    found = search(path, "optim.lr=1e-3,2e-3", "tasks.puzzle.weight=0.1,1", set_=["epochs=3"])
    plan = plan_of(found, path.parent)
    assert len(plan.jobs) == 2 + 2 + 4  # the two supervised rows have no puzzle
    assert found.notes[0] == "all data: one view has no tasks.puzzle.weight: searched without."
    recipes = [job.identity["recipe"] for job in plan.jobs]
    assert {(recipe["test"], recipe["select"], recipe["epochs"]) for recipe in recipes} == {(None, "val", 3)}
    weights = [(r["optim"]["lr"], r["tasks"][1]["weight"]) for r in recipes if len(r["tasks"]) > 1]
    assert weights == [(1e-3, 0.1), (1e-3, 1.0), (2e-3, 0.1), (2e-3, 1.0)]
    some = search(path, "tasks.puzzle.weight=0.1,1", rows=["view", "puz"])
    assert [group.title for group in some.file.experiment.groups] == ["all data: puzzling"]


def test_no_trial_opens_the_test_split(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    really = Synthetic.open

    def guarded(self: Synthetic, split: str, device: Any) -> Faces:
        assert split != "test", "the test split was opened"
        opened.append(split)
        return really(self, split, device)

    monkeypatch.setattr(Synthetic, "open", guarded)
    found = search(path, "epochs=1", rows=["puzzling"])
    plan = plan_of(found, path.parent)
    (job,) = plan.missing
    done = CliRunner().invoke(run.app, [*job.words[2:], "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert set(opened) == {"train", "val"}
    # It is found, told and kept, in a place of its own.
    plan = plan_of(found, path.parent)
    assert plan.missing == ()
    table = to_table(found, make_results(plan, ()))
    line = dict(zip(table.heads, table.rows[0], strict=True))
    assert line["accuracy of expression (%) on val, last epoch"] != "–"
    assert (line["epochs"], line["pictures trained / forward only"], line["seeds"]) == ("1", "64 / 0", "1")
    assert len(list((path.parent / "sweeps").rglob("*.json"))) == 1
    assert not make_plan(read(path), seeds=1, out=path.parent / "r", results=path.parent / "sweeps").jobs[2].done


def test_the_table_holds_every_trial_best_first_and_marked(path: Path) -> None:
    found = search(path, "optim.lr=1e-3,2e-3,3e-3", rows=["one view", "puzzling"])
    plan = plan_of(found, path.parent, seeds=2)
    rights = [100, 120, 130, 130, 90, 80]  # one view: two seeds of each of three values
    for job, right in zip(plan.jobs, rights, strict=False):
        value = {"epoch": 2, "val": {"expression/accuracy": right / 200}}
        finish(plan, job, right, last=value, best=value, epochs=2)
    plan = plan_of(found, path.parent, seeds=2)
    results = make_results(plan, ())
    rows = [row[:6] for row in to_table(found, results).rows]
    assert rows[:3] == [
        ("all data", "one view", "2e-3", "best", "65.00", "2"),
        ("all data", "one view", "1e-3", "", "55.00", "2"),
        ("all data", "one view", "3e-3", "", "42.50", "2"),
    ]
    assert [(row[1], row[3], row[4]) for row in rows[3:]] == [("puzzling", "", "–")] * 3
    narrower = search(path, "optim.lr=1e-3", rows=["one view"])
    text = to_markdown(narrower, *_made(narrower, path.parent), command="hmtl table", failures={"x": "boom"})
    assert "Trials: 1 (all data: one view: 1)" in text
    assert "5 more runs of earlier searches count too" in text
    assert "**Failed: x.**" in text


def _made(search: Search, folder: Path) -> tuple[Any, Any]:
    plan = plan_of(search, folder)
    return plan, make_results(plan, ())


def test_a_row_that_starts_from_another_starts_from_it_without_test(tmp_path: Path) -> None:
    rows = """Group(rows=(
        Row("pre", ":recipe", shown=False),
        Row("tuned", ":supervised", start=Start("pre")),
    )),"""
    found = search(write_experiment(tmp_path / "tiny_experiment.py", rows), "optim.lr=1e-3,2e-3")
    jobs = plan_of(found, tmp_path).jobs
    assert [job.identity["recipe"]["test"] for job in jobs] == [None] * 3
    assert [job.needs for job in jobs] == [None, jobs[0].key, jobs[0].key]


@pytest.mark.parametrize(
    ("sweeps", "options", "message"),
    [
        (["optim.lr=1", "optim.lr=2"], {}, r"names a field twice \(=optim.lr, optim.lr\)"),
        (["optim.lrr=1"], {}, "optim.lrr is not a field of AdamW; did you mean optim.lr"),
        (["epochs=1"], {"rows": ["nosuch"]}, r"rows \(=nosuch\) must be in the name of a row; there are 'one view'"),
        (["epochs=1"], {"set_": ["select='test'", "test=None"]}, r"has select \(='test'\), its test split"),
        (["epochs=1"], {"set_": ["train='test'"]}, r"has train \(='test'\), its test split"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    path: Path, sweeps: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search(path, *sweeps, **options)


def test_rows_that_select_on_different_splits_are_refused(tmp_path: Path) -> None:
    rows = """Group(rows=(Row("a", ":recipe"), Row("b", ":recipe", set=("select='train'",)))),"""
    with pytest.raises(ValueError, match=r"rows select on several splits \(=train, val\)"):
        search(write_experiment(tmp_path / "tiny_experiment.py", rows), "epochs=1")


def test_the_command_searches(path: Path) -> None:
    def call(*words: str) -> Any:
        folder = path.parent
        return CliRunner().invoke(app, [str(path), "--out", str(folder / "o"), "--results", str(folder / "s"), *words])

    listed = call("--rows", "puzzling", "--sweep", "optim.lr=1e-3,2e-3", "--list").stdout.splitlines()
    assert len(listed) == 2
    assert all("--set test=None" in line for line in listed)
    assert call("--rows", "puzzling", "--sweep", "optim.lr=1e-3", "--no-run", "--html").exit_code == 0
    assert "not run yet" in (path.parent / "o" / "sweep.md").read_text()
    assert (path.parent / "o" / "sweep.csv").read_text().startswith("group,row,optim.lr,")
    assert "not run yet" in (path.parent / "o" / "sweep.html").read_text()
    table = call("--no-run", "--html")
    assert table.exit_code == 0, table.output
    assert f"wrote {path.parent / 'o' / 'table.md'}, table.csv, table.html, chart.png" in table.stderr
    assert (path.parent / "o" / "table.html").read_text().count("<table>") >= 1
    assert "rows (=puzzling) goes with --sweep" in call("--rows", "puzzling").stderr


@pytest.mark.parametrize(
    ("field", "has"),
    [
        ("optim.lr", True),
        ("views.puzzle.grid", True),
        ("tasks.puzzle.weight", True),
        ("tasks.0.weight", True),
        ("tasks.pose.weight", False),
        ("tasks.7.weight", False),
        ("epochs.x", False),
    ],
)
def test_whether_a_recipe_has_a_field(field: str, has: bool) -> None:
    assert settings.has(tiny.recipe(), field) is has
