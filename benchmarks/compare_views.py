"""The table of views on the CPU: `render_views` beside what else makes the same pictures, as ratios in one run.

    python -m benchmarks.compare_views                  # the dated table and the chart, about 6 minutes on 2 cores
    python -m benchmarks.compare_views --quick          # seconds: does it run, are the checks green

On a quiet machine. Every row is timed just after its first samples agreed with the reference on the same inputs, within
the bound that the table names; a row that does not agree stops the run. Opponents take turns, so that a slow moment of
the machine meets all of them.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numba
import torch
from torch import Tensor

from benchmarks import view_cases as cases
from benchmarks.view_cases import CASES, MEAN, STD, Inputs
from kernels.views import reference

ROOT = Path(__file__).resolve().parents[1]
Opponent = Callable[[Inputs, torch.dtype], Tensor]
Times = tuple[float, float, float]
Row = dict[str, Times | None]

OURS = "ours"
DRAWN = "ours, with drawing"
CHECKED = 8
"""Samples that are compared; a sample's pixels do not depend on the batch."""
SLOWEST = 2.0
"""Seconds a batch above which an opponent is not waited for."""
NOT_COMPILED = ("strong",)
"""Cases whose reference Inductor cannot compile here: its C++ for blur and noise takes more than 20 GiB of memory."""


def gray_levels(views: Tensor) -> Tensor:
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    return (views.float() * std + mean) * 255


def expected(inputs: Inputs) -> Tensor:
    """The reference's gray levels, hidden pixels as the mean colour."""
    return gray_levels(
        reference.render_views(inputs.store, inputs.row, **inputs.tables, **cases.settings(inputs, torch.float32))
    )


def agree(name: str, inputs: Inputs, opponent: Opponent, dtype: torch.dtype) -> None:
    """Raise where an opponent's first samples do not show what the reference shows.

    ours, the reference and `batched` are held to their largest difference. torchvision and kornia differ outside the
    store, which views of `closed` inputs do not reach, and in where they round and clip: their mean difference is held
    to half a gray level. Where generators differ, the noise is left out.
    """
    count = min(CHECKED, inputs.batch)
    exact = name not in ("batched", "torchvision", "kornia")
    if name == "kornia" or (name == "torchvision" and inputs.case != "strong"):
        few = cases.make(inputs.case, count, inputs.size, closed=True)
    elif exact or inputs.noise is None:
        few = cases.part(inputs, count)
    else:
        few = cases.part(inputs, count, noise=torch.zeros(1, count))
    if name == "kornia":
        opponent = cases.Kornia(closed=True)
    shown = gray_levels(opponent(few, torch.float32))
    if name == "kornia" and few.puzzled:
        plain = cases.part(few, few.batch, shows=torch.zeros(1, few.batch, 1, dtype=torch.int16))
        shown, truth = _unpuzzled(shown[0], expected(plain)[0]), expected(plain)
    else:
        truth = expected(few)
    difference = (shown - truth).abs()
    # The others blur a finished view, whose edge has no neighbours; torchvision is black outside the store.
    border = 0 if exact else inputs.size // 4 if name == "torchvision" and inputs.case == "strong" else 2
    middle = difference[..., border : inputs.size - border, border : inputs.size - border]
    found, bound = (middle.max(), 0.05) if exact or name == "batched" else (middle.mean(), 0.5)
    if not found < bound:
        raise SystemExit(
            f"compare_views: {name} differs from the reference by {found:.3f} gray levels in {inputs.case}"
        )
    if dtype != torch.float32 and exact:
        unit = {torch.bfloat16: 2**-8, torch.float16: 2**-11}[dtype]
        cast = opponent(few, dtype).float()
        torch.testing.assert_close(cast, opponent(few, torch.float32), rtol=unit, atol=1e-6)


def _unpuzzled(shown: Tensor, plain: Tensor) -> Tensor:
    """Each tile of `plain` (b c y x) as the tile of `shown` that is nearest to it, no tile twice."""
    tiles, sources = cases._tiles(shown), cases._tiles(plain)
    distance = (tiles[:, None] - sources[:, :, None]).abs().mean((3, 4, 5))  # b, source, tile
    place = distance.argmin(2)
    assert (place.sort(1).values == torch.arange(place.shape[1])).all()
    return cases._whole(tiles.gather(1, place[:, :, None, None, None].expand_as(tiles)))[None]


