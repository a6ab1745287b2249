"""The packed store: what is written, and that a cut or edited one is refused."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import loaders.store.writing
from loaders import Classes, Numbers, Packed
from loaders.decoding.pictures import Form
from loaders.decoding.reading import Face
from loaders.files import remove_leftovers
from loaders.importers import Record, Skipped
from loaders.store.manifest import ManifestWriter, read_manifest
from loaders.store.opening import open_store
from loaders.store.writing import new_store
from tests.loaders.data_sets import CLASSES, COUNTS, picture

LABELS = {"mood": Classes(("good", "bad")), "pose": Numbers(("yaw", "pitch"))}


def face(place: int, channels: int = 3, split: str = "train", **labels: Any) -> Face:
    return Face(Record(split, f"{place}.png", labels, Path()), picture(0, place)[:, :, :channels])


def write(out: Path, faces: list[Face | Skipped], **changed: Any) -> dict[str, Any]:
    with new_store(out, LABELS, **({"origin": {"from": "here"}, "notes": ["a note"]} | changed)) as writer:
        for one in faces:
            writer.add([one])
    return writer.source


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    faces = [
        face(0, mood="bad", pose=(1.5, -0.1)),
        face(1, mood=None, pose=(float("nan"), 1e-7), split="val"),
        face(2, split="val"),
        face(3, mood="good", pose=None),
    ]
    write(tmp_path / "s", [*faces, Skipped("x.png", "broken", "by hand")])
    store = open_store(tmp_path / "s", check_pixels=True)
    np.testing.assert_array_equal(store.images, [f.pixels for f in faces])
    np.testing.assert_array_equal(np.load(tmp_path / "s" / "images.npy", mmap_mode="r"), store.images)
    manifest = store.manifest
    assert manifest.path == ("0.png", "1.png", "2.png", "3.png")
    assert (manifest.splits, manifest.split.tolist()) == (("train", "val"), [0, 1, 1, 0])
    assert manifest.labels == LABELS
    assert manifest.target["mood"].tolist() == [1, -1, -1, 0]
    nan = float("nan")
    wanted = torch.tensor([[1.5, -0.1], [nan, 1e-7], [nan, nan], [nan, nan]], dtype=torch.float32)
    assert torch.equal(manifest.target["pose"].nan_to_num(-9), wanted.nan_to_num(-9))
    mean = np.stack([f.pixels.mean((0, 1)) for f in faces]).astype(np.float32)
    np.testing.assert_array_equal(manifest.mean.numpy(), mean)
    assert store.source["notes"] == ["a note"]
    assert store.source["counts"]["val"] == {"total": 2, "mood": {"good": 0, "bad": 0, "(missing)": 2}}
    assert store.source["skipped"] == {
        "total": 1,
        "reasons": {"broken": 1},
        "examples": [{"path": "x.png", "reason": "broken", "detail": "by hand"}],
    }


def test_the_hashes_are_those_of_the_files(store: Path) -> None:
    source = json.loads((store / "source.json").read_text())
    assert source["manifest_sha256"] == hashlib.sha256((store / "manifest.csv").read_bytes()).hexdigest()
    assert source["images_sha256"] == hashlib.sha256(np.load(store / "images.npy").tobytes()).hexdigest()


def test_gray_stays_one_channel(tmp_path: Path) -> None:
    write(tmp_path / "s", [face(0, 1), face(1, 1)])
    store = open_store(tmp_path / "s")
    assert store.shape == (10, 10, 1)
    assert store.manifest.mean.shape == (2, 3)
    assert bool((store.manifest.mean == store.manifest.mean[:, :1]).all())


def test_a_colour_picture_after_gray_ones_makes_the_store_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders.store.writing, "COPY_BYTES", 300)  # copied in several pieces
    faces = [*(face(i, 1) for i in range(8)), face(8, 3), face(9, 1)]
    write(tmp_path / "s", list(faces))
    store = open_store(tmp_path / "s", check_pixels=True)
    assert store.shape == (10, 10, 3)
    np.testing.assert_array_equal(store.images, [np.broadcast_to(f.pixels, (10, 10, 3)) for f in faces])
    assert {p.name for p in (tmp_path / "s").iterdir()} == {"images.npy", "manifest.csv", "source.json", "skipped.csv"}


def test_many_skipped_are_all_listed_and_ten_are_shown(tmp_path: Path) -> None:
    source = write(tmp_path / "s", [face(0), *(Skipped(f"{i}.png", "broken") for i in range(25))])
    assert source["skipped"]["reasons"] == {"broken": 25}
    assert len(source["skipped"]["examples"]) == 10
    with (tmp_path / "s" / "skipped.csv").open(newline="") as lines:
        assert [row["path"] for row in csv.DictReader(lines)] == [f"{i}.png" for i in range(25)]


def test_names_that_are_hard_to_write_survive(tmp_path: Path) -> None:
    names = ['comma, "quote".png', "new\nline.png", os.fsdecode(b"latin-\xe9.png"), "ünïcode 脸.png"]
    write(tmp_path / "s", [Face(Record("train", name, {}, Path()), picture(0, 0)) for name in names])
    assert list(open_store(tmp_path / "s").manifest.path) == names


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with new_store(tmp_path / "s", LABELS, origin={}) as writer:
            writer.add([face(0)])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"must hold a readable picture; it has none and 1 were skipped; first: x: bad"
    ):
        write(tmp_path / "s", [Skipped("x", "bad")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["faces", "header", "manifest"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def full(*args: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    name, owner = {
        "faces": ("append", loaders.store.writing._FaceFile),
        "header": ("finish", loaders.store.writing._FaceFile),
        "manifest": ("add", ManifestWriter),
    }[moment]
    write(tmp_path / "old", [face(0)])
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(OSError, match=r"no space left to write .*old; free some .*, what was there is kept") as error:
        write(tmp_path / "old", [face(0), face(1)], replace=True)
    assert error.value.errno == errno.ENOSPC
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_a_store_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def finish_later() -> None:
        with new_store(tmp_path / "s", LABELS, origin={}) as slow:
            slow.add([face(0)])
            (tmp_path / "s").mkdir()
            (tmp_path / "s" / "theirs").touch()

    with pytest.raises(ValueError, match=r"must not be there yet; another run finished it meanwhile, use that"):
        finish_later()
    assert [p.name for p in tmp_path.rglob("*")] == ["s", "theirs"]


def test_the_old_store_stays_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "s", [face(0)])
    rename = Path.rename

    def refuse_partial(path: Path, target: Path) -> Path:
        if ".partial-" in path.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_partial)
    with pytest.raises(PermissionError):
        write(tmp_path / "s", [face(0), face(1)], replace=True)
    assert len(open_store(tmp_path / "s").manifest) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def ended_process() -> int:
    """The id of a process that runs no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_dead_runs_are_removed_and_others_kept(tmp_path: Path) -> None:
    dead = ended_process()
    host = socket.gethostname()
    names = {
        f".s.partial-{host}-{dead}": False,
        f".s.partial-{host}-{os.getppid()}": True,  # still runs
        f".s.partial-elsewhere-{dead}": True,  # another machine's
        f".other.partial-{host}-{dead}": True,  # another store's
    }
    for name in names:
        (tmp_path / name).mkdir()
    write(tmp_path / "s", [face(0)])
    assert {name for name in names if (tmp_path / name).exists()} == {name for name, kept in names.items() if kept}


