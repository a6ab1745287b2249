"""Draws the tables that `render_views` reads, as pure functions of (seed, epoch, sample id)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int16, Int64
from torch import Tensor

from kernels.tables.augment import Augment, Range
from kernels.tables.colour import colour_matrix
from kernels.tables.geometry import affine
from kernels.tables.streams import AUGMENT_WORDS, Purpose, as_uniform, check_address, words


@dataclass(frozen=True, slots=True)
class Tables:
    """How one view of each sample of a batch is shown; `render_views` takes them stacked over views."""

    where: Float32[Tensor, "b 2 3"]
    """View pixel to store pixel, origin at the outer corner of the first pixel."""
    colour: Float32[Tensor, "b 3 4"]
    """(R, G, B, 1) on 0..255 to the same scale."""
    blur: Float32[Tensor, " b"]
    """Sigma in view pixels, 0 where not blurred."""
    noise: Float32[Tensor, " b"]
    """Standard deviation on 0..255, 0 where without noise."""
    key: Int64[Tensor, " b"]
    """Key of the noise, any 64 bits."""
    cut: Int16[Tensor, "b 4"]
    """Left, top, right, bottom of the cut-out in view pixels, the last two exclusive; zeros where there is none."""


class _Draw:
    """The random numbers of one batch by name of the quantity; see `streams` for the addresses."""

    def __init__(self, bits: Int64[Tensor, "b w"]) -> None:
        self.bits = bits

    def word(self, name: str) -> Int64[Tensor, " b"]:
        return self.bits[:, AUGMENT_WORDS[name]]

    def happens(self, name: str, probability: float) -> Bool[Tensor, " b"]:
        # In integers, so that every device decides alike; 0 never happens and 1 always does.
        return (self.word(name) >> 8) < math.ceil(probability * 2**24)

    def between(self, name: str, span: Range) -> Float32[Tensor, " b"]:
        low, high = span
        return as_uniform(self.word(name)) * (high - low) + low

    def below(self, name: str, count: int) -> Int64[Tensor, " b"]:
        return (self.word(name) * count) >> 32


def draw(
    augment: Augment,
    *,
    seed: int,
    epoch: int,
    sample: Int64[Tensor, " b"],
    mean: Float32[Tensor, "b 3"],
    store: tuple[int, int],
    size: int,
    stream: str = "shared",
) -> Tables:
    """Draw one view's tables for each sample.

    The result depends on nothing but the arguments, sample by sample: not on the rest of the batch, the worker or the
    rank. Whether something happens (mirror, gray, cut-out and its place) is decided in integers and equal bit for bit
    on every device; real tables are sums and products of fp32 in a fixed order, which agree within 4 units in the last
    place of their largest term. Nothing synchronises with the device.

    Args:
        augment: The ranges.
        seed: 0..2**64-1.
        epoch: 0..2**32-1.
        sample: Sample ids; padding (-1) is drawn like any other.
        mean: Mean colour of the stored face on 0..255, about which contrast turns.
        store: (height, width) of the stored faces.
        size: Side of the view in pixels.
        stream: All views that name the same stream share one draw.

    Raises:
        ValueError: `seed`, `epoch`, `store` or `size` is out of range, or `sample` or `mean` is of another shape or
            dtype.
    """
    check_address("draw", seed, epoch, sample)
    _check_sizes("draw", store, size)
    if mean.dtype != torch.float32 or tuple(mean.shape) != (sample.shape[0], 3):
        raise ValueError(
            f"draw: mean (={mean.dtype} of shape {tuple(mean.shape)}) must be float32 of shape "
            f"{(sample.shape[0], 3)}; give the mean colour of each sample"
        )
    if mean.device != sample.device:
        raise ValueError(f"draw: mean (on {mean.device}) must be where sample is ({sample.device}); move it there")

    count = max(AUGMENT_WORDS.values()) + 1
    drawn = _Draw(words(Purpose.AUGMENT, count, seed=seed, epoch=epoch, sample=sample, stream=stream))

    flipped = drawn.happens("flip", augment.flip)
    where = affine(
        flip=1.0 - 2.0 * flipped.float(),
        rotation=drawn.between("rotation", augment.rotation),
        crop=drawn.between("crop", augment.crop),
        scale=drawn.between("scale", augment.scale),
        aspect=drawn.between("aspect", augment.aspect),
        shift_x=drawn.between("shift_x", augment.shift),
        shift_y=drawn.between("shift_y", augment.shift),
        store=store,
        size=size,
    )

    jittered = drawn.happens("jitter", augment.jitter)

    def jitter(name: str, span: Range, neutral: float) -> Tensor:
        value = drawn.between(name, span)
        return torch.where(jittered, value, torch.full_like(value, neutral))

    colour = colour_matrix(
        contrast=jitter("contrast", augment.contrast, 1.0),
        brightness_factor=jitter("brightness_factor", augment.brightness_factor, 1.0),
        brightness=drawn.between("brightness", augment.brightness),
        saturation=jitter("saturation", augment.saturation, 1.0),
        hue=jitter("hue", augment.hue, 0.0),
        gray=drawn.happens("gray", augment.gray),
        mean=mean,
    )

    low, high = drawn.word("noise_key_low"), drawn.word("noise_key_high")
    signed_high = high - ((high >> 31) << 32)
    return Tables(
        where=where,
        colour=colour,
        blur=_blur(augment, drawn),
        noise=drawn.between("noise", augment.noise) * 255.0,
        key=signed_high * 2**32 + low,
        cut=_cut(augment, drawn, size),
    )


def centre(crop: float, *, store: tuple[int, int], size: int, batch: int, device: torch.device | str) -> Tables:
    """The tables of evaluation: the central square, upright, in its own colours, nothing drawn.

    With crop 1 and a store of size x size the view is the stored face, pixel for pixel.

    Args:
        crop: Side of the square as share of the store's shorter side, above 0.
        store: (height, width) of the stored faces.
        size: Side of the view in pixels.
        batch: Samples; all get the same tables.
        device: Where the tables are made.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_sizes("centre", store, size)
    if not (math.isfinite(crop) and crop > 0.0):
        raise ValueError(f"centre: crop (={crop}) must be a finite number above 0; 1 shows the whole shorter side")
    if batch < 1:
        raise ValueError(f"centre: batch (={batch}) must be at least 1; give the number of samples")
    height, width = store
    step = crop * min(height, width) / size
    where = torch.zeros(batch, 2, 3, device=device)
    where[:, 0, 0] = step
    where[:, 1, 1] = step
    where[:, 0, 2] = (width - step * size) / 2
    where[:, 1, 2] = (height - step * size) / 2
    return Tables(
        where=where,
        colour=torch.eye(3, 4, device=device).repeat(batch, 1, 1),
        blur=torch.zeros(batch, device=device),
        noise=torch.zeros(batch, device=device),
        key=torch.zeros(batch, dtype=torch.int64, device=device),
        cut=torch.zeros(batch, 4, dtype=torch.int16, device=device),
    )


