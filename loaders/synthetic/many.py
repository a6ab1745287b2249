"""Many random faces at once, in chunks spread over threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Int64, UInt8

from loaders.synthetic.appearance import Drawn, faces_drawn
from loaders.synthetic.scene import paint_faces

_CHUNK = 128  # faces whose shapes are held at once: 128 of about 2,500 points are 5 MB


def draw_faces(
    seed: int, split: str, index: Int64[np.ndarray, " n"], size: int
) -> tuple[UInt8[np.ndarray, "n {size} {size} 3"], Drawn]:
    """Draw the faces at these positions of a split, RGB on 0..255, and what they show.

    A face is a function of (seed, split, position, size); which others are drawn with it, and on how many cores,
    changes no bit of it.
    """
    drawn = faces_drawn(seed, split, index)
    out = np.empty((len(index), size, size, 3), np.uint8)

    def work(first: int) -> None:
        rows = slice(first, first + _CHUNK)
        out[rows] = paint_faces(drawn.faces.rows(rows), size)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in [pool.submit(work, first) for first in range(0, len(index), _CHUNK)]:
            done.result()
    return out, drawn
