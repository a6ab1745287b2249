"""The draws on the CPU that cost notable time beside the rendering: the tables of an augmentation, and holes.

In PyTorch a batch of 256 takes 0.9 ms for `draw` and 9 ms for `draw_holes` on a grid of 14, each of them some hundred
small operations, where `render_views` at 112 px takes 6 ms on two threads. Here they take 0.1 and 0.4 ms. Permutations
and turns (0.2 ms) are left to PyTorch.

The arithmetic is that of `kernels.tables.reference`: whole numbers, and fp32 in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels.numba_jit import inlined, part, whole
from kernels.tables.augment import Augment
from kernels.tables.colour import HUE, LUMA
from kernels.tables.streams import Purpose, stream_word

Array = np.ndarray[Any, Any]

_LUMA = np.array(LUMA, dtype=np.float32)
_HUE = np.array(HUE, dtype=np.float32)
_AUGMENT, _HOLES = Purpose.AUGMENT << 24, Purpose.HOLES << 24
_F0, _F1, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


class _Address(NamedTuple):
    seed: np.uint64
    epoch: np.uint64
    stream: np.uint64


class _Ranges(NamedTuple):
    """Of an `Augment`: how often each thing happens in 2^24 draws, and each range as its lowest value and its span."""

    flip: int
    jitter: int
    gray: int
    blur: int
    resize_applied: int
    cut: int
    blur_variance: np.float32
    resize: Array
    rotation: Array
    crop: Array
    scale: Array
    shift: Array
    aspect: Array
    contrast: Array
    brightness: Array
    brightness_factor: Array
    saturation: Array
    hue: Array
    noise: Array


@inlined
def _words(block, address, sample):
    """The four words of a block of `kernels.tables.streams`, by Philox4x32-10."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    word0, word1, word2, word3 = np.uint64(block), address.stream, address.epoch, np.uint64(sample) & low
    key0, key1 = address.seed & low, address.seed >> half
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * word0, np.uint64(0xCD9E8D57) * word2
        word0, word1, word2, word3 = (
            (product1 >> half) ^ word1 ^ key0,
            product1 & low,
            (product0 >> half) ^ word3 ^ key1,
            product0 & low,
        )
        key0, key1 = (key0 + np.uint64(0x9E3779B9)) & low, (key1 + np.uint64(0xBB67AE85)) & low
    return np.int64(word0), np.int64(word1), np.int64(word2), np.int64(word3)


@inlined
def _happens(word, chances):
    return (word >> 8) < chances


@inlined
def _between(word, span):
    return np.float32(word >> 8) * np.float32(2.0**-24) * span[1] + span[0]


@part
def _cos_sin(degrees):
    """As `kernels.tables.degrees.cos_sin`."""
    quarter = np.float32(math.floor(degrees / np.float32(90) + _HALF))
    angle = (degrees - quarter * np.float32(90)) * np.float32(math.pi / 180)
    square = angle * angle
    sine = np.float32(-1 / 5040) + square * np.float32(1 / 362880)
    sine = np.float32(1 / 120) + square * sine
    sine = np.float32(-1 / 6) + square * sine
    sine = angle + angle * (square * sine)
    cosine = np.float32(1 / 40320) + square * np.float32(-1 / 3628800)
    cosine = np.float32(-1 / 720) + square * cosine
    cosine = np.float32(1 / 24) + square * cosine
    cosine = np.float32(-1 / 2) + square * cosine
    cosine = _F1 + square * cosine
    turns = np.int64(quarter) & 3
    x, y = (-sine, cosine) if turns & 1 else (cosine, sine)
    return (-x, -y) if turns >= 2 else (x, y)


@part
def _draw_where(where, flip, rotation, crop, scale, aspect, shift_x, shift_y, ratio, height, width, size):
    """As `kernels.tables.geometry.affine`."""
    step = crop * ratio / scale
    root = np.float32(math.sqrt(aspect))
    step_x = step / root * flip
    step_y = step * root
    cosine, sine = _cos_sin(rotation)
    xx, xy = step_x * cosine, step_x * sine
    yx, yy = -(step_y * sine), step_y * cosine
    side, half = np.float32(size), np.float32(size / 2)
    centre_x, centre_y = shift_x * side + half, shift_y * side + half
    where[0, 0], where[0, 1] = xx, xy
    where[0, 2] = np.float32(width / 2) - (xx * centre_x + xy * centre_y)
    where[1, 0], where[1, 1] = yx, yy
    where[1, 2] = np.float32(height / 2) - (yx * centre_x + yy * centre_y)