def _check_sizes(where: str, store: tuple[int, int], size: int) -> None:
    if len(store) != 2 or min(store) < 1:
        raise ValueError(f"{where}: store (={store}) must be (height, width), at least 1 each; give the stored size")
    if not 1 <= size < 2**15:
        raise ValueError(f"{where}: size (={size}) must be in 1..32767; it is the view's side in pixels")


def _blur(augment: Augment, drawn: _Draw) -> Float32[Tensor, " b"]:
    blurred = drawn.happens("blur", augment.blur_probability).float() * augment.blur**2
    factor = 1.0 / drawn.between("resize", augment.resize)
    widened = ((factor * factor - 1.0) * 0.25).clamp(min=0.0)
    resized = drawn.happens("resize_applied", augment.resize_probability).float() * widened
    return torch.sqrt(blurred + resized)


def _cut(augment: Augment, drawn: _Draw, size: int) -> Int16[Tensor, "b 4"]:
    side = round(augment.cut * size)
    left = drawn.below("cut_x", size - side + 1)
    top = drawn.below("cut_y", size - side + 1)
    box = torch.stack([left, top, left + side, top + side], dim=-1)
    applied = drawn.happens("cut_applied", augment.cut_probability if side > 0 else 0.0)
    return torch.where(applied[:, None], box, torch.zeros_like(box)).to(torch.int16)
