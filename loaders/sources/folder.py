"""Opens picture files, decoded with Pillow at every access: slow and exact, what faster sources are held against."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from loaders.base import Draw, Faces, Fit, Plan, Stream
from loaders.decoding.pictures import Colour, Form, UnreadableError, as_channels, decode
from loaders.decoding.reading import cores
from loaders.feed.streams import batch_by_batch
from loaders.importers import Importer, Record, pictures_in
from loaders.sources.scan import scan


@dataclass(frozen=True, slots=True)
class Folder:
    """Names picture files, read with the same importer and decoder as `loaders.prepare`.

    Sample ids, pixels, labels and mean colours equal those of a store prepared from the same source with the same
    settings. To know them, the first opening decodes every picture once, for all splits, and keeps what it found
    (`loaders.sources.kept`); pictures that cannot be read are left out, as there, and counted in the note.

    Attributes:
        source: A folder with a `manifest.csv` or of class folders, or an importer whose records are picture files.
        size: Side of the square face; None keeps pictures as they are, which then must share one size.
        fit: What happens to pictures that are not square: "crop" (centre square), "stretch" or "pad" (with the
            pixels of their edge).
        colour: "gray", "rgb", or "auto": gray if every picture is gray.
        workers: Processes that decode, of torch's DataLoader; None takes one a core, 0 decodes in a thread instead.
    """

    source: str | Path | Importer
    size: int | None = None
    fit: Fit = "crop"
    colour: Colour = "auto"
    workers: int | None = None

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source`.

        Raises:
            ValueError: The source is missing, has no readable picture or no such split, or an option is out of range.
                While batches are read: a picture has changed since.
            RuntimeError: While batches are read: a worker process was killed, which torch says in the main thread.
        """
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"Folder: workers (={self.workers}) must be 0 or more; leave it out for one a core")
        form = Form(self.size, self.fit, self.colour)
        source = self.source
        importer = pictures_in(source) if isinstance(source, str | Path) else source
        where = f"folder {importer.source}"
        scanned = scan(importer, form, where)
        records, shape = scanned.records, scanned.shape
        part = scanned.manifest.part(split, shape, where, scanned.prepared)
        pictures = _Pictures([records[sample] for sample in part.sample.tolist()], form, shape)
        workers = cores() if self.workers is None else self.workers
        stream = batch_by_batch(pictures.faces) if workers == 0 else _in_processes(pictures, workers)
        return Faces(part, scanned.manifest.mean[part.sample], stream, torch.device(device), note=scanned.note)


@dataclass(frozen=True, slots=True, eq=False)
class _Pictures(Dataset[NDArray[np.uint8] | str]):
    """Decodes the pictures of a split a batch at a time, here or in a worker process."""

    records: list[Record]
    form: Form
    shape: tuple[int, int, int]

    def faces(self, position: Int64[Tensor, " b"]) -> UInt8[Tensor, "b h w c"]:
        """Decodes the faces at positions of the split.

        Raises:
            ValueError: A picture has changed since the split was opened.
        """
        return torch.from_numpy(self._stacked(position.numpy()))

    def __getitem__(self, position: NDArray[np.int64]) -> NDArray[np.uint8] | str:
        """Does as `faces`, or says what is wrong: an error raised in a worker comes out wrapped in its traceback."""
        try:
            return self._stacked(position)
        except ValueError as error:
            return str(error)

    def _stacked(self, position: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([self._face(self.records[place]) for place in position])

    def _face(self, record: Record) -> NDArray[np.uint8]:
        try:
            pixels = decode(record.picture, self.form, record.box)
        except UnreadableError as error:
            raise ValueError(
                f"folder: {record.path} must stay readable while it is used; {error}, open the split again"
            ) from error
        if pixels.shape[:2] != self.shape[:2] or pixels.shape[2] > self.shape[2]:
            raise ValueError(f"folder: {record.path} must stay as it was when it was opened; it changed, open it again")
        return as_channels(pixels, self.shape[2])


def _in_processes(pictures: _Pictures, workers: int) -> Stream:
    def stream(plan: Plan, draw: Draw | None) -> Generator[Tensor, None, None]:
        assert draw is None
        loader = DataLoader(
            pictures,
            # Each "index" is a batch's positions. Arrays go there and come back through a pipe; a tensor's memory is
            # asked for from the other process, and a worker prints a traceback where that was killed in between.
            sampler=[positions.numpy() for positions in plan.position],
            collate_fn=_as_it_is,
            batch_size=None,
            num_workers=min(workers, max(1, len(plan.position))),
            generator=torch.Generator(),  # it draws from torch's own where it is given none
        )
        # Started here and not in the thread that reads ahead: a process forked beside a busy main thread may hang.
        return _checked(iter(loader))

    return stream


def _as_it_is(faces: Any) -> Any:
    return faces


def _checked(batches: Iterator[NDArray[np.uint8] | str]) -> Generator[Tensor, None, None]:
    try:
        for faces in batches:
            if isinstance(faces, str):
                raise ValueError(faces)
            yield torch.from_numpy(faces)
    except RuntimeError as error:
        raise RuntimeError(
            f"folder: workers must live until the epoch ends; one was killed or crashed ({error}), free memory, take "
            "fewer workers or prepare the pictures and use Packed"
        ) from error
    finally:
        batches._shutdown_workers()  # type: ignore[attr-defined]  # deleting it would do, whenever that is
