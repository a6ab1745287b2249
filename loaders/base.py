"""Defines the border between files and training: what every source opens, and what reaches the training step.

A `Source` is plain data (a frozen dataclass naming files) until it opens the `Faces` of one split. A
`loaders.feed.loader.Loader` delivers them as `Batch`es of stored-size uint8 faces on the device, with the sample ids
that key their labels and their randomness. Augmentation happens later, in the kernel, so every source gives the same
views for the same bytes; a source that augments while it decodes is handed the same draws.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float32, Int32, Int64, UInt8
from torch import Tensor

from kernels import Key, Tables
from loaders.class_map import ClassMap

By = Literal["kernel", "loader"]
"""Who augments: `render_views`, or the source itself, ahead of the step."""

Fit = Literal["crop", "stretch", "pad"]
"""What becomes of a picture that is not square: its centre square; all of it, out of proportion; or all of it in
proportion, in the middle of a square whose rest shows the nearest pixels of its edge."""

Part = Literal["all", "labelled", "unlabelled"]
"""A part of the samples of a composed batch; see `Batch.labelled`."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Names the classes of a label; its target is int64 "n", -1 where the label is missing.

    Raises:
        ValueError: A name is no text that reports, charts and other programs can show.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_text("class", self.names)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Names the numbers of a label; its target is float32 "n k", NaN where a number is missing.

    Raises:
        ValueError: A name is no text that reports, charts and other programs can show.
    """

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        check_text("column", self.columns)


def check_text(what: str, names: Iterable[str]) -> None:
    """Refuses a name that is not UTF-8, as archives from other systems have, or that holds control characters.

    Raises:
        ValueError: Shows the name with escapes.
    """
    for name in names:
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise ValueError(
                f"label: {what} (={name!a}) must be UTF-8 text without control characters; rename it, or the "
                "folder or cell it comes from"
            )


Label = Classes | Numbers


@dataclass(frozen=True, slots=True)
class Augmented:
    """Says what a source has done to the faces of a batch already."""

    tables: Tables
    """Their `where`, `colour` and `blur` are in the faces; noise and cut-out are left to the kernel."""
    store: tuple[int, int]
    """(height, width) of the stored faces, which `tables.where` leads to."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Holds the faces of one batch, as stored, on the device."""

    store: UInt8[Tensor, "s h w c"]
    """Decoded faces, c = 3 or 1: the whole split where it is resident, this batch's faces where they stream."""
    row: Int64[Tensor, " b"]
    """Row of `store` of each sample."""
    sample: Int64[Tensor, " b"]
    """Sample id in the manifest, the key of its labels and its randomness; -1 pads the last evaluation batch
    (with a valid `row`)."""
    occurrence: Int32[Tensor, " b"]
    """How often the epoch has shown the sample before, on any rank: 0 at first, more with replacement alone."""
    mean: Float32[Tensor, "b 3"]
    """Mean colour of the stored face on 0..255: contrast turns about it."""
    target: Mapping[str, Tensor]
    """Label name to its targets, first axis b; -1 or NaN where missing and in padding."""
    augmented: Augmented | None = None
    """Set where the source has augmented: `store` then holds finished RGB faces of the draw's size."""
    labelled: int | None = None
    """Of a composed batch the number of samples with a label, which come first; the rest have none. None: not composed.
    """

    def places(self, of: Part) -> slice:
        """Tells where the samples of a part stand: in a batch that is not composed, all of them."""
        if of == "all" or self.labelled is None:
            return slice(None)
        return slice(self.labelled) if of == "labelled" else slice(self.labelled, None)

    def part(self, of: Part) -> Batch:
        """Gives the samples of a part as a batch that is not composed."""
        chosen = self.places(of)
        if chosen == slice(None):
            return self
        return Batch(
            self.store,
            self.row[chosen],
            self.sample[chosen],
            self.occurrence[chosen],
            self.mean[chosen],
            {name: target[chosen] for name, target in self.target.items()},
            None if self.augmented is None else replace(self.augmented, tables=self.augmented.tables[chosen]),
        )


@dataclass(frozen=True, slots=True)
class Preparation:
    """Says what was done to pictures to make faces of them, as it is to be done again where a model is used.

    Attributes:
        size: Side of the square faces; None where pictures were kept as they are.
        fit: See `Fit`; it did nothing where there is no size.
        colour: "gray", "rgb", or "auto": gray where all pictures were.
        crop: How faces were cut out of pictures: "none", by their "box", or turned upright by landmarks: "align".
        margin: Share of the crop's side that was added on each side.
    """

    size: int | None = None
    fit: Fit = "crop"
    colour: str = "auto"
    crop: str = "none"
    margin: float = 0.0

    def __str__(self) -> str:
        how = {"none": "", "align": f"aligned by landmarks (margin {self.margin:g})"}
        cut = how.get(self.crop, f"cut by their {self.crop} (margin {self.margin:g})")
        verb = {"crop": "cropped", "stretch": "stretched", "pad": "padded"}[self.fit]
        made = "kept as they are" if self.size is None else f"{verb} to {self.size} x {self.size}"
        return ", ".join(filter(None, (cut, made, "gray" if self.colour == "gray" else "")))


