"""Compiles Triton kernels for GPUs that are not there, by the very calls that would launch them.

Needs a process without TRITON_INTERPRET. Inside `compiled` a launch compiles for the wanted architecture, with the
argument types of that launch, and returns without launching; its tensors may lie on the CPU.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.jit import JITFunction


class _Absent(DriverBase):
    """A driver without a device."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    @classmethod
    def is_active(cls):
        return True

    def get_current_target(self):
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self):
        return self.architecture  # Triton keeps one cache a device, so architectures do not mix

    def get_current_stream(self, device):
        return 0

    def map_python_to_cpp_type(self, ty):
        raise NotImplementedError

    def get_active_torch_device(self):
        raise NotImplementedError

    def get_benchmarker(self):
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Usage:
    """What one compiled kernel takes of a multiprocessor."""

    name: str
    registers: int
    """Of a thread."""
    shared: int
    """Bytes of a program."""
    stack: int
    """Bytes of a thread: registers that were spilled, and arrays indexed at run time."""
    inexact: bool
    """Whether it divides in fp32 without rounding correctly."""


@contextmanager
def compiled(architecture: int) -> Iterator[list[Usage]]:
    """Launches inside compile for the architecture (90 for sm_90) and are listed instead of run."""
    found: list[Usage] = []
    run = JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        found.append(_usage(kernel))
        return kernel

    triton.runtime.driver.set_active(_Absent(architecture))
    JITFunction.run = compile_only
    try:
        yield found
    finally:
        JITFunction.run = run


def times_compiled(kernel: JITFunction, architecture: int) -> int:
    """How many variants of a kernel the launches so far needed."""
    return len(kernel.device_caches[architecture][0])


def _usage(kernel) -> Usage:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(kernel.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(file)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", printed))
    stack = int(found["STACK"]) + int(found["LOCAL"])
    return Usage(kernel.name, int(found["REG"]), kernel.metadata.shared, stack, "div.full.f32" in kernel.asm["ptx"])