def opponents(case: str, compiled: cases.Compiled, kornia: cases.Kornia) -> dict[str, Opponent]:
    found: dict[str, Opponent] = {
        OURS: cases.ours,
        DRAWN: cases.drawn_and_ours,
        "reference, compiled": compiled,
        "batched": cases.batched,
        "reference, eager": cases.eager,
        "reference, eager, in blocks": cases.eager_in_blocks,
        "torchvision": cases.torchvision,
    }
    if case not in ("weak + holes", "two views"):  # kornia has no such step, and makes one view a pass
        found["kornia"] = kornia
    return found


def measure(runs: dict[str, Callable[[], Tensor]], seconds: float) -> Row:
    """p20, p50, p80 in seconds of each; turns are taken until each had its time, three times at least."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    waiting = dict(runs)
    while waiting:
        for name in list(waiting):
            start = time.perf_counter()
            out = waiting[name]()
            times[name].append(time.perf_counter() - start)
            del out
            if len(times[name]) >= 3 and sum(times[name]) > seconds:
                del waiting[name]
    return {name: tuple(torch.tensor(t).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()) for name, t in times.items()}


def clone_of(count: int) -> Callable[[], Tensor]:
    """A clone that moves `count` bytes, half of them read and half written."""
    source = torch.zeros(count // 2, dtype=torch.uint8)
    return source.clone


def moved(inputs: Inputs, dtype: torch.dtype) -> int:
    """Bytes that must move: each face read once, each view written once."""
    views = inputs.where.shape[0] * inputs.batch * 3 * inputs.size**2
    return inputs.store.numel() + views * dtype.itemsize


def compare(
    size: int, batch: int, case: str, dtype: torch.dtype, all_of: dict[str, Opponent], seconds: float, last: Row
) -> tuple[Row, int]:
    inputs = cases.make(case, batch, size)
    runs: dict[str, Callable[[], Tensor]] = {}
    for name, opponent in all_of.items():
        before = last.get(name)
        if before is not None and before[1] > SLOWEST / 4:  # batches grow four times
            continue
        if name != DRAWN:  # draws other tables: its pixels are those of `ours`, its tables are tested
            agree(name, inputs, opponent, dtype)
        runs[name] = lambda opponent=opponent: opponent(inputs, dtype)
    runs["clone"] = clone_of(moved(inputs, dtype))
    found = measure(runs, seconds)
    return {name: found.get(name) for name in [*all_of, "clone"]}, moved(inputs, dtype)


def commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        " + changes" if git("status", "--porcelain", "kernels") else ""
    )


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(dtype: torch.dtype) -> list[str]:
    import kornia
    import torchvision  # after engine.torchvision_ops

    versions = {"torch": torch, "numba": numba, "torchvision": torchvision, "kornia": kornia}
    return [
        f"- {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"- load {os.getloadavg()[0]:.1f} at the end of the run",
        f"- Python {platform.python_version()}, "
        + ", ".join(f"{name} {m.__version__}" for name, m in versions.items()),
        f"- commit {commit()}, {datetime.date.today()}, output {str(dtype).removeprefix('torch.')}",
    ]


def cell(found: Times | None, mine: Times) -> str:
    if found is None:
        return "–"
    low, middle, high = (1e3 * t for t in found)
    ratio = found[1] / mine[1]
    return f"{middle:.3g} ({low:.3g}–{high:.3g}) · {ratio:.3g} ×"


def table(rows: dict[tuple[int, int, str], tuple[Row, int]], counts: dict[tuple[str, int], int]) -> str:
    names = [*next(iter(rows.values()))[0], "kornia"]
    names = [name for name in dict.fromkeys(names) if name not in (OURS, "clone")]
    lines = [
        "| px | batch | case | ours, ms | GB/s, of clone's | " + " | ".join(names) + " |",
        "|" + "---|" * (len(names) + 5),
    ]
    for (size, batch, case), (row, count) in rows.items():
        mine, clone = row[OURS], row["clone"]
        assert mine is not None
        assert clone is not None
        low, middle, high = (1e3 * t for t in mine)
        speed = f"{count / mine[1] / 1e9:.2f}, {clone[1] / mine[1]:.0%}"
        others = " | ".join(cell(row.get(name), mine) for name in names)
        lines.append(f"| {size} | {batch} | {case} | {middle:.3g} ({low:.3g}–{high:.3g}) | {speed} | {others} |")
    launches = ", ".join(f"{case} at {size} px: {count}" for (case, size), count in counts.items())
    return "\n".join(lines) + f"\n\nKernels that Inductor made of the reference: {launches}.\n"


def goals(rows: dict[tuple[int, int, str], tuple[Row, int]]) -> list[str]:
    """The stated goals, met or missed, from the rows that they are about."""
    lines = []
    for (size, batch, case), (row, _) in rows.items():
        mine = row[OURS]
        if batch != 256 or case != "weak + puzzle" or mine is None:
            continue
        rivals = [row.get(name) for name in ("reference, compiled", "batched")]
        best = min(found[1] for found in rivals if found is not None)
        lines.append(_goal(f"{size} px, best of compiled reference and batched", best / mine[1], 3))
        drawn, vision = row[DRAWN], row["torchvision"]
        if drawn is not None and vision is not None:
            lines.append(_goal(f"{size} px, torchvision against ours with drawing", vision[1] / drawn[1], 4))
    return lines


def _goal(name: str, ratio: float, wanted: float) -> str:
    return (
        f"- weak + puzzle, batch 256, {name}: {ratio:.1f} × (goal {wanted} ×, {'met' if ratio >= wanted else 'missed'})"
    )


def chart(rows: dict[tuple[int, int, str], tuple[Row, int]], batch: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    sizes = sorted({size for size, b, _ in rows if b == batch})
    names = ["reference, compiled", "batched", "torchvision", "kornia", "reference, eager, in blocks"]
    figure, axes = plt.subplots(1, len(sizes), figsize=(5.5 * len(sizes), 3.6), sharey=True, squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        shown = [case for case in CASES if (size, batch, case) in rows]
        for k, name in enumerate(names):
            ratios = []
            for case in shown:
                row, _ = rows[size, batch, case]
                mine = row[DRAWN if name in ("torchvision", "kornia") else OURS]
                found = row.get(name)
                ratios.append(found[1] / mine[1] if found is not None and mine is not None else float("nan"))
            places = [i + (k - 2) * 0.16 for i in range(len(shown))]
            axis.bar(places, ratios, width=0.15, label=name)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_xticks(range(len(shown)), [case.replace(" + ", " +\n") for case in shown])
        axis.set_yscale("log")
        axis.set_title(f"{size} px, batch {batch}")
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].set_ylabel("time, ours = 1")
    axes[0, -1].legend(fontsize="small", loc="upper right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    figure.savefig(partial, dpi=120, format="png")
    partial.replace(path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small views, one batch, nothing compiled")
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=0.3, help="time an opponent gets in a row, 3 runs at least")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the table")
    parser.add_argument("--chart", type=Path, default=ROOT / "docs" / "views-cpu.png")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.batches, options.seconds = [56], [3], 0.0
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    compiled, kornia = cases.Compiled(), cases.Kornia()
    rows: dict[tuple[int, int, str], tuple[Row, int]] = {}
    for size in options.sizes:
        for case in options.cases:
            last: Row = {}
            for batch in options.batches:
                all_of = opponents(case, compiled, kornia)
                if not options.quick:
                    del all_of["reference, eager"]  # slower than in blocks on a CPU
                if options.quick or case in NOT_COMPILED:
                    del all_of["reference, compiled"]
                rows[size, batch, case] = compare(size, batch, case, dtype, all_of, options.seconds, last)
                last = rows[size, batch, case][0]
                print(size, batch, case, {k: v and round(1e3 * v[1], 2) for k, v in last.items()}, flush=True)
    command = "python -m benchmarks.compare_views" + "".join(f" {word}" for word in arguments or _arguments())
    text = "\n".join(
        [
            "# Views on the CPU",
            "",
            *machine(dtype),
            f"- `{command}`",
            "",
            "Times in ms: p50 (p20–p80), and p50 as a multiple of ours. `–`: not timed, since a batch would take more",
            f"than {SLOWEST:g} s, the package has no such step, or Inductor's C++ for it (strong) needs more than the",
            "machine's memory to compile. `ours, with drawing` draws its tables each time,",
            "which torchvision's and kornia's own drawing is to be compared with. GB/s count each face read once and",
            "each view written once; beside them the share of `torch.clone`'s speed on as many bytes.",
            "",
            *goals(rows),
            "",
            table(rows, compiled.kernels),
        ]
    )
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{datetime.date.today()}-views-cpu.md"
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    partial.replace(path)
    chart(rows, sorted(options.batches)[len(options.batches) // 2], options.chart)
    print(f"\n{text}\nwritten: {path}, {options.chart}")


def _arguments() -> list[str]:
    import sys

    return sys.argv[1:]


if __name__ == "__main__":
    main()