def test_a_store_moved_away_by_a_run_that_died_is_put_back(tmp_path: Path) -> None:
    dead = ended_process()
    write(tmp_path / "s", [face(0)])
    (tmp_path / "s").rename(tmp_path / f".s.replaced-{socket.gethostname()}-{dead}")
    remove_leftovers(tmp_path / "s")
    assert len(open_store(tmp_path / "s").manifest) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


# --- damage ------------------------------------------------------------------------------------------------------


def cut(name: str, count: int) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        data = (store / name).read_bytes()
        (store / name).write_bytes(data[:count])

    return damage


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        text = (store / name).read_text()
        assert old in text
        (store / name).write_text(text.replace(old, new, 1))

    return damage


def other_images(store: Path) -> None:
    images = np.load(store / "images.npy")
    np.save(store / "images.npy", images.astype(np.int16))


def fewer_images(store: Path) -> None:
    np.save(store / "images.npy", np.load(store / "images.npy")[:-1])


def longer(store: Path) -> None:
    with (store / "images.npy").open("ab") as stream:
        stream.write(b"x")


def empty(store: Path) -> None:
    for file in store.iterdir():
        file.unlink()


def without(name: str) -> Callable[[Path], None]:
    return lambda store: (store / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("images.npy", -1), r"images.npy must have 10028 bytes; it has 10027, so it was cut, prepare it again"),
        (longer, r"images.npy must have 10028 bytes; it has 10029"),
        (cut("images.npy", 60), r"images.npy must be a numpy file; it is damaged"),
        (cut("images.npy", 0), r"images.npy must be a numpy file; it is damaged"),
        (other_images, r"images.npy must be uint8 of shape \(33, 10, 10, 3\); it is int16 of shape"),
        (fewer_images, r"images.npy must be uint8 of shape \(33, 10, 10, 3\); it is uint8 of shape \(32, 10, 10, 3\)"),
        (without("images.npy"), r"images.npy must be there; it is missing, prepare it again with --force"),
        (cut("manifest.csv", -5), r"manifest.csv must have the hash of source.json; it was cut or edited, prepare it"),
        (
            edit("manifest.csv", "angry", "happy"),
            r"manifest.csv must have the hash of source.json; it was cut or edite",
        ),
        (without("manifest.csv"), r"manifest.csv must be there; it is missing"),
        (cut("source.json", 50), r"source.json must be JSON; it was cut or edited"),
        (edit("source.json", '"version": 1', '"version": 2'), r"version \(=2\) must be 1, the one this code reads"),
        (edit("source.json", '"format": "', '"format": "no '), r"source.json must say format 'hmtl packed store'"),
        (edit("source.json", '"shape"', '"form"'), r"source.json must say shape; it was edited"),
        (
            without("source.json"),
            r"must hold source.json; this is no prepared data set, run `hmtl prepare",
        ),
        (shutil.rmtree, r"must be a folder; there is none, run `hmtl prepare NAME"),
        (
            empty,
            r"must hold a prepared data set; it is empty, run `hmtl prepare",
        ),
    ],
)
def test_a_damaged_store_is_refused(store: Path, tmp_path: Path, damage: Any, message: str) -> None:
    shutil.copytree(store, tmp_path / "s")
    total = sum(map(sum, COUNTS.values()))
    assert (total, CLASSES[0]) == (33, "angry")
    damage(tmp_path / "s")
    with pytest.raises(ValueError, match=message):
        Packed(tmp_path / "s").open("train", "cpu")


