"""Tests the .beton files that `prepare --format ffcv` writes, what is refused, and the traps of FFCV."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from loaders import FFCV, Loader, Packed, Shuffled
from loaders.decoding.pictures import Form
from loaders.decoding.reading import cores
from loaders.ffcv.decoding import Decoder
from loaders.ffcv.layout import FIELD, HEADER, check_layout
from loaders.ffcv.package import ffcv, threads_kept, worker_count
from loaders.ffcv.store import open_ffcv_store
from loaders.ffcv.writer import field_names
from loaders.files import hidden
from loaders.importers import ClassFolders, Fer2013, ManifestFile
from loaders.prepare import app, prepare
from loaders.store.opening import open_store
from tests.loaders.conftest import NO_FFCV
from tests.loaders.data_sets import fer_rows, fer_text, picture, write_folders

with_ffcv = pytest.mark.usefixtures("interpreted_ffcv")


@pytest.fixture
def copied(ffcv_store: Path, tmp_path: Path) -> Path:
    """A copy of the FFCV store that a test may damage."""
    out = tmp_path / "copy"
    out.mkdir()
    for file in ffcv_store.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


def fields(file: Path) -> dict[str, Any]:
    """Every field of a file as FFCV's own loader gives it, in file order."""
    loader = ffcv("ffcv.loader.loader").Loader
    option = ffcv("ffcv.loader").OrderOption
    with threads_kept():
        found = loader(str(file), batch_size=100, num_workers=1, order=option.SEQUENTIAL, drop_last=False)
        (batch,) = found
    return dict(zip(found.reader.field_names, [part.numpy() for part in batch], strict=True))


# --- writing -----------------------------------------------------------------------------------------------------


@with_ffcv
def test_the_fields_are_those_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = ["path,split,kind,direction.yaw,direction.pitch"]
    for place in range(9):
        Image.fromarray(picture(1, place)).save(tmp_path / "in" / f"{place}.png")
        kind, yaw = ["a", "b", ""][place % 3], "" if place == 4 else f"{place / 3:.5f}"
        rows.append(f"{place}.png,{['train', 'val'][place % 2]},{kind},{yaw},{-place}")
    (tmp_path / "in" / "list.csv").write_text("\n".join(rows) + "\n")
    importer = ManifestFile(tmp_path / "in" / "list.csv")
    prepare(importer, tmp_path / "packed", Form())
    prepare(importer, tmp_path / "ffcv", Form(), format="ffcv")
    store, ffcv_store = open_store(tmp_path / "packed"), open_ffcv_store(tmp_path / "ffcv", check_pixels=True)
    assert (tmp_path / "ffcv" / "manifest.csv").read_bytes() == (tmp_path / "packed" / "manifest.csv").read_bytes()
    assert ffcv_store.source["counts"] == store.source["counts"]
    for split in ("train", "val"):
        part = store.manifest.part(split, store.shape, "")
        found = fields(ffcv_store.path / f"{split}.beton")
        np.testing.assert_array_equal(found["image"], store.images[part.sample.numpy()])
        np.testing.assert_array_equal(found["sample"][:, 0], part.sample.numpy())
        np.testing.assert_array_equal(found["mean"], store.manifest.mean[part.sample].numpy())
        for label, name in ffcv_store.source["fields"].items():
            np.testing.assert_array_equal(found[name].squeeze(), part.target[label].numpy())


def test_labels_that_ffcv_cannot_name_get_other_fields() -> None:
    names = field_names(["expression", "a" * 16, "a" * 17, "image", "überrascht", "a" * 18])
    assert names["expression"] == "expression"
    assert names["a" * 16] == "a" * 16
    assert names["überrascht"] == "_berrascht~4"
    assert len(set(names.values())) == len(names)
    assert all(
        len(name) <= 16 and name.isascii() and name not in ("image", "sample", "mean") for name in names.values()
    )


