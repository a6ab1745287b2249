"""The report of a run: `report.md` and its charts, made from the files of the run folder alone.

    python -m engine.reports.report RUN ...

writes it anew, for a run that still goes on or was interrupted as well: what is not there is said.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.quantities import format_value, in_brackets, is_degrees, label_of
from engine.reports import markdown
from engine.reports.classwise import confusion, confusion_counts, recall, recall_bars
from engine.reports.curves import learning_curves
from engine.reports.facts import describe_data, describe_speed, describe_starts, drawn_note, is_smoke
from engine.runs.result import ClassPredictions, Run, as_mapping, as_number, read_predictions, read_run
from loaders.exit_status import exit_status
from loaders.files import write_text

_COST: tuple[tuple[tuple[str, ...], Callable[[float], str]], ...] = (
    (("epochs",), lambda x: f"{x:g} epochs"),
    (("steps",), lambda x: f"{x:,.0f} steps"),
    (("seconds",), lambda x: f"{x / 60:.1f} minutes" if x >= 60 else f"{x:.0f} seconds"),
    (("pictures_through_encoder",), lambda x: f"{x:,.0f} pictures through the encoder"),
    (("parameters", "training"), lambda x: f"{x:,.0f} parameters trained"),
    (("parameters", "inference"), lambda x: f"{x:,.0f} parameters at inference"),
)


def write_report(run: Path, *, result: Mapping[str, Any] | None = None) -> Path:
    """Make the charts of a run and its `report.md`; each file is replaced as a whole.

    Args:
        run: Its folder.
        result: What result.json will hold, for a run that writes it after the report; None reads the file.

    Returns:
        The path of `report.md`.

    Raises:
        ValueError: `run` is not the folder of a run.
    """
    found = read_run(run, where="write_report", result=result)
    predictions, left_out = read_predictions(found)
    sections = [
        _head(found),
        _recipe_header(found),
        _data(found),
        _results(found, predictions),
        _curves(found),
        *(_task_pictures(found, task, items) for task, items in predictions.items()),
        _views(found),
        _inpainting(found),
        describe_speed(found),
        describe_starts(found),
        _other_figures(found, predictions),
        _left_out(found, left_out),
        _files(found),
        _resolved_recipe(found),
    ]
    text = "\n\n".join(section.strip() for section in sections if section) + "\n"
    path = found.path / "report.md"
    write_text(path, text)
    return path


def _head(run: Run) -> str:
    title = f"Smoke test of {run.name}: drawn faces, figures that mean nothing" if is_smoke(run) else run.name
    lines = [f"# {markdown.plain(title)}", *filter(None, [drawn_note(run)]), _summary(run)]
    if not run.finished:
        ended = run.last.epoch
        since = "no epoch was evaluated" if ended is None else f"the last evaluated epoch is {ended}"
        lines.append(f"> **Unfinished.** This run goes on or was interrupted; {since}. Figures are those so far.")
    return "\n\n".join(lines)


def _summary(run: Run) -> str:
    """The figures of the supervised tasks in one paragraph, beside what guessing reaches; else all figures."""
    parts = []
    for split in run.splits:
        for task, metrics in _headlines(run).items():
            figures = [_last_and_best(run, split, f"{task}/{metric}") for metric in metrics]
            if not any(figures):
                continue
            quantity = f"{task}/{metrics[0]}"
            constant = "median of the training data" if is_degrees(quantity) else "majority class"
            guesses = [
                f"{name} {format_value(quantity, value)}"
                for name, value in (("chance", run.chance(quantity)), (constant, run.constant_guess(split, quantity)))
                if value is not None
            ]
            text = f"**{markdown.plain(task)} on {split}: {', '.join(filter(None, figures))}**"
            parts.append(text + (f" ({', '.join(guesses)})" if guesses else ""))
    if not parts:
        others = [
            f"{markdown.plain(q)} on {split}: {text}"
            for split in run.splits
            for q in run.quantities
            if (text := _last_and_best(run, split, q))
        ]
        return "No task with classes in this run" + (f"; {'; '.join(others)}." if others else ".")
    return "; ".join(parts) + "."


def _headlines(run: Run) -> dict[str, tuple[str, ...]]:
    """Each supervised task to the metrics that stand for it; the first angle of a pose is the mean over its angles."""
    known = {"accuracy": ("accuracy", "macro_f1"), "error_rate": ("error_rate", "spread_of_error_rate")}
    found: dict[str, tuple[str, ...]] = {}
    for quantity in run.quantities:
        task, _, metric = quantity.rpartition("/")
        if metric in known or is_degrees(metric):
            found.setdefault(task, known.get(metric, (metric,)))
    return found


def _last_and_best(run: Run, split: str, quantity: str) -> str:
    """ "accuracy 55.20 % last / 56.10 % best", or what there is of it."""
    last, best = (scores.value(split, quantity) if scores else None for scores in (run.last, run.best))
    parts = [
        f"{format_value(quantity, value)} {which}"
        for value, which in ((last, "last"), (best, "best"))
        if value is not None
    ]
    return f"{label_of(quantity)} {' / '.join(parts)}" if parts else ""


def _recipe_header(run: Run) -> str:
    header = recipe_docstring(run.source)
    return f"## Recipe\n\n{markdown.fence(header)}" if header else ""


def _data(run: Run) -> str:
    text = describe_data(run)
    return f"## Data\n\n{text}" if text else ""


def recipe_docstring(source: str | None) -> str:
    """The docstring at the head of a recipe's source text; empty where there is none or the text does not parse."""
    try:
        return ast.get_docstring(ast.parse(source or "")) or ""
    except (SyntaxError, ValueError):
        return ""


