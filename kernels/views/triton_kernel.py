# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""Renders views on a CUDA device: every view of every sample in one Triton launch, without temporaries.

A program writes BLOCK consecutive pixels of one view of one sample. Pixels are counted through the whole view, not in
tiles of it, so that no size leaves lanes idle but in the last block, and each program writes one contiguous piece of
memory. Views of a sample follow one another in launch order: the second one finds the face in the L2 cache, so that
the store is read from memory once whatever the number of views.

Memory traffic is 3 or 1 stored bytes and 3 output values a pixel. At the 9 bytes of a bf16 pixel a Hopper GPU has time
for about a hundred instructions a pixel before memory stops being the limit; compiled for sm_90, a plain RGB view takes
134 of them and a gray one 99. Hence the care below: no integer division, no conversion from fp32 but the two that
addresses need, constants folded on the host, and everything that an option does is compiled away where the option is
absent. Numbers that change from step to step (sizes, grids, store shape, normalisation) are run-time arguments that are
never specialised on, so they never compile anew.

Positions are rounded exactly as in `kernels.views.reference`, so all backends read the same store positions; there the
compiler must not contract a * b + c, and `tl.fma` says where it may. Colours differ from the reference by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.triton_arithmetic import cos_sin_turn, divide, divisor


@triton.jit
def _read(face, x, y, last_x, last_y, widest, lowest, width, below, CHANNELS: tl.constexpr, RIGHT: tl.constexpr):
    """The face at store positions (x, y), bilinear; outside it the nearest edge pixel. A gray face comes as r = g = b.

    The left neighbour stops one pixel short of the edge, where the weight of the right one reaches 1 exactly: so it
    always lies RIGHT bytes on, which is part of the instruction and costs no addition.
    """
    x = tl.clamp(x, 0.0, last_x)
    y = tl.clamp(y, 0.0, last_y)
    left = tl.minimum(x.to(tl.int32), widest)
    top = tl.minimum(y.to(tl.int32), lowest)
    fx = x - left.to(tl.float32)
    fy = y - top.to(tl.float32)
    upper = face + (top.to(width.dtype) * width + left) * CHANNELS
    lower = upper + below
    red = _mix(upper, lower, fx, fy, RIGHT)
    green = red
    blue = red
    if CHANNELS == 3:
        green = _mix(upper + 1, lower + 1, fx, fy, RIGHT)
        blue = _mix(upper + 2, lower + 2, fx, fy, RIGHT)
    return red, green, blue


@triton.jit
def _mix(upper, lower, fx, fy, RIGHT: tl.constexpr):
    """One channel of four neighbours, joined along x, then along y."""
    p00 = _value(upper)
    p10 = _value(lower)
    above = tl.fma(fx, _value(upper + RIGHT) - p00, p00)
    under = tl.fma(fx, _value(lower + RIGHT) - p10, p10)
    return tl.fma(fy, under - above, above)


@triton.jit
def _value(place):
    # A byte b shifted into the fraction of 256.0 spells 256 + b: one integer instruction, where a conversion would
    # occupy a unit of a quarter of its rate. Joining neighbours carries the 256 along, `_coloured` takes it off.
    return (tl.load(place).to(tl.int32) * 2**15 + 0x43800000).to(tl.float32, bitcast=True)