@with_ffcv
def test_gray_faces_are_given_with_one_channel(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(fer_text(fer_rows()))
    prepare(Fer2013(tmp_path), tmp_path / "packed", Form())
    prepare(Fer2013(tmp_path), tmp_path / "ffcv", Form(), format="ffcv")
    sources = (Packed(tmp_path / "packed"), FFCV(tmp_path / "ffcv"))
    loaders = [Loader.open(s, "train", batch_size=7, seed=0, device="cpu") for s in sources]
    assert loaders[0].split.shape == loaders[1].split.shape == (48, 48, 1)
    for one, other in zip(*(loader.epoch(0) for loader in loaders), strict=True):
        assert other.store.is_contiguous()
        assert torch.equal(one.store, other.store)
        assert torch.equal(one.mean, other.mean)
    for loader in loaders:
        loader.close()


@with_ffcv
@pytest.mark.parametrize(("quality", "most"), [(50, 12), (90, 12), (100, 40)])
def test_jpeg_faces_are_near_those_of_another_decoder(tmp_path: Path, quality: int, most: int) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for place in range(4):
        soft = Image.fromarray(picture(0, place, 4, 4)).resize((40, 40), Image.Resampling.BICUBIC)
        soft.save(tmp_path / "in" / "a" / f"{place}.png")
    source = prepare(ClassFolders(tmp_path / "in"), tmp_path / "out", Form(), format="ffcv", jpeg=quality)
    assert source["jpeg"] == source["origin"]["jpeg"] == quality
    with closing(Loader.open(FFCV(tmp_path / "out"), "train", batch_size=4, seed=0, device="cpu")) as loader:
        (batch,) = loader.epoch(0)
    reader = ffcv("ffcv.reader").Reader(str(tmp_path / "out" / "train.beton"))
    length = dict(zip(reader.alloc_table["ptr"].tolist(), reader.alloc_table["size"].tolist(), strict=True))
    data = (tmp_path / "out" / "train.beton").read_bytes()
    for face, at in zip(batch.store, reader.metadata["f0"]["data_ptr"].tolist(), strict=True):
        apart = np.abs(np.array(Image.open(io.BytesIO(data[at : at + length[at]]))).astype(int) - face.numpy())
        assert apart.mean() <= 3
        assert apart.max() <= most


@with_ffcv
def test_a_finished_store_is_found_and_another_is_refused(tmp_path: Path, folders: Path) -> None:
    importer, out = ClassFolders(folders), tmp_path / "out"
    first = prepare(importer, out, Form(), format="ffcv")
    written = (out / "train.beton").stat().st_mtime_ns
    assert prepare(importer, out, Form(), format="ffcv") == first
    assert (out / "train.beton").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"made from the same source and settings \(jpeg None there, 90 here\)"):
        prepare(importer, out, Form(), format="ffcv", jpeg=90)
    with pytest.raises(ValueError, match=r"must say format 'hmtl packed store'; it is a hmtl ffcv store"):
        prepare(importer, out, Form())
    with pytest.raises(ValueError, match=r"it is a hmtl ffcv store, prepare it again with --force and --format packed"):
        Packed(out).open("train", "cpu")
    prepare(importer, out, Form(), format="ffcv", jpeg=90, force=True)
    assert open_ffcv_store(out, check_pixels=True).source["jpeg"] == 90
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@with_ffcv
def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("loaders.ffcv.store.write_split", full)
    with pytest.raises(OSError, match=r"no space left to write .*out; free some and start again"):
        prepare(ClassFolders(folders), tmp_path / "out", Form(), format="ffcv")
    assert list(tmp_path.iterdir()) == []


@with_ffcv
def test_an_error_of_ffcvs_writer_is_raised_and_does_not_hang(
    tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, destination: Any, value: Any, malloc: Any) -> None:
        raise TypeError("no such picture")

    monkeypatch.setattr(ffcv("ffcv.types").RGBImageField, "encode", broken)
    with pytest.raises(TypeError, match="no such picture"):
        prepare(ClassFolders(folders), tmp_path / "out", Form(), format="ffcv")
    assert list(tmp_path.iterdir()) == []


