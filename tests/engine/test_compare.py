"""Runs beside each other, and the summary of one."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.compare import app
from engine.figures import Figure
from engine.reports.comparison import Comparison, compare
from engine.reports.report import print_summary
from loaders.terminal import Terminal, column_blocks
from tests.engine.fake_run import CLASSES, FIGURES, declare, edit_json, write_fake_run

CHARTS_ARE_DRAWN = True


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    first = write_fake_run(tmp_path / "one")
    second = write_fake_run(tmp_path / "two", name="fer2013_supervised", epochs=9, skill=1.5)
    edit_json(second / "result.json", views=["plain"], pictures_through_encoder=1_200_000_000)
    return [first, second]


def column(table: Comparison, head: str) -> list[str]:
    figures = table.figures
    return [row[figures.heads.index(head)] for row in figures.rows]


def printed(table: Comparison, width: int) -> str:
    console = Terminal(file=io.StringIO(), width=width)
    table.print(console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def summary(run: Path, width: int = 80) -> str:
    console = Terminal(file=io.StringIO(), width=width)
    print_summary(run, console=console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_differences_to_the_first_run_have_intervals(runs: list[Path]) -> None:
    found = compare(runs).differences
    assert found is not None
    assert found.title == "minus fer2013_hmtl, last epoch, with 95 % intervals"
    (row,) = found.rows
    assert row[0] == "fer2013_supervised"
    cells = dict(zip(found.heads, row, strict=True))
    name = next(head for head in found.heads if "accuracy" in head and "test" in head)
    gap, low, high = map(float, re.findall(r"[+-]\d+\.\d", cells[name]))
    own = [np.load(run / "predictions" / "test-last.npz") for run in runs]
    target = own[0]["expression.target"]
    right = [(each["expression.probability"].argmax(1) == target)[target >= 0] for each in own]
    assert gap == pytest.approx(100 * (right[1].mean() - right[0].mean()), abs=0.051)
    spread = 100 * (right[1].astype(float) - right[0]).std() / np.sqrt(len(right[0]))
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.1)  # as of a mean of independent differences
    assert found.caption.startswith("paired bootstrap over ")
    assert f"{len(target):,} pictures; it knows nothing of other seeds" in found.caption
    shown = printed(compare(runs), 80)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert cells[name] in shown
    assert cells[name] in compare(runs).markdown()


def test_runs_that_answered_other_pictures_have_no_differences(runs: list[Path]) -> None:
    for file in (runs[1] / "predictions").glob("*.npz"):
        arrays = dict(np.load(file))
        np.savez(file, **arrays | {"sample": arrays["sample"] + 1})
    assert compare(runs).differences is None
    assert compare(runs[:1]).differences is None


def test_a_row_holds_what_a_run_cost_and_reached(runs: list[Path]) -> None:
    table = compare(runs)
    assert column(table, "run") == ["fer2013_hmtl", "fer2013_supervised"]
    assert column(table, "views") == ["plain, puzzle", "plain"]
    assert column(table, "epochs") == ["20", "9"]
    assert column(table, "pictures\ntrained /\nforward only") == ["236 k in all", "1.2 G in all"]
    assert column(table, "training\nFLOPs") == ["–", "–"]
    assert "Cost of fer2013_supervised beside fer2013_hmtl: not equal: +509411 % pictures." in table.notes
    assert column(table, "parameters\nat inference") == ["4.91 M", "4.91 M"]
    assert column(table, "minutes") == ["13.5", "13.5"]
    for split in ("val", "test"):
        for metric, label in (("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
            wanted = []
            for run in runs:
                result = json.loads((run / "result.json").read_text())
                last, best = (100 * result[which][split][f"expression/{metric}"] for which in ("last", "best"))
                wanted.append(f"{last:.1f} | {best:.1f}")
            assert column(table, f"expression\n{label}\n{split} (%)") == wanted


def test_costs_stand_beside_that_of_the_first_run(runs: list[Path]) -> None:
    known = {"pictures_through_encoder": 3000, "pictures_forward_only": 1000, "training_flops": 2.5e15}
    edit_json(runs[0] / "result.json", **known)
    edit_json(runs[1] / "result.json", **known | {"training_flops": 2.52e15}, init={"path": "runs/x"})
    table = compare(runs)
    assert column(table, "pictures\ntrained /\nforward only") == ["2 k / 1 k"] * 2
    assert column(table, "training\nFLOPs") == ["2.5 P", "2.52 P"]
    assert "Cost of fer2013_supervised beside fer2013_hmtl: equal FLOPs within 0.8 %." in table.notes
    assert "Without the cost of what the encoder starts from: fer2013_supervised." in table.notes


def test_smoke_runs_are_named_as_such(runs: list[Path]) -> None:
    edit_json(runs[1] / "recipe.json", data={"kind": "Relabelled"})
    text = " ".join(printed(compare(runs), 100).split())
    assert "fer2013_supervised is a smoke test on drawn faces, its figures mean nothing" in text


def test_other_headline_metrics_have_columns_and_a_dash_where_a_run_has_none(runs: list[Path]) -> None:
    result = json.loads((runs[1] / "result.json").read_text())
    for which in ("last", "best"):
        kept = {k: v for k, v in result[which]["val"].items() if k.startswith("expression")}
        result[which]["val"] = kept | {"pose/mae": 5.25, "pose/yaw": 4.0}
    (runs[1] / "result.json").write_text(json.dumps(result))
    declare(runs[1], FIGURES | {f"pose/{angle}": Figure(angle, unit="°") for angle in ("mae", "yaw")})
    table = compare(runs)
    assert column(table, "puzzle\ntile accuracy\nval (%)") == ["52.0 | 52.0", "–"]
    assert column(table, "pose\nmae\nval (°)") == ["–", "5.2 | 5.2"]
    assert "Guessing reaches: accuracy of expression 12.50 %, tile accuracy of puzzle 11.11 %." in table.notes
    heads = " ".join(table.figures.heads)
    # A task's first figure is its headline.
    assert "puzzle accuracy" not in heads
    assert "yaw" not in heads
    assert "loss" not in heads


def test_one_task_is_not_named_in_every_head(runs: list[Path]) -> None:
    for run in runs:
        result = json.loads((run / "result.json").read_text())
        for which in ("last", "best"):
            result[which]["val"] = {k: v for k, v in result[which]["val"].items() if k.startswith("expression")}
        (run / "result.json").write_text(json.dumps(result))
    assert "accuracy\nval (%)" in compare(runs).figures.heads


def test_unfinished_runs_are_marked_and_show_what_they_have(runs: list[Path]) -> None:
    (runs[0] / "result.json").unlink()
    edit_json(runs[0] / "recipe.json", epochs=80)
    table = compare(runs)
    assert table.figures.rows[0][0] == "one *"
    assert column(table, "epochs") == ["20 of 80", "9"]
    assert column(table, "minutes")[0] == "–"
    last, best = column(table, "expression\naccuracy\nval (%)")[0].split(" | ")
    assert float(last) > 50
    assert best == "–"
    assert table.notes[-1] == "* unfinished, figures so far: one."


@pytest.mark.parametrize("width", [80, 100, 60])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_lost(runs: list[Path], width: int) -> None:
    table = compare(runs)
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    for row in table.figures.rows:
        for cell in row:
            assert cell in text
    for head in table.figures.heads:
        for line in head.split("\n"):
            assert line in text


def test_a_wide_terminal_has_one_block(runs: list[Path]) -> None:
    table = compare(runs).figures
    assert len(column_blocks(table.heads, table.rows, 1, 250)) == 1
    blocks = column_blocks(table.heads, table.rows, 1, 80)
    assert len(blocks) > 1
    assert sorted({c for block in blocks for c in block}) == list(range(len(table.heads)))
    assert all(block[0] == 0 for block in blocks)


def test_long_names_are_folded_and_not_lost(tmp_path: Path) -> None:
    name = "affectnet8_hmtl_puzzling_and_inpainting_with_a_very_long_name_seed_1"
    text = printed(compare([write_fake_run(tmp_path / "run", name=name)]), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert name[:20] in text
    assert name[-5:] in text


def test_runs_of_one_recipe_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [write_fake_run(tmp_path / seed / name) for seed, name in (("a", "seed0"), ("a", "seed1"))]
    assert column(compare(paths), "run") == ["seed0", "seed1"]
    paths.append(write_fake_run(tmp_path / "b" / "seed0"))
    assert column(compare(paths), "run") == [str(path) for path in paths]


def test_markdown_has_a_row_a_run(runs: list[Path]) -> None:
    lines = compare(runs).markdown().removeprefix("# Runs beside each other\n\n").splitlines()
    assert lines[0].startswith("| run ")
    assert "| expression accuracy val (%) |" in lines[0]
    assert lines[2].startswith("| fer2013_hmtl ")
    # A bar inside a cell would end it.
    assert len({line.replace("\\|", "").count("|") for line in lines[:4]}) == 1
    assert any("last | best" in line for line in lines)


def test_recipes_are_told_apart_field_by_field(runs: list[Path]) -> None:
    recipe = json.loads((runs[0] / "recipe.json").read_text())
    edit_json(runs[1] / "recipe.json", epochs=9, batch_size=7, tasks=recipe["tasks"][:1])
    ((title, lines),) = compare(runs).recipes.items()
    assert title == "Recipe: fer2013_hmtl -> fer2013_supervised"
    assert f"batch_size: {recipe['batch_size']} -> 7" in lines
    assert [line for line in lines if line.startswith("tasks.puzzle: ") and line.endswith(" -> –")]
    assert "batch_size" in compare(runs).markdown()
    assert title in printed(compare(runs), 100)
    twins = compare([runs[0], runs[0]])
    assert list(twins.recipes.values()) == [["the same recipe"]]
    assert "the same recipe" in printed(twins, 100)


def test_recalls_stand_beside_each_other_with_their_change(runs: list[Path]) -> None:
    (table,) = compare(runs).classes
    assert table.title.startswith("Recall of each class of expression on test, last epoch (%), and the change from fer")
    assert table.heads == ("class", "n", "fer2013_hmtl", "fer2013_supervised")
    wanted = []
    for run in runs:
        with np.load(run / "predictions" / "test-last.npz") as arrays:
            target, guess = arrays["expression.target"], arrays["expression.probability"].argmax(axis=1)
        wanted.append(100 * (guess[target == 3] == 3).mean())
    n = int((target == 3).sum())
    change = f"{wanted[1]:.1f} ({wanted[1] - wanted[0]:+.1f})"
    assert table.rows[3] == (CLASSES[3], str(n), f"{wanted[0]:.1f}", change)
    assert change in printed(compare(runs), 100)


def test_runs_with_other_samples_are_not_set_beside_the_first(runs: list[Path]) -> None:
    file = runs[1] / "predictions" / "test-last.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    np.savez(file, **{name: array[1:] for name, array in arrays.items()})
    table = compare(runs)
    assert table.classes == ()
    assert "fer2013_supervised has other samples of expression on test, it is not set beside them." in table.notes


def with_predictions(run: Path, name: str, **changes: np.ndarray) -> None:
    file = run / "predictions" / f"{name}.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    np.savez(file, **{**arrays, **changes})


def test_runs_of_other_pictures_are_warned_of(runs: list[Path]) -> None:
    assert compare(runs).warnings == ()
    with np.load(runs[1] / "predictions" / "test-last.npz") as archive:
        arrays = dict(archive)
    with_predictions(runs[1], "test-last", **{name: array[5:] for name, array in arrays.items()})
    n = len(arrays["sample"])
    said = (
        f"fer2013_supervised was evaluated on other pictures ({n - 5:,} in place of {n:,}) of test than fer2013_hmtl: "
        "their figures do not compare."
    )
    assert compare(runs).warnings == (said,)
    assert f"warning: {said}" in printed(compare(runs), 200)
    assert f"**Warning: {said}**" in compare(runs).markdown()


def test_runs_trained_on_other_stores_are_warned_of(runs: list[Path]) -> None:
    store = {"manifest_sha256": "a", "images_sha256": "b"}
    for run, data in zip(runs, (store, {"kind": "HideLabels", "source": store, "keep": 402}), strict=False):
        starts = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps([*starts[:-1], starts[-1] | {"data": data}]))
    assert compare(runs).warnings == ()  # other faces of it keep their labels, which the recipes say
    starts = json.loads((runs[1] / "environment.json").read_text())
    starts[-1]["data"]["source"] = store | {"images_sha256": "c"}
    (runs[1] / "environment.json").write_text(json.dumps(starts))
    said = "fer2013_supervised was trained on other data than fer2013_hmtl: the hashes of their prepared stores differ."
    assert compare(runs).warnings == (said,)


def test_other_ids_and_other_labels_are_other_pictures_and_another_order_is_not(runs: list[Path]) -> None:
    with np.load(runs[1] / "predictions" / "val-last.npz") as archive:
        arrays = dict(archive)
    with_predictions(runs[1], "val-last", **{name: array[::-1] for name, array in arrays.items()})
    assert compare(runs).warnings == ()
    with_predictions(runs[1], "val-last", sample=arrays["sample"][::-1] + 1)
    assert "other pictures of val than fer2013_hmtl: their" in compare(runs).warnings[0]
    changed = {"expression.target": (arrays["expression.target"] + 1) % 7, "sample": arrays["sample"]}
    with_predictions(runs[1], "val-last", **changed)
    assert "other labels (expression) of val than fer2013_hmtl:" in compare(runs).warnings[0]
    changed["expression.target"] = np.stack([changed["expression.target"]] * 2, axis=1)  # other columns: not judged
    with_predictions(runs[1], "val-last", **changed)
    assert compare(runs).warnings == ()
    for run in runs:
        np.savez(run / "predictions" / "val-last.npz", **{"expression.target": arrays["expression.target"]})
    assert compare(runs).warnings == ()


def test_curves_lie_over_each_other_and_need_an_epoch(runs: list[Path], tmp_path: Path) -> None:
    one = compare(runs[:1]).draw_curves(tmp_path / "one.png").read_bytes()
    both = compare(runs).draw_curves(tmp_path / "both.png").read_bytes()
    assert one[:4] == both[:4] == b"\x89PNG"
    assert one != both
    for run in runs:
        (run / "metrics.csv").unlink()
    with pytest.raises(ValueError, match="curves: runs must include one that has ended an epoch"):
        compare(runs).draw_curves(tmp_path / "none.png")


def test_what_is_no_run_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"compare: run \(=.*\) must hold a recipe.json and has none"):
        compare([runs[0], tmp_path])
    with pytest.raises(ValueError, match=r"compare: runs \(=none\) must be at least one"):
        compare([])


def call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.compare", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_the_command_prints_and_writes(runs: list[Path], tmp_path: Path) -> None:
    done = call(*runs, "--out", tmp_path / "table.md", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert "fer2013_supervised" in done.stdout
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == compare(runs).markdown("table.png")
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_refuses_in_one_line_and_writes_nothing(runs: list[Path], tmp_path: Path) -> None:
    refused = call(runs[0], tmp_path, "--out", tmp_path / "table.md")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: compare: run (=")
    assert "Traceback" not in refused.stderr
    missing = call(runs[0], "--out", tmp_path / "no" / "table.md")
    assert missing.returncode == 2
    assert "must lie in a folder that exists" in missing.stderr
    assert not (tmp_path / "table.md").exists()
    assert not (tmp_path / "no").exists()


def test_the_comparison_becomes_a_page_with_its_curves_inside(runs: list[Path], tmp_path: Path) -> None:
    def call(*words: object) -> Any:
        return CliRunner().invoke(app, [*map(str, words), "--html"])

    done = call(*runs, "--out", tmp_path / "both.md")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "both.html").read_text()
    assert "<title>Runs beside each other</title>" in page
    assert page.count("<img") == page.count('src="data:image/png;base64,') == 1
    assert page.count("<table>") == (tmp_path / "both.md").read_text().count("\n| ---") > 1
    assert done.stdout.replace("\n", "").endswith(f"{tmp_path / 'both.png'}, {tmp_path / 'both.html'}")
    assert "compare: html (=True) must go with --out; add it" in call(*runs).stderr
    refused = call(*runs, "--out", tmp_path / "x.html")
    assert refused.exit_code == 2
    assert "x.html must not end in .html, as its page does; call it x.md" in refused.stderr
    assert not (tmp_path / "x.html").exists()


def test_the_summary_fits_80_columns_and_holds_every_figure(runs: list[Path]) -> None:
    text = summary(runs[0])
    result = json.loads((runs[0] / "result.json").read_text())
    assert max(map(len, text.splitlines())) <= 80
    (accuracy,) = [line for line in text.splitlines() if " accuracy (%)" in line and "tile" not in line]
    figures = [result[w][s]["expression/accuracy"] for s in ("val", "test") for w in ("last", "best")]
    assert accuracy.split()[-8:] == [*(f"{100 * figure:.1f}" for figure in figures), "12.5", "26.7", "/", "27.1"]
    assert "last = epoch 20, best = epoch 17 by val/expression/accuracy" in text
    assert "unfinished" not in text


def test_the_summary_of_an_unfinished_run_says_so(runs: list[Path]) -> None:
    (runs[0] / "result.json").unlink()
    assert "one (unfinished)" in summary(runs[0])
    (runs[0] / "metrics.csv").unlink()
    assert summary(runs[0]) == "one: no figures yet\n"


def test_the_summary_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"print_summary: run \(=.*\) must hold a recipe.json"):
        print_summary(tmp_path)
