"""Measures runs on corrupted faces: reads the arguments of `hmtl robustness RUN ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.deployed.options import Device, TaskFiles, define_tasks
from engine.reports import markdown
from engine.robustness.corruptions import PARTS
from engine.robustness.measuring import At, measure
from engine.robustness.report import compared, draw_chart, grouped, table_of, write_report
from engine.training.device import choose_device
from loaders.exit_status import exit_status
from loaders.files import write_text
from loaders.targets import file_target
from loaders.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of finished runs")],
    at: Annotated[At, typer.Option(help="which checkpoint: of the last epoch, or of the best")] = "last",
    split: Annotated[str | None, typer.Option(help="the split; the recipe's test split if not given")] = None,
    parts: Annotated[
        str, typer.Option(help=f"where eyes, nose and mouth lie on the stored faces: as in {' or '.join(PARTS)}")
    ] = "fer2013",
    device: Device = None,
    tasks: TaskFiles = None,
    out: Annotated[
        Path | None, typer.Option(help="the comparison of several runs as Markdown, and its charts beside it")
    ] = None,
) -> None:
    """Measure each RUN on its test faces made worse in nine ways, at five strengths each.

    Figures, a chart and a sheet of what was shown are written under RUN/robustness/. Several runs are compared with the
    first, picture by picture; runs of one recipe that differ by their seed count as one. What was measured of the same
    weights and faces before is read again. Call it where `hmtl train` was called: the run's data is read.
    """
    console = Terminal()
    with exit_status():
        if parts not in PARTS:
            raise ValueError(f"robustness: parts (={parts!r}) must be {' or '.join(PARTS)}")
        if out is not None and len(runs) < 2:
            raise ValueError(
                f"robustness: out (={out}) needs two runs or more to compare; of one run see RUN/robustness/report.md"
            )
        if out is not None:
            file_target(out)
        define_tasks(tasks)
        chosen = choose_device(device)
        measured = []
        for run in runs:
            found, renderer, batch = measure(run, at=at, split=split, parts=parts, device=chosen, console=console)
            report = write_report(found, renderer, batch)
            measured.append(found)
            if len(runs) == 1:
                for task in found.headlines:
                    table_of(found, task).print(console)
            console.print(f"report: {report}")
        if len(runs) == 1:
            return
        groups = grouped(measured)
        written = ["# Runs on corrupted faces"]
        for task, table in compared(groups).items():
            title = f"{task} · {measured[0].headlines[task].label}, {measured[0].split}, {at} epoch"
            console.print(title)
            table.print(console)
            written += [f"## {markdown.plain(title)}", table.markdown()]
            if out is not None:
                lines = {group.name: list(group.runs.values()) for group in groups}
                chart = draw_chart(lines, task, title, out.with_name(f"{out.stem}-{task}.png"))
                written.append(f"![{markdown.plain(title)}]({chart.name})")
        if out is not None:
            write_text(out, markdown.document(written))
            console.print(f"wrote {out}")


if __name__ == "__main__":
    app()