@with_ffcv
def test_a_page_that_the_disk_cut_is_noticed(tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = ffcv("ffcv.memory_allocator").MemoryAllocator
    whole = allocator.flush_page

    def short(self: Any) -> None:
        whole(self)
        if self.my_page >= 0:
            os.truncate(self.fname, self.offset + 100)

    monkeypatch.setattr(allocator, "flush_page", short)
    with pytest.raises(ValueError, match=r"train.beton: data must lie between the samples and the table"):
        prepare(ClassFolders(folders), tmp_path / "out", Form(), format="ffcv")


@with_ffcv
def test_leftovers_of_dead_runs_are_removed(tmp_path: Path, folders: Path) -> None:
    for word in ("partial", "scratch"):
        dead = hidden(tmp_path / "out", word)
        (dead.with_name(dead.name.replace(str(os.getpid()), "4194304")) / "packed").mkdir(parents=True)
    prepare(ClassFolders(folders), tmp_path / "out", Form(), format="ffcv")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@with_ffcv
def test_a_split_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    Image.fromarray(picture(0, 0)).save(tmp_path / "0.png")
    (tmp_path / "list.csv").write_text("path,split,kind\n0.png,a/b,x\n")
    with pytest.raises(ValueError, match=r"split \(='a/b'\) must be a file name of letters, digits"):
        prepare(ManifestFile(tmp_path / "list.csv"), tmp_path / "out", Form(), format="ffcv")


@with_ffcv
def test_the_command_writes_it(tmp_path: Path, folders: Path) -> None:
    command = ["folder", str(folders), "--out", str(tmp_path / "out"), "--format", "ffcv", "--jpeg", "95"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "33 faces of 10 x 10, RGB" in done.output
    assert open_ffcv_store(tmp_path / "out").source["jpeg"] == 95


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"format": "tar"}, r"prepare: format \(='tar'\) must be one of packed, ffcv"),
        ({"jpeg": 90}, r"prepare: jpeg \(=90\) must be left out for format packed; it stores exact pixels"),
        ({"format": "ffcv", "jpeg": 0}, r"FFCV: jpeg \(=0\) must be a quality of 1 to 100; leave it out"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, folders: Path, options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        prepare(ClassFolders(folders), tmp_path / "out", Form(), **options)
    assert not (tmp_path / "out").exists()


# --- what is refused ---------------------------------------------------------------------------------------------


def opened(store: Path) -> None:
    with closing(Loader.open(FFCV(store), "train", batch_size=2, seed=0, device="cpu")) as loader:
        next(loader.epoch(0))


def header_of(file: Path, **changed: int) -> None:
    data = bytearray(file.read_bytes())
    header = np.frombuffer(data[: HEADER.itemsize], HEADER).copy()
    for name, value in changed.items():
        header[name] = value
    file.write_bytes(header.tobytes() + data[HEADER.itemsize :])


@with_ffcv
@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"version": 9}, r"version \(=9\) must be 2; it is damaged, prepare it again with --force"),
        ({"page": 12345}, r"page \(=12345\) must be a power of 2 from 2 MiB on"),
        ({"samples": 22}, r"samples \(=22\) must be 23"),
        ({"fields": 0}, r"fields \(=\[\]\) must begin with a picture"),
        ({"fields": 9}, "pictures must be 10 x 10"),
        ({"table": 0}, r"table \(=0\) must lie behind the samples and fill the file"),
        ({"table": 2**63}, r"table \(=\d+\) must lie behind the samples and fill the file"),
    ],
)
def test_a_damaged_header_is_refused(copied: Path, changed: dict[str, int], error: str) -> None:
    header_of(copied / "train.beton", **changed)
    with pytest.raises(ValueError, match=error):
        opened(copied)


