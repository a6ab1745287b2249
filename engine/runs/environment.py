"""Describes what a figure must name: machine, versions, commit, date, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from engine.runs.commit import commit

_PACKAGES = ("torch", "triton", "numba", "numpy", "timm", "torchvision", "nvidia-dali-cuda130", "ffcv")


def describe_environment(device: torch.device) -> dict[str, str | int | None]:
    """Describes the machine, the versions, the commit and the date, as plain values."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "machine": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "driver": _driver() if device.type == "cuda" else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version is not None},
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
    }


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists, one `name old -> new` each, what a run's figures may hang on and is another than at an earlier start."""
    names = ("python", "cuda", "gpu", "cpu", *_PACKAGES, "commit")
    return [
        f"{name} {before.get(name) or 'none'} -> {now.get(name) or 'none'}"
        for name in names
        if name in before and before.get(name) != now.get(name)
    ]


def command() -> str:
    """Tells how this process was started: the module that `python -m` was told, or the program, and its arguments."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = None if spec is None else spec.name.removesuffix(".__main__")
    return as_shell([*(["python", "-m", module] if module else [Path(sys.argv[0]).name]), *sys.argv[1:]])


def as_shell(words: Sequence[str]) -> str:
    """Writes a command as a shell takes it; words with single quotes alone stay readable inside double ones."""

    def quoted(word: str) -> str:
        return f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word)

    return " ".join(map(quoted, words))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None
