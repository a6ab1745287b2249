"""Writes the loops that a user of DALI and of FFCV has in their own API: what our sources are measured against.

Each is a `Feed` of `engine.bench`, so that it is read, checked and timed like our sources: shuffled uint8 batches in
CPU memory, of the same files, with as many threads as there are cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from engine.bench.cases import Case, Data
from engine.bench.feeds import SEED, Opened
from loaders.decoding.reading import cores
from loaders.ffcv.package import ffcv, threads_kept
from loaders.store.opening import open_store

BARE = "bare "
"""Names of bare loops begin with it; the rest is the name of the source that reads the same files."""


def add_bare_loops(data: Data) -> None:
    """Puts the bare loop of each case that has one right behind it, so that their turns follow each other."""
    channels = open_store(data.truth.path).shape[2]  # type: ignore[attr-defined]  # cases made of files are Packed
    cases: list[Case] = []
    for case in data.cases:
        cases.append(case)
        name = BARE + case.name
        if case.name == "dali":
            cases.append(Case(name, BareDali(tuple(map(str, case.files)), channels), case.files, case.bound))
        elif case.name.startswith("ffcv"):
            cases.append(Case(name, BareFfcv(case.files[0]), case.files, case.bound, case.jpeg))
    data.cases = cases


@dataclass(frozen=True, slots=True)
class BareDali:
    """Runs `fn.readers.file` and `fn.decoders.image` behind DALI's iterator for PyTorch."""

    files: tuple[str, ...]
    channels: int

    def open(self, batch_size: int, device: str) -> Opened:
        """Builds the pipeline."""
        return _OpenedDali(self, batch_size)


class _OpenedDali:
    def __init__(self, feed: BareDali, batch_size: int) -> None:
        from nvidia.dali import Pipeline, fn, types
        from nvidia.dali.plugin.base_iterator import LastBatchPolicy
        from nvidia.dali.plugin.pytorch import DALIGenericIterator

        pipeline = Pipeline(
            batch_size=batch_size, num_threads=cores(), device_id=None, prefetch_queue_depth=2, seed=SEED
        )
        kind = types.GRAY if feed.channels == 1 else types.RGB
        with pipeline:
            data, _ = fn.readers.file(
                files=list(feed.files), random_shuffle=True, initial_fill=len(feed.files), name="files"
            )
            pipeline.set_outputs(fn.decoders.image(data, device="cpu", output_type=kind))
        self._loader: Any = DALIGenericIterator(
            [pipeline], ["faces"], reader_name="files", auto_reset=True, last_batch_policy=LastBatchPolicy.DROP
        )

    def epoch(self, epoch: int) -> Iterator[Any]:
        return iter(self._loader)

    def count(self, batch: Any) -> int:
        return len(batch[0]["faces"])

    def show(self, batch: Any) -> tuple[list[int] | None, UInt8[np.ndarray, "b h w c"]]:
        return None, batch[0]["faces"].numpy()

    def close(self) -> None:
        self._loader = None


@dataclass(frozen=True, slots=True)
class BareFfcv:
    """Runs FFCV's own `Loader` with its fast decoder."""

    file: Path

    def open(self, batch_size: int, device: str) -> Opened:
        """Makes the loader."""
        return _OpenedFfcv(self, batch_size)


class _OpenedFfcv:
    def __init__(self, feed: BareFfcv, batch_size: int) -> None:
        file = str(feed.file)
        decoder = ffcv("ffcv.fields.rgb_image").SimpleRGBImageDecoder()
        with threads_kept():
            others = [name for name in ffcv("ffcv.reader").Reader(file).field_names if name != "image"]
            self._loader: Any = ffcv("ffcv.loader.loader").Loader(
                file,
                batch_size=batch_size,
                num_workers=cores(),
                order=ffcv("ffcv.loader").OrderOption.RANDOM,
                seed=SEED,
                drop_last=True,
                pipelines={"image": [decoder, ffcv("ffcv.transforms.ops").ToTensor()]} | dict.fromkeys(others),
            )

    def epoch(self, epoch: int) -> Iterator[torch.Tensor]:
        with threads_kept():
            for (faces,) in self._loader:
                yield faces

    def count(self, batch: torch.Tensor) -> int:
        return len(batch)

    def show(self, batch: torch.Tensor) -> tuple[list[int] | None, UInt8[np.ndarray, "b h w c"]]:
        return None, batch.numpy()

    def close(self) -> None:
        self._loader = None
