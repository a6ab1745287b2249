"""Runs all that only a GPU can show, step by step: tests, tables of views, training steps, trainings.

    python -m benchmarks.everything_gpu --out /tmp/results                     # every step, one after another
    python -m benchmarks.everything_gpu --out /tmp/results --steps kernels     # one, in less than ten minutes
    python -m benchmarks.everything_gpu --out /tmp/results --dry               # does each run to its end? needs no GPU

Each step is asked to end after `--limit` seconds. What it prints is in `<step>.log` once it is done, and called again
with the same `--out` it is passed over; one that fails or runs out of time leaves `<step>.failed.log`, is named at the
end and runs again: a training goes on where it stopped. The others still run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import dry
from benchmarks.view_cases import CASES
from benchmarks.views_table import ROOT

LIMIT = 540
"""Seconds of a step: machines that are lent take a command away after ten minutes."""
GRACE = 30
"""Seconds in which a step that was asked to end does so: a training writes its checkpoint."""

TABLE = ("{python}", "-m", "benchmarks.compare_views_gpu", "--out", "{out}")
_TESTS = ("{python}", "-m", "pytest", "-q", "-n", "12", "-p", "no:cacheprovider", "-m", "not slow", "-k")
"""The slow ones need no GPU."""
_TRAIN = ("{python}", "-m", "engine.run", "--device", "cuda", "--resume", "--out")
_SMOKE = ("--smoke", "--set", "compile=True")
_GRAPHS = ("--smoke", "--set", "compile='reduce-overhead'")
_BENCH = ("{python}", "-m", "engine.bench")
_FER2013 = ("fer2013_hmtl", "--set", "data=Packed('{store}')")
_B0 = ("--set", "backbone=Backbone('efficientnet_b0')", "--set", "image_size=112")
_SHORT = ("--set", "epochs=1", "--set", "optim.warmup_epochs=0")
_AVERAGED = ("--set", "test_time=Averaging()")
_NCU = ("ncu", "--clock-control", "none", "--set", "full", "-k", "regex:_render", "-c", "3")


def _views() -> dict[str, tuple[str, ...]]:
    """Names steps of each case: its tables, for which the reference is compiled anew, and its configurations; and what
    Nsight Compute says of three."""
    found = {}
    for size in (112, 224):
        for case in CASES:
            where = ("--sizes", str(size), "--cases", case, "--name", f"{size} px {case}")
            found[f"table-{size}-{_named(case)}"] = (*TABLE, *where)
    one = ("--sizes", "112", "--batches", "256", "--cases")
    found |= {f"ncu-{case}": (*_NCU, *TABLE, "--launches", "3", *one, case) for case in ("identity", "weak", "strong")}
    return found | {f"sweep-{_named(case)}": (*TABLE, "--sweep", *one, case) for case in CASES}


def _named(case: str) -> str:
    return case.replace(" + ", "-").replace(" ", "-")


def _bench_steps() -> dict[str, tuple[str, ...]]:
    """Names a step for each network and way of compiling, and a trace of each network."""
    found = {}
    for network, settings in (("resnet10t", ()), ("efficientnet_b0", _B0)):
        for way, value in (("eager", "False"), ("compiled", "True"), ("graphs", "'reduce-overhead'")):
            found[f"step-{network}-{way}"] = (
                *_BENCH, "step", *_FER2013, *settings, "--set", f"compile={value}", "--source", "resident", "--source",
                "packed", "--device", "cuda", "--out", f"{{out}}/step-{network}-{way}",
            )  # fmt: skip
        at = f"{{out}}/profile-{network}"
        found[f"profile-{network}"] = (*_TRAIN, at, *_FER2013, *settings, *_SHORT, "--profile", "{profiled}")
    return found


STEPS: dict[str, tuple[str, ...]] = {
    "versions": ("{python}", "-m", "torch.utils.collect_env"),
    # The tests of the Triton kernels run compiled where there is a GPU, interpreted elsewhere.
    "kernels": (*_TESTS, "test_triton or (gpu and not test_compare_views_gpu)", "tests/kernels"),
    "loaders": (*_TESTS, "gpu", "tests/loaders"),
    "engine": (*_TESTS, "gpu", "tests/engine"),
    "train-hybrid": (*_TRAIN, "{out}/train-hybrid", "fer2013_hmtl", *_SMOKE),
    "train-inpaint": (*_TRAIN, "{out}/train-inpaint", "affectnet_inpaint", *_SMOKE),
    "train-semi": (*_TRAIN, "{out}/train-semi", "fer2013_semi", *_SMOKE),
    "train-graphs": (*_TRAIN, "{out}/train-graphs", "fer2013_hmtl", *_GRAPHS),
    "check": (*TABLE, "--quick", "--name", "quick"),
    **_views(),
    **_bench_steps(),
    "bench-loaders": (*_BENCH, "loaders", "{store}", "--device", "cuda", "--out", "{out}/bench-loaders"),
    "fer2013-recipe": (*_TRAIN, "{out}/fer2013-recipe", *_FER2013, *_AVERAGED),
    "fer2013-batch-256": (*_TRAIN, "{out}/fer2013-batch-256", *_FER2013, *_AVERAGED, "--set", "batch_size=256"),
    "fer2013-resnet18": (
        *_TRAIN, "{out}/fer2013-resnet18", *_FER2013, *_AVERAGED, "--set", "backbone=Backbone('resnet18')",
        "--set", "image_size=64",
    ),
    "affectnet-size": (*_TRAIN, "{out}/affectnet-size", "benchmarks/affectnet_size.py", "--set", "data.train={faces}"),
}  # fmt: skip
"""Commands in the order in which they are worth having; "{out}" is the folder of `--out`, "{store}" that of FER2013."""

FULL = {"faces": 287_651, "profiled": 10}
"""Training faces of AffectNet-8, and steps of a trace."""
TINY = {"faces": 256, "profiled": 1}
"""The same where steps run dry."""

_SMALL = (
    "--device", "cpu", "--set", "backbone=Backbone('test_resnet')", "--set", "image_size=32",
    "--set", "precision='fp32'",
)  # fmt: skip
_VIEWS = ("--device", "cpu", "--sizes", "14", "--batches", "2", "--seconds", "0", "--dtype", "float16")
"""The interpreter cuts bfloat16 off where a GPU rounds."""
_LOADERS = ("--device", "cpu", "--rounds", "1", "--seconds", "0", "--no-cold", "--source", "resident")
DRY = {
    "pytest": ("-n", "0", "--collect-only"),
    "benchmarks.compare_views_gpu": _VIEWS,
    "engine.run": (*_SMALL, *_SHORT),
    "engine.bench step": (*_SMALL, "--steps", "1", "--rounds", "1"),
    "engine.bench loaders": _LOADERS,
}
"""What is added to commands that run dry, by module: of an option said twice the last counts."""


def dried(command: Sequence[str]) -> list[str]:
    """Gives the arguments of Python with which a command runs dry: small, on the CPU, without a profiler around it."""
    words = list(command[command.index("{python}") + 1 :])
    module = " ".join(words[1:3]) if words[1] == "engine.bench" else words[1]
    return [*words, *DRY.get(module, ())]


def run(steps: list[str], out: Path, limit: float, store: Path, *, dry_run: bool = False) -> list[str]:
    """Runs those steps one after another that are not done yet; returns what went wrong."""
    out.mkdir(parents=True, exist_ok=True)
    wrong = []
    meant = {"python": sys.executable, "out": out.resolve(), "store": store.resolve(), **(TINY if dry_run else FULL)}
    for step in steps:
        done, failed = out / f"{step}.log", out / f"{step}.failed.log"
        if done.exists():
            print(f"{step}: done before, {done}", flush=True)
            continue
        command = dried(STEPS[step]) if dry_run else STEPS[step]
        start = time.perf_counter()
        code = _ended(dry.run if dry_run else _call, [word.format(**meant) for word in command], failed, limit)
        result = f"stopped after {limit:g} s" if code is None else f"failed with exit status {code}" if code else "done"
        if code == 0:
            failed.rename(done)
        else:
            wrong.append(f"{step} {result}")
        print(f"{step}: {result}, {time.perf_counter() - start:.0f} s, {failed if code != 0 else done}", flush=True)
    return wrong


def _ended(work: Callable[[Any], object], given: Any, log: Path, limit: float) -> int | None:
    """Gives the exit status of work in a process of its own; None where its time was over and it was ended."""
    process = multiprocessing.get_context("fork").Process(target=_apart, args=(work, given, log))
    process.start()
    assert process.pid is not None
    try:
        process.join(limit)
        return process.exitcode
    finally:
        for number, seconds in ((signal.SIGINT, GRACE), (signal.SIGKILL, None)):
            if process.is_alive():
                os.killpg(process.pid, number)
                process.join(seconds)


def _apart(work: Callable[[Any], object], given: Any, log: Path) -> None:
    """Works as the first of a group of processes, which end together, and prints into a file."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # by which it is ended; `nohup` and `&` have it ignored
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    for number in (1, 2):  # of what the processes that it starts print
        os.dup2(sys.stdout.fileno(), number)
    os.chdir(ROOT)
    work(given)


