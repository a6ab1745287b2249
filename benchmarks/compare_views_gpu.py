"""Makes the table of views on a GPU: `render_views` beside what makes the same pictures, as ratios in one run.

    python -m benchmarks.compare_views_gpu --sizes 112      # half of the dated table, about 10 minutes on an H100
    python -m benchmarks.compare_views_gpu --quick          # a minute: does it run, are the checks green
    python -m benchmarks.compare_views_gpu --sweep          # which configuration of the Triton kernel is fastest
    ncu -k regex:_render python -m benchmarks.compare_views_gpu --launches 3 --sizes 112 --batches 256 --cases weak

Needs a CUDA device that is otherwise idle. Every row is timed just after its first samples agreed with the reference on
the same inputs, by CUDA events with a cold L2 cache (`benchmarks.device_timer`). Opponents take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks import compare_views as on_cpu
from benchmarks import view_cases as cases
from benchmarks.compare_views import Opponent
from benchmarks.device_timer import FEWEST, DeviceTimer, HostTimer, Timer, measure
from benchmarks.triton_augment_opponent import TritonAugment
from benchmarks.view_cases import CASES, MEAN, STD, Inputs
from benchmarks.views_table import CLONE, COPY, DRAWN, OURS, ROOT, Row, Rows, dated, moved, table, write
from engine.runs.environment import describe_environment

RIVAL = "triton-augment"
REFERENCE = ("reference, eager", "reference, compiled")
SLOWEST = 1.0
"""Seconds a batch above which an opponent is not waited for."""
DIFFERENCE = 0.05
"""Gray levels by which `triton-augment` may differ where its ranges are closed."""


def on_device(inputs: Inputs, device: torch.device) -> Inputs:
    """Copies the inputs to another device."""
    fields = {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
    return dataclasses.replace(inputs, **{n: v.to(device) for n, v in fields.items() if isinstance(v, Tensor)})


T = TypeVar("T")


def installed(made: Callable[[], T]) -> T | None:
    """Makes the opponent, or None where its package is not installed, which the table names."""
    try:
        return made()
    except ModuleNotFoundError:
        return None


def opponents(
    case: str, compiled: cases.Compiled, kornia: cases.Kornia | None, rival: TritonAugment | None
) -> dict[str, Opponent]:
    found = on_cpu.opponents(case, compiled, kornia)
    found.pop("reference, eager, in blocks")  # blocks are for caches of a CPU
    if kornia is None:
        found.pop("kornia", None)
    if rival is not None and case in rival.modules:
        found[RIVAL] = rival
    return found


def agree(name: str, inputs: Inputs, opponent: Opponent, dtype: torch.dtype, device: torch.device) -> None:
    """Raises SystemExit where an opponent's first samples on the device are not what the reference shows on the CPU.

    kornia draws its own numbers: there its program is compared, with its ranges closed, on the CPU.
    """
    if isinstance(opponent, TritonAugment):
        difference = opponent.difference(on_device(cases.part(inputs, min(on_cpu.CHECKED, inputs.batch)), device))
        if not difference < DIFFERENCE:
            raise SystemExit(
                f"compare_views_gpu: {name} differs from ours by {difference:.3f} gray levels; mend it first"
            )
        return
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # a convolution in TF32 is off by 0.1 gray levels
        on_cpu.agree(name, inputs, lambda few, kind: opponent(on_device(few, device), kind).cpu(), dtype)


def compare(
    inputs: Inputs,
    dtype: torch.dtype,
    all_of: dict[str, Opponent],
    timer: Timer,
    device: torch.device,
    seconds: float,
    last: Row,
    notes: list[str],
) -> tuple[Row, int]:
    """One row. Ours and the reference must agree; another opponent that does not is left out with a note."""
    there = on_device(inputs, device)
    runs: dict[str, Callable[[], Tensor]] = {}
    for name, opponent in all_of.items():
        before = last.get(name)
        if before is not None and before[1] > SLOWEST / 4:  # batches grow four times
            continue
        if name != DRAWN:  # draws other tables: its pixels are those of `ours`, its tables are tested
            try:
                agree(name, inputs, opponent, dtype, device)
            except SystemExit as differs:
                if name in (OURS, *REFERENCE):
                    raise
                notes.append(f"{inputs.case}, {inputs.size} px, batch {inputs.batch}: not timed: {differs}")
                continue
        runs[name] = lambda opponent=opponent: opponent(there, dtype)
        runs[name]()
    count = moved(inputs, dtype)
    runs |= on_cpu.rulers(count, device)
    found = measure(runs, timer, seconds)
    return {name: found.get(name) for name in [*all_of, CLONE, COPY]}, count


def goals(rows: Rows) -> Iterator[str]:
    """Says which stated goals are met, each with its least and greatest ratio over the rows that it is about."""

    def ratios(wanted: tuple[str, ...], other: str, mine: str = OURS) -> list[float]:
        return [
            row[other][1] / row[mine][1]
            for (_, _, case), (row, _) in rows.items()
            if case in wanted and row.get(other) is not None and row.get(mine) is not None
        ]

    stated = (
        ("identity, share of clone's speed", ratios(("identity",), "clone"), 0.85),
        ("weak + puzzle, share of clone's speed", ratios(("weak + puzzle",), "clone"), 0.5),
        ("triton-augment on the steps both have", ratios(("identity", "weak"), RIVAL), 3.0),
        ("kornia, drawing included", ratios(CASES, "kornia", DRAWN), 10.0),
        ("compiled reference", ratios(CASES, "reference, compiled"), 1.0),
        ("compiled reference against weak + puzzle with drawing", ratios(("weak + puzzle",), REFERENCE[1], DRAWN), 1.3),
    )
    for name, found, wanted in stated:
        if found:
            verdict = "met" if min(found) >= wanted else "missed"
            yield f"- {name}: {min(found):.2f} to {max(found):.2f} × (goal {wanted:g} ×, {verdict})"


def sweep(
    timer: Timer, device: torch.device, dtype: torch.dtype, wanted: Sequence[str], size: int, batch: int
) -> Iterator[str]:
    """Measures the milliseconds of `render_views` in each configuration, for each case; the fastest first."""
    from kernels.views import triton_kernel

    candidates = [
        triton_kernel.Configuration(block, warps)
        for block in (256, 512, 1024, 2048)
        for warps in (2, 4, 8)
        if block >= 32 * warps
    ]
    for case in wanted:
        inputs = on_device(cases.make(case, batch, size), device)
        tables = (inputs.where, inputs.colour, inputs.shows, inputs.blur, inputs.noise, inputs.key, None, inputs.cut)

        def render(chosen: triton_kernel.Configuration, inputs: Inputs = inputs, tables: tuple = tables) -> Tensor:
            return triton_kernel.render_views(
                inputs.store, inputs.row, *tables, inputs.size, MEAN, STD, dtype, 1, chosen
            )

        expected = render(candidates[0])
        runs = {}
        for chosen in candidates:
            assert torch.equal(render(chosen), expected), f"{chosen} changes pixels"
            runs[f"{chosen.block} / {chosen.warps}"] = lambda chosen=chosen: render(chosen)
        found = measure(runs, timer, 0.05)
        best = sorted((times[1], name) for name, times in found.items() if times is not None)
        yield f"{case}: " + ", ".join(f"{name} {1e3 * seconds:.3f}" for seconds, name in best)


def machine(dtype: torch.dtype, device: torch.device) -> list[str]:
    facts, on = describe_environment(device), ""
    packages = ("torch", "triton", "torchvision", "kornia", RIVAL)
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        on = (
            f"{gpu.name}, {gpu.multi_processor_count} multiprocessors, {gpu.L2_cache_size >> 20} MB of L2, "
            f"driver {facts['driver']}, CUDA {facts['cuda']}; "
        )
    return [
        f"- {on}{facts['cpu']}",
        f"- Python {facts['python']}, " + ", ".join(f"{name} {version(name)}" for name in packages),
        dated(facts["commit"], dtype),
    ]


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def result_file(folder: Path, device: str, part: str = "") -> Path:
    """Names the file of results: `<date>-views-<gpu name>.md`, the name in small letters and hyphens."""
    words = "".join(c if c.isalnum() else " " for c in f"{device} {part}".lower()).split()
    return folder / f"{datetime.date.today()}-views-{'-'.join(words)}.md"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--quick", action="store_true", help="one small size and batch, nothing compiled")
    found.add_argument("--sweep", action="store_true", help="time every configuration of our kernel instead")
    found.add_argument(
        "--launches", type=int, default=0, help="show each case so often and nothing else: to a profiler"
    )
    found.add_argument("--sizes", type=int, nargs="+", help="112 224; with --quick 56")
    found.add_argument("--batches", type=int, nargs="+", help="64 256 1024; with --quick 16")
    found.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    found.add_argument("--dtype", default="bfloat16", choices=["float32", "float16", "bfloat16"])
    found.add_argument(
        "--seconds", type=float, help=f"an opponent gets in a row, {FEWEST} runs at least: 0.4; with --quick 0.05"
    )
    found.add_argument("--name", default="", help="added to the name of the table, to keep one beside it")
    found.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: a dry run, which times no GPU")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the table")
    return found


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "compare_views_gpu: a CUDA device must be there (torch.cuda.is_available() is false); run it on a machine "
            "with a GPU, or measure the CPU: python -m benchmarks.compare_views"
        )
    sizes = options.sizes or ([56] if options.quick else [112, 224])
    batches = options.batches or ([16] if options.quick else [64, 256, 1024])
    seconds = (0.05 if options.quick else 0.4) if options.seconds is None else options.seconds
    if options.launches:
        for case, size, batch in itertools.product(options.cases, sizes, batches):
            inputs = on_device(cases.make(case, batch, size), device)
            for _ in range(options.launches):
                cases.ours(inputs, dtype)
            print(f"{case}, {size} px, batch {batch}, {options.dtype}: {options.launches} launches", flush=True)
        return
    timer = DeviceTimer() if device.type == "cuda" else HostTimer()
    if options.sweep:
        for size in sizes:
            for batch in batches:
                print(f"\n{size} px, batch {batch}, {options.dtype}: block / warps ms")
                print(*sweep(timer, device, dtype, options.cases, size, batch), sep="\n", flush=True)
        return
    compiled, kornia = cases.Compiled(), installed(cases.Kornia)
    rival = installed(TritonAugment) if device.type == "cuda" else None  # it refuses to start without a GPU
    rows: Rows = {}
    notes: list[str] = []
    for size in sizes:
        for case in options.cases:
            last: Row = {}
            for batch in batches:
                all_of = opponents(case, compiled, kornia, rival)
                if options.quick:
                    del all_of[REFERENCE[1]]
                inputs = cases.make(case, batch, size)
                rows[size, batch, case] = compare(inputs, dtype, all_of, timer, device, seconds, last, notes)
                last = rows[size, batch, case][0]
                print(size, batch, case, {k: v and round(1e3 * v[1], 3) for k, v in last.items()}, flush=True)
    text = "\n".join(
        [
            "# Views on a GPU" if device.type == "cuda" else "# Views on a CPU: a dry run, which measured no GPU",
            "",
            *machine(dtype, device),
            f"- `python -m benchmarks.compare_views_gpu {' '.join(arguments)}`".replace(" `", "`"),
            "",
            "Times in ms between CUDA events, L2 cache cold: p50 (p20–p80), and p50 as a multiple of ours. `–`: not "
            f"timed, since a batch would take more than {SLOWEST:g} s, the package has no such step, or it is not "
            f"installed. `{DRAWN}` draws its tables anew each time. GB/s count each face read once and each view "
            "written once; beside them the shares of the speed of `torch.clone` and `Tensor.copy_` on as many bytes. "
            f"`{RIVAL}` is given floats ready-made and does the steps both have.",
            "",
            *goals(rows),
            "",
            *(f"- {note}" for note in notes),
            "",
            table(rows, compiled.kernels),
        ]
    )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "dry"
    path = result_file(options.out, name, options.name)
    write(path, text)
    print(f"\n{text}\nwritten: {path}")


if __name__ == "__main__":
    main()
