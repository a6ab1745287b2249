"""The report: every figure in it is the run's, and what is not there is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine.reports.report
from engine.reports import markdown
from engine.reports.report import pictured, recipe_docstring, write_report
from engine.runs.result import ClassPredictions, read_run
from tests.engine.fake_run import CLASSES, RECIPE, edit_json, metrics_rows, predictions, write_fake_run, write_metrics

CHARTS_ARE_DRAWN = True


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report; not to be changed."""
    run = write_fake_run(tmp_path_factory.mktemp("runs") / "finished")
    (run / "charts").mkdir()
    for name in ("views", "inpaint", "pose-errors"):
        Image.new("RGB", (20, 20)).save(run / "charts" / f"{name}.png")
    write_report(run)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run without a report, to change at will."""
    return write_fake_run(tmp_path / "run", epochs=4)


@pytest.fixture
def unpainted(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `run`, for tests that look at the text alone: charts are empty files, which saves a second a report."""

    def touch(*args: object, **options: object) -> Path:
        (path,) = (value for value in args if isinstance(value, Path))
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path

    for name in ("learning_curves", "confusion", "recall_bars"):
        monkeypatch.setattr(engine.reports.report, name, touch)
    return run


def report(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |^<details>|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found.group(1)


def rows(text: str) -> list[list[str]]:
    """Cells of the first table of a text, without its rule."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in (lines[0], *lines[2:])]


def test_a_report_has_every_section_in_order(finished: Path) -> None:
    text = (finished / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# fer2013_hmtl\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Recipe",
        "Data",
        "Results",
        "Learning curves",
        "Classes of expression",
        "Calibration of expression",
        "What the network saw",
        "In-painting",
        "Speed",
        "Environment",
        "Other charts",
        "Files",
    ]


def test_every_linked_chart_is_there_and_every_chart_is_linked(finished: Path) -> None:
    links = re.findall(r"!\[.+?\]\((.+?)\)", (finished / "report.md").read_text(encoding="utf-8"))
    assert sorted(links) == sorted(f"charts/{path.name}" for path in (finished / "charts").iterdir())
    assert {"charts/confusion-expression.png", "charts/recall-expression.png", "charts/pose-errors.png"} <= {*links}


def test_charts_of_a_run_of_version_0_1_are_linked_where_they_lie(unpainted: Path) -> None:
    (unpainted / "figures").mkdir()
    for name in ("views", "learning-curves", "pose-errors"):
        Image.new("RGB", (20, 20)).save(unpainted / "figures" / f"{name}.png")
    text = report(unpainted)
    assert "(figures/views.png)" in section(text, "What the network saw")
    assert "(charts/learning-curves.png)" in section(text, "Learning curves")
    assert re.findall(r"\((.+?)\)", section(text, "Other charts")) == ["figures/pose-errors.png"]


def test_the_results_are_those_of_the_run_beside_chance_and_majority(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    text = section((finished / "report.md").read_text(encoding="utf-8"), "Results")
    head, *body = rows(text.partition("95 % intervals")[0])
    assert head[2:] == ["val, last", "val, best", "test, last", "test, best", "chance", "majority class (val / test)"]
    accuracy = [f"{100 * result[w][s]['expression/accuracy']:.2f} %" for s in ("val", "test") for w in ("last", "best")]
    assert body[0] == ["expression", "accuracy", *accuracy, "12.50 %", "26.70 % / 27.10 %"]
    assert [row[:2] for row in body[1:]] == [
        ["expression", "macro-F1"],
        ["puzzle", "tile accuracy"],
        ["puzzle", "puzzle accuracy"],
        ["inpaint", "L1"],
    ]
    assert body[2][2:] == ["52.00 %", "52.00 %", "–", "–", "11.11 %", "–"]
    assert body[4][2] == "0.1123"
    assert "*Last* is epoch 20. *Best* is epoch 17, chosen by `val/expression/accuracy`" in text
    assert "so its figures on val are optimistic; test took no part in the choice." in text
    assert "13.5 minutes; 235,520 pictures through the encoder" in text


def test_the_data_is_named_with_its_sizes_and_classes(finished: Path) -> None:
    text = section((finished / "report.md").read_text(encoding="utf-8"), "Data").strip()
    assert text.startswith(
        "`Packed` of `data/fer2013`; faces: train 5,888, val 3,295, test 3,326; expression has 8 classes (Neutral, Hap"
    )


def test_a_part_of_the_training_data_is_said_with_its_share_and_number(unpainted: Path) -> None:
    assert "trained on" not in section(report(unpainted), "Data")
    part = {"kind": "Fraction", "share": 0.2, "label": "expression", "of": {"kind": "Shuffled"}, "seed": None}
    edit_json(unpainted / "recipe.json", sampler=part, seed=3)
    edit_json(unpainted / "result.json", trained_on=1178)
    said = (
        "trained on 1,178 of the 5,888 faces of train: a share of 0.2 in the proportions of expression, chosen by seed"
    )
    assert f"test 3,326; {said} 3; expression has" in section(report(unpainted), "Data")
    edit_json(unpainted / "recipe.json", sampler={**part, "label": None, "of": {**part, "seed": 9}})
    assert (
        "train: a share of 0.2, chosen by seed 3, and of these a share of 0.2 in the proportions of expression, chosen "
        "by seed 9;"
    ) in section(report(unpainted), "Data")
    (unpainted / "result.json").unlink()  # while it runs
    assert "`data/fer2013`; trained on train: a share of 0.2, chosen" in section(report(unpainted), "Data")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "Folder", "source": "faces", "size": 48}, "`Folder` of `faces`; faces:"),
        (
            {"kind": "DALI", "source": {"kind": "FairFace", "source": "ff"}},
            "`DALI`, read by `FairFace` of `ff`; faces:",
        ),
        ({"kind": "Synthetic", "train": 9}, "`Synthetic`; faces:"),
        ({"kind": "Relabelled", "source": {"kind": "Synthetic"}}, "`Synthetic`; faces:"),
        ({"kind": "HideLabels", "source": {"kind": "Packed", "path": "data/x"}}, "`Packed` of `data/x`; faces:"),
        (
            {"kind": "WrongLabels", "source": {"kind": "HideLabels", "source": {"kind": "Packed", "path": "data/x"}}},
            "`Packed` of `data/x`; faces:",
        ),
        (
            {"kind": "WithTest", "source": {"kind": "Packed", "path": "a"}, "test": {"kind": "Packed", "path": "b"}},
            "`Packed` of `a`, test of `Packed` of `b`; faces:",
        ),
        (
            {"kind": "Union", "labelled": {"kind": "Packed", "path": "a"}, "unlabelled": [{"kind": "Synthetic"}]},
            "`Union` of labelled `Packed` of `a`; unlabelled `Synthetic`; faces:",
        ),
        ({}, "`a source without a name`; faces:"),
    ],
)
def test_every_kind_of_source_is_named(unpainted: Path, data: dict[str, object], words: str) -> None:
    edit_json(unpainted / "recipe.json", data=data)
    assert section(report(unpainted), "Data").strip().startswith(words)


def test_what_a_joined_source_says_is_repeated(unpainted: Path) -> None:
    edit_json(unpainted / "result.json", notes={"train": "12 faces of A, and 9 without labels of B"})
    assert "12 faces" not in section(report(unpainted), "Data")
    for kind in ("Union", "Folds", "Folder"):
        edit_json(unpainted / "recipe.json", data={"kind": kind})
        assert "train: 12 faces of A, and 9 without labels of B; expression has" in section(report(unpainted), "Data")


def test_a_report_states_the_notes_of_its_stores(unpainted: Path) -> None:
    assert "\n- " not in section(report(unpainted), "Data")
    store = {"path": "data/a", "notes": ["val is ours", "gray *and* blank"], "skipped": {"unreadable picture": 1200}}
    edit_json(
        unpainted / "result.json",
        stores=[
            store | {"in_two_splits": {"train and test": 12, "train and val": 1}},
            {"path": "data/b", "notes": [], "skipped": {}, "in_two_splits": {}},
            {"path": "data/c", "notes": [], "skipped": {}, "in_two_splits": None},
        ],
        without_label={"train": {"expression": 4300, "pose": 2}, "val": {}, "test": {}},
    )
    assert section(report(unpainted), "Data").strip().splitlines()[2:] == [
        "- `data/a`: val is ours; gray \\*and\\* blank; skipped: 1,200 unreadable picture; "
        "12 different pictures are in both train and test; 1 different pictures are in both train and val.",
        "- `data/b`: no picture is in two splits.",
        "- `data/c`: not looked through for pictures that are in two splits (`hmtl prepare --check`).",
        "- train: 4,300 faces have no expression.",
        "- train: 2 faces have no pose.",
    ]


def test_drawn_faces_are_said_above_the_figures(unpainted: Path) -> None:
    assert "Drawn faces" not in report(unpainted)
    edit_json(unpainted / "recipe.json", data={"kind": "Synthetic"})
    text = report(unpainted)
    assert text.startswith("# fer2013_hmtl\n\n> **Drawn faces.** The faces of this run are drawn by `Synthetic`.")
    edit_json(unpainted / "recipe.json", data={"kind": "Relabelled", "source": {"kind": "Synthetic"}})
    text = report(unpainted)
    assert text.startswith("# Smoke test of fer2013_hmtl: drawn faces, figures that mean nothing\n\n> **Drawn faces.**")
    assert "of real faces they say nothing" in text.split("**expression on val")[0]


def test_a_run_of_version_0_1_is_read_by_the_names_of_its_figures(unpainted: Path) -> None:
    new = read_run(unpainted)
    (unpainted / "figures.json").unlink()
    edit_json(unpainted / "result.json", chance={"expression/accuracy": 0.125, "puzzle/tile_accuracy": 1 / 9})
    old = read_run(unpainted)
    assert not old.missing
    unsaid = replace(new.figures["puzzle/puzzle_accuracy"], chance=None)
    assert old.figures == {**new.figures, "puzzle/puzzle_accuracy": unsaid}
    assert (list(old.figures), list(old.headlines)) == (list(new.figures), list(new.headlines))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("pose/mae_yaw_pitch", "MAE of yaw, pitch 25.00°"),
        ("gender/East Asian error_rate", "East Asian error rate 2500.00 %"),
        ("expression/calibration_error", "ECE (15 bins) 2500.00 %"),
        ("inpaint/perceptual", "perceptual 25"),
    ],
)
def test_figures_of_version_0_1_have_their_units(name: str, written: str, unpainted: Path) -> None:
    (unpainted / "figures.json").unlink()
    edit_json(unpainted / "result.json", last={"epoch": 1, "val": {name: 25.0, "a/loss": 1.0}}, best={})
    (figure,) = read_run(unpainted).figures.values()
    assert f"{figure.label} {figure.write(25.0)}" == written


def test_damaged_declarations_are_told(unpainted: Path) -> None:
    (unpainted / "figures.json").write_text('{"expression/accuracy": {"units": "%"}}')
    assert "figures.json is damaged" in " ".join(read_run(unpainted).missing)


def test_parameters_are_written_in_full(finished: Path) -> None:
    text = (finished / "report.md").read_text(encoding="utf-8")
    assert "5,123,456 parameters trained; 4,912,345 parameters at inference" in text


def test_files_and_starts_are_explained(unpainted: Path) -> None:
    (unpainted / "checkpoints" / "before").mkdir(parents=True)
    text = report(unpainted)
    assert "- `checkpoints/before`: the state before that, which a resume takes where `last` is damaged" in text
    assert "checkpoints/last" not in section(text, "Files")
    assert "`result.json` is written after everything else" in section(text, "Files")
    assert "`from_step` is the optimiser step at which this start began" in section(text, "Environment")


def test_a_report_before_the_result_shows_the_result_to_come(unpainted: Path) -> None:
    whole = report(unpainted)
    result = json.loads((unpainted / "result.json").read_text())
    (unpainted / "result.json").unlink()
    assert "Unfinished" in report(unpainted)
    assert write_report(unpainted, result=result).read_text(encoding="utf-8") == whole
    assert not (unpainted / "result.json").exists()


def test_the_summary_says_last_and_best_beside_chance(finished: Path) -> None:
    line = (finished / "report.md").read_text(encoding="utf-8").split("\n")[2]
    assert re.search(
        r"\*\*expression on test: accuracy [\d.]+ % last / [\d.]+ % best, macro-F1 [\d.]+ % last / [\d.]+ % best\*\* "
        r"\(chance 12.50 %, majority class 27.10 %\)",
        line,
    )


def test_the_recipes_header_is_in_the_report_as_it_was_written(finished: Path) -> None:
    text = section((finished / "report.md").read_text(encoding="utf-8"), "Recipe")
    assert recipe_docstring(RECIPE) in text
    assert "Differs: small backbone, 48 px, gray pictures." in text


def test_recall_of_each_class_stands_with_its_support(finished: Path) -> None:
    text = section((finished / "report.md").read_text(encoding="utf-8"), "Classes of expression")
    head, *body = rows(text)
    assert head == ["class", "n, val", "n, test", "val, last", "val, best", "test, last", "test, best"]
    assert [row[0] for row in body] == [*CLASSES, "mean"]
    arrays = np.load(finished / "predictions" / "val-best.npz")
    target, guess = arrays["expression.target"], arrays["expression.probability"].argmax(1)
    shares = [(guess == target)[target == i].mean() for i in range(len(CLASSES))]
    assert [row[4] for row in body] == [f"{100 * share:.2f} %" for share in (*shares, np.mean(shares))]
    assert [row[1] for row in body] == [f"{n:,}" for n in (*np.bincount(target[target >= 0]), (target >= 0).sum())]
    assert "Drawn: test, best epoch." in text


def test_speed_and_environment_stand_with_their_labels(finished: Path) -> None:
    text = (finished / "report.md").read_text(encoding="utf-8")
    speed = dict(rows(section(text, "Speed")))
    assert speed["share of time waiting for data (time inside next())"] == "1.13 %"
    assert speed["step, 99th percentile"] == "301.90 ms"
    assert speed["faces per second, overall"] == "512.4"
    assert speed["pictures through the encoder per second, overall"] == "1,024.8"
    environment = dict(rows(section(text, "Environment")))
    assert environment["cpu"] == "Example CPU @ 2.50GHz"
    assert environment["gpu"] == "–"
    assert "```sh\nhmtl train fer2013_hmtl --out runs/x\n```" in section(text, "Environment")


def test_a_report_can_be_written_again_and_is_the_same(run: Path) -> None:
    first = report(run)
    charts = {path.name: path.read_bytes() for path in (run / "charts").iterdir()}
    assert report(run) == first
    assert {path.name: path.read_bytes() for path in (run / "charts").iterdir()} == charts
    assert not list(run.rglob(".*"))


def test_a_run_of_one_epoch_has_a_report(tmp_path: Path) -> None:
    text = report(write_fake_run(tmp_path / "run", epochs=1))
    assert "*Last* is epoch 1. *Best* is epoch 1" in text
    assert "charts/learning-curves.png" in text


def test_an_interrupted_run_says_what_it_lacks_and_shows_its_last_epoch(run: Path) -> None:
    (run / "result.json").unlink()
    for path in (run / "predictions").glob("test-*"):
        path.unlink()
    tasks = [{"kind": "Expression", "name": "expression", "names": CLASSES}, {"kind": "SolvePuzzle", "name": "puzzle"}]
    edit_json(run / "recipe.json", tasks=tasks)
    table = metrics_rows(3, {"expression/accuracy": 0.6, "expression/macro_f1": 0.5})
    write_metrics(run / "metrics.csv", table)
    text = report(run)
    assert "> **Unfinished.** This run goes on or was interrupted; the last evaluated epoch is 3." in text
    assert "- result.json is not there: the run has not ended, or was interrupted." in section(
        text, "Not in this report"
    )
    head, first, *_ = rows(section(text, "Results"))
    assert head[2:4] == ["val, last", "val, best"]
    assert first[:4] == ["expression", "accuracy", f"{100 * table[-1]['val/expression/accuracy']:.2f} %", "–"]
    assert "No epoch has been chosen as the best." in text
    # Class names are known from the recipe, so predictions are drawn.
    assert "charts/confusion-expression.png" in text
    assert "Drawn: val, last epoch." in text


def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    text = report(tmp_path)
    assert text.startswith(f"# {markdown.plain(tmp_path.name)}\n")
    assert "no epoch was evaluated" in text
    assert "No figures yet." in text
    for file in ("environment.json", "metrics.csv", "result.json", "recipe.py"):
        assert f"- {file} is not there" in text


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("result.json", '{"name": "x",', r"result\.json is damaged \(line 1: "),
        ("result.json", "[]", r"result\.json is damaged \(holds a list, not a dict\)"),
        ("environment.json", "{}", r"environment\.json is damaged \(holds a dict, not a list\)"),
        ("metrics.csv", "epoch,step\n", r"metrics\.csv holds no epoch"),
        ("metrics.csv", "epoch,lr,val/a/l1\n1,0.1,0.5\n2,0.", r"metrics\.csv has 1 cut row\(s\), left out"),
        ("recipe.py", b"\xff\xfe", r"recipe\.py cannot be read"),
        ("predictions/val-last.npz", b"PK\x03\x04 cut", r"predictions/val-last\.npz cannot be read"),
        ("predictions/val-last.npz", b"", r"predictions/val-last\.npz cannot be read"),
    ],
)
def test_damaged_files_are_said_and_the_rest_is_reported(
    unpainted: Path, file: str, content: str | bytes, said: str
) -> None:
    (unpainted / file).write_bytes(content.encode() if isinstance(content, str) else content)
    assert re.search(said, section(report(unpainted), "Not in this report"))


def test_a_cut_archive_of_predictions_is_said(unpainted: Path) -> None:
    path = unpainted / "predictions" / "test-best.npz"
    path.write_bytes(path.read_bytes()[:5000])
    text = report(unpainted)
    assert "predictions/test-best.npz cannot be read" in section(text, "Not in this report")
    assert "Drawn: test, last epoch." in text


def replace_arrays(run: Path, **arrays: np.ndarray) -> None:
    for path in (run / "predictions").glob("*.npz"):
        np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"pose.target": np.zeros((4, 3)), "pose.value": np.zeros((4, 3))}, "`pose` .* not one of a list of classes"),
        ({"puzzle.guess": np.zeros((4, 9)), "puzzle.shows": np.zeros((4, 9))}, "`puzzle` .* not one of a list"),
        ({"glasses.target": np.zeros(4, int), "glasses.probability": np.zeros((4, 2))}, "names its classes"),
        (
            {"expression.target": np.zeros(4, int), "expression.probability": np.zeros((4, 7))},
            r"scores \(=\[4, 7\]\) are not \[4, 8\]",
        ),
        (
            {"expression.target": np.full(4, 8), "expression.probability": np.zeros((4, 8))},
            r"labels \(=8\.\.8\) lie outside its 8 classes",
        ),
        (
            {"expression.target": np.zeros(4, int), "expression.probability": np.full((4, 8), np.nan)},
            "the model has diverged",
        ),
        (
            {"expression.target": np.full(4, -1), "expression.probability": np.zeros((4, 8))},
            "none of its samples has a label",
        ),
    ],
)
def test_predictions_that_are_not_classes_are_left_out_with_a_reason(
    unpainted: Path, arrays: dict[str, np.ndarray], reason: str
) -> None:
    replace_arrays(unpainted, sample=np.arange(4), **arrays)
    text = report(unpainted)
    assert re.search(reason, section(text, "Not in this report"))
    # Once for the task, not once a file.
    assert section(text, "Not in this report").count("\n- ") == 1
    assert "confusion-" not in text


def test_a_run_without_a_supervised_task_has_a_report(unpainted: Path) -> None:
    for path in (unpainted / "predictions").iterdir():
        path.unlink()
    figures = {"puzzle/tile_accuracy": 0.4, "puzzle/loss": 1.2}
    edit_json(
        unpainted / "result.json",
        classes={},
        majority={},
        select_on=None,
        last={"epoch": 4, "val": figures},
        best={"epoch": None, "val": {}},
    )
    edit_json(unpainted / "recipe.json", tasks=[{"name": "puzzle"}])
    text = report(unpainted)
    assert "No supervised task in this run; puzzle/tile_accuracy on val: tile accuracy 40.00 % last." in text
    assert rows(section(text, "Results"))[1:] == [["puzzle", "tile accuracy", "40.00 %", "–", "11.11 %", "–"]]
    assert "Classes of" not in text


def test_without_a_test_split_the_best_epoch_is_called_optimistic(unpainted: Path) -> None:
    result = json.loads((unpainted / "result.json").read_text())
    for which in ("last", "best"):
        del result[which]["test"]
    (unpainted / "result.json").write_text(json.dumps(result))
    text = report(unpainted)
    assert "so its figures are optimistic: val is the only split here, and the last epoch is the one to report." in text


def test_figures_that_are_not_numbers_are_dashes(unpainted: Path) -> None:
    edit_json(unpainted / "result.json", majority={"val": None})
    result = json.loads((unpainted / "result.json").read_text())
    result["last"]["val"]["expression/macro_f1"] = float("nan")
    result["speed"]["compile_seconds"] = None
    (unpainted / "result.json").write_text(json.dumps(result))
    text = report(unpainted)
    first, second, *_ = rows(section(text, "Results"))[1:]
    assert first[-2:] == ["12.50 %", "–"]
    assert second[2] == "–"
    assert dict(rows(section(text, "Speed")))["compiling, not in the above"] == "–"


def test_a_resumed_run_shows_what_differs_between_its_starts(unpainted: Path) -> None:
    (start,) = json.loads((unpainted / "environment.json").read_text())
    again = start | {"date": "2026-11-21 09:00", "command": start["command"] + " --resume", "cores": 4}
    (unpainted / "environment.json").write_text(json.dumps([start, again]))
    text = section(report(unpainted), "Environment")
    assert "Of the last of 2 starts." in text
    assert rows(text.split("What differs")[1]) == [
        ["start", "cores", "date"],
        ["1", "2", "2026-11-20 10:00"],
        ["2", "4", "2026-11-21 09:00"],
    ]
    assert f"{start['command']}\n{again['command']}\n" in text


def test_a_run_of_numbers_or_of_no_label_has_no_majority_class(unpainted: Path) -> None:
    assert "majority class (val / test)" in report(unpainted)
    edit_json(unpainted / "result.json", classes={})
    recipe = json.loads((unpainted / "recipe.json").read_text())
    for label in ("age", None):
        recipe["tasks"][0]["label"] = label
        (unpainted / "recipe.json").write_text(json.dumps(recipe))
        text = report(unpainted)
        assert "majority class" not in text
        assert "constant guess (val / test)" in text
        assert ("is the median of each number" in text) == (label == "age")


def test_names_from_data_cannot_break_the_report(unpainted: Path) -> None:
    names = ["a|b", "<img src=x>", "`code`", "*star*", "_under_", "x\ny", "[link](u)", "ok"]
    edit_json(unpainted / "result.json", name="../run | *1*", classes={"expression": names})
    text = report(unpainted)
    assert text.startswith("# ../run | \\*1\\*\n")
    table = rows(section(text, "Classes of expression"))
    assert [row[0] for row in table[1:]] == [
        "a\\|b",
        "\\<img src=x\\>",
        "\\`code\\`",
        "\\*star\\*",
        "\\_under\\_",
        "x y",
        "\\[link\\](u)",
        "ok",
        "mean",
    ]


def test_a_task_name_becomes_a_safe_file_name(run: Path) -> None:
    arrays = predictions("val", 1, 1.0)
    renamed = {name.replace("expression", "a/b c"): value for name, value in arrays.items()}
    replace_arrays(run, **renamed)
    edit_json(run / "result.json", classes={"a/b c": CLASSES})
    assert "(charts/confusion-a-b-c.png)" in report(run)
    assert (run / "charts" / "confusion-a-b-c.png").is_file()


@pytest.mark.parametrize(
    ("source", "header"),
    [(RECIPE, True), ("x = 1", False), ("def broken(:", False), ("", False), (None, False), ("\0", False)],
)
def test_a_recipe_without_a_header_has_no_such_section(source: str | None, header: bool) -> None:
    assert bool(recipe_docstring(source)) is header


def test_what_is_drawn_is_the_best_epoch_where_it_was_not_chosen() -> None:
    def item(name: str) -> ClassPredictions:
        split, _, checkpoint = name.partition("-")
        return ClassPredictions(split, checkpoint, np.zeros(1), np.zeros((1, 2)))

    def choice(*names: str) -> str:
        found = pictured([item(name) for name in names], "val")
        return f"{found.split}-{found.checkpoint}"

    assert choice("val-last", "val-best", "test-last", "test-best") == "test-best"
    assert choice("val-last", "val-best") == "val-last"
    assert choice("val-best") == "val-best"
    assert choice("val-last", "test-last") == "test-last"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"report: run \(=.*nowhere\) must be a folder; name one that hmtl train"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"report: run \(=.*\) must hold a recipe.json and has none, so it is not"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_report_before(unpainted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(unpainted)
    edit_json(unpainted / "result.json", name="another")

    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.suffix == ".md":
            raise OSError("disk full")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_report(unpainted)
    assert (unpainted / "report.md").read_text(encoding="utf-8") == before
    assert not list(unpainted.glob(".*"))


def test_the_command_writes_reports_and_refuses_in_one_line(run: Path) -> None:
    def call(*paths: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine.report", *map(str, paths)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shutil.rmtree(run / "charts", ignore_errors=True)
    done = call(run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "report.md")
    refused = call(run / "predictions")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: report: run (=")
    assert "Traceback" not in refused.stderr


def test_code_in_a_fence_cannot_end_it() -> None:
    assert markdown.fence("a\n```\nb", "sh") == "````sh\na\n```\nb\n````"
