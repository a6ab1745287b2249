"""Writes the report of a run, `report.md` and its charts, and prints its summary, from the run folder alone."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from engine.figures import Figure, format_count
from engine.reports import markdown
from engine.reports.beside import baselines_of, beside_baselines
from engine.reports.calibration import calibrate, reliability_diagram
from engine.reports.classwise import confusion, confusion_counts, recall, recall_bars
from engine.reports.curves import learning_curves
from engine.reports.facts import (
    describe_data,
    describe_speed,
    describe_starts,
    describe_stores,
    drawn_note,
    is_smoke,
)
from engine.reports.intervals import describe_intervals
from engine.reports.table import Table
from engine.runs.result import CHARTS, ClassPredictions, Run, as_mapping, as_number, read_predictions, read_run
from loaders.files import write_text
from loaders.terminal import Terminal

_CHARTS_BEFORE = "figures"  # of runs of version 0.1
_FILES = {
    "checkpoints/last": "the newest state, from which `--resume` goes on",
    "checkpoints/before": "the state before that, which a resume takes where `last` is damaged",
    "checkpoints/best": "the weights of the best epoch",
    "predictions": "what the model said of every sample of a split",
    "log.jsonl": "a line every few steps",
    "metrics.csv": "a row an epoch",
    "tensorboard": "the same curves for TensorBoard",
    "trace.json": "some steps under torch's profiler, which slows them; open it in Perfetto or chrome://tracing",
}
_RECALL = Figure("recall", greater_is_better=True, unit="%")
_ERROR, _LOSS = Figure("calibration_error", unit="%"), Figure("cross_entropy")
_COST: tuple[tuple[tuple[str, ...], Callable[[float], str]], ...] = (
    (("epochs",), lambda x: f"{x:g} epochs"),
    (("steps",), lambda x: f"{x:,.0f} steps"),
    (("seconds",), lambda x: f"{x / 60:.1f} minutes" if x >= 60 else f"{x:.0f} seconds"),
    (("pictures_through_encoder",), lambda x: f"{x:,.0f} pictures through the encoder"),
    (("pictures_forward_only",), lambda x: f"{x:,.0f} of them forward only"),
    (("training_flops",), lambda x: f"{format_count(x)}FLOPs of training"),
    (("parameters", "training"), lambda x: f"{x:,.0f} parameters trained"),
    (("parameters", "inference"), lambda x: f"{x:,.0f} parameters at inference"),
)


def write_report(run: Path, *, result: Mapping[str, Any] | None = None) -> Path:
    """Writes the charts of a run and its `report.md`; each file is replaced as a whole.

    A run that still goes on or was interrupted has a report too, which says what is not there.

    Args:
        run: Its folder.
        result: What result.json will hold, for a run that writes it after the report; None reads the file.

    Returns:
        The path of `report.md`.

    Raises:
        ValueError: `run` is not the folder of a run.
    """
    found = read_run(run, where="report", result=result)
    predictions, left_out = read_predictions(found)
    text = markdown.document(
        [
            _head(found),
            _section("Recipe", _fenced(recipe_docstring(found.source))),
            _section("Data", describe_data(found), describe_stores(found)),
            _section("Results", *_results(found)),
            _section("Beside its baselines", *_baselines(found)),
            _section("Learning curves", _curves(found)),
            *(
                section
                for task, items in predictions.items()
                for section in (
                    _section(f"Classes of {markdown.plain(task)}", *_classes(found, task, items)),
                    _section(f"Calibration of {markdown.plain(task)}", *_calibration(found, task, items)),
                    _section(f"Surest answers of {markdown.plain(task)}", *_answers(found, task, items)),
                )
            ),
            _section("What the network saw", _picture(found, "views.png", "Each view of the same samples")),
            _section(
                "In-painting",
                _picture(found, "inpaint.png", "Before, hidden, completed and their difference"),
                _picture(found, "inpaint-epochs.png", "Before, hidden, and completed after some of the epochs"),
            ),
            _section("Speed", describe_speed(found)),
            _section("Environment", *describe_starts(found)),
            _section("Other charts", *_other_charts(found, predictions)),
            _section("Not in this report", markdown.bullets(f"{text}." for text in (*found.missing, *left_out))),
            _section("Files", *_files(found)),
            _resolved_recipe(found),
        ]
    )
    path = found.path / "report.md"
    write_text(path, text)
    return path


def _section(title: str, *parts: str) -> str:
    """Writes a heading and what stands below it; empty where there is nothing."""
    return "\n\n".join([f"## {title}", *filter(None, parts)]) if any(parts) else ""


def _fenced(text: str) -> str:
    return text and markdown.fence(text)


def _head(run: Run) -> str:
    title = f"Smoke test of {run.name}: drawn faces, figures that mean nothing" if is_smoke(run) else run.name
    lines = [f"# {markdown.plain(title)}", *filter(None, [drawn_note(run)]), _summary(run)]
    if not run.finished:
        ended = run.last.epoch
        since = "no epoch was evaluated" if ended is None else f"the last evaluated epoch is {ended}"
        lines.append(f"> **Unfinished.** This run goes on or was interrupted; {since}. Figures are those so far.")
    return "\n\n".join(lines)


def _summary(run: Run) -> str:
    """Writes the figures of the supervised tasks in one paragraph, beside what guessing reaches; else all figures."""
    parts = []
    for split in run.splits:
        for task, names in _headlines(run).items():
            figures = [_last_and_best(run, split, name) for name in names]
            if not any(figures):
                continue
            first, constant = run.figures[names[0]], run.constant_guess_name(task)
            guesses = [
                f"{name} {first.write(value)}"
                for name, value in (("chance", first.chance), (constant, run.constant_guess(split, names[0])))
                if value is not None
            ]
            text = f"**{markdown.plain(task)} on {split}: {', '.join(filter(None, figures))}**"
            parts.append(text + (f" ({', '.join(guesses)})" if guesses else ""))
    if not parts:
        others = [
            f"{markdown.plain(name)} on {split}: {text}"
            for split in run.splits
            for name in run.figures
            if (text := _last_and_best(run, split, name))
        ]
        return "No supervised task in this run" + (f"; {'; '.join(others)}." if others else ".")
    return "; ".join(parts) + "."


def _headlines(run: Run) -> dict[str, list[str]]:
    """Lists for each supervised task the names of the figures that stand for it."""
    found: dict[str, list[str]] = {}
    for name in run.headlines:
        task = name.rpartition("/")[0]
        if task in run.supervised:
            found.setdefault(task, []).append(name)
    return found


def _last_and_best(run: Run, split: str, name: str) -> str:
    """Writes "accuracy 55.20 % last / 56.10 % best", or what there is of it."""
    figure = run.figures[name]
    last, best = (scores.value(split, name) if scores else None for scores in (run.last, run.best))
    parts = [f"{figure.write(value)} {which}" for value, which in ((last, "last"), (best, "best")) if value is not None]
    return f"{figure.label} {' / '.join(parts)}" if parts else ""


def recipe_docstring(source: str | None) -> str:
    """Finds the docstring of a recipe's source text; empty where there is none or the text does not parse."""
    try:
        return ast.get_docstring(ast.parse(source or "")) or ""
    except (SyntaxError, ValueError):
        return ""