def _results(run: Run, predictions: Mapping[str, Sequence[ClassPredictions]]) -> str:
    if not run.quantities:
        return "## Results\n\nNo figures yet."
    heads = [f"{split}, {which}" for split in run.splits for which in ("last", "best")]
    rows = []
    for quantity in run.quantities:
        task = quantity.rpartition("/")[0]
        cells = [
            format_value(quantity, scores.value(split, quantity) if scores else None)
            for split in run.splits
            for scores in (run.last, run.best)
        ]
        guesses = [format_value(quantity, run.constant_guess(split, quantity)) for split in run.splits]
        together = guesses[0] if len(set(guesses)) == 1 else " / ".join(guesses)
        rows.append([task, label_of(quantity), *cells, format_value(quantity, run.chance(quantity)), together])
    table = markdown.table(
        ["task", "metric", *heads, "chance", f"{run.constant_guess_name} ({' / '.join(run.splits)})"],
        rows,
        left=2,
    )
    return "\n\n".join(["## Results", table, *_notes_on_results(run, predictions)])


def _notes_on_results(run: Run, predictions: Mapping[str, Sequence[ClassPredictions]]) -> Iterator[str]:
    yield _note_on_best(run)
    if any(map(is_degrees, run.quantities)):
        yield "*Constant guess* is the median of each angle, or the largest class, of the training data."
    errors = [
        f"{markdown.plain(task)} on {item.split} {_sampling_error(run.classes[task], item)}"
        for task, items in predictions.items()
        for item in items
        if item.checkpoint == "last"
    ]
    if errors:
        yield f"Sampling error of accuracy, one standard error of one run: {'; '.join(errors)}."
    if facts := [form(value) for keys, form in _COST if (value := _find(run.result, keys)) is not None]:
        if isinstance(views := run.result.get("views"), list):
            facts.append(f"views: {markdown.plain(', '.join(map(str, views)))}")
        yield f"Cost: {'; '.join(facts)}."


def _sampling_error(names: Sequence[str], item: ClassPredictions) -> str:
    counts = confusion_counts(names, item.target, item.probability)
    n = int(counts.sum())
    share = counts.trace() / n
    return f"{100 * math.sqrt(share * (1 - share) / n):.2f} points (n = {n:,})"


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
    """The split that chose the best epoch."""
    return (run.select_on or "val").partition("/")[0]


