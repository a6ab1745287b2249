"""A table as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

from engine.quantities import format_count, in_brackets, is_percent, label_of, scale_of
from engine.reports import markdown
from engine.table.results import Difference, Results, RowFigures, Sample, Verdict

_READING: Mapping[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "undecided": "no claim: the interval holds 0",
}


def to_markdown(table: Results, *, command: str, failures: Mapping[str, str], notes: Sequence[str]) -> str:
    """The whole table with what must be said about it.

    Args:
        command: What printed it.
        failures: Name of each run that failed to the end of its output.
        notes: Further sentences.
    """
    experiment = table.experiment
    parts = [
        f"# {markdown.plain(experiment.title)}",
        _subtitle(table),
        _rows(table),
        *([_differences(table)] if table.differences else []),
        "\n\n".join([_reading(table), *_environment(table), *map(markdown.plain, notes)]),
    ]
    for name, tail in failures.items():
        parts.append(f"**Failed: {markdown.plain(name)}.** The end of its output:\n\n{markdown.fence(tail)}")
    parts.append(markdown.fence(command, "sh"))
    return "\n\n".join(parts) + "\n"


def _subtitle(table: Results) -> str:
    experiment = table.experiment
    published = f" Published figures are of {experiment.published_on}." if experiment.published_on else ""
    text = (
        f"{experiment.table}. Ours: {experiment.data}; {metric_in_words(experiment.metric)} on "
        f"{experiment.split}.{published}"
    )
    return markdown.plain(text)


def metric_in_words(metric: str) -> str:
    """A "task/metric" with its unit, such as "accuracy of expression (%)"."""
    task, _, _ = metric.rpartition("/")
    return f"{label_of(metric)} of {task}{in_brackets(metric)}"


def number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """A figure in its unit, which stands elsewhere: percent with two digits, others with three; "–" for none."""
    if value is None or not math.isfinite(value):
        return "–"
    plus = "+" if sign else ""
    return f"{scale_of(metric) * value:{plus}.{2 if is_percent(metric) else 3}f}"


def _sample(metric: str, sample: Sample) -> str:
    if not sample.values:
        return "–"
    if len(sample.values) == 1:
        return number(metric, sample.mean)
    return f"{number(metric, sample.mean)} ± {number(metric, sample.deviation)}"


def _published(row: RowFigures) -> str:
    return "–" if row.published is None else f"{row.published:g}"


def _minutes(row: RowFigures) -> str:
    if not row.minutes.values:
        return "–"
    return f"{row.minutes.mean:.1f}" if row.minutes.mean >= 1 else f"{row.minutes.mean:.2g}"


def _rows(table: Results) -> str:
    metric = table.experiment.metric
    grouped = any(row.group for row in table.rows)
    noted = any(row.state for row in table.rows)
    heads = [
        *(["group"] if grouped else []),
        "row",
        "published",
        "ours, last epoch",
        "ours, best epoch",
        "n",
        "pictures through the encoder",
        f"{_unit_of_time(table)} a run",
        *(["note"] if noted else []),
    ]
    rows = [
        [
            *([_once(row.group, table.rows[index - 1].group if index else "")] if grouped else []),
            row.name,
            _published(row),
            _sample(metric, row.last),
            _sample(metric, row.best),
            str(len(row.last.values)),
            format_count(row.pictures),
            _minutes(row),
            *([row.state] if noted else []),
        ]
        for index, row in enumerate(table.rows)
    ]
    return markdown.table(heads, rows, left=1 + grouped)


def _once(group: str, before: str) -> str:
    """A group's title in its first line alone."""
    return "" if group == before else group


def _unit_of_time(table: Results) -> str:
    devices = {str(run.environment.get("device", "")).partition(":")[0] for run in table.done}
    return {frozenset({"cpu"}): "CPU-minutes", frozenset({"cuda"}): "GPU-minutes"}.get(frozenset(devices), "minutes")