def _results(run: Run) -> Iterator[str]:
    if not run.figures:
        yield "No figures yet."
        return
    yield results_table(run).markdown()
    yield _note_on_best(run)
    if _headlines(run) and run.constant_guess_name(*_headlines(run)) == "constant guess":
        yield "*Constant guess* is the median of each number, or the largest class, of the training data."
    yield from describe_intervals(run)
    yield describe_cost(run)


def describe_cost(run: Run) -> str:
    """Writes a sentence on what the training has cost: pictures, FLOPs, minutes; empty while that is not known."""
    facts = [form(value) for keys, form in _COST if (value := _find(run.result, keys)) is not None]
    if facts and isinstance(views := run.result.get("views"), list):
        facts.append(f"views: {markdown.plain(', '.join(map(str, views)))}")
    return f"Cost: {'; '.join(facts)}." if facts else ""


def _find(result: Mapping[str, object], keys: Sequence[str]) -> float | None:
    value: object = result
    for key in keys:
        value = as_mapping(value).get(key)
    return as_number(value)


def _note_on_best(run: Run) -> str:
    last = "the last epoch" if run.last.epoch is None else f"epoch {run.last.epoch}"
    if run.best is None:
        return f"*Last* is {last}. No epoch has been chosen as the best."
    best = "the best epoch" if run.best.epoch is None else f"epoch {run.best.epoch}"
    judge = _judge(run)
    unseen = [split for split in run.splits if split != judge]
    reading = (
        f"so its figures on {judge} are optimistic; {', '.join(unseen)} took no part in the choice."
        if unseen
        else f"so its figures are optimistic: {judge} is the only split here, and the last epoch is the one to report."
    )
    return f"*Last* is {last}. *Best* is {best}, chosen by `{run.select_on or judge}`, {reading}"


def _judge(run: Run) -> str:
    """Names the split that chose the best epoch."""
    return (run.select_on or "val").partition("/")[0]


