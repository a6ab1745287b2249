"""Brings the faces of another store to the size and colour that a model was trained on, as `prepare` would have."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from loaders.base import Draw, Faces, Plan
from loaders.decoding.pictures import Form, decode
from loaders.feed.streams import batch_by_batch


def fitted(faces: Faces, shape: tuple[int, int, int], where: str) -> tuple[Faces, str]:
    """Shows faces at another size, by Pillow's Lanczos filter, and in gray or RGB, for evaluation.

    Args:
        faces: Opened, and not to be augmented.
        shape: (height, width, channels) that is wanted.
        where: Opens the error.

    Returns:
        The faces, untouched where they are as wanted, and what was done to them, empty where nothing was.

    Raises:
        ValueError: The size differs, and one of both is not square.
    """
    (height, width, channels), (wanted_height, wanted_width, wanted_channels) = faces.split.shape, shape
    resized = (height, width) != (wanted_height, wanted_width)
    if resized and (height != width or wanted_height != wanted_width):
        raise ValueError(
            f"{where}: faces (={width} x {height}) must be square, or {wanted_width} x {wanted_height} pixels as those "
            "that the model was trained on; prepare them again at that size"
        )
    done = [f"resized from {width} x {height} to {wanted_width} x {wanted_height} pixels"] if resized else []
    done += [f"brought to {'gray' if wanted_channels == 1 else 'RGB'}"] if channels != wanted_channels else []
    if not done:
        return faces, ""
    form = Form(wanted_height if resized else None, colour="gray" if wanted_channels == 1 else "rgb")

    def fit(stored: UInt8[Tensor, "b h w c"]) -> UInt8[Tensor, "b h w c"]:
        pictures = stored.cpu().numpy()
        each = [decode(picture[..., 0] if channels == 1 else picture, form) for picture in pictures]
        return torch.from_numpy(np.stack(each))

    pixels = faces.pixels
    if isinstance(pixels, Tensor):
        stream = batch_by_batch(lambda position: fit(pixels[position.to(pixels.device)]))
    else:
        unfitted = pixels

        def stream(plan: Plan, draw: Draw | None) -> Generator[Tensor, None, None]:
            yield from map(fit, unfitted(plan, draw))

    # Mean colours stay those of the stored faces: contrast turns about them, and evaluation changes none.
    return replace(faces, split=replace(faces.split, shape=shape), pixels=stream), " and ".join(done)