def _curves(run: Run) -> str:
    if not any(len(values) for values in run.metrics.values()):
        return ""
    chance = {q: value for q in run.quantities if (value := run.chance(q)) is not None}
    constant = {q: value for q in run.quantities if (value := run.constant_guess(_judge(run), q)) is not None}
    levels = {
        name: heights
        for name, heights in (("chance", chance), (f"{run.constant_guess_name} on {_judge(run)}", constant))
        if heights
    }
    try:
        path = learning_curves(
            run.metrics,
            run.path / "figures" / "learning-curves.png",
            levels=levels,
            best=run.best.epoch if run.best else None,
        )
    except ValueError as error:
        return f"## Learning curves\n\nNot drawn: {markdown.plain(str(error))}."
    return f"## Learning curves\n\n{_image(run, path, 'Losses, metrics and learning rate over the epochs')}"


def pictured(items: Sequence[ClassPredictions], judge: str) -> ClassPredictions:
    """The predictions a report draws: the best epoch's on a split other than the one that chose it (`judge`), else the
    last epoch's."""

    def rank(item: ClassPredictions) -> tuple[bool, bool]:
        unseen = item.split != judge
        return (not unseen, item.checkpoint != ("best" if unseen else "last"))

    return min(items, key=rank)


def _task_pictures(run: Run, task: str, items: Sequence[ClassPredictions]) -> str:
    names = run.classes[task]
    drawn = pictured(items, _judge(run))
    what = f"{task} · {drawn.split}, {drawn.checkpoint} epoch"
    folder = run.path / "figures"
    matrix = confusion(names, drawn.target, drawn.probability, folder / f"confusion-{_file_name(task)}.png", title=what)
    bars = recall_bars(names, drawn.target, drawn.probability, folder / f"recall-{_file_name(task)}.png", title=what)

    counts = [confusion_counts(names, item.target, item.probability) for item in items]
    splits = list(dict.fromkeys(item.split for item in items))
    support = {item.split: table.sum(axis=1) for item, table in zip(items, counts, strict=True)}
    shares = [recall(table) for table in counts]
    rows = [
        [
            name,
            *(f"{support[split][i]:,}" for split in splits),
            *(format_value("recall", float(share[i])) for share in shares),
        ]
        for i, name in enumerate(names)
    ]
    rows.append(
        [
            "mean",
            *(f"{support[split].sum():,}" for split in splits),
            *(format_value("recall", float(np.nanmean(share))) for share in shares),
        ]
    )
    heads = [*(f"n, {split}" for split in splits), *(f"{item.split}, {item.checkpoint}" for item in items)]
    return "\n\n".join(
        [
            f"## Classes of {markdown.plain(task)}",
            f"Drawn: {markdown.plain(drawn.split)}, {drawn.checkpoint} epoch.",
            _image(run, matrix, f"Confusion matrix of {what}"),
            "Recall of each class:",
            markdown.table(["class", *heads], rows, left=1),
            _image(run, bars, f"Recall of each class of {what}"),
        ]
    )


def _views(run: Run) -> str:
    path = run.path / "figures" / "views.png"
    if not path.is_file():
        return ""
    return f"## What the network saw\n\n{_image(run, path, 'Each view of the same samples')}"


def _inpainting(run: Run) -> str:
    path = run.path / "figures" / "inpaint.png"
    if not path.is_file():
        return ""
    return f"## In-painting\n\n{_image(run, path, 'Before, hidden, completed and their difference')}"


def _other_figures(run: Run, predictions: Mapping[str, object]) -> str:
    """Pictures of later tasks, which this report has no section for."""
    placed = {"learning-curves.png", "views.png", "inpaint.png"}
    placed |= {f"{kind}-{_file_name(task)}.png" for kind in ("confusion", "recall") for task in predictions}
    others = [
        path
        for path in sorted(run.path.joinpath("figures").glob("*.png"))
        if path.name not in placed and not path.name.startswith(".")
    ]
    if not others:
        return ""
    return "\n\n".join(["## Other figures", *(_image(run, path, path.stem) for path in others)])


