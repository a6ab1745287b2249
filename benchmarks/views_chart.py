"""Draws the chart of how much longer than ours the others take."""

from __future__ import annotations

from pathlib import Path

from benchmarks.view_cases import CASES
from benchmarks.views_table import DRAWN, OURS, Rows
from loaders.files import replacing

SHOWN = ("reference, compiled", "batched", "torchvision", "kornia", "reference, eager, in blocks")
DRAW_THEMSELVES = ("torchvision", "kornia")
"""Compared with ours, drawing included."""


def chart(rows: Rows, batch: int, path: Path) -> None:
    """Writes a PNG of the rows of one batch size: a panel a view size, a group of bars a case."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    sizes = sorted({size for size, b, _ in rows if b == batch})
    figure, axes = plt.subplots(1, len(sizes), figsize=(5.2 * len(sizes), 3.6), sharey=True, squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        cases = [case for case in CASES if (size, batch, case) in rows]
        for k, name in enumerate(SHOWN):
            ratios = []
            for case in cases:
                row, _ = rows[size, batch, case]
                mine = row[DRAWN if name in DRAW_THEMSELVES else OURS]
                found = row.get(name)
                ratios.append(found[1] / mine[1] if found is not None and mine is not None else float("nan"))
            places = [i + (k - 2) * 0.16 for i in range(len(cases))]
            axis.bar(places, ratios, width=0.15, label=name)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_xticks(range(len(cases)), [case.replace(" + ", " +\n") for case in cases])
        axis.set_yscale("log")
        axis.set_title(f"{size} px, batch {batch}")
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].set_ylabel("time, ours = 1")
    figure.tight_layout(rect=(0, 0.09, 1, 1))  # below it the legend, which no bar may hide behind
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(SHOWN), fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
