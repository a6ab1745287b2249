"""Hashes the pixels of every face of a split, so that copies are found across sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch

from loaders.base import Faces, Source
from loaders.feed.joined import start_reading
from loaders.sources.identity import stored_hashes
from loaders.sources.kept import remember
from loaders.store.pixel_statistics import digests

READ_TOGETHER = 256  # faces


def pixel_hashes(source: Source, split: str, opened: Callable[[], Faces]) -> list[bytes]:
    """Hashes each face of a split, 16 bytes each, in its order; those of a prepared store are kept.

    Args:
        source: The source.
        split: Name of the split.
        opened: Gives its faces; not called where their hashes are kept.
    """

    def find() -> dict[str, np.ndarray]:
        faces = opened()
        position = torch.arange(len(faces.split.sample))
        with closing(start_reading(faces.pixels, position, READ_TOGETHER)) as batches:
            found = [digests(batch.cpu().numpy()) for batch in batches]
        return {"hash": np.concatenate(found)[: len(position)]}

    stored = stored_hashes(source)
    name = hashlib.sha256(json.dumps([stored, split], sort_keys=True).encode()).hexdigest()
    flat = (remember(f"pixels-{name}", find) if stored else find())["hash"].tobytes()
    return [flat[at : at + 16] for at in range(0, len(flat), 16)]
