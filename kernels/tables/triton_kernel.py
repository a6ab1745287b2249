# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""Draws on a CUDA device: one launch a table, without work on the host a sample.

The arithmetic is that of `kernels.tables.reference`: whole numbers in 32 and 64 bits, and fp32 in the same order,
rounded at each step (the compiler must not contract a * b + c), so that integers are equal and reals nearly always.
The batch is small and these kernels take a few microseconds each, most of them latency: they are written to be plain.
Seeds, epochs and sizes are run-time numbers that never compile anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.tables import reference
from kernels.tables.augment import Augment, Range
from kernels.tables.maps import HUE, LUMA
from kernels.tables.streams import Key, Purpose, stream_word
from kernels.triton_arithmetic import as_int32

_NUMBERS = ("seed_low", "seed_high", "epoch", "stream")
_SAMPLES = ("sample", "occurrence")

# Cells are ranked by comparing each with all: quadratic, and still faster than a sort up to about this many.
_MOST_RANKED = 1024


@triton.jit
def _repeated(seed_high, occurrence, place, inside):
    """The upper half of the seed as `kernels.tables.streams` says, for samples that an epoch draws several times."""
    if occurrence is not None:
        seed_high ^= tl.load(occurrence + place, mask=inside, other=0)
    return seed_high


@triton.jit
def _words(block, seed_low, seed_high, epoch, stream, sample):
    """The four words of a block of `kernels.tables.streams`."""
    high = seed_high.to(tl.uint32, bitcast=True).to(tl.uint64)
    seed = (high << 32) | seed_low.to(tl.uint32, bitcast=True).to(tl.uint64)
    # Not our own, whose 64-bit products take registers: ranking 1,024 cells has none to spare.
    return tl.philox(seed, block, stream, epoch, sample.to(tl.int32))


@triton.jit
def _word(number, first, seed_low, seed_high, epoch, stream, sample):
    """Word `number` of the purpose that begins at block `first`."""
    word0, word1, word2, word3 = _words(first + number // 4, seed_low, seed_high, epoch, stream, sample)
    lane = number % 4
    return tl.where(lane < 2, tl.where(lane == 0, word0, word1), tl.where(lane == 2, word2, word3))


@triton.jit
def _happens(word, threshold):
    return (word >> 8).to(tl.int32) < threshold


@triton.jit
def _between(word, low, span):
    return (word >> 8).to(tl.int32).to(tl.float32) * 2.0**-24 * span + low


@triton.jit
def _below(word, count):
    return tl.umulhi(word, count.to(tl.uint32)).to(tl.int32)


@triton.jit
def _cos_sin(degrees):
    """`kernels.tables.maps.cos_sin`."""
    quarter = tl.floor(tl.div_rn(degrees, 90.0) + 0.5)
    angle = (degrees - quarter * 90.0) * (3.141592653589793 / 180.0)
    square = angle * angle
    sine = angle + angle * (square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square * (1 / 362880)))))
    cosine = 1.0 + square * (
        -1 / 2 + square * (1 / 24 + square * (-1 / 720 + square * (1 / 40320 + square * (-1 / 3628800))))
    )
    turns = quarter.to(tl.int32) & 3
    odd = (turns & 1) == 1
    x = tl.where(odd, -sine, cosine)
    y = tl.where(odd, cosine, sine)
    return tl.where(turns >= 2, -x, x), tl.where(turns >= 2, -y, y)


