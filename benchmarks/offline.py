"""Compiles Triton kernels for GPUs that are not there, by the very calls that would launch them.

Needs a process without TRITON_INTERPRET. Inside `compiled` a launch compiles for the wanted architecture, with the
argument types of that launch, and returns without launching; its tensors may lie on the CPU.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.compiler import CompiledKernel
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
    threads: int
    """Of a program."""


@contextmanager
def compiled(architecture: int) -> Iterator[list[CompiledKernel]]:
    """Launches inside compile for the architecture (90 for sm_90) and are listed instead of run."""
    found: list[CompiledKernel] = []
    run = JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        found.append(kernel)
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


def usage(kernel: CompiledKernel) -> Usage:
    """Reads what a kernel takes from its cubin."""
    found = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", _printed(kernel, "cuobjdump", "--dump-resource-usage")))
    return Usage(
        name=kernel.name,
        registers=int(found["REG"]),
        shared=kernel.metadata.shared,
        stack=int(found["STACK"]) + int(found["LOCAL"]),
        inexact="div.full.f32" in kernel.asm["ptx"],
        threads=32 * kernel.metadata.num_warps,
    )


def instructions(kernel: CompiledKernel) -> dict[str, int]:
    """Counts each instruction in the machine code by its whole name, such as LDG.E.U8; a loop's once."""
    return _counted(_printed(kernel, "nvdisasm", "-c"))


def _counted(code: str) -> dict[str, int]:
    """Counts what nvdisasm prints, an instruction a line after its address and perhaps a predicate.

    What follows the last exit fills the memory up and never runs.
    """
    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", code, re.MULTILINE)
    last = max(place for place, name in enumerate(names) if name.startswith("EXIT"))
    return dict(Counter(names[: last + 1]))


def _printed(kernel: CompiledKernel, tool: str, option: str) -> str:
    """What one of Triton's tools prints of a kernel's cubin."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [getattr(triton.knobs.nvidia, tool).path, option, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