@with_ffcv
@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        ("mode", 7, "pictures must be raw or JPEG"),
        ("width", 11, r"pictures must be 10 x 10 \(width x height\)"),
        ("height", 60000, r"pictures must be 10 x 10 \(width x height\)"),
        ("address", 1, "pictures must have an entry in the table of data"),
    ],
)
def test_a_damaged_sample_is_refused(copied: Path, at: str, value: int, error: str) -> None:
    file = copied / "train.beton"
    reader = ffcv("ffcv.reader").Reader(str(file))
    records = reader.metadata.copy()
    records["f0"][{"address": "data_ptr"}.get(at, at)][5] = value
    start = HEADER.itemsize + reader.num_fields * FIELD.itemsize
    data = file.read_bytes()
    file.write_bytes(data[:start] + records.tobytes() + data[start + records.nbytes :])
    with pytest.raises(ValueError, match=error):
        opened(copied)


@with_ffcv
@pytest.mark.parametrize(
    ("column", "value", "error"),
    [
        ("size", 2**63, "data must lie between the samples and the table"),
        ("ptr", 2**64 - 1, "data must lie between the samples and the table"),
        ("ptr", 0, "data must lie between the samples and the table"),
        ("size", 299, "raw pictures must have 300 bytes"),
    ],
)
def test_a_damaged_table_is_refused(copied: Path, column: str, value: int, error: str) -> None:
    file = copied / "train.beton"
    reader = ffcv("ffcv.reader").Reader(str(file))
    table = reader.alloc_table.copy()
    table[column][np.flatnonzero(table["ptr"] == reader.metadata["f0"]["data_ptr"][0])[0]] = value
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - table.nbytes] + table.tobytes())
    with pytest.raises(ValueError, match=error):
        opened(copied)


@pytest.mark.parametrize("length", [0, 3, 24, 5000, -1])
def test_a_cut_file_is_refused_before_ffcv_sees_it(copied: Path, length: int) -> None:
    file = copied / "train.beton"
    whole = file.stat().st_size
    os.truncate(file, length % whole)
    with pytest.raises(ValueError, match=rf"must have {whole} bytes; it has {length % whole}, so it was cut"):
        opened(copied)
    with pytest.raises(ValueError, match=r"must begin with a header|must be|must lie|must have"):
        check_layout(file, bytes=length % whole, samples=23, shape=(10, 10))


