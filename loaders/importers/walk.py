"""Lists what folders hold: the one place that says which entries are pictures, which are passed over, and why.

Whatever is met is given, or listed as `Skipped` with its reason:

- A picture is a file whose name ends as `ENDINGS` say, in any case, or has no ending where the file begins as pictures
  do (`BEGINNINGS`). A link to one counts, also one that leads nowhere: decoding then says so.
- A folder is followed, also where it is a link, but each real folder once: before links come those that really lie in
  the folder. A link to a folder that holds the link is a loop and not followed.
- Names that begin with a dot, and folders that systems leave behind (`SYSTEM`), are hidden: not read and not looked
  into.
- All else is listed: other files, what is no file, what cannot be read.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from loaders.decoding.pictures import FILE_ERRORS
from loaders.decoding.records import Skipped

ENDINGS = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg"}
    | {".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""How names of pictures end."""
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How files of JPEG, PNG, GIF, BMP and TIFF (either order of bytes) begin; WebP has its length in between."""
SYSTEM = frozenset({"__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle"})
"""Folders of macOS archives, of Windows, of ext4 and of network drives, in lower case."""
PICTURE, FOLDER = "picture", "folder"
UNEXPECTED, OUTSIDE = "folder where none is expected", "file outside the class folders"
NO_PICTURE, HIDDEN_FILE, HIDDEN_FOLDER = "not a picture", "hidden file", "hidden folder"
UNREADABLE_FOLDER, READ_ALREADY, LOOP = "unreadable folder", "folder that is read already", "loop of links"
NO_LOSS = frozenset({NO_PICTURE, HIDDEN_FILE, HIDDEN_FOLDER, READ_ALREADY, LOOP})
"""Reasons under which no picture was lost that anybody would miss."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Holds what one folder holds, sorted by name; paths are relative to the folder that was asked about first."""

    inside: Path
    pictures: tuple[str, ...] = ()
    """Names."""
    folders: tuple[str, ...] = ()
    """Names."""
    others: tuple[Skipped, ...] = ()
    """Everything else."""

    def around(self, used: Container[str] = ()) -> list[Skipped]:
        """Lists what is left out of a folder in which only the folders `used` are expected."""
        files = [Skipped(str(self.inside / name), OUTSIDE) for name in self.pictures]
        others = [Skipped(one.path, OUTSIDE) if one.reason == NO_PICTURE else one for one in self.others]
        return [*files, *others, *self._unexpected(used)]

    def beside_pictures(self) -> list[Skipped]:
        """Lists what is left out of a folder in which only pictures are expected."""
        return [*self.others, *self._unexpected()]

    def _unexpected(self, used: Container[str] = ()) -> list[Skipped]:
        return [Skipped(str(self.inside / name), UNEXPECTED) for name in self.folders if name not in used]


def is_picture(name: str) -> bool:
    """Tells whether a name ends like a picture's and is not hidden (`._name.jpg` of some archives)."""
    return Path(name).suffix.lower() in ENDINGS and not _is_hidden(name)


def look(root: Path, inside: Path = Path()) -> Listing:
    """Lists one folder, `inside` of `root`, without the folders in it; one that cannot be read is listed as such.

    Raises:
        ValueError: The root itself cannot be read.
    """
    try:
        with os.scandir(root / inside) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        if inside == Path():
            raise ValueError(f"folder {root}: must be readable; {error.strerror}, change its rights") from error
        return Listing(inside, others=(Skipped(str(inside), UNREADABLE_FOLDER, str(error.strerror)),))
    kinds = [(entry.name, *_kind(entry)) for entry in entries]
    return Listing(
        inside,
        pictures=tuple(name for name, kind, _ in kinds if kind == PICTURE),
        folders=tuple(name for name, kind, _ in kinds if kind == FOLDER),
        others=tuple(
            Skipped(str(inside / name), kind, detail) for name, kind, detail in kinds if kind not in (PICTURE, FOLDER)
        ),
    )


def walk(root: Path) -> Iterator[Listing]:
    """Lists a folder and all folders in it, in depth, then those that links in it lead to.

    Raises:
        ValueError: The root itself cannot be read.
    """
    seen: dict[object, Path] = {}
    links = deque([Path()])
    while links:
        below = [links.popleft()]
        while below:
            inside = below.pop()
            if (first := seen.setdefault(_identity(root / inside), inside)) != inside:
                already = "the folder itself" if first == Path() else str(first)
                yield Listing(inside, others=(Skipped(str(inside), READ_ALREADY, f"as {already}"),))
                continue
            found = look(root, inside)
            yield found
            folders = [inside / name for name in found.folders]
            links += [folder for folder in folders if (root / folder).is_symlink()]
            below += [folder for folder in reversed(folders) if not (root / folder).is_symlink()]


def pictures_below(root: Path, companions: Iterable[str] = ()) -> tuple[list[Path], list[Skipped]]:
    """Lists all pictures in a folder and its folders, sorted, and everything else that is there.

    Args:
        root: The folder.
        companions: Endings of files that belong to the data set without being pictures; they are not listed.

    Raises:
        ValueError: The folder cannot be read.
    """
    pictures, others = [], []
    for found in walk(root):
        pictures += [root / found.inside / name for name in found.pictures]
        others += without(found.others, companions)
    return sorted(pictures), sorted(others, key=lambda one: Path(one.path))


def without(others: Iterable[Skipped], companions: Iterable[str]) -> list[Skipped]:
    """Drops what is no picture and has one of these endings: it is read beside one."""
    endings = tuple(companions)
    return [one for one in others if one.reason != NO_PICTURE or not one.path.endswith(endings)]


def _identity(folder: Path) -> object:
    """Tells real folders apart, whatever leads to them."""
    try:
        status = folder.stat()
    except OSError:  # then it cannot be listed either, and that is reported
        return folder
    return status.st_dev, status.st_ino


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _kind(entry: os.DirEntry[str]) -> tuple[str, str]:
    """Tells what an entry is: `PICTURE`, `FOLDER`, or the reason why it is left out, with a detail."""
    try:
        # The folder itself tells plain files and folders; only links and oddities need a look at each.
        plain, folder = entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
        mode = stat.S_IFREG if plain else stat.S_IFDIR if folder else Path(entry.path).stat().st_mode
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        if _is_hidden(entry.name):
            return HIDDEN_FILE, ""
        return (PICTURE, "") if is_picture(entry.name) else ("unreadable entry", str(error.strerror))
    if _is_hidden(entry.name):
        return (HIDDEN_FOLDER if stat.S_ISDIR(mode) else HIDDEN_FILE), ""
    if stat.S_ISDIR(mode):
        real = Path(entry.path).resolve()
        if not folder and Path(entry.path).parent.resolve().is_relative_to(real):
            return LOOP, f"it leads to {real}, which holds it"
        return FOLDER, ""
    if not stat.S_ISREG(mode):
        return "not a file", "it is a pipe, a socket or a device"
    if is_picture(entry.name):
        return PICTURE, ""
    if ending := Path(entry.name).suffix:
        return NO_PICTURE, f"its name ends in {ending!r}"
    return (PICTURE, "") if _begins_as_picture(entry.path) else (NO_PICTURE, "it does not begin as pictures do")


def _begins_as_picture(path: str) -> bool:
    """Looks into a file whose name does not say what it is."""
    try:
        with Path(path).open("rb") as file:
            begins = file.read(12)
        return begins.startswith(BEGINNINGS) or (begins[:4], begins[8:]) == (b"RIFF", b"WEBP")
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        return False
