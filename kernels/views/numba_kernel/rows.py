"""Renders rows of one sample, run by run of visible pixels."""

from __future__ import annotations

import numpy as np

from kernels.numba_jit import part
from kernels.views.numba_kernel.blur import blur
from kernels.views.numba_kernel.cells import first_pixel, positions_in_view, stretch
from kernels.views.numba_kernel.colour import colour_gray, colour_rgb
from kernels.views.numba_kernel.noise import add_noise
from kernels.views.numba_kernel.output import write_bf16, write_fp16, write_fp32, write_zeros
from kernels.views.numba_kernel.records import FP16, FP32
from kernels.views.numba_kernel.sampling import tap
from kernels.views.numba_kernel.scratch import DOWN, F0, MID, RUN, UP, R, copy_planes


@part
def _finish(scratch, count, channels, sample, settings, out, pixel):
    """Steps 6 to 8 for a run, out to memory from `pixel` of the sample on."""
    if channels == 3:
        colour_rgb(scratch, count, sample.colour)
    else:
        colour_gray(scratch, count, sample.colour)
    if sample.noise != F0:
        add_noise(scratch, count, 2 * settings.grid, settings.size, sample.noise, sample.key)
    pixel += sample.first
    if settings.kind == FP32:
        write_fp32(scratch, count, settings.mean, settings.std, out.singles, pixel)
    elif settings.kind == FP16:
        write_fp16(scratch, count, settings.mean, settings.std, out.halves, pixel)
    else:
        write_bf16(scratch, count, settings.mean, settings.std, out.halves, pixel)


@part
def sharp_rows(scratch, top, bottom, faces, sample, settings, out):
    """Rows top..bottom-1 of a sample without blur."""
    size, grid = settings.size, settings.grid
    for y in range(top, bottom):
        row = (2 * y + 1) * grid // (2 * size)
        line = y * size
        x = cell = np.int64(0)
        while x < size:
            start = x
            if sample.shows[row * grid + cell] < 0:
                cell += 1
                x = first_pixel(cell, size, grid)
                write_zeros(out, settings.kind, sample.first + line + start, sample.first + line + x)
                continue
            count = np.int64(0)
            while x < size and count < RUN and sample.shows[row * grid + cell] >= 0:
                behind = stretch(sample.shows, sample.turn, row, cell, size, grid)
                end = first_pixel(behind, size, grid)
                part = min(end - x, RUN - count)
                positions_in_view(scratch, count, part, x, y, row, cell, sample, settings)
                count += part
                x += part
                if x == end:
                    cell = behind
            tap(scratch, count, faces, sample, settings)
            _finish(scratch, count, faces.channels, sample, settings, out, line + start)


@part
def blurred_rows(scratch, top, bottom, faces, sample, settings, out):
    """Rows top..bottom-1 of a sample with blur: stretch by stretch of cells, each read with a border of one pixel.

    Turned tiles are no matter: the blur is the same in all four directions."""
    size, grid, channels = settings.size, settings.grid, faces.channels
    zero = np.int64(0)
    while top < bottom:
        row = (2 * top + 1) * grid // (2 * size)
        low = min(first_pixel(row + 1, size, grid), bottom)
        x = cell = zero
        while x < size:
            if sample.shows[row * grid + cell] < 0:
                cell += 1
                end = first_pixel(cell, size, grid)
                for y in range(top, low):
                    line = sample.first + y * size
                    write_zeros(out, settings.kind, line + x, line + end)
                x = end
                continue
            behind = stretch(sample.shows, sample.turn, row, cell, size, grid)
            end = first_pixel(behind, size, grid)
            count = min(end - x, RUN - 2)
            for y in range(top - 1, low + 1):
                positions_in_view(scratch, zero, count + 2, x - 1, y, row, cell, sample, settings)
                tap(scratch, count + 2, faces, sample, settings)
                copy_planes(scratch, MID, UP, count + 2, channels)
                copy_planes(scratch, DOWN, MID, count + 2, channels)
                copy_planes(scratch, R, DOWN, count + 2, channels)
                if y > top:
                    if sample.noise != F0:
                        positions_in_view(scratch, zero, count, x, y - 1, row, cell, sample, settings)
                    blur(scratch, count, sample.blur, channels)
                    _finish(scratch, count, channels, sample, settings, out, (y - 1) * size + x)
            x += count
            if x == end:
                cell = behind
        top = low
