"""Every kernel compiles for three generations of GPUs, keeps to its registers, and does so once for all sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_every_configuration_compiles_without_spills(architecture: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    # What one generation takes is told in full; of the others each two options together, which tells of spills too.
    whole = architecture == 90
    command = [sys.executable, "-m", "tests.kernels.compile_configurations", str(architecture), *["--light"] * whole]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    variants = [json.loads(line) for line in done.stdout.splitlines()]
    if whole:
        # Sizes, grids, stores, batches, seeds and epochs are run-time numbers; up to 16 cells are ranked by one kernel.
        run_time = variants.pop(0)["run_time"]
        assert run_time == dict.fromkeys(run_time, 1)

    print(f"\nsm_{architecture}: registers of a thread, bytes of shared memory")
    for variant in variants:
        options = " ".join(f"{name}={value}" for name, value in variant["options"].items())
        print(f"{variant['name']:13} {variant['registers']:4} {variant['shared']:6}  {options}")
    assert {variant["name"] for variant in variants} >= {"_render", "_draw", "_turns", "_bits"}
    assert {variant["name"] for variant in variants} >= {"_permutation", "_holes", "_hidden_parts"}
    assert {variant["name"] for variant in variants} >= {"_sums", "_mean", "_count", "_gradient"}
    assert [variant for variant in variants if variant["stack"] != 0] == []

    # Tests on a GPU want the bits of the reference; a blur's weights, which `_render` divides for, have a tolerance.
    assert {variant["name"] for variant in variants if variant["inexact"]} <= {"_render"}
