"""What `Folder` and `DALI` found out about their files is kept, and never taken for that of other files."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import Folder, Loader
from loaders.decoding.pictures import Form
from loaders.decoding.reading import read_faces
from loaders.importers import ClassFolders
from loaders.sources import kept
from loaders.sources.encoded import look_at_all
from loaders.sources.kept import folder, remember
from loaders.sources.scan import Scanned, scan
from tests.loaders.data_sets import picture, write_folders


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setenv("HMTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "_HELD", {})
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each decoding pass was given."""
    counts: list[int] = []

    def counted(records: list[Any], form: Form) -> Any:
        counts.append(len(records))
        return read_faces(records, form)

    monkeypatch.setattr("loaders.sources.scan.read_faces", counted)
    return counts


def scanned(root: Path, form: Form | None = None) -> Scanned:
    return scan(ClassFolders(root), form or Form(), "test")


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process begins."""
    monkeypatch.setattr(kept, "_HELD", {})


def same(one: Scanned, other: Scanned) -> bool:
    return (
        one.shape == other.shape
        and one.manifest.path == other.manifest.path
        and torch.equal(one.manifest.mean, other.manifest.mean)
        and [r.picture for r in one.records] == [r.picture for r in other.records]
    )


def test_pictures_are_decoded_once_for_all_splits_and_processes(
    tmp_path: Path, cache: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folders(tmp_path / "faces")
    (root / "train" / "sad" / "broken.png").write_bytes(b"no picture")
    for split in ("train", "val", "test"):
        Folder(root).open(split, "cpu")
    assert decoded == [34]
    first = scanned(root)
    forget(monkeypatch)
    assert same(scanned(root), first)
    assert decoded == [34]
    assert len(first.records) == 33


def test_another_file_is_another_entry(tmp_path: Path, cache: Path, decoded: list[int]) -> None:
    root = write_folders(tmp_path / "faces")
    means = scanned(root).manifest.mean
    file = root / "train" / "angry" / "000.png"
    before = file.stat()
    Image.fromarray(picture(2, 99)).save(file)
    changed = scanned(root).manifest.mean
    assert (means != changed).any(1).nonzero().flatten().tolist() == [scanned(root).records.index(of(root, file))]
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # the time alone
    scanned(root)
    scanned(root, Form(8))
    scanned(root, Form(8, colour="gray"))
    (root / "val" / "happy" / "100.png").write_bytes(file.read_bytes())
    scanned(root)
    assert decoded == [33, 33, 33, 33, 33, 34]


def of(root: Path, file: Path) -> Any:
    return next(record for record in scanned(root).records if record.picture == file)


def test_a_cut_entry_is_found_out_again(
    tmp_path: Path, cache: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folders(tmp_path / "faces")
    first = scanned(root)
    (entry,) = cache.iterdir()
    for data in (entry.read_bytes()[:50], b""):
        entry.write_bytes(data)
        forget(monkeypatch)
        assert same(scanned(root), first)
    forget(monkeypatch)
    assert same(scanned(root), first)
    assert decoded == [33, 33, 33]
    assert [file.name for file in cache.iterdir()] == [entry.name]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HMTL_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match=r"cannot be kept \(.*\); set HMTL_CACHE to a folder that can be written"):
        assert remember("a", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
    monkeypatch.setattr(kept, "_HELD", {})


def test_what_fails_is_not_kept(cache: Path) -> None:
    def fails() -> dict[str, Any]:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            remember("b", fails)
    assert remember("b", lambda: {"x": np.ones(1)})["x"].tolist() == [1.0]


def test_memory_holds_a_few_entries(cache: Path) -> None:
    for number in range(20):
        remember(f"{number}", lambda: {"x": np.zeros(1)})
    assert len(kept._HELD) == kept.IN_MEMORY
    assert len(list(cache.iterdir())) == 20


def test_where_entries_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HMTL_CACHE", str(tmp_path))
    assert folder() == tmp_path
    monkeypatch.delenv("HMTL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "hmtl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == Path.home() / ".cache" / "hmtl"


def test_headers_are_kept_as_they_are_read(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "faces" / "a"
    root.mkdir(parents=True)
    image = Image.fromarray(picture(0, 0, 40, 30))
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(root / "0.jpg", exif=turned)
    image.save(root / "1.png")
    image.save(root / "2.bmp")
    form = Form(16)
    found = scanned(root.parent, form)
    read = look_at_all(found, form)
    assert [one.length for one in read] == [file.stat().st_size for file in sorted(root.iterdir())]
    assert [one.shown for one in read] == [None, (0.0, 5.0, 30.0, 35.0), None]  # turned, plain, and a BMP
    monkeypatch.setattr("loaders.sources.encoded._header", None)  # is not called again
    forget(monkeypatch)
    assert look_at_all(found, form) == read


def test_an_opened_folder_gives_what_it_gave_before(tmp_path: Path, cache: Path) -> None:
    root = write_folders(tmp_path / "faces")
    stores = []
    for _ in range(2):
        with closing(Loader.open(Folder(root, workers=0), "train", batch_size=23, seed=0, device="cpu")) as loader:
            (batch,) = loader.epoch(0)
            stores.append((batch.store, batch.mean))
    assert torch.equal(stores[0][0], stores[1][0])
    assert torch.equal(stores[0][1], stores[1][1])


def test_a_user_without_a_home_folder_is_warned_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HMTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(kept, "_HELD", {})
    with pytest.warns(RuntimeWarning, match=r"cannot be kept \(the user has no home folder\); set HMTL_CACHE"):
        assert remember("x", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
