"""Checks that a source delivers the same samples in the same order with the same pixels, before it is timed."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.bench.cases import Case, Data
from engine.bench.feeds import SEED
from loaders import Loader, Shuffled
from loaders.decoding.pictures import as_channels, mean_colour


@dataclass(frozen=True, slots=True)
class Difference:
    """Holds how far pictures are from what they must be, in gray levels."""

    mean: float
    most: float


class Truth:
    """Holds the faces of the split, as `Data.truth` gives them: its first batch, and all of them one by one.

    Args:
        data: What is measured.
        batch_size: Faces of a batch.
    """

    def __init__(self, data: Data, batch_size: int) -> None:
        self._data = data
        with closing(
            Loader.open(data.truth, data.split, batch_size=batch_size, seed=SEED, device="cpu", sampler=Shuffled())
        ) as loader:
            batch = next(loader.epoch(0))
            self.sample: list[int] = batch.sample.tolist()
            self.faces: NDArray[np.uint8] = batch.store[batch.row].numpy()
        with closing(Loader.open(data.truth, data.split, batch_size=batch_size, seed=SEED, device="cpu")) as loader:
            self._all = np.concatenate([b.store[b.row][b.sample >= 0].numpy() for b in loader.epoch(0)])
        self._mean = mean_colour(self._all)

    def check(self, case: Case, sample: list[int] | None, faces: NDArray[np.uint8]) -> Difference:
        """Compares the first faces of a case's first batch.

        A case without sample ids has an order of its own: each of its first faces must be one of the split's.

        Raises:
            ValueError: Other samples, or pixels further off than the case's bound.
        """
        if sample is not None:
            if sample != self.sample:
                raise ValueError(
                    f"bench: {case.name} must give the samples of the order; it gives {sample[:4]}... where "
                    f"{self.sample[:4]}... come first"
                )
            found = self._difference(case, faces, self.faces[: len(faces)])
        else:
            few = faces[:8]
            found = self._difference(case, few, np.stack([self._nearest(face) for face in few]))
        if found.most > case.bound:
            raise ValueError(
                f"bench: {case.name} must give the stored faces within {case.bound} gray levels; "
                f"it is {found.most:g} off ({found.mean:.2f} on average)"
            )
        return found

    def _nearest(self, face: NDArray[np.uint8]) -> NDArray[np.uint8]:
        distance = np.abs(self._mean - mean_colour(face[None])).sum(1)
        few = self._all[np.argsort(distance, kind="stable")[:64]].astype(np.int16)
        off = np.abs(few - face[..., : few.shape[3]].astype(np.int16)).reshape(len(few), -1).sum(1)
        nearest: NDArray[np.uint8] = few[int(off.argmin())].astype(np.uint8)
        return nearest

    def _difference(self, case: Case, faces: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Difference:
        if case.jpeg is not None:
            truth = np.stack([_as_jpeg(face, case.jpeg) for face in truth])
        if faces.shape[3] > truth.shape[3]:  # FFCV's own loop gives gray faces three equal channels
            truth = as_channels(truth, faces.shape[3])
        if faces.shape != truth.shape:
            raise ValueError(f"bench: {case.name} must give faces of shape {truth.shape}; it gives {faces.shape}")
        off = np.abs(faces.astype(np.int16) - truth)
        return Difference(float(off.mean()), int(off.max()))


def _as_jpeg(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Encodes a face as JPEG and decodes it, as a colour picture, which is how FFCV stores it."""
    buffer = io.BytesIO()
    Image.fromarray(as_channels(face, 3)).save(buffer, format="jpeg", quality=quality)
    return np.asarray(Image.open(buffer))[..., : face.shape[2]]
