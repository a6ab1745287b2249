"""What folders hold, and what is said of the rest: links, loops, litter, pipes, what cannot be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loaders import Folder
from loaders.importers import (
    AffectNet2021,
    Aflw2000,
    Biwi,
    CkPlus48,
    ClassFolders,
    Importer,
    Pointing04,
    UtkFace,
    W300Lp,
)
from loaders.importers.walk import look, pictures_below, walk
from tests.loaders.imported import faces, listed, save


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def below(root: Path) -> tuple[list[str], dict[str, str]]:
    """Pictures, and what else is there with its reason."""
    pictures, others = pictures_below(root)
    assert len({one.path for one in others}) == len(others)
    return [str(path.relative_to(root)) for path in pictures], {one.path: one.reason for one in others}


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int = errno.EACCES) -> None:
    """Has a folder refuse to be listed, also to root."""
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path).resolve() == folder.resolve():
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_picture_without_an_ending_is_known_by_how_it_begins(tmp_path: Path, format: str) -> None:
    picture = save(tmp_path / "a.png")
    with Image.open(picture) as image:
        image.save(tmp_path / "photo", format)
    picture.rename(tmp_path / "a.dat")
    (tmp_path / "README").write_text("RIFF is no picture")
    (tmp_path / "empty").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    pictures, others = pictures_below(tmp_path)
    assert pictures == [tmp_path / "photo"]
    assert {one.path: (one.reason, one.detail) for one in others if one.path != "gone"} == {
        "README": ("not a picture", "it does not begin as pictures do"),
        "a.dat": ("not a picture", "its name ends in '.dat'"),
        "empty": ("not a picture", "it does not begin as pictures do"),
    }


def test_pictures_are_known_by_any_usual_ending_in_any_case(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "c.jfif", "d.JPE", "e.Tif", "f.TIFF", "g.webp", "h.avif", "i.jp2", "k.PNM", "l.tga"]
    assert below(touch(tmp_path, *names, "m.heic", "n", "o.jpg.txt", "p.jpg~")) == (
        names,
        dict.fromkeys(["m.heic", "n", "o.jpg.txt", "p.jpg~"], "not a picture"),
    )


def test_hidden_entries_are_listed_and_not_looked_into(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "._x.png", ".DS_Store", "Thumbs.db", "__MACOSX/a/._x.png", ".git/x.png", "a/@eaDir/x.png")
    assert below(tmp_path) == (
        ["x.png"],
        {
            ".DS_Store": "hidden file",
            ".git": "hidden folder",
            "._x.png": "hidden file",
            "Thumbs.db": "not a picture",
            "__MACOSX": "hidden folder",
            "a/@eaDir": "hidden folder",
        },
    )


def test_linked_folders_are_followed_once_and_real_ones_come_first(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "b/x.png", "b/c/y.png")
    touch(tmp_path / "out", "z.png", "deep/w.png")
    (root / "a").symlink_to(root / "b")
    (root / "more").symlink_to(tmp_path / "out")
    (root / "most").symlink_to(tmp_path / "out" / "deep")
    (tmp_path / "out" / "back").symlink_to(root / "b" / "c")
    assert below(root) == (
        ["b/c/y.png", "b/x.png", "more/deep/w.png", "more/z.png"],
        {
            "a": "folder that is read already",
            "more/back": "folder that is read already",
            "most": "folder that is read already",
        },
    )


@pytest.mark.parametrize("target", [".", "..", "../..", "a", "a/b"])
def test_loops_end(tmp_path: Path, target: str) -> None:
    root = touch(tmp_path / "top" / "root", "a/b/x.png")
    touch(tmp_path, "top/beside.png")
    (root / "a" / "b" / "loop").symlink_to(root / target, target_is_directory=True)
    assert below(root) == (["a/b/x.png"], {"a/b/loop": "loop of links"})


def test_two_links_may_cross(tmp_path: Path) -> None:
    root, other = touch(tmp_path / "root", "x.png"), touch(tmp_path / "other", "y.png")
    (root / "there").symlink_to(other)
    (other / "back").symlink_to(root)
    assert below(root) == (["there/y.png", "x.png"], {"there/back": "folder that is read already"})


def test_links_to_nothing_and_to_themselves_are_left_to_decoding_or_listed(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("/nowhere.png")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "gone").symlink_to("/nowhere")
    (tmp_path / "self").symlink_to("self")
    assert below(tmp_path) == (["gone.png", "self.png"], dict.fromkeys(["gone", "self"], "unreadable entry"))


def test_pipes_are_no_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    assert below(tmp_path) == ([], dict.fromkeys(["null.png", "pipe.png"], "not a file"))


def test_an_unreadable_folder_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/x.png", "b/y.png")
    deny(monkeypatch, tmp_path / "a")
    assert below(tmp_path) == (["b/y.png"], {"a": "unreadable folder"})
    assert look(tmp_path, Path("a")).others[0].detail == "Permission denied"


def test_an_unreadable_root_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match=r"folder .*: must be readable; Permission denied, change its rights"):
        look(tmp_path)


def test_an_error_of_the_machine_is_not_taken_for_a_bad_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, touch(tmp_path, "a/x.png") / "a", errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        list(walk(tmp_path))


def utkface(root: Path) -> UtkFace:
    save(root / "part1" / "20_0_0_20170101.jpg")
    return UtkFace(root, val_share=0, test_share=0)


def ckplus48(root: Path) -> CkPlus48:
    save(root / "anger" / "S010_004_00000017.png")
    return CkPlus48(root)


def pointing04(root: Path) -> Pointing04:
    save(root / "Person01" / "person01100-90+0.jpg")
    touch(root, "Person01/person01100-90+0.txt")
    return Pointing04(root, crop="none")


def aflw2000(root: Path) -> Aflw2000:
    save(root / "image00002.jpg")
    touch(root, "image00002.mat")
    return Aflw2000(root)


def w300lp(root: Path) -> W300Lp:
    save(root / "AFW" / "AFW_1_1_0.jpg")
    touch(root, "AFW/AFW_1_1_0.mat")
    return W300Lp(root)


def biwi(root: Path) -> Biwi:
    save(root / "01" / "frame_00003_rgb.png")
    touch(root, "01/frame_00003_pose.txt", "01/frame_00003_depth.bin", "01/rgb.cal", "01.obj")
    return Biwi(root, crop="none")


def affectnet2021(root: Path) -> AffectNet2021:
    save(root / "train_set" / "images" / "1.jpg")
    return AffectNet2021(root, val_share=0)


def class_folders(root: Path) -> ClassFolders:
    save(root / "happy" / "1.png")
    return ClassFolders(root)


def split_folders(root: Path) -> ClassFolders:
    save(root / "train" / "happy" / "1.png")
    return ClassFolders(root)


def unlabelled(root: Path) -> ClassFolders:
    save(root / "1.png")
    return ClassFolders(root, unlabelled=True)


@pytest.mark.parametrize(
    ("made", "folder"),
    [
        (utkface, "part1"),
        (utkface, "."),
        (ckplus48, "anger"),
        (pointing04, "Person01"),
        (aflw2000, "."),
        (w300lp, "AFW"),
        (biwi, "01"),
        (affectnet2021, "train_set/images"),
        (class_folders, "happy"),
        (split_folders, "train/happy"),
        (split_folders, "train"),
        (split_folders, "."),
        (unlabelled, "."),
    ],
)
def test_every_importer_lists_what_it_meets(tmp_path: Path, made: Callable[[Path], Importer], folder: str) -> None:
    importer = made(tmp_path)
    before = {one.path for one in listed(importer)[1]}
    odd = ["notes.docx", "._x.png", "__MACOSX", "loop", "gone"]
    touch(tmp_path / folder, *odd[:2], "__MACOSX/a/._x.png")
    (tmp_path / folder / "loop").symlink_to(tmp_path)
    (tmp_path / folder / "gone").symlink_to("/nowhere")
    assert {one.path for one in listed(importer)[1]} - before == {str(Path(folder) / name) for name in odd}


def test_a_linked_split_and_a_linked_class_are_read(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "happy" / "1.jfif.png")
    save(tmp_path / "faces" / "train" / "sad" / "2.png")
    (tmp_path / "faces" / "val").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "faces" / "train" / "happy").symlink_to(tmp_path / "elsewhere" / "happy")
    (tmp_path / "faces" / "train" / "sad" / "self.png").symlink_to("self.png")
    found, skipped = faces(ClassFolders(tmp_path / "faces"), 12)
    assert [face.record.path for face in found] == ["train/happy/1.jfif.png", "train/sad/2.png", "val/happy/1.jfif.png"]
    assert [(one.path, one.reason) for one in skipped] == [("train/sad/self.png", "unreadable picture")]


def test_a_source_of_picture_files_counts_what_it_left_out(tmp_path: Path) -> None:
    for name in ("happy/1.png", "happy/2.png", "sad/1.png"):
        save(tmp_path / "faces" / name)
    source = Folder(tmp_path / "faces", workers=0)
    assert source.open("train", "cpu").note == ""
    touch(tmp_path / "faces", "sad/notes.txt", "sad/cut.png", "__MACOSX/._1.png")
    (tmp_path / "faces" / "sad" / "gone.png").symlink_to("/nowhere.png")
    opened = source.open("train", "cpu")
    assert len(opened.split.sample) == 3
    assert opened.note == (
        f"left out of {tmp_path / 'faces'}: 1 hidden folder, 1 not a picture, 2 unreadable picture; "
        "`hmtl prepare` lists them"
    )


def test_a_class_that_cannot_be_read_is_refused_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path)
    save(tmp_path / "sad" / "1.png")
    deny(monkeypatch, tmp_path / "sad")
    with pytest.raises(ValueError, match=r"folder .*: sad must be readable, as a folder .*; Permission denied"):
        ClassFolders(tmp_path).survey()
