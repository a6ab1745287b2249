"""Imports FER2013 (Goodfellow et al., 2013): 35,887 gray faces of 48 x 48, as csv or as class folders."""

from __future__ import annotations

import itertools
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from loaders.base import Classes, Label
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.feed.ahead import Ahead
from loaders.importers import ferplus
from loaders.importers.folder import ClassFolders
from loaders.importers.layout import Located
from loaders.importers.lists import check_header, shown

EXPRESSIONS = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
SIDE = 48
PIXELS = SIDE * SIDE
USAGE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
COLUMNS = ("emotion", "pixels", "Usage")
NAMES = ("fer2013.csv", "icml_face_data.csv")
PACKED: dict[str, Callable[[], Any]] = {".xz": lzma.LZMADecompressor, ".gz": lambda: zlib.decompressobj(wbits=31)}
ENDINGS = ("", *PACKED)
BLOCK = 1 << 20
ROWS = 32  # parsed together: about 0.25 MB of text, which stays in the cache


@dataclass(frozen=True, slots=True)
class Fer2013(Located):
    """Reads `fer2013.csv` (also `.xz`, `.gz`), or folders `train|test/<class>/*`.

    `icml_face_data.csv` holds the same rows under another name.

    Attributes:
        source: The file, or the folder that holds it.
        ferplus: FER+'s `fer2013new.csv`, whose votes are joined; by default the one beside the csv, if it is there.
        val_share: Share of train that becomes val, stratified; for class folders only, since the csv has a val.
        seed: Chooses that val.
        skip_damaged: Leave rows with broken pixels out and list them, instead of refusing the file.
    """

    source: Path
    ferplus: Path | Literal[False] | None = None
    val_share: float = 0.0
    seed: int = 0
    skip_damaged: bool = False

    def survey(self) -> Contents:
        """Finds the file and its columns.

        Raises:
            ValueError: Nothing of FER2013 is there, columns are wrong, or an option does not fit the layout.
        """
        if self.source.is_dir():
            file = self._csv_in(self.source)
            return self._survey_folders() if file is None else self._survey_csv(file)
        if not self.source.is_file():
            raise ValueError(f"fer2013 {self.source}: must be a csv file or a folder; there is none")
        return self._survey_csv(self.source)

    def _csv_in(self, folder: Path) -> Path | None:
        # The original archive unpacks to a folder fer2013/.
        places = (folder, folder / "fer2013")
        found = [
            place / (name + ending)
            for place, name, ending in itertools.product(places, NAMES, ENDINGS)
            if (place / (name + ending)).is_file()
        ]
        if len(found) > 1:
            raise ValueError(
                f"fer2013 {folder}: must hold one csv file; it holds {', '.join(str(f) for f in found)}, name one"
            )
        return found[0] if found else None

    def _survey_folders(self) -> Contents:
        if not any((self.source / name).is_dir() for name in ("train", "test")):
            wanted = " or ".join(NAMES)
            raise ValueError(
                f"fer2013 {self.source}: must hold {wanted} (also .xz, .gz) or folders train and test; it has neither"
            )
        if self.ferplus:
            raise ValueError(
                f"fer2013 {self.source}: ferplus (={self.ferplus}) must be left out for class folders; "
                "votes are joined by the rows of the csv"
            )
        folders = ClassFolders(self.source, classes=EXPRESSIONS, val_share=self.val_share, seed=self.seed)
        return folders.survey()

    def _survey_csv(self, file: Path) -> Contents:
        if self.val_share:
            raise ValueError(
                f"fer2013 {file}: val_share (={self.val_share}) must be 0 for the csv; it has its own val, PublicTest"
            )
        beside = file.parent / ferplus.FILE
        votes_file = beside if self.ferplus is None and beside.is_file() else self.ferplus
        votes = ferplus.read_votes(votes_file) if votes_file else None
        table = _Table(file, votes, self.skip_damaged)
        table.check_columns()
        labels: dict[str, Label] = {"expression": Classes(EXPRESSIONS)}
        notes = ["Usage Training is train, PublicTest is val, PrivateTest is test"]
        if votes is not None:
            labels |= ferplus.LABELS
            notes.append(ferplus.NOTE)
            if self.ferplus is None:
                notes.append(f"{ferplus.FILE} lay beside the csv and was joined; --no-ferplus leaves its votes out")
        return Contents(labels, tuple(notes), table.records, None if votes is None else len(votes))


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    """1 is the first after the header."""
    emotion: str
    usage: str
    pixels: bytes


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of one csv file."""

    file: Path
    votes: Sequence[ferplus.Votes] | None
    skip_damaged: bool

    def check_columns(self) -> None:
        with closing(_blocks(self.file)) as blocks:
            try:
                self._columns(next(_lines(blocks), b""))
            except (EOFError, lzma.LZMAError, zlib.error) as error:
                raise self._cut(error) from error

    def records(self) -> Generator[Record | Skipped, None, None]:
        number = 0
        with closing(Ahead(_blocks(self.file), 8, f"reading {self.file.name}")) as blocks:
            rows = self._rows(blocks)
            while batch := list(itertools.islice(rows, ROWS)):
                number = batch[-1].number
                yield from self._records_of(batch)
        if number == 0:
            raise ValueError(f"fer2013 {self.file}: must have rows; there is nothing below its header")
        if self.votes is not None and len(self.votes) != number:
            raise self._other_rows(f"{number:,}", f"{len(self.votes):,}")

    def _rows(self, blocks: Iterator[bytes]) -> Iterator[_Row]:
        lines = _lines(blocks)
        try:
            columns = self._columns(next(lines, b""))
            for number, line in enumerate(lines, start=1):
                cells = line.split(b",")
                if len(cells) != 3:
                    raise ValueError(
                        f"fer2013 {self.file}: row {number} has {len(cells)} columns and must have 3; "
                        "the file is damaged, get it again"
                    )
                emotion, pixels, usage = (cells[place].strip(b' "\r') for place in columns)
                yield _Row(number, emotion.decode("ascii", "replace"), usage.decode("ascii", "replace"), pixels)
        except (EOFError, lzma.LZMAError, zlib.error) as error:
            raise self._cut(error) from error

    def _records_of(self, rows: list[_Row]) -> Generator[Record | Skipped, None, None]:
        values = [self._values(row) for row in rows]
        faces = parse_pixels([row.pixels for row in rows])
        for place, (row, (split, labels)) in enumerate(zip(rows, values, strict=True)):
            path = f"{self.file.name}#{row.number}"
            if faces is not None:
                yield Record(split, path, labels, faces[place])
                continue
            face, damage = _parse_carefully(row.pixels)
            if face is not None:
                yield Record(split, path, labels, face)
            elif self.skip_damaged:
                yield Skipped(path, "damaged pixels", damage)
            else:
                raise ValueError(
                    f"fer2013 {self.file}: row {row.number} {damage}; the file is damaged, get it again or "
                    "leave such rows out with --skip-damaged"
                )

    def _values(self, row: _Row) -> tuple[str, dict[str, Value]]:
        """Split and labels."""
        if len(row.emotion) != 1 or row.emotion not in "0123456":
            raise ValueError(
                f"fer2013 {self.file}: row {row.number}: emotion (={row.emotion!r}) must be 0 to 6; correct the row"
            )
        if row.usage not in USAGE:
            raise ValueError(
                f"fer2013 {self.file}: row {row.number}: Usage (={row.usage!r}) must be one of {', '.join(USAGE)}; "
                "correct the row"
            )
        labels: dict[str, Value] = {"expression": EXPRESSIONS[int(row.emotion)]}
        if self.votes is not None:
            if row.number > len(self.votes):
                raise self._other_rows(f"more than {len(self.votes):,}", f"{len(self.votes):,}")
            votes = self.votes[row.number - 1]
            if votes.usage != row.usage:
                raise ValueError(
                    f"ferplus: row {row.number} must have the Usage of the same row of {self.file.name}; it is "
                    f"{votes.usage!r} against {row.usage!r}, so the rows were sorted: take both files as published"
                )
            labels |= {"ferplus": votes.majority(), "ferplus_votes": votes.shares()}
        return USAGE[row.usage], labels

    def _columns(self, line: bytes) -> tuple[int, int, int]:
        """Places of emotion, pixels and Usage."""
        names = [name.strip().strip('"') for name in line.decode("utf-8-sig", "replace").strip().split(",")]
        take = f"take {' or '.join(NAMES)}"
        check_header(f"fer2013 {self.file}", names if line else [], COLUMNS, take)
        if len(names) != len(COLUMNS):
            raise ValueError(
                f"fer2013 {self.file}: columns (={shown(names)}) must be {', '.join(COLUMNS)} alone; {take}"
            )
        return names.index("emotion"), names.index("pixels"), names.index("Usage")

    def _cut(self, error: Exception) -> ValueError:
        return ValueError(f"fer2013 {self.file}: must unpack; it is cut or damaged ({error}), get it again")

    def _other_rows(self, rows: str, votes: str) -> ValueError:
        return ValueError(
            f"ferplus: must have one row of votes for each row of {self.file.name}; it has {votes} for {rows} rows, "
            f"take {ferplus.FILE} and the complete csv, or move the votes away"
        )


def parse_pixels(texts: Sequence[bytes]) -> UInt8[np.ndarray, "n 48 48"] | None:
    """Parses the pixels of several rows at once: three gathers over the text instead of a number at a time.

    Args:
        texts: Each 2,304 numbers of one to three digits in 0..255, with one blank between.

    Returns:
        The faces, or None if any text is not exactly that.
    """
    text = np.frombuffer(b"  " + b" ".join(texts) + b" ", np.uint8)
    ends = np.flatnonzero(text == ord(" "))[2:]
    last = np.cumsum([len(row) + 1 for row in texts]) + 1  # the blank that ends each row
    if ends.size != PIXELS * len(texts) or not np.array_equal(ends[PIXELS - 1 :: PIXELS], last):
        return None
    digits = np.count_nonzero(text - np.uint8(ord("0")) < 10)
    length = np.empty_like(ends)  # of a number and its blank
    length[0] = ends[0] - 1
    np.subtract(ends[1:], ends[:-1], out=length[1:])
    if digits + ends.size + 2 != text.size or length.min() < 2 or length.max() > 4:
        return None
    digit = text & np.uint8(15)  # a blank counts as 0, so that a number of one digit has tens 0
    value = digit[ends - 3].astype(np.uint16)
    value *= 100
    value *= length == 4
    value += digit[ends - 2] * np.uint8(10)
    value += digit[ends - 1]
    return value.astype(np.uint8).reshape(-1, SIDE, SIDE) if value.max() < 256 else None


def _parse_carefully(text: bytes) -> tuple[NDArray[np.uint8] | None, str]:
    """One row by the number: the face, or what is wrong with it."""
    words = text.split()
    if len(words) != PIXELS:
        return None, f"has {len(words):,} pixels and must have {PIXELS:,}"
    for word in words:
        if not word.isdigit() or int(word) > 255:
            return None, f"has the pixel {word.decode('ascii', 'replace')!r} and must have whole numbers in 0..255"
    return np.array([int(word) for word in words], dtype=np.uint8).reshape(SIDE, SIDE), ""


def _blocks(file: Path) -> Generator[bytes, None, None]:
    """The file's contents, unpacked.

    Compressed bytes go to the decompressor in large pieces: it runs without the interpreter's lock, and a file object
    of `lzma` or `gzip` would ask for the lock again every 8 KB.
    """
    with file.open("rb") as stream:
        if file.suffix not in PACKED:
            while block := stream.read(BLOCK):
                yield block
            return
        unpack = PACKED[file.suffix]()
        while piece := stream.read(BLOCK // 4):
            while piece:
                if unpack.eof:  # files may be joined, with zeros between
                    piece = piece.lstrip(b"\0")
                    if not piece:
                        break
                    unpack = PACKED[file.suffix]()
                yield unpack.decompress(piece)
                piece = unpack.unused_data if unpack.eof else b""
        if not unpack.eof:
            raise EOFError("it ends too early")


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines without their ends; empty ones are passed over."""
    rest: list[bytes] = []
    for block in blocks:
        head, newline, tail = block.partition(b"\n")
        rest.append(head)
        if not newline:
            continue
        *whole, last = [b"".join(rest), *tail.split(b"\n")]
        yield from _not_blank(whole)
        rest = [last]
    yield from _not_blank([b"".join(rest)])


def _not_blank(lines: list[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line and line != b"\r")