@dataclass(frozen=True, slots=True)
class Split:
    """Describes the samples of a split: what is known of them before the first batch."""

    name: str
    sample: Int64[Tensor, " n"]
    """Ids of its samples in manifest order, on the CPU."""
    shape: tuple[int, int, int]
    """(height, width, channels) of a stored face."""
    labels: Mapping[str, Label]
    target: Mapping[str, Tensor]
    """Label name to the targets of all n samples, on the CPU, in the order of `sample`."""
    prepared: tuple[Preparation, ...] = ()
    """What was done to the pictures, one for each way it was done; none where faces are drawn."""
    group: str | None = None
    """The label whose classes are groups of faces that are not independent of each other, such as those of one person;
    None where nothing is known of such groups. A face without it is a group of its own."""


def hidden(target: Tensor, which: Bool[Tensor, " n"]) -> Tensor:
    """Gives targets of which some samples lack theirs: -1 for a class, NaN for a number."""
    return torch.where(which.view(-1, *[1] * (target.ndim - 1)), missing(target, 1), target)


@runtime_checkable
class Sampler(Protocol):
    """Chooses the order of an epoch; a frozen dataclass, so that a recipe can hold it."""

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " m"]:
        """Gives positions in `split.sample` (0..n-1) in the order they are shown; m may differ from n."""
        ...


class Draw(Protocol):
    """Draws how faces are augmented: what the engine hands to a source that augments while it decodes."""

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
            key: Of the samples: the loader's seed, the epoch, and the occurrence of each.
            mean: Mean colour of the stored faces on 0..255.
            store: (height, width) of a stored face.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Lists the batches of an epoch that are still to come, on the CPU."""

    seed: int
    epoch: int
    position: Int64[Tensor, "k b"]
    """Positions in `Split.sample`; with replacement one may occur twice. -1 pads, which a stream is given as 0."""
    occurrence: Int32[Tensor, "k b"]
    """How often the epoch has shown the sample before, on any rank; 0 in padding."""
    labelled: tuple[int, ...] | None = None
    """Of each batch; see `Batch.labelled`."""


Stream = Callable[[Plan, Draw | None], Generator[UInt8[Tensor, "b h w c"], None, None]]
"""Reads the faces of a plan batch after batch, into host memory or onto the device, augmented where a draw is given.
It is called where an epoch begins; what it returns is iterated, and closed, in the thread that reads ahead, on a GPU
within the CUDA stream of its copies."""


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Holds the opened faces of one split, for a `loaders.feed.loader.Loader` to deliver.

    What was opened for reading is let go of with the last reference to it.
    """

    split: Split
    mean: Float32[Tensor, "n 3"]
    """Mean colour of each stored face on 0..255, in the order of `split.sample`, on the CPU."""
    pixels: UInt8[Tensor, "n h w c"] | Stream
    """All faces on `device`, in the order of `split.sample`, or how they are read."""
    device: torch.device
    """Where batches go."""
    augments: bool = False
    """Whether the stream takes a draw."""
    note: str = ""
    """What the source chose by itself, and why, in one line for people; empty where there was nothing to choose."""
    class_maps: tuple[ClassMap, ...] = ()
    """What the classes of this split became, of each label that the source gives other names."""


@runtime_checkable
class Source(Protocol):
    """Names where faces come from; plain data until opened."""

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens the faces of one split, to be delivered on a device.

        Raises:
            ValueError: The data is missing, damaged or has no such split; says what to run.
        """
        ...


def missing(like: Tensor, rows: int) -> Tensor:
    """Makes rows of targets whose label is missing: -1 for classes, NaN for numbers.

    Args:
        like: Targets of the same label, first axis any number of samples.
        rows: Samples to make them for.
    """
    return like.new_full((rows, *like.shape[1:]), float("nan") if like.is_floating_point() else -1)


def augment_of(source: Source) -> By:
    """Finds who augments the training split of a source; the kernel where it does not say."""
    by: By = getattr(source, "augment", "kernel")
    return by


def augments(source: Source) -> bool:
    """Tells whether a source was told to augment by itself (`augment="loader"`): its loader then needs a draw to train.

    Raises:
        ValueError: The field `augment` is no choice.
    """
    by = augment_of(source)
    if by not in get_args(By):
        raise ValueError(f"{type(source).__name__}: augment (={by!r}) must be 'kernel' or 'loader'; choose one")
    return by == "loader"