@triton.jit(
    do_not_specialize=[*_NUMBERS, "batch", "flips", "jitters", "grays", "blurs", "resizes", "cuts", "side", "places"],
    do_not_specialize_on_alignment=[*_SAMPLES, "mean"],
)
def _draw(
    where, colour, blur, noise, key, cut, sample, occurrence, seed_low, seed_high, epoch, stream, mean, batch,
    flips, jitters, grays, blurs, resizes, cuts, blur_variance,
    resize, resize_span, rotation, rotation_span, crop, crop_span, scale, scale_span,
    shift, shift_span, aspect, aspect_span, contrast, contrast_span, brightness, brightness_span,
    brightness_factor, brightness_factor_span, saturation, saturation_span, hue, hue_span, noise_low, noise_span,
    side, places, ratio, size, half_size, half_width, half_height,
    LUMA: tl.constexpr, HUE: tl.constexpr, FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < batch
    identity = tl.load(sample + place, mask=inside, other=0)
    seed_high = _repeated(seed_high, occurrence, place, inside)
    flip, jitter, a, b = _words(FIRST + 0, seed_low, seed_high, epoch, stream, identity)
    contrast = _between(a, contrast, contrast_span)
    brightness = _between(b, brightness, brightness_span)
    a, b, c, gray = _words(FIRST + 1, seed_low, seed_high, epoch, stream, identity)
    brightness_factor = _between(a, brightness_factor, brightness_factor_span)
    saturation = _between(b, saturation, saturation_span)
    hue = _between(c, hue, hue_span)
    a, key_low, key_high, blurred = _words(FIRST + 2, seed_low, seed_high, epoch, stream, identity)
    tl.store(noise + place, _between(a, noise_low, noise_span) * 255.0, mask=inside)
    tl.store(key + place, (key_high.to(tl.int64) << 32) | key_low.to(tl.int64), mask=inside)
    resized, a, b, c = _words(FIRST + 3, seed_low, seed_high, epoch, stream, identity)
    resize = _between(a, resize, resize_span)
    rotation = _between(b, rotation, rotation_span)
    crop = _between(c, crop, crop_span)
    a, b, c, d = _words(FIRST + 4, seed_low, seed_high, epoch, stream, identity)
    scale = _between(a, scale, scale_span)
    shift_x = _between(b, shift, shift_span)
    shift_y = _between(c, shift, shift_span)
    aspect = _between(d, aspect, aspect_span)
    applied, a, b, _ = _words(FIRST + 5, seed_low, seed_high, epoch, stream, identity)
    applied = _happens(applied, cuts)
    left = _below(a, places)
    top = _below(b, places)

    # `cut`, `blur`.
    tl.store(cut + place * 4, tl.where(applied, left, 0).to(tl.int16), mask=inside)
    tl.store(cut + place * 4 + 1, tl.where(applied, top, 0).to(tl.int16), mask=inside)
    tl.store(cut + place * 4 + 2, tl.where(applied, left + side, 0).to(tl.int16), mask=inside)
    tl.store(cut + place * 4 + 3, tl.where(applied, top + side, 0).to(tl.int16), mask=inside)
    factor = tl.div_rn(1.0, resize)
    widened = tl.maximum((factor * factor - 1.0) * 0.25, 0.0)
    variance = tl.where(_happens(blurred, blurs), blur_variance, 0.0)
    tl.store(blur + place, tl.sqrt_rn(variance + tl.where(_happens(resized, resizes), widened, 0.0)), mask=inside)

    # `where`, as `kernels.tables.maps.affine`.
    step = tl.div_rn(crop * ratio, scale)
    root = tl.sqrt_rn(aspect)
    step_x = tl.div_rn(step, root) * tl.where(_happens(flip, flips), -1.0, 1.0)
    step_y = step * root
    cosine, sine = _cos_sin(rotation)
    xx = step_x * cosine
    xy = step_x * sine
    yx = -(step_y * sine)
    yy = step_y * cosine
    centre_x = shift_x * size + half_size
    centre_y = shift_y * size + half_size
    where += place * 6
    tl.store(where, xx, mask=inside)
    tl.store(where + 1, xy, mask=inside)
    tl.store(where + 2, half_width - (xx * centre_x + xy * centre_y), mask=inside)
    tl.store(where + 3, yx, mask=inside)
    tl.store(where + 4, yy, mask=inside)
    tl.store(where + 5, half_height - (yx * centre_x + yy * centre_y), mask=inside)

    # `colour`, as `kernels.tables.maps.colour_matrix`.
    jittered = _happens(jitter, jitters)
    contrast = tl.where(jittered, contrast, 1.0)
    brightness_factor = tl.where(jittered, brightness_factor, 1.0)
    saturation = tl.where(_happens(gray, grays), 0.0, tl.where(jittered, saturation, 1.0))
    cosine, sine = _cos_sin(tl.where(jittered, hue, 0.0) * 360.0)
    along = saturation * cosine
    across = saturation * sine
    gain = brightness_factor * contrast
    away = 1.0 - contrast
    shifted = brightness * 255.0
    mean += place * 3
    red = (tl.load(mean, mask=inside, other=0.0) * away) * brightness_factor + shifted
    green = (tl.load(mean + 1, mask=inside, other=0.0) * away) * brightness_factor + shifted
    blue = (tl.load(mean + 2, mask=inside, other=0.0) * away) * brightness_factor + shifted
    colour += place * 12
    for i in tl.static_range(3):
        of_red = (1.0 - along) * LUMA[0] + across * HUE[i][0] + (along if i == 0 else 0.0)
        of_green = (1.0 - along) * LUMA[1] + across * HUE[i][1] + (along if i == 1 else 0.0)
        of_blue = (1.0 - along) * LUMA[2] + across * HUE[i][2] + (along if i == 2 else 0.0)
        tl.store(colour + 4 * i, of_red * gain, mask=inside)
        tl.store(colour + 4 * i + 1, of_green * gain, mask=inside)
        tl.store(colour + 4 * i + 2, of_blue * gain, mask=inside)
        tl.store(colour + 4 * i + 3, (of_red * red + of_green * green) + of_blue * blue, mask=inside)


def draw_tables(
    key: Key, mean: Tensor, augment: Augment, store: tuple[int, int], size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `kernels.draw`."""
    sample, (height, width) = key.sample, store
    batch = sample.shape[0]
    where = mean.new_empty(batch, 2, 3)
    colour = mean.new_empty(batch, 3, 4)
    blur, noise = mean.new_empty(batch), mean.new_empty(batch)
    noise_key = sample.new_empty(batch)
    cut = sample.new_empty(batch, 4, dtype=torch.int16)

    def span(pair: Range) -> tuple[float, float]:
        return pair[0], pair[1] - pair[0]

    side = round(augment.cut * size)
    cut_probability = augment.cut_probability if side > 0 else 0.0
    chances = (augment.flip, augment.jitter, augment.gray, augment.blur_probability, augment.resize_probability)
    pairs = (
        augment.resize, augment.rotation, augment.crop, augment.scale, augment.shift, augment.aspect, augment.contrast,
        augment.brightness, augment.brightness_factor, augment.saturation, augment.hue, augment.noise,
    )  # fmt: skip
    block = 128
    launch: Any = _draw[(triton.cdiv(batch, block),)]
    with torch.cuda.device_of(sample):
        launch(
            where, colour, blur, noise, noise_key, cut, *_address(key), mean.contiguous(), batch,
            *(math.ceil(chance * 2**24) for chance in (*chances, cut_probability)),
            augment.blur**2,
            *(number for pair in pairs for number in span(pair)),
            side, size - side + 1,
            float(min(height, width) / size), float(size), size / 2, width / 2, height / 2,
            LUMA=LUMA, HUE=HUE, FIRST=Purpose.AUGMENT << 24, BLOCK=block, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
    return where, colour, blur, noise, noise_key, cut


@triton.jit
def _earlier(value, number, other, other_number):
    """How many of the others come before each value, equal ones in the order of their numbers."""
    smaller = other[None, :] < value[:, None]
    tied = (other[None, :] == value[:, None]) & (other_number[None, :] < number[:, None])
    return tl.sum((smaller | tied).to(tl.int32), axis=1)


@triton.jit(do_not_specialize=[*_NUMBERS, "cells"], do_not_specialize_on_alignment=_SAMPLES)
def _permutation(
    shows, sample, occurrence, seed_low, seed_high, epoch, stream, cells,
    FIRST: tl.constexpr, CELLS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    identity = tl.load(sample + row)
    seed_high = _repeated(seed_high, occurrence, row, True)
    cell = tl.arange(0, CELLS)
    mine = _word(cell, FIRST, seed_low, seed_high, epoch, stream, identity)
    rank = tl.zeros((CELLS,), dtype=tl.int32)
    for start in range(0, cells, CHUNK):
        other = start + tl.arange(0, CHUNK)
        theirs = _word(other, FIRST, seed_low, seed_high, epoch, stream, identity)
        # Cells past the last have the largest key and the largest numbers, so they come before none.
        theirs = tl.where(other < cells, theirs, 0xFFFFFFFF)
        rank += _earlier(mine, cell, theirs, other)
    tl.store(shows + row.to(tl.int64) * cells + rank, cell.to(tl.int16), mask=cell < cells)


def draw_permutation(key: Key, grid: int) -> Tensor:
    """See `kernels.draw_permutation`. Grids of more than 32 x 32 cells are sorted by PyTorch."""
    sample, cells = key.sample, grid * grid
    if cells > _MOST_RANKED:
        return reference.draw_permutation(key, grid)
    shows = sample.new_empty(sample.shape[0], cells, dtype=torch.int16)
    launch: Any = _permutation[(sample.shape[0],)]
    with torch.cuda.device_of(sample):
        launch(shows, *_address(key), cells, FIRST=Purpose.PERMUTATION << 24, **_shape(cells))
    return shows


@triton.jit(do_not_specialize=[*_NUMBERS, "cells"], do_not_specialize_on_alignment=_SAMPLES)
def _turns(
    turn, sample, occurrence, seed_low, seed_high, epoch, stream, cells, FIRST: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0)
    identity = tl.load(sample + row)
    seed_high = _repeated(seed_high, occurrence, row, True)
    cell = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    quarters = _word(cell, FIRST, seed_low, seed_high, epoch, stream, identity) >> 30
    tl.store(turn + row.to(tl.int64) * cells + cell, quarters.to(tl.uint8), mask=cell < cells)


def draw_turns(key: Key, grid: int) -> Tensor:
    """See `kernels.draw_turns`."""
    sample, cells = key.sample, grid * grid
    turn = sample.new_empty(sample.shape[0], cells, dtype=torch.uint8)
    block = 256
    launch: Any = _turns[sample.shape[0], triton.cdiv(cells, block)]
    with torch.cuda.device_of(sample):
        launch(turn, *_address(key), cells, FIRST=Purpose.TURNS << 24, BLOCK=block, num_warps=4)
    return turn


@triton.jit(do_not_specialize=[*_NUMBERS, "count", "total"], do_not_specialize_on_alignment=_SAMPLES)
def _bits(
    bits, sample, occurrence, seed_low, seed_high, epoch, stream, count, total,
    FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < total
    row = place // count
    identity = tl.load(sample + row, mask=inside, other=0)
    seed_high = _repeated(seed_high, occurrence, row, inside)
    word = _word((place - row * count).to(tl.int32), FIRST, seed_low, seed_high, epoch, stream, identity)
    tl.store(bits + place, word.to(tl.int64), mask=inside)


def random_bits(key: Key, count: int) -> Tensor:
    """See `kernels.random_bits`."""
    sample = key.sample
    bits = sample.new_empty(sample.shape[0], count)
    block = 128
    launch: Any = _bits[(triton.cdiv(bits.numel(), block),)]
    with torch.cuda.device_of(sample):
        launch(bits, *_address(key), count, bits.numel(), FIRST=Purpose.GENERAL << 24, BLOCK=block, num_warps=4)
    return bits


@triton.jit(
    do_not_specialize=[*_NUMBERS, "cells", "grid", "count", "cell_side", "height", "width"],
    do_not_specialize_on_alignment=[*_SAMPLES, "where", "parts"],
)
def _hidden_parts(
    shows, sample, occurrence, seed_low, seed_high, epoch, stream,
    where, parts, cells, grid, count, cell_side, height, width,
    FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    identity = tl.load(sample + row)
    seed_high = _repeated(seed_high, occurrence, row, True)
    word, _, _, _ = _words(FIRST, seed_low, seed_high, epoch, stream, identity)
    chosen = (word % ((1 << count) - 1).to(tl.uint32) + 1).to(tl.int32)
    cell = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    across = ((cell % grid).to(tl.float32) + 0.5) * cell_side
    down = ((cell // grid).to(tl.float32) + 0.5) * cell_side
    where += row * 6
    x = (tl.load(where) * across + tl.load(where + 1) * down) + tl.load(where + 2)
    y = (tl.load(where + 3) * across + tl.load(where + 4) * down) + tl.load(where + 5)
    x = tl.div_rn(x, width)
    y = tl.div_rn(y, height)
    hidden = cell < 0
    for part in range(count):
        box = parts + 4 * part
        inside = (x >= tl.load(box)) & (y >= tl.load(box + 1)) & (x < tl.load(box + 2)) & (y < tl.load(box + 3))
        hidden |= inside & (((chosen >> part) & 1) == 1)
    tl.store(shows + row.to(tl.int64) * cells + cell, tl.where(hidden, -1, cell).to(tl.int16), mask=cell < cells)


@lru_cache(maxsize=16)
def _on_device(parts: tuple[float, ...], device: torch.device) -> Tensor:
    """Copies the boxes once: a copy a step would wait for the device."""
    with torch.inference_mode(False):
        return torch.tensor(parts, dtype=torch.float32, device=device)


def draw_hidden_parts(
    key: Key, where: Tensor, grid: int, size: int, store: Sequence[int], parts: Sequence[float]
) -> Tensor:
    """See `kernels.draw_hidden_parts`."""
    sample, cells, (height, width) = key.sample, grid * grid, store
    shows = sample.new_empty(sample.shape[0], cells, dtype=torch.int16)
    block = 256
    launch: Any = _hidden_parts[sample.shape[0], triton.cdiv(cells, block)]
    with torch.cuda.device_of(sample):
        launch(
            shows, *_address(key), where.contiguous(), _on_device(tuple(parts), where.device),
            cells, grid, len(parts) // 4, size / grid, float(height), float(width),
            FIRST=Purpose.GENERAL << 24, BLOCK=block, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
    return shows


@triton.jit
def _fixed(word, low, span):
    return (low.to(tl.int64) << 20) + span.to(tl.int64) * (word >> 12).to(tl.int64)


@triton.jit
def _whole_root(square):
    return tl.sqrt(square.to(tl.float64)).to(tl.int64)


@triton.jit
def _distance(cell, cells, grid, blocks, low, span, first, seed_low, seed_high, epoch, stream, sample):
    """Distance of each cell to the nearest of the blocks, as `kernels.tables.reference.draw_holes`."""
    column = ((2 * (cell % grid) + 1) << 16).to(tl.int64)
    line = ((2 * (cell // grid) + 1) << 16).to(tl.int64)
    nearest = tl.full(cell.shape, 2**62, dtype=tl.int64)
    for block in range(blocks):
        word0, word1, word2, _ = _words(first + 1 + block, seed_low, seed_high, epoch, stream, sample)
        centre_x = (word0.to(tl.int64) * (2 * grid)) >> 16
        centre_y = (word1.to(tl.int64) * (2 * grid)) >> 16
        wideness = _fixed(word2, low, span) >> 20
        down = _whole_root(wideness)
        across = _whole_root((wideness * 0 + 2**48) // wideness)
        away = tl.maximum(tl.abs(column - centre_x) * across, tl.abs(line - centre_y) * down)
        nearest = tl.minimum(nearest, away)
    return tl.where(cell < cells, nearest, 2**62)


@triton.jit(
    do_not_specialize=[*_NUMBERS, "cells", "grid", "share", "share_span", "fewest", "counts", "aspect", "aspect_span"],
    do_not_specialize_on_alignment=_SAMPLES,
)
def _holes(
    shows, sample, occurrence, seed_low, seed_high, epoch, stream,
    cells, grid, share, share_span, fewest, counts, aspect, aspect_span,
    FIRST: tl.constexpr, CELLS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    identity = tl.load(sample + row)
    seed_high = _repeated(seed_high, occurrence, row, True)
    word0, word1, _, _ = _words(FIRST + row * 0, seed_low, seed_high, epoch, stream, identity)
    hidden = (_fixed(word0, share, share_span) * cells + 2**39) >> 40
    blocks = fewest + _below(word1, counts)
    cell = tl.arange(0, CELLS)
    mine = _distance(
        cell, cells, grid, blocks, aspect, aspect_span, FIRST, seed_low, seed_high, epoch, stream, identity
    )
    rank = tl.zeros((CELLS,), dtype=tl.int32)
    for start in range(0, cells, CHUNK):
        other = start + tl.arange(0, CHUNK)
        theirs = _distance(
            other, cells, grid, blocks, aspect, aspect_span, FIRST, seed_low, seed_high, epoch, stream, identity
        )
        rank += _earlier(mine, cell, theirs, other)
    shown = tl.where(rank < hidden, -1, cell)
    tl.store(shows + row.to(tl.int64) * cells + cell, shown.to(tl.int16), mask=cell < cells)


def draw_holes(key: Key, grid: int, share: Sequence[int], blocks: Sequence[int], aspect: Sequence[int]) -> Tensor:
    """See `kernels.draw_holes`; ranges in fixed point. Grids of more than 32 x 32 cells are sorted by PyTorch."""
    sample, cells = key.sample, grid * grid
    if cells > _MOST_RANKED:
        return reference.draw_holes(key, grid, share, blocks, aspect)
    shows = sample.new_empty(sample.shape[0], cells, dtype=torch.int16)
    launch: Any = _holes[(sample.shape[0],)]
    with torch.cuda.device_of(sample):
        launch(
            shows, *_address(key), cells, grid, share[0], share[1] - share[0],
            blocks[0], blocks[1] - blocks[0] + 1, aspect[0], aspect[1] - aspect[0],
            FIRST=Purpose.HOLES << 24, **_shape(cells),
        )  # fmt: skip
    return shows


def _address(key: Key) -> tuple[Tensor, Tensor | None, int, int, int, int]:
    """A key as the kernels take it."""
    return (
        key.sample.contiguous(),
        None if key.occurrence is None else key.occurrence.contiguous(),
        as_int32(key.seed & 0xFFFFFFFF),
        as_int32(key.seed >> 32),
        as_int32(key.epoch),
        as_int32(stream_word(key.name)),
    )


def _shape(cells: int) -> dict[str, int]:
    padded = max(16, triton.next_power_of_2(cells))
    return {"CELLS": padded, "CHUNK": 16, "num_warps": max(1, min(16, padded // 32))}
