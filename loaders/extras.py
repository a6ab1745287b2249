"""Optional packages: importing one that is not there says what to run."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# What pip cannot install: `.ci/install-ffcv` (make ffcv) takes the same packages.
SYSTEM = {
    "ffcv": " after `apt-get install g++ pkg-config libopencv-dev libturbojpeg0-dev` (it is compiled; in a checkout "
    "`make ffcv` does both)",
    "dali": " (Linux only)",
}


def require(module: str, *, extra: str, where: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its full name.
        extra: The extra of this project that installs it.
        where: What needs it; begins the error.

    Raises:
        ValueError: It cannot be imported; says what to run.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0] if extra != "dali" else "nvidia.dali"
        raise ValueError(
            f"{where}: package (={package}) must be importable, and is not ({error}); "
            f"run `pip install 'hmtl[{extra}]'`{SYSTEM.get(extra, '')}"
        ) from error


def package_file(package: str, name: str, *, extra: str, where: str) -> Path:
    """Finds a file that an optional package brings, without importing the package.

    Args:
        package: A package that is in no other.
        name: Of the file, in the package's folder.
        extra: The extra of this project that installs it.
        where: What needs it; begins the error.

    Raises:
        ValueError: The package is not installed, or does not hold the file; says what to run.
    """
    spec = find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    if not folders:
        raise ValueError(
            f"{where}: package (={package}) must be installed, and is not; run `pip install 'hmtl[{extra}]'`"
        )
    for folder in folders:
        if (file := Path(folder, name)).is_file():
            return file
    raise ValueError(
        f"{where}: package (={package}) must hold {name}, and does not; run "
        f"`pip install --force-reinstall --no-deps {package}`"
    )
