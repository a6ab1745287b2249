"""States the rules of the draws in plain PyTorch: every faster kernel is compared with these.

Integers are equal bit for bit on every device. Real tables are sums and products of fp32 in the order written here.
The words that a draw reads are addressed as `kernels.tables.streams` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float32, Int16, Int64, UInt8
from torch import Tensor

from kernels.tables.augment import Augment, Range
from kernels.tables.maps import affine, colour_matrix
from kernels.tables.streams import AUGMENT_WORDS, Key, Purpose, as_uniform, words


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


def draw_tables(
    key: Key, mean: Float32[Tensor, "b 3"], augment: Augment, store: tuple[int, int], size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Draws the fields of `kernels.Tables` in their order; see `kernels.draw`, which checks the arguments."""
    drawn = _Draw(words(key, Purpose.AUGMENT, max(AUGMENT_WORDS.values()) + 1))

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
    return (
        where,
        colour,
        _blur(augment, drawn),
        drawn.between("noise", augment.noise) * 255.0,
        signed_high * 2**32 + low,
        _cut(augment, drawn, size),
    )


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


def random_bits(key: Key, count: int) -> Int64[Tensor, "b count"]:
    """See `kernels.random_bits`."""
    return words(key, Purpose.GENERAL, count)


def draw_permutation(key: Key, grid: int) -> Int16[Tensor, "b n"]:
    """See `kernels.draw_permutation`, which checks the arguments."""
    return words(key, Purpose.PERMUTATION, grid * grid).argsort(dim=1, stable=True).to(torch.int16)


def draw_turns(key: Key, grid: int) -> UInt8[Tensor, "b n"]:
    """See `kernels.draw_turns`, which checks the arguments."""
    return (words(key, Purpose.TURNS, grid * grid) >> 30).to(torch.uint8)


def draw_holes(
    key: Key, grid: int, share: Sequence[int], blocks: Sequence[int], aspect: Sequence[int]
) -> Int16[Tensor, "b n"]:
    """See `kernels.draw_holes`, which checks the arguments; `share` comes in 2**-20 and `aspect` in 2**-24."""
    cells = grid * grid
    fewest, most = blocks
    device = key.sample.device
    bits = words(key, Purpose.HOLES, 4 + 4 * most)
    hidden = (_fixed(share, bits[:, 0]) * cells + (1 << 39)) >> 40
    block_count = fewest + ((bits[:, 1] * (most - fewest + 1)) >> 32)

    block = bits[:, 4:].reshape(-1, most, 4)  # b, block, (x, y, aspect, unused)
    # Lengths are in 2**-17 of a cell, so that cell centres, odd numbers of half cells, are whole.
    centre = (block[:, :, :2] * (2 * grid)) >> 16
    wideness = _fixed(aspect, block[:, :, 2]) >> 20  # aspect * 2**24
    down = _whole_root(wideness)  # sqrt(aspect) * 2**12
    across = _whole_root((1 << 48) // wideness)  # 2**12 / sqrt(aspect)
    cell = (2 * torch.arange(grid, device=device) + 1) << 16
    dx = (cell - centre[:, :, :1]).abs() * across[:, :, None]  # b, block, column
    dy = (cell - centre[:, :, 1:]).abs() * down[:, :, None]  # b, block, row
    distance = torch.maximum(dx[:, :, None, :], dy[:, :, :, None])  # b, block, row, column
    absent = torch.arange(most, device=device) >= block_count[:, None]
    nearest = distance.masked_fill(absent[:, :, None, None], 2**62).amin(dim=1).flatten(1)

    order = nearest.argsort(dim=1, stable=True)
    rank = torch.arange(cells, device=device).expand_as(order)
    kept = torch.where(rank < hidden[:, None], torch.full_like(order, -1), order).to(torch.int16)
    identity = torch.arange(cells, dtype=torch.int16, device=device).expand(order.shape)
    shown: Tensor = identity.scatter(1, order, kept)
    return shown


def _fixed(span: Sequence[int], bits: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """A uniform number of a range, times 2**20; its steps are 2**-20 of the range."""
    low, high = span
    number: Tensor = (low << 20) + (high - low) * (bits >> 12)
    return number


def _whole_root(square: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """floor(sqrt) of whole numbers below 2**52: fp64 holds them exactly and rounds its root correctly everywhere."""
    return square.double().sqrt().long()


def draw_hidden_parts(
    key: Key, where: Float32[Tensor, "b 2 3"], grid: int, size: int, store: Sequence[int], parts: Sequence[float]
) -> Int16[Tensor, "b n"]:
    """See `kernels.draw_hidden_parts`; `parts` holds left, top, right, bottom of one box after another."""
    count, (height, width) = len(parts) // 4, store
    chosen = random_bits(key, 1) % (2**count - 1) + 1  # (b, 1): bit i hides part i
    cell = torch.arange(grid * grid, dtype=torch.int16, device=where.device)
    side = torch.arange(grid, dtype=torch.float32, device=where.device) + 0.5
    across, down = (side * (size / grid)).repeat(grid), (side * (size / grid)).repeat_interleave(grid)
    x, y = (
        ((where[:, i, 0, None] * across + where[:, i, 1, None] * down) + where[:, i, 2, None]) / length
        for i, length in enumerate((width, height))
    )
    hidden = torch.zeros(len(where), grid * grid, dtype=torch.bool, device=where.device)
    for part in range(count):
        left, top, right, bottom = parts[4 * part : 4 * part + 4]
        hidden |= (x >= left) & (x < right) & (y >= top) & (y < bottom) & (chosen >> part & 1).bool()
    return torch.where(hidden, -1, cell)
