"""Makes this process stand for one on a GPU: what is meant for a GPU runs on the CPU, small and slowly, to its end.

What torch.compile traces runs as it was traced, and tables of views have the kernels of CUDA, interpreted; trainings,
which ask for many views, those of the CPU. What only a GPU has is left out: Inductor's code, CUDA graphs, streams and
events, its memory, and triton-augment, which refuses a CPU.
"""

from __future__ import annotations

import random
import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

INTERPRETED = "benchmarks.compare_views_gpu"
USED = (INTERPRETED, "engine.bench.__main__", "engine.run", "torch._inductor.compile_fx")
"""What the work imports: once, before processes are forked for it."""


def prepare() -> None:
    """Imports what the work uses; where TRITON_INTERPRET is set, which is read when triton is imported."""
    for name in USED:
        import_module(name)


def run(words: Sequence[str]) -> None:
    """Runs `-m MODULE ARGUMENTS` in this process, which is not good for anything else then."""
    sys.argv = list(words[1:])
    import_module("torch._inductor.compile_fx").compile_fx = lambda graph, inputs, **options: graph
    import_module("benchmarks.device_timer").FEWEST = 1
    if words[1] == INTERPRETED:
        _interpret()
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)


def _interpret() -> None:
    """Puts the kernels of CUDA, interpreted, in the place of those for the CPU."""
    for name in ("kernels.hidden.op", "kernels.tables.op", "kernels.views.op"):
        for operator in vars(import_module(name)).values():
            if isinstance(operator, torch.library.CustomOpDef):
                operator._backend_fns["cpu"] = operator._backend_fns["cuda"]


def write_store(folder: Path) -> None:
    """Writes a store of random pictures as FER2013's are."""
    from loaders.decoding.pictures import Form
    from loaders.importers import Fer2013
    from loaders.prepare import prepare as prepare_store

    drawn = random.Random(0)
    lines = ["emotion,pixels,Usage"]
    for usage, faces in (("Training", 512), ("PublicTest", 64), ("PrivateTest", 64)):
        lines += [f"{face % 7},{' '.join(map(str, drawn.randbytes(48 * 48)))},{usage}" for face in range(faces)]
    table = folder.with_suffix(".csv")
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(lines) + "\n")
    prepare_store(Fer2013(table), folder, Form())
