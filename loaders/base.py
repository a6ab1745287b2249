"""The border between files and training: what every source delivers.

A `Source` is plain data (a frozen dataclass naming files) until it is opened for one split; the `Loader` it opens
delivers `Batch`es of stored-size uint8 faces on the device, with the sample ids that key their labels and their
randomness. Augmentation happens later, in the kernel, so every source gives the same views for the same bytes; a source
that augments while it decodes is handed the same draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from kernels import Key, Tables

By = Literal["kernel", "loader"]
"""Who augments: `render_views`, or the source itself, ahead of the step."""


@dataclass(frozen=True, slots=True)
class Classes:
    """A label with one of a fixed list of names; its target is int64 "n", -1 where the label is missing."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """A label of one or more numbers; its target is float32 "n k", NaN where a number is missing."""

    columns: tuple[str, ...]


Label = Classes | Numbers


@dataclass(frozen=True, slots=True)
class Augmented:
    """What a source has done to the faces of a batch already."""

    tables: Tables
    """Their `where`, `colour` and `blur` are in the faces; noise and cut-out are left to the kernel."""
    store: tuple[int, int]
    """(height, width) of the stored faces, which `tables.where` leads to."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Faces of one batch, as stored, on the device."""

    store: UInt8[Tensor, "s h w c"]
    """Decoded faces, c = 3 or 1: the whole split where it is resident, this batch's faces where they stream."""
    row: Int64[Tensor, " b"]
    """Row of `store` of each sample."""
    sample: Int64[Tensor, " b"]
    """Sample id in the manifest, the key of its labels and its randomness; -1 pads the last evaluation batch
    (with a valid `row`)."""
    mean: Float32[Tensor, "b 3"]
    """Mean colour of the stored face on 0..255: contrast turns about it."""
    target: Mapping[str, Tensor]
    """Label name to its targets, first axis b; -1 or NaN where missing and in padding."""
    augmented: Augmented | None = None
    """Set where the source has augmented: `store` then holds finished RGB faces of the draw's size."""


@dataclass(frozen=True, slots=True)
class Split:
    """What a loader knows of its split before the first batch."""

    name: str
    sample: Int64[Tensor, " n"]
    """Ids of its samples in manifest order, on the CPU."""
    shape: tuple[int, int, int]
    """(height, width, channels) of a stored face."""
    labels: Mapping[str, Label]
    target: Mapping[str, Tensor]
    """Label name to the targets of all n samples, on the CPU, in the order of `sample`."""


@runtime_checkable
class Sampler(Protocol):
    """Chooses the order of an epoch; a frozen dataclass, so that a recipe can hold it."""

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " m"]:
        """Positions in `split.sample` (0..n-1) in the order they are shown; m may differ from n."""
        ...


class Draw(Protocol):
    """How faces are augmented: what the engine hands to a source that augments while it decodes."""

    @property
    def size(self) -> int:
        """Side of an augmented face in pixels."""
        ...

    @property
    def blurs(self) -> bool:
        """Whether any face is blurred."""
        ...

    def __call__(self, key: Key, mean: Float32[Tensor, "b 3"], store: tuple[int, int]) -> Tables:
        """Draws the tables of each sample, a pure function of the key, on its device.

        Args:
            key: Of the samples: the loader's seed, and the epoch.
            mean: Mean colour of the stored faces on 0..255.
            store: (height, width) of a stored face.
        """
        ...


class Loader(Protocol):
    """One opened split. Close it, or use `contextlib.closing`."""

    split: Split
    note: str
    """What the source chose by itself, and why, in one line for people; empty where there was nothing to choose."""

    def __len__(self) -> int:
        """Batches an epoch on this rank."""
        ...

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on; the order is a function of (seed, epoch) alone."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Source(Protocol):
    """Where faces come from; plain data until opened."""

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
        """Open one split.

        With a `sampler` (training) only full batches are delivered and the few samples left over are dropped; without
        one (evaluation) samples come in manifest order, each exactly once, and the last batch is padded with sample
        -1. Rank r of `world` gets every world-th sample of the order, starting at r.

        With a `draw` (training only) the source augments the faces itself and each batch says so by `augmented`; a
        source that does not refuses it.

        Raises:
            ValueError: The data is missing, damaged or has no such split; says what to run.
        """
        ...


def augments(source: Source) -> bool:
    """Whether a source was told to augment by itself (`augment="loader"`), and so is to be opened with a `draw`."""
    by: By = getattr(source, "augment", "kernel")
    return by == "loader"