def _curves(run: Run) -> str:
    if not any(len(values) for values in run.metrics.values()):
        return ""
    chance = {name: figure.chance for name, figure in run.figures.items() if figure.chance is not None}
    constant = {name: value for name in run.figures if (value := run.constant_guess(_judge(run), name)) is not None}
    levels = {"chance": chance, f"{run.constant_guess_name(*_headlines(run))} on {_judge(run)}": constant}
    try:
        path = learning_curves(
            run.metrics,
            run.path / CHARTS / "learning-curves.png",
            figures=run.declared,
            levels={name: heights for name, heights in levels.items() if heights},
            best=run.best.epoch if run.best else None,
        )
    except ValueError as error:
        return f"Not drawn: {markdown.plain(str(error))}."
    return _image(run, path, "Losses, metrics and learning rate over the epochs")


def pictured(items: Sequence[ClassPredictions], judge: str) -> ClassPredictions:
    """Chooses the predictions to draw: the best epoch's on a split other than the one that chose it (`judge`), else the
    last epoch's."""

    def rank(item: ClassPredictions) -> tuple[bool, bool]:
        unseen = item.split != judge
        return (not unseen, item.checkpoint != ("best" if unseen else "last"))

    return min(items, key=rank)


def _baselines(run: Run) -> list[str]:
    """Writes what the runs beside this one, `NAME-variant`, reach; empty where there are none."""
    found = beside_baselines(run, baselines_of(run)) if run.finished else None
    if found is None:
        return []
    table, chart = found
    return [_image(run, chart, "This run and its baselines"), table.markdown()]


def _classes(run: Run, task: str, items: Sequence[ClassPredictions]) -> list[str]:
    names = run.classes[task]
    drawn = pictured(items, _judge(run))
    what = f"{task} · {drawn.split}, {drawn.checkpoint} epoch"
    matrix, bars = (run.path / CHARTS / name for name in chart_names(task))
    charts = (
        confusion(names, drawn.target, drawn.probability, matrix, title=what),
        recall_bars(names, drawn.target, drawn.probability, bars, title=what, groups=drawn.groups),
    )
    counts = [confusion_counts(names, item.target, item.probability) for item in items]
    support = {item.split: table.sum(axis=1) for item, table in zip(items, counts, strict=True)}
    shares = [recall(table) for table in counts]
    rows = [
        (name, *(f"{n[i]:,}" for n in support.values()), *(_RECALL.write(float(s[i])) for s in shares))
        for i, name in enumerate(names)
    ]
    means = (_RECALL.write(float(np.nanmean(share))) for share in shares)
    rows.append(("mean", *(f"{n.sum():,}" for n in support.values()), *means))
    heads = ("class", *(f"n, {split}" for split in support), *(f"{item.split}, {item.checkpoint}" for item in items))
    return [
        f"Drawn: {markdown.plain(drawn.split)}, {drawn.checkpoint} epoch.",
        _image(run, charts[0], f"Confusion matrix of {what}"),
        "Recall of each class:",
        Table(heads, rows).markdown(),
        _image(run, charts[1], f"Recall of each class of {what}"),
    ]


def _calibration(run: Run, task: str, items: Sequence[ClassPredictions]) -> list[str]:
    found = calibrate(items)
    if not found:
        return []
    shown = next((one for one in found if one.checkpoint == pictured(items, _judge(run)).checkpoint), found[0])
    what = f"{task} · test, {shown.checkpoint} epoch"
    chart = reliability_diagram(shown, run.path / CHARTS / _calibration_name(task), title=what)
    rows = [
        (
            one.checkpoint,
            f"{one.temperature:.2f}",
            *(_ERROR.write(value) for value in one.error),
            *(_LOSS.write(value) for value in one.cross_entropy),
        )
        for one in found
    ]
    heads = ("epoch", "temperature", "ECE", "ECE, calibrated", "cross-entropy", "calibrated")
    return [
        "On test. The temperature divides the scores behind the probabilities; it is fitted on val, and changes no "
        "answer. Above 1: the network is surer than it is right. `hmtl predict` and `hmtl export` take `--calibrated`.",
        Table(heads, rows).markdown(),
        _image(run, chart, f"Reliability diagram of {what}"),
    ]