def test_what_is_no_store_is_refused(copied: Path, tmp_path: Path, store: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a folder; there is none, run `hmtl prepare"):
        opened(tmp_path / "none")
    with pytest.raises(ValueError, match=r"it is a hmtl packed store, prepare it again with --force and --format ffcv"):
        opened(store)
    manifest = (copied / "manifest.csv").read_text()
    (copied / "manifest.csv").write_text(manifest.replace("happy", "sad", 1))
    with pytest.raises(ValueError, match=r"manifest.csv must have the hash of source.json; it was cut or edited"):
        opened(copied)
    (copied / "manifest.csv").write_text(manifest)
    (copied / "train.beton").unlink()
    with pytest.raises(ValueError, match=r"train.beton: must be there; it is missing, prepare it again"):
        opened(copied)
    source = json.loads((copied / "source.json").read_text())
    del source["files"]["val"]
    (copied / "source.json").write_text(json.dumps(source))
    with pytest.raises(ValueError, match=r"files must be of the splits train, val, test"):
        opened(copied)


def test_changed_pixels_are_found_where_they_are_looked_for(copied: Path) -> None:
    file = copied / "val.beton"
    data = bytearray(file.read_bytes())
    pixels = picture(0, 0).tobytes()
    place = data.index(pixels)
    data[place + 5] ^= 1
    file.write_bytes(data)
    open_ffcv_store(copied)
    with pytest.raises(ValueError, match=r"val.beton must have the hash of source.json; it was changed"):
        open_ffcv_store(copied, check_pixels=True)


def test_a_file_cut_between_two_batches_is_an_error(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, decode = threading.Lock(), Decoder.__call__

    def alone(self: Decoder, position: Any) -> Any:
        with reading:
            return decode(self, position)

    monkeypatch.setattr(Decoder, "__call__", alone)  # cut while a batch is read, the process ends: docs/security.md
    with closing(Loader.open(FFCV(copied), "train", batch_size=1, seed=0, device="cpu", sampler=Shuffled())) as loader:
        batches = loader.epoch(0)
        next(batches)
        with reading:
            os.truncate(copied / "train.beton", 5000)
        with pytest.raises(ValueError, match=r"train.beton: must stay as it was when it was opened"):
            list(batches)


# --- the process -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ffcv") is None, reason=NO_FFCV)
def test_compiled_it_gives_the_same_faces_and_leaves_thread_counts_alone(ffcv_store: Path, store: Path) -> None:
    # In a process of its own, where FFCV is not imported yet and has its compiler.
    code = f"""
import numba, threading, torch
torch.set_num_threads(2)
from loaders import FFCV, Loader, Packed, Shuffled
for workers in (1, 2):
    for split in ("train", "val"):
        sources = (Packed({str(store)!r}), FFCV({str(ffcv_store)!r}, workers=workers))
        loaders = [Loader.open(s, split, batch_size=2, seed=0, device="cpu", sampler=Shuffled()) for s in sources]
        for one, other in zip(*(loader.epoch(1) for loader in loaders), strict=True):
            assert torch.equal(one.store, other.store)
        for loader in loaders:
            loader.close()
later = []
thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
thread.start()
thread.join()
print(torch.get_num_threads(), later[0], numba.get_num_threads(), numba.threading_layer())
"""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_THREADING_LAYER"} | {"NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2", "2", "omp"]


def test_workers_are_at_most_numbas(ffcv_store: Path) -> None:
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    assert worker_count(10**6, jpeg=False) == worker_count(10**6, jpeg=True) == most
    assert worker_count(None, jpeg=True) == min(cores(), most)
    assert worker_count(None, jpeg=False) == 1
    with pytest.raises(ValueError, match=r"FFCV: workers \(=0\) must be at least 1; leave it out"):
        FFCV(ffcv_store, workers=0).open("train", "cpu")


@pytest.mark.parametrize("what", ["source", "prepare"])
def test_without_the_package_it_says_what_to_run(
    what: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    wanted = r"package \(=ffcv\) must be importable, .*; run `pip install 'hmtl\[ffcv\]'` after `apt-get install g\+\+"
    if what == "source":
        ffcv_store = request.getfixturevalue("ffcv_store")
    for module in [name for name in sys.modules if name.partition(".")[0] == "ffcv"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "ffcv", None)
    if what == "source":
        with pytest.raises(ValueError, match=f"FFCV: {wanted}"):
            opened(ffcv_store)
    else:
        with pytest.raises(ValueError, match=f"prepare: {wanted}"):
            prepare(ClassFolders(folders), tmp_path / "out", Form(), format="ffcv")
        assert not any(tmp_path.iterdir())


def test_files_of_many_splits_hold_their_own_samples(tmp_path: Path, interpreted_ffcv: None) -> None:
    write_folders(tmp_path / "in", {"train": (3, 2, 1), "val": (1, 1, 1), "extra": (2, 0, 1)})
    prepare(ClassFolders(tmp_path / "in"), tmp_path / "out", Form(), format="ffcv")
    assert {file.name for file in (tmp_path / "out").glob("*.beton")} == {"train.beton", "val.beton", "extra.beton"}
    for split, count in {"train": 6, "val": 3, "extra": 3}.items():
        with closing(Loader.open(FFCV(tmp_path / "out"), split, batch_size=4, seed=0, device="cpu")) as loader:
            assert len(loader.split.sample) == count
            for batch in loader.epoch(0):
                assert torch.equal(
                    batch.store[:, 0, 0, 0][batch.sample >= 0].long(), batch.target["expression"][batch.sample >= 0]
                )