def test_changed_pixels_are_found_when_asked_for(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "s")
    with (tmp_path / "s" / "images.npy").open("r+b") as stream:
        stream.seek(5000)
        stream.write(bytes([stream.read(1)[0] ^ 1]))
    open_store(tmp_path / "s")
    with pytest.raises(ValueError, match=r"images.npy must have the hash of source.json; its pixels were changed"):
        open_store(tmp_path / "s", check_pixels=True)


# --- manifest ----------------------------------------------------------------------------------------------------

HEADER = "sample,split,path,mood,pose.yaw,pose.pitch,mean_r,mean_g,mean_b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample,split\n", r"m: columns \(=sample,split\) must be sample,split,path,mood,pose.yaw,pose.pitch,mean_r"),
        (f"{HEADER}\n1,train,a,good,1,2,0,0,0\n", r"m: samples must be numbered 0, 1, 2, ..."),
        (f"{HEADER}\n0,train,a,good\n", r"m: row 0 has 4 columns and must have 9"),
        (f"{HEADER}\n0,train,a,ugly,1,2,0,0,0\n", r"m: mood \(='ugly'\) must be one of good, bad"),
        (f"{HEADER}\n0,train,a,good,1,left,0,0,0\n", r"m: could not convert string to float: 'left'"),
    ],
)
def test_a_manifest_that_does_not_fit_its_labels_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_manifest(text.splitlines(keepends=True), LABELS, "m")


@pytest.mark.parametrize("name", ["", "a.b", "split", "mean_r"])
def test_label_names_that_columns_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"manifest: label \(={name!r}\) must not be empty, hold a dot or be one of"):
        new_store(tmp_path / "s", {name: Classes(("a",))}, origin={}).__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [(), ("a", "a"), ("a", "")])
def test_labels_without_different_names_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"manifest: label \(='x'\) must have one or more different names"):
        new_store(tmp_path / "s", {"x": Classes(names)}, origin={}).__enter__()


def test_a_form_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size \(=0\) must be 1 to 4096 pixels"):
        Form(0)
    with pytest.raises(ValueError, match=r"fit \(='fill'\) must be one of crop, stretch, pad"):
        Form(fit="fill")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"colour \(='red'\) must be one of auto, gray, rgb"):
        Form(colour="red")  # type: ignore[arg-type]