def _answers(run: Run, task: str, items: Sequence[ClassPredictions]) -> list[str]:
    """Shows the sheet that the run drew in its end; runs of version 0.2 have none."""
    drawn = pictured(items, _judge(run))
    what = f"{task} · {drawn.split}, {drawn.checkpoint} epoch"
    sheet = _picture(run, answers_name(task), f"Surest right answers and mistakes of {what}")
    note = (
        f"Of each class on {markdown.plain(drawn.split)}, {drawn.checkpoint} epoch: the face that was named rightly "
        "with the most probability, and those that were named wrongly with the most. They are faces of the data set: "
        "mind its terms before you send them on."
    )
    return [note, sheet] if sheet else []


def answers_name(task: str) -> str:
    """Names the file of a task's sheet of right answers and mistakes."""
    return f"answers-{_slug(task)}.png"


def _slug(task: str) -> str:
    return re.sub(r"[^\w-]+", "-", task)


def _calibration_name(task: str) -> str:
    return f"calibration-{_slug(task)}.png"


def chart_names(task: str) -> tuple[str, str]:
    """Names of the files of a task's confusion matrix and of its bars of recall."""
    return f"confusion-{_slug(task)}.png", f"recall-{_slug(task)}.png"


def _charts(run: Run) -> dict[str, Path]:
    """Finds every chart of a run folder by its name."""
    folders = (run.path / _CHARTS_BEFORE, run.path / CHARTS)
    return {path.name: path for folder in folders for path in sorted(folder.glob("[!.]*.png"))}


def _picture(run: Run, name: str, alternative: str) -> str:
    path = _charts(run).get(name)
    return "" if path is None else _image(run, path, alternative)


def _other_charts(run: Run, predictions: Mapping[str, object]) -> list[str]:
    """Links the charts of later tasks, which this report has no section for."""
    placed = {"learning-curves.png", "views.png", "inpaint.png", "inpaint-epochs.png", "baselines.png"}
    placed |= {
        name for task in predictions for name in (*chart_names(task), _calibration_name(task), answers_name(task))
    }
    return [_image(run, path, path.stem) for name, path in _charts(run).items() if name not in placed]


def _files(run: Run) -> list[str]:
    """Says what lies beside the report, of what is there."""
    there = [f"`{name}`: {what}" for name, what in _FILES.items() if (run.path / name).exists()]
    last = "`result.json` is written after everything else: where it is, the run and this report are whole."
    return [markdown.bullets(there), last] if there else []


def _resolved_recipe(run: Run) -> str:
    if not run.recipe:
        return ""
    text = json.dumps(run.recipe, indent=2, ensure_ascii=False)
    return f"<details>\n<summary>Resolved recipe</summary>\n\n{markdown.fence(text, 'json')}\n\n</details>"


def _image(run: Run, path: Path, alternative: str) -> str:
    return f"![{markdown.plain(alternative)}]({quote(path.relative_to(run.path).as_posix())})"


def results_table(run: Run, *, decimals: int = 2, unit: bool = True) -> Table:
    """Makes the table of a run's figures: a row a metric; last and best epoch of each split, chance, constant guess.

    Args:
        decimals: Of percents and degrees.
        unit: Whether each cell has its unit; otherwise the metric's name says it.
    """

    rows = []
    for name, figure in run.figures.items():
        write = partial(figure.write, decimals=decimals, unit=unit)
        guesses = [write(run.constant_guess(split, name)) for split in run.splits]
        rows.append(
            (
                name.rpartition("/")[0],
                figure.label + ("" if unit else figure.in_brackets),
                *(
                    write(scores.value(split, name) if scores else None)
                    for split in run.splits
                    for scores in (run.last, run.best)
                ),
                write(figure.chance),
                guesses[0] if len(set(guesses)) == 1 else " / ".join(guesses),
            )
        )
    heads = [f"{split},\n{which}" for split in run.splits for which in ("last", "best")]
    guess = "\n".join([*run.constant_guess_name(*_headlines(run)).split(), f"({' / '.join(run.splits)})"])
    last, best = f"last = epoch {_epoch(run.last.epoch)}", ""
    if run.best:
        best = f", best = epoch {_epoch(run.best.epoch)} by {run.select_on or 'val'}"
    title = run.name + ("" if run.finished else " (unfinished)")
    return Table(("task", "metric", *heads, "chance", guess), rows, left=2, keys=2, title=title, caption=last + best)


def _epoch(epoch: int | None) -> str:
    return "?" if epoch is None else str(epoch)


def print_summary(run: Path, *, console: Terminal | None = None) -> None:
    """Prints the figures of a run as a table.

    Raises:
        ValueError: `run` is not the folder of a run.
    """
    found = read_run(run, where="print_summary")
    console = console or Terminal()
    if found.figures:
        results_table(found, decimals=1, unit=False).print(console)
    else:
        console.print(f"{found.name}: no figures yet")
