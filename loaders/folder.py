"""`Folder`: picture files decoded with Pillow at every access. Slow and exact: what faster sources are held against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loaders.base import Draw, Loader, Sampler
from loaders.importers import Importer, Record, pictures_in
from loaders.opened import Streamed, batch_by_batch, refuse_draw
from loaders.order import Order
from loaders.pictures import Colour, Fit, Form, UnreadableError, as_channels, decode
from loaders.scan import scan


@dataclass(frozen=True, slots=True)
class Folder:
    """Picture files, read with the same importer and decoder as `loaders.prepare`.

    Sample ids, pixels, labels and mean colours equal those of a store prepared from the same source with the same
    settings. To know them, the first opening decodes every picture once, for all splits, and keeps what it found
    (`loaders.kept`); pictures that cannot be read are left out, as there.

    Attributes:
        source: A folder with a `manifest.csv` or of class folders, or an importer whose records are picture files.
        size: Side of the square face; None keeps pictures as they are, which then must share one size.
        fit: What happens to pictures that are not square: "crop" (centre square) or "stretch".
        colour: "gray", "rgb", or "auto": gray if every picture is gray.
    """

    source: str | Path | Importer
    size: int | None = None
    fit: Fit = "crop"
    colour: Colour = "auto"

    def open(
        self,
        split: str,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str,
        rank: int = 0,
        world: int = 1,
        sampler: Sampler | None = None,
        draw: Draw | None = None,
    ) -> Loader:
        """Open one split; see `loaders.base.Source`.

        Raises:
            ValueError: The source is missing, has no readable picture or no such split, or `draw` is given. While
                batches are read: a picture has changed since.
        """
        refuse_draw("Folder", draw)
        form = Form(self.size, self.fit, self.colour)
        source = self.source
        importer = pictures_in(source) if isinstance(source, str | Path) else source
        where = f"folder {importer.source}"
        scanned = scan(importer, form, where)
        records, shape = scanned.records, scanned.shape
        part = scanned.manifest.part(split, shape, where)
        order = Order(part, batch_size, seed, rank, world, sampler)
        ids = part.sample.tolist()

        def read(position: Tensor) -> Tensor:
            faces = [_face(records[ids[place]], form, shape) for place in position.tolist()]
            return torch.from_numpy(np.stack(faces))

        return Streamed(order, batch_by_batch(read), scanned.manifest.mean[part.sample], device)


def _face(record: Record, form: Form, shape: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        pixels = decode(record.picture, form, record.box)
    except UnreadableError as error:
        raise ValueError(
            f"folder: {record.path} must stay readable while it is used; {error}, open the split again"
        ) from error
    if pixels.shape[:2] != shape[:2] or pixels.shape[2] > shape[2]:
        raise ValueError(f"folder: {record.path} must stay as it was when it was opened; it changed, open it again")
    return as_channels(pixels, shape[2])
