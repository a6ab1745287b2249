"""Writes what was measured: as a table on the terminal, and as Markdown, JSON and a chart in a folder."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.bench.both_ways import AHEAD
from engine.bench.cases import Data
from engine.bench.peak import Work
from engine.bench.stepping import StepRow, summary
from engine.bench.throughput import Row, by_name, ratio
from engine.reports import markdown
from engine.reports.plotting import BLUE, INK, MUTED, new_figure, quiet_axes, save_figure
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from loaders.files import write_json, write_text
from loaders.terminal import Terminal

BASELINE = "torchvision"
MIB = 2**20
_LOADER_HEADS = (
    "source", "images/s", "p20–p80", "cold", "CPU", "µs/image", "MiB", "own, MiB", "first, s", "off", "speedup",
)  # fmt: skip
_STEP_HEADS = ("fed by", "images/s", "of the ceiling", "waiting", "step p20, ms", "p50", "p80", "of the peak")


@dataclass(frozen=True, slots=True)
class Bar:
    """Holds one bar of a chart."""

    name: str
    value: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """Holds what is shown of a benchmark.

    Attributes:
        name: File stem.
        facts: What was measured, how, and on which machine.
        table: A row a source; its title is that of the whole.
        notes: What a reader of the numbers must know.
        bars: Of the chart; values in `unit`.
        unit: Of the bars.
        figures: Everything measured, as plain values.
    """

    name: str
    facts: Mapping[str, Any]
    table: Table
    notes: Sequence[str]
    bars: Sequence[Bar]
    unit: str
    figures: Mapping[str, Any]

    def print(self, console: Terminal) -> None:
        """Prints the table and its notes."""
        self.table.print(console)
        for note in self.notes:
            console.print(note, style="dim", soft_wrap=False)

    def markdown(self) -> str:
        """Writes the table, its notes and its facts as Markdown."""
        facts = (f"{markdown.plain(key)}: {_fact(key, value)}" for key, value in self.facts.items())
        return markdown.document(
            [
                f"# {markdown.plain(self.table.title)}",
                self.table.markdown(),
                markdown.bullets(map(markdown.plain, self.notes)),
                markdown.bullets(facts),
            ]
        )

    def write(self, folder: Path) -> list[Path]:
        """Writes NAME.md, NAME.json and NAME.png; makes the folder.

        Returns:
            The files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        text, figures, chart = (folder / f"{self.name}{ending}" for ending in (".md", ".json", ".png"))
        write_text(text, self.markdown())
        write_json(figures, {"facts": dict(self.facts), **self.figures})
        draw(self, chart)
        return [text, figures, chart]


def _fact(key: str, value: Any) -> str:
    return f"`{value}`" if key == "command" else markdown.plain(str(value))


def draw(found: Measurement, path: Path) -> None:
    """Draws bars with their p20 to p80, longest first; on a logarithmic scale where they differ by more than 30 x."""
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
    axes.set_title(found.table.title, fontsize=10, loc="left", color=INK)
    save_figure(figure, path)


def of_loaders(data: Data, rows: Sequence[Row], settings: Mapping[str, Any], device: str) -> Measurement:
    """Makes the table of `hmtl bench loaders`."""
    baseline = by_name(rows).get(BASELINE)
    cells = [
        [
            row.name,
            f"{row.warm:,.0f}",
            f"{row.percentile(20):,.0f}–{row.percentile(80):,.0f}",
            "–" if row.cold is None else f"{row.cold:,.0f}",
            f"{100 * statistics.median(row.cpu):.0f} %",
            f"{statistics.median(row.us):,.1f}",
            f"{row.peak.resident / MIB:,.0f}",
            f"{row.peak.own / MIB:,.0f}",
            f"{row.first_batch_seconds:.2f}",
            "exact" if row.off_most == 0 else f"{row.off_mean:.2f}, {row.off_most:g}",
            "–" if baseline is None else f"{ratio(row, baseline):.2f} ×",
        ]
        for row in rows
    ]
    base = rows[0].base
    notes = [
        "images/s: median of the turns with the files in memory, and p20–p80; cold: one epoch after the files were "
        "dropped from the page cache (directory entries stay).",
        "CPU: time of the process and its children over wall time, 100 % is one core; and in µs an image. MiB: peak of "
        "the process and its children since it started; own: what of it is no part of a file. What forked processes "
        f"share counts in each. {base.resident / MIB:,.0f} and {base.own / MIB:,.0f} MiB of it are Python, torch and "
        "this project.",
        "first: from opening to the first batch in a new process, import of the library and compilation "
        "included, files in memory.",
        "Each row was checked just before: same samples in the same order, pixels within its bound; off is the mean "
        "and the largest difference to the stored faces in gray levels.",
    ]
    if baseline is not None:
        notes.append(
            "speedup: over torchvision behind torch's DataLoader with a process a core; median over the rounds."
        )
    if any(row.name == "resident" for row in rows):
        notes.append("resident: a batch is an index; its faces are read by the kernel that renders the views.")
    if any(row.name == "folder" for row in rows):
        notes.append(
            "folder: starts its processes anew each epoch, so that any epoch may follow and none is left behind; "
            "torchvision's persist, which tells where an epoch takes less than a second."
        )
    notes += [f"{row.name}, cold: {row.cold_note}." for row in rows if row.cold_note and row.cold is None]
    notes += [f"{name} is left out: {reason}." for name, reason in data.left_out.items()]
    return Measurement(
        name="loaders",
        facts={"data": data.name, **settings, **_machine(device)},
        table=Table(_LOADER_HEADS, cells, title=f"Loaders on {data.name}, split {data.split}"),
        notes=notes,
        bars=[Bar(row.name, row.warm, row.percentile(20), row.percentile(80), f"{row.warm:,.0f}") for row in rows],
        unit="images/s, files in memory; median and p20–p80 of the turns",
        figures={"rows": [row.as_json() for row in rows], "left_out": data.left_out},
    )


