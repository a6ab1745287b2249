"""Reads the .beton files that `hmtl prepare --format ffcv` wrote, decoded by FFCV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from loaders.base import By, Faces, augments
from loaders.feed.streams import augmenting
from loaders.ffcv.decoding import Decoder
from loaders.ffcv.package import worker_count
from loaders.ffcv.store import open_ffcv_store
from loaders.store.preparation import stated


@dataclass(frozen=True, slots=True)
class FFCV:
    """Reads an FFCV store: one .beton file a split.

    Sample ids, order, labels and mean colours equal those of a packed store prepared from the same source with the same
    settings, and so do the pixels, but where the store was prepared with `--jpeg`: then mean colours are those of the
    faces before JPEG, and FFCV's fast decoder differs from others by 1 gray level on average (8 at most on 287 faces of
    FairFace at quality 90; at 100 by 1.5 and 23). FFCV compiles its decoder in the first batch of a process: some
    seconds.

    Attributes:
        path: Folder of the store.
        workers: Threads that decode, never more than numba has (NUMBA_NUM_THREADS); None takes one a core for JPEG, and
            one alone for exact pixels: those are only copied, and waiting for a second thread costs more than it does.
        augment: "loader" augments faces behind the decoder, in the thread that reads ahead, with the kernel of the CPU:
            a face is that of "kernel" to within half a gray level, by which it is rounded between the two passes.
    """

    path: str | Path
    workers: int | None = None
    augment: By = "kernel"

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source`.

        Raises:
            ValueError: FFCV is not installed, the store is missing, damaged or has no such split, or an option is out
                of range. While batches are read: the file was cut.
        """
        asked = augments(self)
        store = open_ffcv_store(self.path)
        workers = worker_count(self.workers, jpeg=store.source["jpeg"] is not None)
        part = store.manifest.part(split, store.shape, f"store {store.path}", stated(store.source))
        decoder = Decoder(store.file(split), store.shape, workers)
        mean = store.manifest.mean[part.sample]
        return Faces(part, mean, augmenting(decoder, part, mean), torch.device(device), augments=asked)
