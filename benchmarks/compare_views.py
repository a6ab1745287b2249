"""Makes the table of views on the CPU: `render_views` beside what makes the same pictures, as ratios in one run.

    python -m benchmarks.compare_views                  # the dated table and the chart, about 4 minutes on 2 cores
    python -m benchmarks.compare_views --quick          # seconds: does it run, are the checks green
    python -m benchmarks.compare_views --cases identity --compiled     # nothing compiled

On a quiet machine. Every row is timed just after its first samples agreed with the reference on the same inputs, within
the bound that `agree` names; a row that does not agree stops the run. Opponents take turns, each turn begun by another
of them, so that a slow moment of the machine meets all and nobody always follows the same neighbour.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import torch
from torch import Tensor

from benchmarks import view_cases as cases
from benchmarks.view_cases import CASES, MEAN, STD, Inputs
from benchmarks.views_chart import chart
from benchmarks.views_table import CLONE, COPY, DRAWN, OURS, ROOT, Row, Rows, moved, setting, table, write
from kernels.views import reference

Opponent = Callable[[Inputs, torch.dtype], Tensor]
CHECKED = 8
"""Samples that are compared; a sample's pixels do not depend on the batch."""
SLOWEST = 1.0
"""Seconds a batch above which an opponent is not waited for."""
NOT_COMPILED = ("strong",)
"""Cases whose reference Inductor cannot compile here: its C++ for blur and noise takes more than 20 GiB of memory."""


def gray_levels(views: Tensor) -> Tensor:
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    return (views.float() * std + mean) * 255


def expected(inputs: Inputs) -> Tensor:
    """Renders the reference's gray levels, hidden pixels as the mean colour."""
    return gray_levels(
        reference.render_views(inputs.store, inputs.row, **inputs.tables, **cases.settings(inputs, torch.float32))
    )


def agree(name: str, inputs: Inputs, opponent: Opponent, dtype: torch.dtype) -> None:
    """Raises where an opponent's first samples do not show what the reference shows.

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
            f"compare_views: {name} differs from the reference by {found:.3f} gray levels in {inputs.case}; "
            "mend it before it is timed"
        )
    if dtype != torch.float32 and exact:
        unit = {torch.bfloat16: 2**-8, torch.float16: 2**-11}[dtype]
        cast = opponent(few, dtype).float()
        torch.testing.assert_close(cast, opponent(few, torch.float32), rtol=unit, atol=1e-6)


def _unpuzzled(shown: Tensor, plain: Tensor) -> Tensor:
    """Replaces each tile of `plain` (b c y x) by the tile of `shown` that is nearest to it, no tile twice."""
    tiles, sources = cases.tiles_of(shown), cases.tiles_of(plain)
    distance = (tiles[:, None] - sources[:, :, None]).abs().mean((3, 4, 5))  # b, source, tile
    place = distance.argmin(2)
    assert (place.sort(1).values == torch.arange(place.shape[1])).all()
    return cases.whole_of(tiles.gather(1, place[:, :, None, None, None].expand_as(tiles)))[None]


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
    """Measures p20, p50, p80 in seconds of each; turns are taken until each had its time, three times at least."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    waiting = list(runs)
    while waiting:
        for name in waiting:
            start = time.perf_counter()
            out = runs[name]()
            times[name].append(time.perf_counter() - start)
            del out
        waiting = [name for name in waiting if len(times[name]) < 3 or sum(times[name]) < seconds]
        waiting = [*waiting[1:], *waiting[:1]]
    return {name: tuple(torch.tensor(t).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()) for name, t in times.items()}


