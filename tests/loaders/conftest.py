"""Data that several tests only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.importers import ClassFolders
from loaders.pictures import Form
from loaders.prepare import prepare
from tests.loaders.data_sets import write_folders


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