def _call(words: list[str]) -> None:
    command = subprocess.Popen(words)
    while True:
        try:
            raise SystemExit(command.wait())
        except KeyboardInterrupt:  # the command was asked to end as well, and may have something to write
            continue


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables and of what the steps print")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"seconds of each step ({LIMIT})")
    parser.add_argument(
        "--store", type=Path, default=ROOT / "data" / "fer2013", help="prepared store of FER2013 (data/fer2013)"
    )
    parser.add_argument(
        "--dry",
        action="store_true",
        help="run the steps on the CPU, tiny and interpreted, into OUT/dry; measures nothing",
    )
    options = parser.parse_args(arguments)
    out, store = options.out, options.store
    if options.dry:
        if os.environ.get("TRITON_INTERPRET") != "1":  # read when triton is imported, as it is by now
            os.environ["TRITON_INTERPRET"] = "1"
            os.execv(sys.executable, [sys.executable, "-m", "benchmarks.everything_gpu", *(arguments or sys.argv[1:])])
        dry.prepare()
        out = out / "dry"
        store = out / "fer2013"
        out.mkdir(parents=True, exist_ok=True)
        if not store.exists() and _ended(dry.write_store, store, out / "store.log", options.limit) != 0:
            raise SystemExit(f"everything_gpu: no store was written for the dry run; read {out / 'store.log'}")
    reading = [step for step in options.steps if any("{store}" in word for word in STEPS[step])]
    if reading and not (store / "source.json").is_file():
        raise SystemExit(
            f"everything_gpu: --store (={store}) must be a prepared store of FER2013, which {', '.join(reading)} read; "
            "unpack one there (python -m benchmarks.pack_for_gpu --unpack), or name other --steps"
        )
    if wrong := run(options.steps, out, options.limit, store, dry_run=options.dry):
        raise SystemExit(f"everything_gpu: {'; '.join(wrong)}; read the logs in {out}")


if __name__ == "__main__":
    main()
