"""A measurement as a table on the terminal, and as Markdown, JSON and a chart in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.reports import markdown
from engine.reports.plotting import BLUE, INK, MUTED, new_figure, quiet_axes, save_figure
from loaders.files import write_json, write_text


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart."""

    name: str
    value: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is shown of a benchmark.

    Attributes:
        name: File stem.
        title: One line.
        facts: What was measured, how, and on which machine.
        heads: Of the table; the first column is text.
        rows: Cells.
        notes: What a reader of the numbers must know.
        bars: Of the chart; values in `unit`.
        unit: Of the bars.
        figures: Everything measured, as plain values.
        aside: Columns that a terminal has no room for.
    """

    name: str
    title: str
    facts: Mapping[str, Any]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    bars: Sequence[Bar]
    unit: str
    figures: Mapping[str, Any]
    aside: Sequence[str] = ()


def show(found: Measurement, console: Console) -> None:
    """Print the table and its notes."""
    drawn = Table(title=found.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    kept = [place for place, head in enumerate(found.heads) if head not in found.aside]
    for place in kept:
        drawn.add_column(escape(found.heads[place]), justify="right" if place else "left", no_wrap=place == 0)
    for row in found.rows:
        drawn.add_row(*(escape(row[place]) for place in kept))
    console.print(drawn)
    for note in found.notes:
        console.print(escape(note), style="dim", highlight=False)


def to_markdown(found: Measurement) -> str:
    """The table, its notes and its facts as Markdown."""
    facts = "\n".join(f"- {markdown.plain(key)}: {_fact(key, value)}" for key, value in found.facts.items())
    notes = "\n".join(f"- {markdown.plain(note)}" for note in found.notes)
    body = markdown.table(found.heads, found.rows, left=1)
    return f"# {markdown.plain(found.title)}\n\n{body}\n\n{notes}\n\n{facts}\n"


def _fact(key: str, value: Any) -> str:
    return f"`{value}`" if key == "command" else markdown.plain(str(value))


def write(found: Measurement, folder: Path) -> list[Path]:
    """NAME.md, NAME.json and NAME.png; makes the folder.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{found.name}{ending}" for ending in (".md", ".json", ".png")]
    write_text(files[0], to_markdown(found))
    write_json(files[1], {"facts": dict(found.facts), **found.figures})
    draw(found, files[2])
    return files


def draw(found: Measurement, path: Path) -> None:
    """Bars with their p20 to p80, longest first; on a logarithmic scale where they differ by more than 30 times."""
    bars = sorted(found.bars, key=lambda bar: bar.value)
    figure = new_figure(7.0, 0.9 + 0.36 * len(bars))
    axes = figure.add_subplot()
    places = range(len(bars))
    values = [bar.value for bar in bars]
    reach = [[bar.value - bar.low for bar in bars], [bar.high - bar.value for bar in bars]]
    axes.barh(places, values, color=BLUE, height=0.62, xerr=reach, error_kw={"ecolor": INK, "elinewidth": 1})
    axes.set_yticks(places, [bar.name for bar in bars])
    quiet_axes(axes, grid="x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    if values[0] > 0 and values[-1] > 30 * values[0]:
        axes.set_xscale("log")
        axes.set_xlim(values[0] / 3, values[-1] * 8)
    else:
        axes.set_xlim(0, values[-1] * 1.2)
    for place, bar in zip(places, bars, strict=True):
        axes.annotate(
            bar.text, (bar.high, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
        )
    axes.set_xlabel(found.unit, fontsize=8, color=MUTED)
    axes.set_title(found.title, fontsize=10, loc="left", color=INK)
    save_figure(figure, path)