def _differences(table: Results) -> str:
    metric = table.experiment.metric
    grouped = any(difference.group for difference in table.differences)
    unit = "points" if is_percent(metric) else f"difference{in_brackets(metric)}"
    heads = [
        *(["group"] if grouped else []),
        "row",
        "minus",
        "reading",
        unit,
        "95 % interval",
        "relative",
        "n seeds",
        "n pictures",
    ]
    rows = []
    for index, difference in enumerate(table.differences):
        interval = difference.interval
        low_high = (
            "–"
            if interval is None
            else f"{number(metric, interval.low, sign=True)} to {number(metric, interval.high, sign=True)}"
        )
        reading = f"no interval: {difference.reason}" if difference.verdict is None else _READING[difference.verdict]
        rows.append(
            [
                *([_once(difference.group, table.differences[index - 1].group if index else "")] if grouped else []),
                difference.row,
                difference.against,
                reading,
                number(metric, difference.mean, sign=True),
                low_high,
                _relative(difference),
                str(difference.seeds),
                f"{difference.pictures:,}" if difference.pictures else "–",
            ]
        )
    return markdown.table(heads, rows, left=3 + grouped)


def _relative(difference: Difference) -> str:
    if not math.isfinite(difference.mean) or not difference.reference:
        return "–"
    return f"{100 * difference.mean / difference.reference:+.1f} %"


def _reading(table: Results) -> str:
    experiment = table.experiment
    at = "last epoch" if experiment.at == "last" else "best epoch, chosen on the split that the recipe selects on"
    return (
        "Figures are mean ± standard deviation of a single run over n seeds. The best epoch was chosen on the split "
        f"that the recipe selects on, where it is optimistic. Differences are of the {at}, over the seeds that both "
        "rows have; intervals are paired bootstraps over test pictures and seeds (over pictures alone with one seed), "
        "and pictures count as independent of each other."
    )


def _environment(table: Results) -> list[str]:
    """Machine, versions and commit of the runs, one line for each kind."""
    kinds: dict[str, list[str]] = {}
    for run in table.done:
        told = run.environment
        machine = told.get("gpu") or f"{told.get('cpu')}, threads: {told.get('threads')}"
        kind = f"{machine}; Python {told.get('python')}, torch {told.get('torch')}; commit {told.get('commit')}"
        kinds.setdefault(kind, []).append(str(told.get("date", ""))[:10])
    lines = []
    for kind, dates in kinds.items():
        days = sorted({date for date in dates if date})
        when = "" if not days else f", {days[0]}" if len(days) == 1 else f", {days[0]} to {days[-1]}"
        lines.append(markdown.plain(f"{len(dates)} runs on {kind}{when}."))
    return lines


def to_csv(table: Results) -> str:
    """A line a row and a line a difference, in the units of the runs (shares on 0..1; `published` as printed)."""
    names = (
        ["kind", "group", "row", "against", "metric", "split", "published", "n", "pictures_through_encoder", "minutes"]
        + [f"{at}_{what}" for at in ("last", "best") for what in ("mean", "sd", "values")]
        + ["difference", "low", "high", "n_pictures", "verdict", "note"]
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    common = {"metric": table.experiment.metric, "split": table.experiment.split}
    for row in table.rows:
        cells: dict[str, object] = {
            "kind": "row",
            "group": row.group,
            "row": row.name,
            "published": row.published,
            "n": len(row.last.values),
            "pictures_through_encoder": row.pictures,
            "minutes": _cell(row.minutes.mean),
            "note": row.state,
        }
        for at, sample in (("last", row.last), ("best", row.best)):
            cells |= {f"{at}_mean": _cell(sample.mean), f"{at}_sd": _cell(sample.deviation)}
            cells[f"{at}_values"] = " ".join(f"{value:.6g}" for value in sample.values)
        writer.writerow(common | cells)
    for difference in table.differences:
        interval = difference.interval
        writer.writerow(
            common
            | {
                "kind": "difference",
                "group": difference.group,
                "row": difference.row,
                "against": difference.against,
                "n": difference.seeds,
                "difference": _cell(difference.mean),
                "low": "" if interval is None else _cell(interval.low),
                "high": "" if interval is None else _cell(interval.high),
                "n_pictures": difference.pictures,
                "verdict": difference.verdict,
                "note": difference.reason,
            }
        )
    return text.getvalue()


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
