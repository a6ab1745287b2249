"""Draws on the CPU what costs notable time beside the rendering: the tables of an augmentation, and holes.

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
from kernels.numba_philox import philox4x32
from kernels.tables.augment import Augment
from kernels.tables.maps import HUE, LUMA
from kernels.tables.streams import Key, Purpose, stream_word

Array = np.ndarray[Any, Any]

_LUMA = np.array(LUMA, dtype=np.float32)
_HUE = np.array(HUE, dtype=np.float32)
_AUGMENT, _HOLES = Purpose.AUGMENT << 24, Purpose.HOLES << 24
_F0, _F1, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


class _Key(NamedTuple):
    """A `Key` as numba takes it."""

    seed: np.uint64
    epoch: np.uint64
    stream: np.uint64
    sample: Array
    occurrence: Array

    @classmethod
    def of(cls, key: Key) -> _Key:
        sample = key.sample.contiguous().numpy()
        repeated = key.occurrence
        occurrence = np.zeros(len(sample), np.int32) if repeated is None else repeated.contiguous().numpy()
        return cls(np.uint64(key.seed), np.uint64(key.epoch), np.uint64(stream_word(key.name)), sample, occurrence)


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
def _words(block, key, i):
    """The four words of a block of `kernels.tables.streams`, for sample i of the batch."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    sample, occurrence = np.uint64(key.sample[i]) & low, np.uint64(key.occurrence[i]) & low
    word0, word1, word2, word3 = philox4x32(
        np.uint64(block), key.stream, key.epoch, sample, key.seed & low, (key.seed >> half) ^ occurrence
    )
    return np.int64(word0), np.int64(word1), np.int64(word2), np.int64(word3)


@inlined
def _happens(word, chances):
    return (word >> 8) < chances


@inlined
def _between(word, span):
    return np.float32(word >> 8) * np.float32(2.0**-24) * span[1] + span[0]


@part
def _cos_sin(degrees):
    """As `kernels.tables.maps.cos_sin`."""
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
    """As `kernels.tables.maps.affine`."""
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
    """As `kernels.tables.maps.colour_matrix`, with the saturation 0 for gray."""
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
def _draw(key, mean, ranges, ratio, height, width, size, side, where, colour, blur, noise, noise_key, cut):
    places = size - side + 1
    for i in range(key.sample.size):
        flip, jitter, contrast, brightness = _words(_AUGMENT, key, i)
        factor, saturation, hue, gray = _words(_AUGMENT + 1, key, i)
        noisy, key_low, key_high, blurred = _words(_AUGMENT + 2, key, i)
        resized, resize, rotation, crop = _words(_AUGMENT + 3, key, i)
        scale, shift_x, shift_y, aspect = _words(_AUGMENT + 4, key, i)
        cut_applied, cut_x, cut_y, _ = _words(_AUGMENT + 5, key, i)

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
        noise_key[i] = (key_high << 32) | key_low
        if _happens(cut_applied, ranges.cut):
            left, top = (cut_x * places) >> 32, (cut_y * places) >> 32
            cut[i, 0], cut[i, 1], cut[i, 2], cut[i, 3] = left, top, left + side, top + side
        else:
            cut[i, 0], cut[i, 1], cut[i, 2], cut[i, 3] = 0, 0, 0, 0


def draw_tables(
    key: Key, mean: Tensor, augment: Augment, store: tuple[int, int], size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `kernels.draw`."""
    height, width = store
    side = round(augment.cut * size)

    def chances(probability: float) -> int:
        return math.ceil(probability * 2**24)

    def span(pair: tuple[float, float]) -> Array:
        return np.array([pair[0], pair[1] - pair[0]], dtype=np.float32)

    ranges = _Ranges(
        chances(augment.flip),
        chances(augment.jitter),
        chances(augment.gray),
        chances(augment.blur_probability),
        chances(augment.resize_probability),
        chances(augment.cut_probability if side > 0 else 0.0),
        np.float32(augment.blur**2),
        span(augment.resize),
        span(augment.rotation),
        span(augment.crop),
        span(augment.scale),
        span(augment.shift),
        span(augment.aspect),
        span(augment.contrast),
        span(augment.brightness),
        span(augment.brightness_factor),
        span(augment.saturation),
        span(augment.hue),
        span(augment.noise),
    )
    batch = key.sample.shape[0]
    tables = (
        torch.empty(batch, 2, 3),
        torch.empty(batch, 3, 4),
        torch.empty(batch),
        torch.empty(batch),
        torch.empty(batch, dtype=torch.int64),
        torch.empty(batch, 4, dtype=torch.int16),
    )
    ratio = np.float32(min(height, width) / size)
    means = mean.detach().contiguous().numpy()
    _draw(_Key.of(key), means, ranges, ratio, height, width, size, side, *(table.numpy() for table in tables))
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
def _draw_holes(key, grid, share, blocks, aspect, shows):
    cells = grid * grid
    distance = np.empty(cells, np.int64)
    for k in range(key.sample.size):
        word0, word1, _, _ = _words(_HOLES, key, k)
        hidden = (_fixed(share[0], share[1], word0) * cells + (1 << 39)) >> 40
        count = blocks[0] + ((word1 * (blocks[1] - blocks[0] + 1)) >> 32)
        distance[:] = np.int64(1) << 62
        for block in range(count):
            x, y, wide, _ = _words(_HOLES + 1 + block, key, k)
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


def draw_holes(key: Key, grid: int, share: Sequence[int], blocks: Sequence[int], aspect: Sequence[int]) -> Tensor:
    """See `kernels.draw_holes`; ranges in fixed point."""
    shows = torch.empty(key.sample.shape[0], grid * grid, dtype=torch.int16)
    _draw_holes(_Key.of(key), grid, tuple(share), tuple(blocks), tuple(aspect), shows.numpy())
    return shows
