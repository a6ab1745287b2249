"""Data that several tests only read."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loaders.decoding.pictures import Form
from loaders.ffcv.package import ffcv, threads_kept
from loaders.importers import ClassFolders
from loaders.prepare import prepare
from tests.loaders.data_sets import write_folders

NO_FFCV = "needs FFCV: `make ffcv` installs it and the system packages it is compiled with"
NO_DALI = "needs DALI: pip install 'hmtl[dali]'"


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """<split>/<class>/*.png, 10 x 10 RGB; `sad` is empty in val. Do not change it."""
    return write_folders(tmp_path_factory.mktemp("folders"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, folders: Path) -> Path:
    """The packed store of `folders`. Do not change it."""
    out = tmp_path_factory.mktemp("store") / "faces"
    prepare(ClassFolders(folders), out, Form())
    return out


@pytest.fixture(scope="session")
def interpreted_ffcv() -> Iterator[None]:
    """FFCV without its compiler, which takes seconds a pipeline; skips where FFCV is not installed."""
    if importlib.util.find_spec("ffcv") is None:
        pytest.skip(NO_FFCV)
    compiler = ffcv("ffcv.pipeline.compiler").Compiler
    with threads_kept():
        compiler.set_enabled(False)
        yield
        compiler.set_enabled(True)


@pytest.fixture(scope="session")
def ffcv_store(tmp_path_factory: pytest.TempPathFactory, folders: Path, interpreted_ffcv: None) -> Path:
    """The FFCV store of `folders`. Do not change it."""
    out = tmp_path_factory.mktemp("ffcv_store") / "faces"
    prepare(ClassFolders(folders), out, Form(), format="ffcv")
    return out


@pytest.fixture(scope="session")
def dali() -> None:
    """Skips where DALI is not installed."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        pytest.skip(NO_DALI)


@pytest.fixture(scope="session")
def hmtl_photos(tmp_path_factory: pytest.TempPathFactory, hmtl_data: Path) -> list[Path]:
    """The 16 pictures of AFLW2000, each with its `.mat` beside it."""
    folder = tmp_path_factory.mktemp("photos")
    with zipfile.ZipFile(hmtl_data / "samples" / "aflw2000_16_and_300wlp_17.zip") as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("AFLW2000/")])
    return sorted((folder / "AFLW2000").glob("*.jpg"))
