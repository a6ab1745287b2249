"""Where files are named: as text or as a path, from the home folder or not, in every importer and source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loaders import Folder, Packed, identity, store_notes
from loaders.decoding.pictures import Form
from loaders.importers import IMPORTERS, ClassFolders, Fer2013, ManifestFile
from loaders.prepare import prepare
from loaders.store.opening import open_store
from tests.loaders.data_sets import write_folders


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with class folders in `faces` and the store of them in `store`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_folders(tmp_path / "faces")
    prepare(ClassFolders(tmp_path / "faces"), tmp_path / "store", Form())
    return tmp_path


@pytest.mark.parametrize("name", IMPORTERS)
def test_a_source_that_is_text_is_a_path(name: str, home: Path) -> None:
    kind: Any = IMPORTERS[name]
    assert kind("~/nothing") == kind(str(home / "nothing")) == kind(home / "nothing")
    with pytest.raises(ValueError, match=r".*nothing") as as_text:
        kind(str(home / "nothing")).survey()
    with pytest.raises(ValueError) as as_path:
        kind(home / "nothing").survey()
    assert str(as_text.value) == str(as_path.value)


def test_other_paths_of_an_importer_may_be_text_too(home: Path) -> None:
    assert Fer2013("a.csv", ferplus="~/votes.csv").ferplus == home / "votes.csv"  # type: ignore[arg-type]
    assert Fer2013(Path("a.csv"), ferplus=False).ferplus is False
    assert ClassFolders("faces", label="~/is no path").label == "~/is no path"  # type: ignore[arg-type]


def test_text_is_prepared_as_a_path_is(home: Path) -> None:
    own = prepare(ClassFolders("~/faces"), home / "a", Form())  # type: ignore[arg-type]
    other = prepare(ClassFolders(home / "faces"), home / "b", Form())
    assert own == other
    assert ManifestFile("m.csv").source == Path("m.csv")  # type: ignore[arg-type]


def test_sources_find_the_home_folder(home: Path) -> None:
    for text, path in ((Packed("~/store"), Packed(home / "store")), (Folder("~/faces"), Folder(home / "faces"))):
        assert text.open("train", "cpu").split.shape == path.open("train", "cpu").split.shape
    assert open_store("~/store").path == home / "store"
    assert identity(Packed("~/store")) == identity(Packed(home / "store"))
    assert store_notes(Packed("~/store"))[0]["path"] == "~/store"