def _left_out(run: Run, left_out: Iterable[str]) -> str:
    sentences = [*run.missing, *left_out]
    if not sentences:
        return ""
    return "## Not in this report\n\n" + "\n".join(f"- {sentence}." for sentence in sentences)


def _files(run: Run) -> str:
    """What lies beside the report, of what is there."""
    found = {
        "checkpoints/last": "the newest state, from which `--resume` goes on",
        "checkpoints/before": "the state before that, which a resume takes where `last` is damaged",
        "checkpoints/best": "the weights of the best epoch",
        "predictions": "what the model said of every sample of a split",
        "log.jsonl": "a line every few steps",
        "metrics.csv": "a row an epoch",
        "tensorboard": "the same curves for TensorBoard",
        "trace.json": "some steps under torch's profiler, which slows them; open it in Perfetto or chrome://tracing",
    }
    lines = [f"- `{name}`: {what}" for name, what in found.items() if (run.path / name).exists()]
    if not lines:
        return ""
    last = "`result.json` is written after everything else: where it is, the run and this report are whole."
    return "\n".join(["## Files", "", *lines, "", last])


def _resolved_recipe(run: Run) -> str:
    if not run.recipe:
        return ""
    text = json.dumps(run.recipe, indent=2, ensure_ascii=False)
    return f"<details>\n<summary>Resolved recipe</summary>\n\n{markdown.fence(text, 'json')}\n\n</details>"


def _image(run: Run, path: Path, alternative: str) -> str:
    return f"![{markdown.plain(alternative)}]({quote(path.relative_to(run.path).as_posix())})"


def _file_name(task: str) -> str:
    return re.sub(r"[^\w-]+", "-", task)


def print_summary(run: Path, *, console: Console | None = None) -> None:
    """Print the figures of a run: a row a metric; val and test, last and best epoch, chance, constant guess.

    Raises:
        ValueError: `run` is not the folder of a run.
    """
    found = read_run(run, where="print_summary")
    console = console or Console()
    if not found.quantities:
        console.print(f"{escape(found.name)}: no figures yet", highlight=False)
        return
    console.print(_summary_table(found))


def _summary_table(run: Run) -> Table:
    epochs = f"last = epoch {_epoch(run.last.epoch)}"
    if run.best:
        epochs += f", best = epoch {_epoch(run.best.epoch)} by {run.select_on or 'val'}"
    table = Table(
        title=escape(run.name) + ("" if run.finished else " (unfinished)"),
        caption=escape(epochs),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("task", overflow="fold")
    table.add_column("metric", overflow="fold")
    for split in run.splits:
        table.add_column(f"{escape(split)}\nlast", justify="right", no_wrap=True)
        table.add_column(f"{escape(split)}\nbest", justify="right", no_wrap=True)
    table.add_column("chance", justify="right", no_wrap=True)
    guess = run.constant_guess_name.split()[0]
    table.add_column(f"{guess}\n" + escape(" / ".join(run.splits)), justify="right", no_wrap=True)
    previous = None
    for quantity in run.quantities:
        task = quantity.rpartition("/")[0]
        cells = [
            format_value(quantity, scores.value(split, quantity) if scores else None, decimals=1, unit=False)
            for split in run.splits
            for scores in (run.last, run.best)
        ]
        guesses = [format_value(quantity, run.constant_guess(s, quantity), decimals=1, unit=False) for s in run.splits]
        table.add_row(
            "" if task == previous else escape(task),
            escape(label_of(quantity)) + in_brackets(quantity),
            *cells,
            format_value(quantity, run.chance(quantity), decimals=1, unit=False),
            "–" if set(guesses) == {"–"} else " / ".join(guesses),
        )
        previous = task
    return table


def _epoch(epoch: int | None) -> str:
    return "?" if epoch is None else str(epoch)


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)]) -> None:
    """Write the report of each run anew."""
    with exit_status():
        for run in runs:
            typer.echo(write_report(run))


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()