@triton.jit
def _tap(
    face, x, y, xx, xy, yx, yy, last_x, last_y, widest, lowest, width, below,
    CHANNELS: tl.constexpr, RIGHT: tl.constexpr, SUPERSAMPLE: tl.constexpr,
):  # fmt: skip
    """One reading of the store, or the mean of four a quarter of a view pixel around it."""
    if SUPERSAMPLE == 1:
        red, green, blue = _read(face, x, y, last_x, last_y, widest, lowest, width, below, CHANNELS, RIGHT)
    else:
        red = tl.zeros_like(x)
        green = tl.zeros_like(x)
        blue = tl.zeros_like(x)
        for sub in range(4):
            dx = (sub % 2) * 0.5 - 0.25
            dy = (sub // 2) * 0.5 - 0.25
            sub_x = x + (xx * dx + xy * dy)
            sub_y = y + (yx * dx + yy * dy)
            r, g, b = _read(face, sub_x, sub_y, last_x, last_y, widest, lowest, width, below, CHANNELS, RIGHT)
            red += r
            green += g
            blue += b
        red *= 0.25
        green *= 0.25
        blue *= 0.25
    return red, green, blue


@triton.jit
def _entry(table, i):
    """An entry of `where`; not finite counts as 0, absurd is bounded, so that every address stays valid."""
    entry = tl.load(table + i)
    entry = tl.where(tl.abs(entry) < float("inf"), entry, 0.0)
    return tl.clamp(entry, -1e9, 1e9)


@triton.jit
def _over_unit(whole, per_unit, grid):
    """whole / (2 grid), correctly rounded: a product with the reciprocal, and one step that repairs it (Markstein)."""
    number = whole.to(tl.float32)
    first = number * per_unit
    return tl.fma(tl.fma(-first, (2 * grid).to(tl.float32), number), per_unit, first)


@triton.jit
def _in_uncut_view(
    x, y, inside, shows, turn, size, grid, by_side, by_side_shift, by_grid, per_unit,
    CELLS: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    """Where pixels (x, y) read the un-cut view: in units of 1 / (2 grid) pixel, and in pixels; and which are hidden."""
    if CELLS:
        across = (2 * x + 1) * grid
        down = (2 * y + 1) * grid
        column = divide(across, by_side, by_side_shift)
        line = divide(down, by_side, by_side_shift)
        cell = line * grid + column
        source = tl.load(shows + cell, mask=inside, other=-1).to(tl.int32)
        hidden = source < 0
        source = tl.maximum(tl.minimum(source, grid * grid - 1), 0)
        source_line = (source * by_grid) >> 23
        source_column = source - source_line * grid
        if TURN:
            quarter = tl.load(turn + cell, mask=inside, other=0).to(tl.int32) & 3
            cosine = (1 - quarter) * (1 - (quarter & 1))
            sine = (2 - quarter) * (quarter & 1)
            ux = across - (2 * column + 1) * size
            uy = down - (2 * line + 1) * size
            across = (2 * source_column + 1) * size + (cosine * ux - sine * uy)
            down = (2 * source_line + 1) * size + (sine * ux + cosine * uy)
        else:
            across += (source_column - column) * (2 * size)
            down += (source_line - line) * (2 * size)
        qx = _over_unit(across, per_unit, grid)
        qy = _over_unit(down, per_unit, grid)
    else:
        across = x
        down = y
        hidden = tl.load(shows) < 0
        qx = x.to(tl.float32) + 0.5
        qy = y.to(tl.float32) + 0.5
    return across, down, qx, qy, hidden


@triton.jit
def _blurred(
    sigma, face, x, y, xx, xy, yx, yy, last_x, last_y, widest, lowest, width, below,
    CHANNELS: tl.constexpr, RIGHT: tl.constexpr, SUPERSAMPLE: tl.constexpr,
):  # fmt: skip
    """The weighted mean of nine taps a view pixel apart, or of the middle one where sigma is 0."""
    red, green, blue = _tap(
        face, x, y, xx, xy, yx, yy, last_x, last_y, widest, lowest, width, below, CHANNELS, RIGHT, SUPERSAMPLE
    )
    edge = tl.exp(-0.5 / (sigma * sigma))
    # Most samples of a batch are sharp: their programs skip eight taps of weight 0.
    if edge != 0.0:
        mid = 1.0 / (1.0 + 2.0 * edge)
        side = edge * mid
        red *= mid * mid
        green *= mid * mid
        blue *= mid * mid
        for neighbour in range(8):
            tap = neighbour + neighbour // 4  # 0..8 without the centre
            dx = tap % 3 - 1.0
            dy = tap // 3 - 1.0
            weight = tl.where(dx * dy == 0.0, mid, side) * side
            tap_x = x + (xx * dx + xy * dy)
            tap_y = y + (yx * dx + yy * dy)
            r, g, b = _tap(
                face, tap_x, tap_y, xx, xy, yx, yy, last_x, last_y, widest, lowest, width, below,
                CHANNELS, RIGHT, SUPERSAMPLE,
            )  # fmt: skip
            red = tl.fma(r, weight, red)
            green = tl.fma(g, weight, green)
            blue = tl.fma(b, weight, blue)
    return red, green, blue


@triton.jit
def _coloured(matrix, red, green, blue, CHANNELS: tl.constexpr):
    c0 = tl.load(matrix)
    c1 = tl.load(matrix + 1)
    c2 = tl.load(matrix + 2)
    c3 = tl.load(matrix + 3)
    if CHANNELS == 1:
        value = tl.fma(red, (c0 + c1) + c2, c3 - 256.0 * ((c0 + c1) + c2))
    else:
        value = tl.fma(blue, c2, tl.fma(green, c1, tl.fma(red, c0, c3 - 256.0 * ((c0 + c1) + c2))))
    return _full_scale(value)


@triton.jit
def _full_scale(value):
    return tl.clamp(value, 0.0, 255.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _radius(bits):
    return tl.sqrt(tl.maximum(-2.0 * tl.log(((bits >> 8) + 1).to(tl.int32).to(tl.float32) * 2.0**-24), 0.0))


@triton.jit
def _noisy(red, green, blue, amount, key, counter):
    """Three normal numbers a pixel of the un-cut view, by Box and Muller."""
    word0, word1, word2, word3 = tl.philox(key, counter, 0, 0, 0)
    cosine0, sine0 = cos_sin_turn(word1)
    cosine1, _ = cos_sin_turn(word3)
    radius0 = _radius(word0) * amount
    radius1 = _radius(word2) * amount
    red = _full_scale(tl.fma(radius0, cosine0, red))
    green = _full_scale(tl.fma(radius0, sine0, green))
    blue = _full_scale(tl.fma(radius1, cosine1, blue))
    return red, green, blue


@triton.jit
def _write(out, offset, inside, red, green, blue, INTERLEAVE: tl.constexpr, BLOCK: tl.constexpr):
    place = offset * 3
    if INTERLEAVE:
        # One value a lane, four lanes a pixel of which the last is idle: each store of a warp writes 48, or 96, bytes
        # in one piece. The compiler swaps the values between lanes for it, which costs some instructions.
        pixels = tl.reshape(tl.join(tl.join(red, blue), tl.join(green, blue)), (BLOCK, 4))
        channel = tl.arange(0, 4)
        tl.store(out + place[:, None] + channel[None, :], pixels, mask=inside[:, None] & (channel[None, :] < 3))
    else:
        # Three stores that each write a third of every 32-byte sector: the L2 cache puts them together, so memory
        # sees every byte once, at three times the number of requests to that cache.
        tl.store(out + place, red, mask=inside)
        tl.store(out + place + 1, green, mask=inside)
        tl.store(out + place + 2, blue, mask=inside)


_RUN_TIME = (
    "where_view", "colour_view", "shows_view", "blur_view", "noise_view", "key_view", "turn_view", "cut_view",
    "first", "batch", "faces", "height", "width", "size", "grid",
    "by_size", "by_size_shift", "by_side", "by_side_shift", "by_unit", "by_grid",
)  # fmt: skip
_TABLES = ("store", "row", "where", "colour", "shows", "blur", "noise", "key", "turn", "cut", "out")


@triton.jit(do_not_specialize=_RUN_TIME, do_not_specialize_on_alignment=_TABLES)
def _render(
    out, store, row, where, colour, shows, blur, noise, key, turn, cut,
    where_view, colour_view, shows_view, blur_view, noise_view, key_view, turn_view, cut_view,
    first, batch, faces, height, width, size, grid,
    by_size, by_size_shift, by_side, by_side_shift, by_unit, by_grid, per_unit,
    red_scale, green_scale, blue_scale, red_offset, green_offset, blue_offset,
    CHANNELS: tl.constexpr, RIGHT: tl.constexpr, CELLS: tl.constexpr, TURN: tl.constexpr, CUT: tl.constexpr,
    BLUR: tl.constexpr, NOISE: tl.constexpr, SUPERSAMPLE: tl.constexpr, WIDE: tl.constexpr,
    INTERLEAVE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    view = tl.program_id(1)
    sample = tl.program_id(2) + first
    each = view.to(tl.int64)
    if WIDE:
        width = width.to(tl.int64)

    # Which pixel, and where in the un-cut view: in units of 1 / (2 grid) pixel everything is a whole number. Pixels
    # past the end of the view come along: positions in the store are clamped, so only tables need a mask for them.
    offset = tl.arange(0, BLOCK)
    pixel = block * BLOCK + offset
    inside = pixel < size * size
    y = divide(pixel, by_size, by_size_shift)
    x = pixel - y * size
    shows += each * shows_view + sample.to(tl.int64) * (grid * grid)
    turn += each * turn_view + sample.to(tl.int64) * (grid * grid)
    across, down, qx, qy, hidden = _in_uncut_view(
        x, y, inside, shows, turn, size, grid, by_side, by_side_shift, by_grid, per_unit, CELLS, TURN
    )

    # Before the store is read, so that lines and columns need not be kept meanwhile.
    blank = hidden
    if CUT:
        cut += each * cut_view + sample.to(tl.int64) * 4
        covered = (x >= tl.load(cut)) & (y >= tl.load(cut + 1)) & (x < tl.load(cut + 2)) & (y < tl.load(cut + 3))
        blank = blank | covered

    # The store, blurred.
    where += each * where_view + sample.to(tl.int64) * 6
    xx = _entry(where, 0)
    xy = _entry(where, 1)
    yx = _entry(where, 3)
    yy = _entry(where, 4)
    store_x = ((xx * qx + xy * qy) + _entry(where, 2)) - 0.5
    store_y = ((yx * qx + yy * qy) + _entry(where, 5)) - 0.5
    index = tl.minimum(tl.maximum(tl.load(row + sample), 0), faces - 1)
    face = store + index * (height.to(tl.int64) * width * CHANNELS)
    last_x = (width - 1).to(tl.float32)
    last_y = (height - 1).to(tl.float32)
    widest = tl.maximum(width - 2, 0).to(tl.int32)
    lowest = tl.maximum(height - 2, 0)
    below = tl.where(height > 1, width * CHANNELS, 0)
    if BLUR:
        red, green, blue = _blurred(
            tl.load(blur + each * blur_view + sample), face, store_x, store_y, xx, xy, yx, yy,
            last_x, last_y, widest, lowest, width, below, CHANNELS, RIGHT, SUPERSAMPLE,
        )  # fmt: skip
    else:
        red, green, blue = _tap(
            face, store_x, store_y, xx, xy, yx, yy, last_x, last_y, widest, lowest, width, below,
            CHANNELS, RIGHT, SUPERSAMPLE,
        )  # fmt: skip

    # Colour, noise, normalisation.
    colour += each * colour_view + sample.to(tl.int64) * 12
    red, green, blue = (
        _coloured(colour, red, green, blue, CHANNELS),
        _coloured(colour + 4, red, green, blue, CHANNELS),
        _coloured(colour + 8, red, green, blue, CHANNELS),
    )
    if NOISE:
        counter = divide(down, by_unit, 0) * size + divide(across, by_unit, 0) if CELLS else pixel
        amount = tl.load(noise + each * noise_view + sample)
        red, green, blue = _noisy(red, green, blue, amount, tl.load(key + each * key_view + sample), counter)
    kind = out.dtype.element_ty
    red = tl.where(blank, 0.0, tl.fma(red, red_scale, red_offset)).to(kind)
    green = tl.where(blank, 0.0, tl.fma(green, green_scale, green_offset)).to(kind)
    blue = tl.where(blank, 0.0, tl.fma(blue, blue_scale, blue_offset)).to(kind)

    out += ((each * batch + sample) * (size * size) + block * BLOCK) * 3
    _write(out, offset, inside, red, green, blue, INTERLEAVE, BLOCK)


@dataclass(frozen=True, slots=True)
class Configuration:
    """How the pixels of a view are shared out; it changes the speed, never a value."""

    block: int
    """Pixels a program, a power of 2."""
    warps: int
    interleave: bool
    """Swap channels between lanes before they are stored; else three stores."""


_MOST_PROGRAMS = 65_535
"""Of the second and third axis of a launch."""

LIGHT = Configuration(block=1024, warps=4, interleave=False)
HEAVY = Configuration(block=512, warps=4, interleave=False)


def configuration(*, blur: bool, noise: bool, supersample: int) -> Configuration:
    """The configuration by what limits the views: memory and plain instructions, or much work a pixel."""
    return HEAVY if blur or noise or supersample > 1 else LIGHT


def render_views(
    store: Tensor,
    row: Tensor,
    where: Tensor,
    colour: Tensor,
    shows: Tensor,
    blur: Tensor | None,
    noise: Tensor | None,
    key: Tensor | None,
    turn: Tensor | None,
    cut: Tensor | None,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
    supersample: int,
    chosen: Configuration | None = None,
) -> Tensor:
    """See `kernels.render_views`, which checks the arguments; here they are trusted in shape and clamped in value.

    Nothing but the output is allocated where tables are contiguous or expanded over the views; nothing synchronises.
    """
    views, batch, cells = shows.shape
    assert views <= _MOST_PROGRAMS
    faces, height, width, channels = store.shape
    grid = math.isqrt(cells)
    out = torch.empty(views, batch, size, size, 3, dtype=dtype, device=store.device)
    if chosen is None:
        chosen = configuration(blur=blur is not None, noise=noise is not None, supersample=supersample)

    row = row.contiguous()
    where, colour, shows = _by_sample(where), _by_sample(colour), _by_sample(shows)
    # An option that is absent is never read: any pointer serves.
    tables = [where if table is None else _by_sample(table) for table in (blur, noise, key, turn, cut)]
    by_size = divisor(size, size * size - 1)
    by_side = divisor(2 * size, 2 * size * grid)
    by_unit, no_shift = divisor(2 * grid, 2 * size * grid)
    assert no_shift == 0
    with torch.cuda.device_of(store):
        for first in range(0, batch, _MOST_PROGRAMS):
            launch: Any = _render[triton.cdiv(size * size, chosen.block), views, min(_MOST_PROGRAMS, batch - first)]
            launch(
                out, store, row, where, colour, shows, *tables,
                *(table.stride(0) for table in (where, colour, shows, *tables)),
                first, batch, faces, height, width, size, grid,
                *by_size, *by_side, by_unit, -(-(2**23) // grid), 1.0 / (2 * grid),
                *(1.0 / (255.0 * s) for s in std), *(-m / s for m, s in zip(mean, std, strict=True)),
                CHANNELS=channels,
                RIGHT=channels if width > 1 else 0,
                CELLS=grid > 1 or turn is not None,
                TURN=turn is not None,
                CUT=cut is not None,
                BLUR=blur is not None,
                NOISE=noise is not None,
                SUPERSAMPLE=supersample,
                WIDE=height * width * channels >= 2**31,
                INTERLEAVE=chosen.interleave,
                BLOCK=chosen.block,
                num_warps=chosen.warps,
                num_stages=1,
                enable_fp_fusion=False,
            )  # fmt: skip
    return out.permute(0, 1, 4, 2, 3)


def _by_sample(table: Tensor) -> Tensor:
    """The table with a view's samples one after another; views may share memory, as those of `expand` do."""
    step = 1
    for number, stride in zip(table.shape[:0:-1], table.stride()[:0:-1], strict=True):
        if number > 1 and stride != step:
            return table.contiguous()
        step *= number
    return table
