"""The table of views on a GPU: `render_views` beside what else makes the same pictures, as ratios in one run.

    python -m benchmarks.compare_views_gpu --sizes 112      # half of the dated table, about 10 minutes on an H100
    python -m benchmarks.compare_views_gpu --quick          # a minute: does it run, are the checks green
    python -m benchmarks.compare_views_gpu --sweep          # which configuration of the Triton kernel is fastest

Needs a CUDA device that is otherwise idle. Every row is timed just after its first samples agreed with the reference on
the same inputs. Times are those between two CUDA events. Before each run the L2 cache is filled with other bytes, read
and not written, since dirty lines would be written back while the clock runs; and the device is kept busy for a moment,
so that launches are queued when the clock starts and the time of a launch on the host is counted only where the host
cannot keep up. Opponents take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from benchmarks import compare_views as on_cpu
from benchmarks import view_cases as cases
from benchmarks.compare_views import DRAWN, OURS, Opponent, Row
from benchmarks.view_cases import CASES, MEAN, STD, Inputs

RIVAL = "triton-augment"
REFERENCE = ("reference, eager", "reference, compiled")
AHEAD = 2_000_000
"""Clock cycles, about a millisecond, that the device is kept busy before the clock starts."""
FEWEST, MOST = 10, 200
"""Runs of an opponent in a row."""
SLOWEST = 1.0
"""Seconds a batch above which an opponent is not waited for."""
DIFFERENCE = 0.05
"""Gray levels by which `triton-augment` may differ where its ranges are closed."""


class Timer(Protocol):
    def __call__(self, run: Callable[[], Tensor]) -> float:
        """Seconds that one run takes."""
        ...


class DeviceTimer:
    """Times by CUDA events with a cold L2 cache and launches queued ahead."""

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        self.other = torch.zeros(2 * cache // 4, dtype=torch.int32, device="cuda")
        self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def __call__(self, run: Callable[[], Tensor]) -> float:
        self.other.max()
        torch.cuda._sleep(AHEAD)
        self.start.record()
        out = run()
        self.end.record()
        self.end.synchronize()
        del out
        return self.start.elapsed_time(self.end) / 1e3


class TritonAugment:
    """triton-augment's fused module on the steps that both have: mirror, turn, scale, contrast, normalise.

    It takes floats, which are made before the clock starts: reading the stored bytes is ours alone to pay.
    """

    def __init__(self) -> None:
        os.environ.setdefault("TRITON_AUGMENT_SUPPRESS_FIRST_RUN_MESSAGE", "1")
        import triton_augment

        self.package = triton_augment
        self.floats: tuple[Inputs, torch.dtype, Tensor] | None = None
        self.modules = {
            "identity": self.module(),
            "weak": self.module((-15, 15), (1 / 0.99, 1 / 0.69), 0.5, (0.6, 1.4)),
        }

    def module(
        self,
        degrees: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        flip: float = 0.0,
        contrast: tuple[float, float] | float = 0,
    ) -> Callable[[Tensor], Tensor]:
        made: Callable[[Tensor], Tensor] = self.package.TritonFusedAugment(
            horizontal_flip_p=flip,
            degrees=0 if degrees is None else degrees,
            scale=scale,
            contrast=contrast,
            interpolation=self.package.transforms.InterpolationMode.BILINEAR,
            mean=MEAN,
            std=STD,
        )
        return made

    def floats_of(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        if self.floats is None or self.floats[0] is not inputs or self.floats[1] != dtype:
            stored = inputs.store[inputs.row].permute(0, 3, 1, 2)
            self.floats = inputs, dtype, (stored.float() / 255).to(dtype).contiguous()
        return self.floats[2]

    def __call__(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        return self.modules[inputs.case](self.floats_of(inputs, dtype))[None]

    def difference(self, inputs: Inputs) -> float:
        """Largest difference from ours in the middle of the view, in gray levels, with its ranges closed."""
        turned, size, one = inputs.case != "identity", inputs.size, torch.ones(inputs.batch)
        module = self.module((10, 10), (1.25, 1.25), 0.0, (1.2, 1.2)) if turned else self.module()
        where = cases.affine(
            flip=one,
            rotation=one * (10 if turned else 0),
            crop=one,
            scale=one * (1.25 if turned else 1),
            aspect=one,
            shift_x=one * 0,
            shift_y=one * 0,
            store=(size, size),
            size=size,
        )
        colour = cases.colour_matrix(
            contrast=one * (1.2 if turned else 1),
            brightness_factor=one,
            brightness=one * 0,
            saturation=one,
            hue=one * 0,
            gray=one < 0,
            mean=torch.full((inputs.batch, 3), 127.5),
        )
        device = inputs.store.device
        closed = dataclasses.replace(inputs, where=where[None].to(device), colour=colour[None].to(device))
        levels = [on_cpu.gray_levels(views.cpu()) for views in (
            module(self.floats_of(closed, torch.float32))[None],
            cases.ours(closed, torch.float32),
        )]  # fmt: skip
        middle = slice(size // 4, size - size // 4)
        return float((levels[0] - levels[1])[..., middle, middle].abs().max())


def on_device(inputs: Inputs, device: torch.device) -> Inputs:
    """The same inputs on another device."""
    fields = {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
    return dataclasses.replace(inputs, **{n: v.to(device) for n, v in fields.items() if isinstance(v, Tensor)})


T = TypeVar("T")


def installed(made: Callable[[], T]) -> T | None:
    """The opponent, or nothing where its package is not there: the table names what is not installed."""
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
    """Raise SystemExit where an opponent's first samples on the device are not what the reference shows on the CPU.

    kornia draws its own numbers: there its program is compared, with its ranges closed, on the CPU.
    """
    if isinstance(opponent, TritonAugment):
        difference = opponent.difference(on_device(cases.part(inputs, min(on_cpu.CHECKED, inputs.batch)), device))
        if not difference < DIFFERENCE:
            raise SystemExit(f"compare_views_gpu: {name} differs from ours by {difference:.3f} gray levels")
        return
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # a convolution in TF32 is off by 0.1 gray levels
        on_cpu.agree(name, inputs, lambda few, kind: opponent(on_device(few, device), kind).cpu(), dtype)


def measure(runs: dict[str, Callable[[], Tensor]], timer: Timer, seconds: float) -> Row:
    """p20, p50, p80 in seconds of each; turns are taken until each had its time, at least `FEWEST` times."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    waiting = dict(runs)
    began = dict.fromkeys(runs, 0.0)
    while waiting:
        for name in list(waiting):
            start = time.perf_counter()
            times[name].append(timer(waiting[name]))
            began[name] += time.perf_counter() - start
            if len(times[name]) >= MOST or (len(times[name]) >= FEWEST and began[name] > seconds):
                del waiting[name]
    quantiles = torch.tensor([0.2, 0.5, 0.8])
    return {name: tuple(torch.tensor(t).quantile(quantiles).tolist()) for name, t in times.items()}