@part
def _draw_colour(colour, mean, contrast, brightness_factor, brightness, saturation, hue):
    """As `kernels.tables.colour.colour_matrix`, with the saturation 0 for gray."""
    cosine, sine = _cos_sin(hue * np.float32(360))
    along, across = saturation * cosine, saturation * sine
    gain = brightness_factor * contrast
    away, shift = _F1 - contrast, brightness * np.float32(255)
    red = (mean[0] * away) * brightness_factor + shift
    green = (mean[1] * away) * brightness_factor + shift
    blue = (mean[2] * away) * brightness_factor + shift
    for i in range(3):
        of_red = (_F1 - along) * _LUMA[0] + across * _HUE[i, 0] + (along if i == 0 else _F0)
        of_green = (_F1 - along) * _LUMA[1] + across * _HUE[i, 1] + (along if i == 1 else _F0)
        of_blue = (_F1 - along) * _LUMA[2] + across * _HUE[i, 2] + (along if i == 2 else _F0)
        colour[i, 0], colour[i, 1], colour[i, 2] = of_red * gain, of_green * gain, of_blue * gain
        colour[i, 3] = (of_red * red + of_green * green) + of_blue * blue


@whole
def _draw(sample, mean, ranges, address, ratio, height, width, size, side, where, colour, blur, noise, key, cut):
    places = size - side + 1
    for i in range(sample.size):
        flip, jitter, contrast, brightness = _words(_AUGMENT, address, sample[i])
        factor, saturation, hue, gray = _words(_AUGMENT + 1, address, sample[i])
        noisy, key_low, key_high, blurred = _words(_AUGMENT + 2, address, sample[i])
        resized, resize, rotation, crop = _words(_AUGMENT + 3, address, sample[i])
        scale, shift_x, shift_y, aspect = _words(_AUGMENT + 4, address, sample[i])
        cut_applied, cut_x, cut_y, _ = _words(_AUGMENT + 5, address, sample[i])

        _draw_where(
            where[i],
            -_F1 if _happens(flip, ranges.flip) else _F1,
            _between(rotation, ranges.rotation),
            _between(crop, ranges.crop),
            _between(scale, ranges.scale),
            _between(aspect, ranges.aspect),
            _between(shift_x, ranges.shift),
            _between(shift_y, ranges.shift),
            ratio,
            height,
            width,
            size,
        )
        jittered = _happens(jitter, ranges.jitter)
        saturated = _between(saturation, ranges.saturation) if jittered else _F1
        _draw_colour(
            colour[i],
            mean[i],
            _between(contrast, ranges.contrast) if jittered else _F1,
            _between(factor, ranges.brightness_factor) if jittered else _F1,
            _between(brightness, ranges.brightness),
            _F0 if _happens(gray, ranges.gray) else saturated,
            _between(hue, ranges.hue) if jittered else _F0,
        )
        variance = ranges.blur_variance if _happens(blurred, ranges.blur) else _F0
        shrunk = _F1 / _between(resize, ranges.resize)
        widened = (shrunk * shrunk - _F1) * np.float32(0.25)
        if _happens(resized, ranges.resize_applied) and widened > _F0:
            variance = variance + widened
        blur[i] = math.sqrt(variance)
        noise[i] = _between(noisy, ranges.noise) * np.float32(255)
        key[i] = (key_high << 32) | key_low
        if _happens(cut_applied, ranges.cut):
            left, top = (cut_x * places) >> 32, (cut_y * places) >> 32
            cut[i, 0], cut[i, 1], cut[i, 2], cut[i, 3] = left, top, left + side, top + side
        else:
            cut[i, 0], cut[i, 1], cut[i, 2], cut[i, 3] = 0, 0, 0, 0