def rulers(count: int, device: torch.device | str = "cpu") -> dict[str, Callable[[], Tensor]]:
    """Times two ways to move `count` bytes, half of them read and half written."""
    source = torch.ones(count // 2, dtype=torch.uint8, device=device)  # not zeros: those lie on one page
    target = torch.ones_like(source)
    return {CLONE: source.clone, COPY: lambda: target.copy_(source)}


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
    runs |= rulers(moved(inputs, dtype))
    found = measure(runs, seconds)
    return {name: found.get(name) for name in [*all_of, CLONE, COPY]}, moved(inputs, dtype)


def goals(rows: Rows) -> list[str]:
    """Says which stated goals are met, from the rows that they are about."""
    lines = []
    for (size, batch, case), (row, _) in rows.items():
        mine = row[OURS]
        if batch != 256 or case != "weak + puzzle" or mine is None:
            continue
        rivals = {name: row.get(name) for name in ("reference, compiled", "batched")}
        times = {name: found[1] for name, found in rivals.items() if found is not None}
        if times:
            name = min(times, key=times.__getitem__)
            lines.append(_goal(f"{size} px, best of {' and '.join(times)} ({name})", times[name] / mine[1], 3))
        drawn, vision = row[DRAWN], row["torchvision"]
        if drawn is not None and vision is not None:
            lines.append(_goal(f"{size} px, torchvision against ours with drawing", vision[1] / drawn[1], 4))
    return lines


def _goal(name: str, ratio: float, wanted: float) -> str:
    return (
        f"- weak + puzzle, batch 256, {name}: {ratio:.1f} × (goal {wanted} ×, {'met' if ratio >= wanted else 'missed'})"
    )


def versions() -> str:
    import kornia
    import torchvision  # after engine.torchvision_ops

    packages = {"torch": torch, "numba": numba, "torchvision": torchvision, "kornia": kornia}
    return f"- Python {platform.python_version()}, " + ", ".join(f"{n} {m.__version__}" for n, m in packages.items())


NOTES = f"""
Times in ms: p50 (p20–p80), and p50 as a multiple of ours. `–`: not timed, since a batch would take more than
{SLOWEST:g} s, the package has no such step, or Inductor's C++ for it (strong) needs more than the machine's memory to
compile. `{DRAWN}` draws its tables each time, which torchvision's and kornia's own drawing is to be compared
with. MB count each face read once and each view written once. Beside them are the shares of the speed at which
`torch.clone` and `Tensor.copy_` move as many bytes, half read and half written; `copy_` writes into memory that
was written before, `clone` into memory that torch asks the system for (from 32 MiB on at every call).

Where the output is 32 MiB or more, ours lies in memory that earlier outputs left
([`kernels/caching_allocator.py`](../../kernels/caching_allocator.py)); the others get theirs from the system, as torch
does on a CPU, and their users pay for its page faults. With `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=64000000000` in
the environment glibc keeps theirs too, and the run compares the arithmetic alone.
"""


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small views, one batch, nothing compiled")
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument(
        "--compiled",
        nargs="*",
        default=[case for case in CASES if case not in NOT_COMPILED],
        choices=CASES,
        help="cases whose reference Inductor compiles: half a minute each and size, a second once in its cache",
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=0.2, help="time an opponent gets in a row, 3 runs at least")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the table")
    parser.add_argument("--name", default="", help="added to the name of the table, to keep one beside it")
    parser.add_argument("--chart", type=Path, default=ROOT / "docs" / "views-cpu.png")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.batches, options.seconds, options.compiled = [56], [3], 0.0, []
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    compiled, kornia = cases.Compiled(), cases.Kornia()
    rows: Rows = {}
    for size in options.sizes:
        for case in options.cases:
            last: Row = {}
            for batch in options.batches:
                all_of = opponents(case, compiled, kornia)
                if not options.quick:
                    del all_of["reference, eager"]  # slower than in blocks on a CPU
                if case not in options.compiled:
                    del all_of["reference, compiled"]
                rows[size, batch, case] = compare(size, batch, case, dtype, all_of, options.seconds, last)
                last = rows[size, batch, case][0]
                print(size, batch, case, {k: v and round(1e3 * v[1], 2) for k, v in last.items()}, flush=True)
    command = shlex.join(["python", "-m", "benchmarks.compare_views", *arguments])
    head = ["# Views on the CPU", "", *setting(dtype), versions(), f"- `{command}`", NOTES, *goals(rows), ""]
    text = "\n".join([*head, table(rows, compiled.kernels)])
    name = "-".join(["views-cpu", *options.name.split()])
    path = options.out / f"{datetime.date.today()}-{name}.md"
    write(path, text)
    chart(rows, sorted(options.batches)[len(options.batches) // 2], options.chart)
    print(f"\n{text}\nwritten: {path}, {options.chart}")


if __name__ == "__main__":
    main()