def clone_of(count: int, device: torch.device) -> Callable[[], Tensor]:
    """A clone that moves `count` bytes, half of them read and half written."""
    source = torch.zeros(count // 2, dtype=torch.uint8, device=device)
    return source.clone


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
    moved = on_device(inputs, device)
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
        runs[name] = lambda opponent=opponent: opponent(moved, dtype)
        runs[name]()
    count = on_cpu.moved(inputs, dtype)
    runs["clone"] = clone_of(count, device)
    found = measure(runs, timer, seconds)
    return {name: found.get(name) for name in [*all_of, "clone"]}, count


def goals(rows: dict[tuple[int, int, str], tuple[Row, int]]) -> Iterator[str]:
    """The stated goals, met or missed, each with its least and greatest ratio over the rows that it is about."""

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


def sweep(timer: Timer, device: torch.device, dtype: torch.dtype, size: int, batch: int) -> Iterator[str]:
    """Milliseconds of `render_views` in each configuration, for each case; the fastest first."""
    from kernels.views import triton_kernel

    candidates = [
        triton_kernel.Configuration(block, warps, interleave)
        for block in (256, 512, 1024, 2048)
        for warps in (2, 4, 8)
        for interleave in (False, True)
        if block >= 32 * warps
    ]
    for case in CASES:
        inputs = on_device(cases.make(case, batch, size), device)
        tables = (inputs.where, inputs.colour, inputs.shows, inputs.blur, inputs.noise, inputs.key, None, inputs.cut)

        def render(chosen: triton_kernel.Configuration, inputs: Inputs = inputs, tables: tuple = tables) -> Tensor:
            return triton_kernel.render_views(
                inputs.store, inputs.row, *tables, inputs.size, MEAN, STD, dtype, 1, chosen
            )

        expected = render(triton_kernel.LIGHT)
        runs = {}
        for chosen in candidates:
            assert torch.equal(render(chosen), expected), f"{chosen} changes pixels"
            runs[f"{chosen.block} / {chosen.warps} / {chosen.interleave}"] = lambda chosen=chosen: render(chosen)
        found = measure(runs, timer, 0.05)
        best = sorted((times[1], name) for name, times in found.items() if times is not None)
        yield f"{case}: " + ", ".join(f"{name} {1e3 * seconds:.3f}" for seconds, name in best)


def machine(dtype: torch.dtype) -> list[str]:
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    packages = ("torch", "triton", "torchvision", "kornia", RIVAL)
    return [
        f"- {device.name}, {device.multi_processor_count} multiprocessors, {device.L2_cache_size >> 20} MB of L2, "
        f"driver {driver}, CUDA {torch.version.cuda}; {on_cpu.processor()}",
        f"- Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
        f"- commit {on_cpu.commit()}, {datetime.date.today()}, output {str(dtype).removeprefix('torch.')}",
    ]


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def result_file(folder: Path, device: str, part: str = "") -> Path:
    """`<date>-views-<gpu name>.md`, the name in small letters and hyphens."""
    words = "".join(c if c.isalnum() else " " for c in f"{device} {part}".lower()).split()
    return folder / f"{datetime.date.today()}-views-{'-'.join(words)}.md"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    partial.replace(path)


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small size and batch, nothing compiled")
    parser.add_argument("--sweep", action="store_true", help="time every configuration of our kernel instead")
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=0.4, help=f"an opponent gets in a row, {FEWEST} runs at least")
    parser.add_argument("--name", default="", help="added to the name of the table, to keep one beside it")
    parser.add_argument("--out", type=Path, default=on_cpu.ROOT / "benchmarks" / "results", help="folder of the table")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        raise SystemExit(
            "compare_views_gpu: a CUDA device must be there (torch.cuda.is_available() is false); run it on a machine "
            "with a GPU, or measure the CPU: python -m benchmarks.compare_views"
        )
    if options.quick:
        options.sizes, options.batches, options.seconds = [56], [16], 0.05
    device, dtype, timer = torch.device("cuda"), getattr(torch, options.dtype), DeviceTimer()
    if options.sweep:
        for size in options.sizes:
            for batch in options.batches:
                print(f"\n{size} px, batch {batch}, {options.dtype}: block / warps / interleave ms")
                print(*sweep(timer, device, dtype, size, batch), sep="\n", flush=True)
        return
    compiled, kornia, rival = cases.Compiled(), installed(cases.Kornia), installed(TritonAugment)
    rows: dict[tuple[int, int, str], tuple[Row, int]] = {}
    notes: list[str] = []
    for size in options.sizes:
        for case in options.cases:
            last: Row = {}
            for batch in options.batches:
                all_of = opponents(case, compiled, kornia, rival)
                if options.quick:
                    del all_of[REFERENCE[1]]
                inputs = cases.make(case, batch, size)
                rows[size, batch, case] = compare(inputs, dtype, all_of, timer, device, options.seconds, last, notes)
                last = rows[size, batch, case][0]
                print(size, batch, case, {k: v and round(1e3 * v[1], 3) for k, v in last.items()}, flush=True)
    text = "\n".join(
        [
            "# Views on a GPU",
            "",
            *machine(dtype),
            f"- `python -m benchmarks.compare_views_gpu {' '.join(arguments)}`".replace(" `", "`"),
            "",
            "Times in ms between CUDA events, L2 cache cold: p50 (p20–p80), and p50 as a multiple of ours. `–`: not "
            f"timed, since a batch would take more than {SLOWEST:g} s, the package has no such step, or it is not "
            f"installed. `{DRAWN}` draws its tables anew each time. GB/s count each face read once and each view "
            "written once; beside them the share of `torch.clone`'s speed on as many bytes. "
            f"`{RIVAL}` is given floats ready-made and does the steps both have.",
            "",
            *goals(rows),
            "",
            *(f"- {note}" for note in notes),
            "",
            on_cpu.table(rows, compiled.kernels),
        ]
    )
    path = result_file(options.out, torch.cuda.get_device_name(), options.name)
    write(path, text)
    print(f"\n{text}\nwritten: {path}")


if __name__ == "__main__":
    main()