def of_steps(
    data: Data,
    rows: Sequence[StepRow],
    settings: Mapping[str, Any],
    device: torch.device,
    compiled: bool,
    work: Work | str = "it was not measured",
) -> Measurement:
    """Makes the table of `hmtl bench step`; in place of what a step computes, `work` may say why that is not known."""
    found = [summary(row, rows[0], device, compiled) for row in rows]
    for row, one in zip(rows, found, strict=True):
        faces = row.clock.images / len(row.clock.steps)
        one["of_peak"] = None if isinstance(work, str) else work.share(one["images_per_second"] / faces)
    cells = [
        [
            one["name"],
            f"{one['images_per_second']:,.0f}",
            f"{100 * one['of_ceiling']:.1f} %",
            f"{100 * one['wait_share']:.2f} %",
            *(f"{one[f'step_p{share}_ms']:,.1f}" for share in (20, 50, 80)),
            "–" if one["of_peak"] is None else f"{100 * one['of_peak']:.1f} %",
        ]
        for one in found
    ]
    notes = [
        "The first row is the ceiling: no source can be faster whose faces the kernel augments in the step. of the "
        "ceiling: the median over the rounds of images/s over the ceiling's.",
        "waiting: as training reports it, the share of a step spent inside next() for its batch.",
    ]
    if isinstance(work, str):
        notes.append(f"of the peak is not known: {work}.")
    else:
        notes.append(
            f"of the peak: FLOPs of the encoder and the heads over those of a large convolution, which ran at "
            f"{work.peak / 1e9:,.0f} GFLOP/s in the recipe's precision; a step has {work.flops / 1e9:,.1f} GFLOP, "
            "counted as the cost of a training is."
        )
    if any(row.off is not None for row in rows):
        notes.append(
            f"{AHEAD.strip()}: the source augments ahead of the step, which only moves and hides tiles, adds noise and "
            "normalises: it can be faster than the ceiling. Views were compared just before, in gray levels."
        )
    notes += [
        f"{row.name}: views are {row.off.mean:.2f} from the kernel's on average, {row.off.most:.2f} at most."
        for row in rows
        if row.off is not None
    ]
    if device.type == "cuda":
        notes.append("Steps are launched ahead of the GPU: times of a step are means of a turn, which waits for it.")
    notes += [f"{name} is left out: {reason}." for name, reason in data.left_out.items()]
    return Measurement(
        name="step",
        facts={**settings, **_machine(str(device))},
        table=Table(_STEP_HEADS, cells, title=f"Training step of {settings['recipe']}"),
        notes=notes,
        bars=[
            Bar(
                one["name"],
                one["images_per_second"],
                one["images_per_second_p20"],
                one["images_per_second_p80"],
                f"{one['images_per_second']:,.0f}, waiting {100 * one['wait_share']:.1f} %",
            )
            for one in found
        ],
        unit="images/s; median and p20–p80 of the turns",
        figures={"rows": found, "left_out": data.left_out},
    )


def _machine(device: str) -> dict[str, Any]:
    load = os.getloadavg()[0]
    facts = describe_environment(torch.device(device)) | {"load at the end": f"{load:.1f}"}
    return {key: value for key, value in facts.items() if value is not None}
