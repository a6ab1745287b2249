"""Where files and folders are written: through links and devices, whole, locked, and refused before any work."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loaders.decoding.pictures import Form
from loaders.files import replacing_folder, write_text
from loaders.importers import ClassFolders
from loaders.lock import Lock
from loaders.prepare import prepare
from loaders.targets import LONGEST_NAME, file_target, folder_target, shortened

HOLDER = "import sys, time; from pathlib import Path; from loaders.lock import Lock; "
HOLDS = HOLDER + "lock = Lock(Path(sys.argv[1]), 'x'); print('held', flush=True); time.sleep(60)"


def faces(root: Path) -> Path:
    for split in ("train", "test"):
        for name in ("sad", "happy"):
            (root / split / name).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(np.full((20, 20, 3), 40 * i, np.uint8)).save(root / split / name / f"{i}.png")
    return root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Files.


def test_a_file_is_written_where_a_link_leads_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for end in (tmp_path / "there" / "old.csv", tmp_path / "there" / "new.csv"):
        link, chain = tmp_path / f"link-{end.name}", tmp_path / f"chain-{end.name}"
        link.symlink_to(end)
        chain.symlink_to(link)
        write_text(chain, "text")
        assert link.is_symlink()
        assert chain.is_symlink()
        assert end.read_text() == "text"
    assert names(tmp_path / "there") == ["new.csv", "old.csv"]


def test_a_pipe_of_the_shell_and_a_device_are_written_through() -> None:
    end, start = os.pipe()
    write_text(Path(f"/dev/fd/{start}"), "through")
    assert os.read(end, 100) == b"through"
    os.close(end)
    os.close(start)
    write_text(Path(os.devnull), "nowhere")
    assert not Path(os.devnull).is_file()


def test_a_named_pipe_which_nobody_may_read_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(ValueError, match=r"must not be a named pipe, which nobody may read; let the shell write"):
            write_text(path, "text")
    assert names(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", r"file .*folder: must not be a folder; name a file in it"),
        ("file/x.csv", r"must be in a folder, and .*/file is none; choose another place"),
        ("loop", r"loop: must not be a link that leads to itself; choose another name"),
        ("n" * (LONGEST_NAME + 1), r"its name must have at most 255 bytes; choose a shorter one"),
        ("é" * 128, r"its name must have at most 255 bytes"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match=message):
        file_target(tmp_path / name)


@pytest.mark.parametrize("name", ["n" * LONGEST_NAME, "é" * 127, "a.b" * 80])
def test_the_longest_names_are_written_and_left_clean(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "text")
    with replacing_folder(tmp_path / name[:-1]) as folder:
        (folder / "x").touch()
    assert names(tmp_path) == sorted([name, name[:-1]])


def test_leftovers_of_a_killed_process_are_removed_whatever_the_length_of_the_name(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for name in ("short", "n" * LONGEST_NAME):
        ending = f".partial-{os.uname().nodename}-{int(dead.stdout)}"
        left = tmp_path / f".{shortened(name, ending)}{ending}"
        left.mkdir()
        with replacing_folder(tmp_path / name) as folder:
            (folder / "x").touch()
        assert not left.exists()


# Folders.


def test_a_folder_is_written_where_a_link_leads_also_if_nothing_is_there(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "far" / "store")
    with replacing_folder(link) as folder:
        (folder / "one").touch()
    with replacing_folder(link, replace=True) as folder:
        (folder / "two").touch()
    assert link.is_symlink()
    assert names(tmp_path / "far" / "store") == ["two"]
    assert names(tmp_path) == ["far", "link"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", r"folder .*file: must be new or a folder, and is a file or device; choose another name"),
        ("/dev/null", r"folder /dev/null: must be new or a folder"),
        ("/proc", r"folder /proc: must not be where a disk is mounted, which cannot be renamed; name one in it"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=message):
        folder_target(tmp_path / place)


@pytest.mark.parametrize("out", ["faces", "faces/store", "faces/train/sad/store", "link/store"])
def test_a_store_in_its_own_source_is_refused_before_anything_is_read(tmp_path: Path, out: str) -> None:
    source = faces(tmp_path / "faces")
    (tmp_path / "link").symlink_to(source)
    before = sorted(source.rglob("*"))
    with pytest.raises(ValueError, match=r"out .* must not be in the folder of the source"):
        prepare(ClassFolders(source), tmp_path / out, form=Form(size=16))
    assert sorted(source.rglob("*")) == before


def test_a_store_may_lie_beside_its_source_and_behind_a_link(tmp_path: Path) -> None:
    source = faces(tmp_path / "faces")
    (tmp_path / "link").symlink_to(tmp_path / "faces-store")
    for out in ("faces2", "link"):
        prepare(ClassFolders(source), tmp_path / out, form=Form(size=16))
    assert names(tmp_path) == ["faces", "faces-store", "faces2", "link"]


# Locks.


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(file)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        who = re.escape(f"process {holder.pid} on {os.uname().nodename}")
        with pytest.raises(ValueError, match=rf"^the store: {who} is at work on it; wait for its end, or stop it"):
            Lock(file, "the store")
        holder.kill()
    with Lock(file, "the store"), pytest.raises(ValueError, match=f"process {os.getpid()} on"):
        Lock(file, "the store")
    assert not file.exists()
    lock = Lock(file, "the store")
    lock.release()
    lock.release()


def test_a_disk_without_room_for_the_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = faces(tmp_path / "faces")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"no space left to write .*store; free some"):
        prepare(ClassFolders(source), tmp_path / "store", form=Form(size=16))
    assert names(tmp_path) == ["faces"]


def test_a_store_that_another_process_makes_is_not_made_twice(tmp_path: Path) -> None:
    source = faces(tmp_path / "faces")
    with (
        Lock(tmp_path / ".store.lock", "x"),
        pytest.raises(ValueError, match=r"prepare: out \(=.*store\): process \d+ on .* is at work on it"),
    ):
        prepare(ClassFolders(source), tmp_path / "store", form=Form(size=16))
    prepare(ClassFolders(source), tmp_path / "store", form=Form(size=16))
    assert names(tmp_path) == ["faces", "store"]