def draw_tables(
    sample: Tensor,
    mean: Tensor,
    augment: Sequence[float],
    seed: int,
    epoch: int,
    stream: str,
    height: int,
    width: int,
    size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `kernels.draw`; `augment` as `Augment.numbers` gives it, `seed` as int64."""
    ranges = Augment.of_numbers(augment)
    side = round(ranges.cut * size)

    def chances(probability: float) -> int:
        return math.ceil(probability * 2**24)

    def span(pair: tuple[float, float]) -> Array:
        return np.array([pair[0], pair[1] - pair[0]], dtype=np.float32)

    drawn = _Ranges(
        chances(ranges.flip),
        chances(ranges.jitter),
        chances(ranges.gray),
        chances(ranges.blur_probability),
        chances(ranges.resize_probability),
        chances(ranges.cut_probability if side > 0 else 0.0),
        np.float32(ranges.blur**2),
        span(ranges.resize),
        span(ranges.rotation),
        span(ranges.crop),
        span(ranges.scale),
        span(ranges.shift),
        span(ranges.aspect),
        span(ranges.contrast),
        span(ranges.brightness),
        span(ranges.brightness_factor),
        span(ranges.saturation),
        span(ranges.hue),
        span(ranges.noise),
    )
    batch = sample.shape[0]
    tables = (
        torch.empty(batch, 2, 3),
        torch.empty(batch, 3, 4),
        torch.empty(batch),
        torch.empty(batch),
        torch.empty(batch, dtype=torch.int64),
        torch.empty(batch, 4, dtype=torch.int16),
    )
    ratio = np.float32(min(height, width) / size)
    samples, means = sample.contiguous().numpy(), mean.detach().contiguous().numpy()
    written = (table.numpy() for table in tables)
    _draw(samples, means, drawn, _address(seed, epoch, stream), ratio, height, width, size, side, *written)
    return tables


@inlined
def _fixed(low, high, word):
    return (low << 20) + (high - low) * (word >> 12)


@inlined
def _whole_root(square):
    return np.int64(math.sqrt(np.float64(square)))


@part
def _farthest(distance, count):
    """The largest of the `count` smallest distances, `count` at least 1, bit by bit from the top."""
    value = np.int64(0)
    for bit in range(62, -1, -1):
        higher = value | (np.int64(1) << bit)
        below = 0
        for i in range(distance.size):
            below += distance[i] < higher
        if below < count:
            value = higher
    return value


@whole
def _draw_holes(sample, grid, share, blocks, aspect, address, shows):
    cells = grid * grid
    distance = np.empty(cells, np.int64)
    for k in range(sample.size):
        word0, word1, _, _ = _words(_HOLES, address, sample[k])
        hidden = (_fixed(share[0], share[1], word0) * cells + (1 << 39)) >> 40
        count = blocks[0] + ((word1 * (blocks[1] - blocks[0] + 1)) >> 32)
        distance[:] = np.int64(1) << 62
        for block in range(count):
            x, y, wide, _ = _words(_HOLES + 1 + block, address, sample[k])
            # Lengths are in 2**-17 of a cell, so that cell centres, odd numbers of half cells, are whole.
            x, y = (x * (2 * grid)) >> 16, (y * (2 * grid)) >> 16
            wideness = _fixed(aspect[0], aspect[1], wide) >> 20  # aspect * 2**24
            down = _whole_root(wideness)  # sqrt(aspect) * 2**12
            across = _whole_root((1 << 48) // wideness)  # 2**12 / sqrt(aspect)
            for i in range(grid):
                dy = abs(((2 * i + 1) << 16) - y) * down
                for j in range(grid):
                    dx = abs(((2 * j + 1) << 16) - x) * across
                    distance[i * grid + j] = min(distance[i * grid + j], max(dx, dy))
        for i in range(cells):
            shows[k, i] = i
        if hidden > 0:
            edge = _farthest(distance, hidden)
            for i in range(cells):
                if distance[i] < edge:
                    shows[k, i] = -1
                    hidden -= 1
            for i in range(cells):
                if distance[i] == edge and hidden > 0:
                    shows[k, i] = -1
                    hidden -= 1


def draw_holes(
    sample: Tensor,
    grid: int,
    share: Sequence[int],
    blocks: Sequence[int],
    aspect: Sequence[int],
    seed: int,
    epoch: int,
    stream: str,
) -> Tensor:
    """See `kernels.draw_holes`; ranges in fixed point, `seed` as int64."""
    shows = torch.empty(sample.shape[0], grid * grid, dtype=torch.int16)
    ranges = (tuple(share), tuple(blocks), tuple(aspect))
    _draw_holes(sample.contiguous().numpy(), grid, *ranges, _address(seed, epoch, stream), shows.numpy())
    return shows


def _address(seed: int, epoch: int, stream: str) -> _Address:
    return _Address(np.uint64(seed % 2**64), np.uint64(epoch), np.uint64(stream_word(stream)))
