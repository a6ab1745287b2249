# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""Renders views on a CUDA device: every view of every sample in one Triton launch, without temporaries.

A program writes consecutive pixels of one view of one sample, a lane of it four neighbours of a line where lines are
whole numbers of four: their twelve values go out by three stores, and what a line or a cell has in common is computed
once. Each program writes one contiguous piece of memory. Views of a sample follow one another in launch order: the
second one finds the face in the L2 cache, so that the store is read from memory once whatever the number of views.

Memory traffic is 3 or 1 stored bytes and 3 output values a pixel. At the 9 bytes of a bf16 pixel a Hopper GPU has time
for about a hundred instructions a pixel before memory stops being the limit. Hence the care below: no integer division,
bytes that are never converted, limits that are part of the instruction before them, constants folded on the host, and
everything that an option does is compiled away where the option is absent. `benchmarks.roofline` counts what a pixel
takes in the machine code. Numbers that change from step to step (sizes, grids, store shape,
normalisation) are run-time arguments that are never specialised on: a size compiles anew only where its pixels are
shared out otherwise.

Positions are rounded exactly as in `kernels.views.reference`, so all backends read the same store positions; there the
compiler must not contract a * b + c, and `tl.fma` says where it may. Colours differ from the reference by rounding,
and a normal number of the noise by at most 1e-3, for the GPU's own logarithm, cosine and sine.
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

from kernels.triton_arithmetic import divide, divisor, fast_cos, fast_log2, fast_sin, philox


@triton.jit
def _read(face, x, y, CHANNELS: tl.constexpr, RIGHT: tl.constexpr):
    """The face at store positions (x, y), bilinear; outside it the nearest edge pixel. A gray face comes as r = g = b.

    A byte's bits, read as a float, are that many times 2**-149, a denormal that a GPU multiplies at full speed. So no
    byte is converted: the four weights are 2**127 times too large, and what comes out is 2**-22 of the gray level.

    The left neighbour stops one pixel short of the edge, where the weight of the right one reaches 1 exactly: so it
    always lies RIGHT bytes on, which is part of the instruction and costs no addition.
    """
    start, width, below, last_x, last_y, widest, lowest = face
    x = tl.clamp(x, 0.0, last_x)
    y = tl.clamp(y, 0.0, last_y)
    left = tl.minimum(x.to(tl.int32), widest)
    top = tl.minimum(y.to(tl.int32), lowest)
    fx = x - left.to(tl.float32)
    fy = (y - top.to(tl.float32)) * 2.0**127
    above = 2.0**127 - fy
    right = fx * above
    both = fx * fy
    neither = above - right
    under = fy - both
    upper = start + (top.to(width.dtype) * width + left) * CHANNELS
    lower = upper + below
    red = _mix(upper, lower, neither, right, under, both, RIGHT)
    green = red
    blue = red
    if CHANNELS == 3:
        green = _mix(upper + 1, lower + 1, neither, right, under, both, RIGHT)
        blue = _mix(upper + 2, lower + 2, neither, right, under, both, RIGHT)
    return red, green, blue


@triton.jit
def _mix(upper, lower, neither, right, under, both, RIGHT: tl.constexpr):
    """One channel of four neighbours."""
    value = tl.fma(_byte(upper + RIGHT), right, _byte(upper) * neither)
    return tl.fma(_byte(lower + RIGHT), both, tl.fma(_byte(lower), under, value))


@triton.jit
def _byte(place):
    return tl.load(place).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _tap(face, x, y, axes, CHANNELS: tl.constexpr, RIGHT: tl.constexpr, SUPERSAMPLE: tl.constexpr):
    """One reading of the store, or the mean of four a quarter of a view pixel around it."""
    if SUPERSAMPLE == 1:
        red, green, blue = _read(face, x, y, CHANNELS, RIGHT)
    else:
        xx, xy, yx, yy = axes
        red = tl.zeros_like(x)
        green = tl.zeros_like(x)
        blue = tl.zeros_like(x)
        for sub in range(4):
            dx = (sub % 2) * 0.5 - 0.25
            dy = (sub // 2) * 0.5 - 0.25
            r, g, b = _read(face, x + (xx * dx + xy * dy), y + (yx * dx + yy * dy), CHANNELS, RIGHT)
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
def _cell(x, y, inside, shows, turn, grid, by_side, by_side_shift, by_grid, TURN: tl.constexpr):
    """The cell that pixels (x, y) lie in, the one that is shown there, its quarter turns, and whether it is hidden."""
    column = divide((2 * x + 1) * grid, by_side, by_side_shift)
    line = divide((2 * y + 1) * grid, by_side, by_side_shift)
    place = line * grid + column
    source = tl.load(shows + place, mask=inside, other=-1).to(tl.int32)
    hidden = source < 0
    source = tl.maximum(tl.minimum(source, grid * grid - 1), 0)
    source_line = (source * by_grid) >> 23
    quarter = source
    if TURN:
        quarter = tl.load(turn + place, mask=inside, other=0).to(tl.int32) & 3
    return column, line, source - source_line * grid, source_line, quarter, hidden


@triton.jit
def _in_uncut_view(x, y, cell, size, grid, TURN: tl.constexpr):
    """Where pixels (x, y) read the un-cut view, in units of 1 / (2 grid) pixel: whole numbers."""
    column, line, source_column, source_line, quarter, _ = cell
    across = (2 * x + 1) * grid
    down = (2 * y + 1) * grid
    if TURN:
        cosine = (1 - quarter) * (1 - (quarter & 1))
        sine = (2 - quarter) * (quarter & 1)
        ux = across - (2 * column + 1) * size
        uy = down - (2 * line + 1) * size
        across = (2 * source_column + 1) * size + (cosine * ux - sine * uy)
        down = (2 * source_line + 1) * size + (sine * ux + cosine * uy)
    else:
        across += (source_column - column) * (2 * size)
        down += (source_line - line) * (2 * size)
    return across, down


@triton.jit
def _edge(sigma):
    """What a neighbour weighs beside the centre."""
    return tl.exp(-0.5 / (sigma * sigma))


@triton.jit
def _blurred(sigma, face, x, y, axes, CHANNELS: tl.constexpr, RIGHT: tl.constexpr, SUPERSAMPLE: tl.constexpr):
    """The weighted mean of nine taps a view pixel apart, or of the middle one where sigma is 0."""
    red, green, blue = _tap(face, x, y, axes, CHANNELS, RIGHT, SUPERSAMPLE)
    edge = _edge(sigma)
    # Most samples of a batch are sharp: their programs skip eight taps of weight 0.
    if edge != 0.0:
        xx, xy, yx, yy = axes
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
            r, g, b = _tap(face, tap_x, tap_y, axes, CHANNELS, RIGHT, SUPERSAMPLE)
            red = tl.fma(r, weight, red)
            green = tl.fma(g, weight, green)
            blue = tl.fma(b, weight, blue)
    return red, green, blue


@triton.jit
def _row_of(matrix, shown):
    """A row of `colour`, from readings of 2**-22 gray levels to shares of 255; 0 for a view that is hidden whole."""
    c0 = tl.load(matrix, mask=shown, other=0.0) * (2.0**22 / 255.0)
    c1 = tl.load(matrix + 1, mask=shown, other=0.0) * (2.0**22 / 255.0)
    c2 = tl.load(matrix + 2, mask=shown, other=0.0) * (2.0**22 / 255.0)
    return c0, c1, c2, tl.load(matrix + 3, mask=shown, other=0.0) * (1.0 / 255.0)


@triton.jit
def _nan_of(row):
    """NaN where an entry is not finite, else 0."""
    c0, c1, c2, c3 = row
    return ((c0 + c1) + (c2 + c3)) * 0.0


@triton.jit
def _coloured(row, red, green, blue, CHANNELS: tl.constexpr):
    c0, c1, c2, c3 = row
    gray = tl.fma(red, (c0 + c1) + c2, c3)
    value = gray if CHANNELS == 1 else tl.fma(blue, c2, tl.fma(green, c1, tl.fma(red, c0, c3)))
    return _saturated(value)


@triton.jit
def _saturated(value):
    """`value` within 0..1: limits that cost nothing, as they are part of the instruction before (`.SAT`)."""
    return tl.minimum(tl.maximum(value, 0.0), 1.0)


@triton.jit
def _radius(bits):
    """sqrt(-2 ln u) of u = (b + 1) 2**-24 for the upper 24 of 32 bits; near u = 1 ln u may come with the other sign."""
    share = ((bits >> 8) + 1).to(tl.int32, bitcast=True).to(tl.float32) * 2.0**-24
    return tl.sqrt(tl.abs(fast_log2(share) * (-2.0 * 0.6931471805599453)))


@triton.jit
def _angle(bits):
    """The share of a whole turn that the upper 24 of 32 bits spell, as an angle within -pi..pi."""
    return (bits.to(tl.int32, bitcast=True) >> 8).to(tl.float32) * (2.0 * 3.141592653589793 * 2.0**-24)


@triton.jit
def _noisy(red, green, blue, amount, key, counter):
    """Three normal numbers a pixel of the un-cut view, by Box and Muller."""
    word0, word1, word2, word3 = philox(key, counter, 0, 0, 0)
    radius0 = _radius(word0) * amount
    radius1 = _radius(word2) * amount
    red = _saturated(tl.fma(radius0, fast_cos(_angle(word1)), red))
    green = _saturated(tl.fma(radius0, fast_sin(_angle(word1)), green))
    blue = _saturated(tl.fma(radius1, fast_cos(_angle(word3)), blue))
    return red, green, blue


@triton.jit
def _pixel(
    x, y, i, pixel, cell, at, face, axes, rows, scales, options,
    CHANNELS: tl.constexpr, RIGHT: tl.constexpr, CELLS: tl.constexpr, TURN: tl.constexpr, CUT: tl.constexpr,
    BLUR: tl.constexpr, NOISE: tl.constexpr, SUPERSAMPLE: tl.constexpr,
):  # fmt: skip
    """The values of the i-th pixel right of (x, y) in the view, ready to be stored."""
    size, grid, per_unit, by_unit = at
    across = x
    down = y
    if CELLS:
        across, down = _in_uncut_view(x + i, y, cell, size, grid, TURN)
        qx = _over_unit(across, per_unit, grid)
        qy = _over_unit(down, per_unit, grid)
    else:
        qx = x.to(tl.float32) + (i + 0.5)
        qy = y.to(tl.float32) + 0.5
    xx, xy, tx, yx, yy, ty = axes
    # A line of the un-cut view has all but the first product in common.
    store_x = xx * qx + (xy * qy + (tx - 0.5))
    store_y = yx * qx + (yy * qy + (ty - 0.5))
    blur, noise, key, left, top, right, bottom = options
    red_scale, green_scale, blue_scale, red_offset, green_offset, blue_offset = scales
    if BLUR:
        red, green, blue = _blurred(blur, face, store_x, store_y, (xx, xy, yx, yy), CHANNELS, RIGHT, SUPERSAMPLE)
    else:
        red, green, blue = _tap(face, store_x, store_y, (xx, xy, yx, yy), CHANNELS, RIGHT, SUPERSAMPLE)
    red_row, green_row, blue_row = rows
    red, green, blue = (
        _coloured(red_row, red, green, blue, CHANNELS),
        _coloured(green_row, red, green, blue, CHANNELS),
        _coloured(blue_row, red, green, blue, CHANNELS),
    )
    if NOISE:
        counter = divide(down, by_unit, 0) * size + divide(across, by_unit, 0) if CELLS else pixel
        red, green, blue = _noisy(red, green, blue, noise, key, counter)
    if CELLS:
        hidden = cell[5]
        red_scale = tl.where(hidden, 0.0, red_scale)
        green_scale = tl.where(hidden, 0.0, green_scale)
        blue_scale = tl.where(hidden, 0.0, blue_scale)
        red_offset = tl.where(hidden, 0.0, red_offset)
        green_offset = tl.where(hidden, 0.0, green_offset)
        blue_offset = tl.where(hidden, 0.0, blue_offset)
    red = tl.fma(red, red_scale, red_offset)
    green = tl.fma(green, green_scale, green_offset)
    blue = tl.fma(blue, blue_scale, blue_offset)
    if CUT:
        covered = (x + i >= left) & (y >= top) & (x + i < right) & (y < bottom)
        red = tl.where(covered, 0.0, red)
        green = tl.where(covered, 0.0, green)
        blue = tl.where(covered, 0.0, blue)
    return red, green, blue


@triton.jit
def _store_four(place, inside, a, b, c, d, LANES: tl.constexpr):
    """Four values that follow one another in memory, by one instruction a lane."""
    four = tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (LANES, 4))
    tl.store(place[:, None] + tl.arange(0, 4)[None, :], four, mask=inside[:, None])


_RUN_TIME = (
    "where_view", "colour_view", "shows_view", "blur_view", "noise_view", "key_view", "turn_view", "cut_view",
    "first", "batch", "faces", "height", "width", "size", "grid",
    "by_line", "by_line_shift", "by_side", "by_side_shift", "by_unit", "by_grid",
)  # fmt: skip
_TABLES = ("store", "row", "where", "colour", "shows", "blur", "noise", "key", "turn", "cut", "out")


@triton.jit(do_not_specialize=_RUN_TIME, do_not_specialize_on_alignment=_TABLES)
def _render(
    out, store, row, where, colour, shows, blur, noise, key, turn, cut,
    where_view, colour_view, shows_view, blur_view, noise_view, key_view, turn_view, cut_view,
    first, batch, faces, height, width, size, grid,
    by_line, by_line_shift, by_side, by_side_shift, by_unit, by_grid, per_unit,
    red_scale, green_scale, blue_scale, red_offset, green_offset, blue_offset,
    CHANNELS: tl.constexpr, RIGHT: tl.constexpr, CELLS: tl.constexpr, TURN: tl.constexpr, CUT: tl.constexpr,
    BLUR: tl.constexpr, NOISE: tl.constexpr, SUPERSAMPLE: tl.constexpr, WIDE: tl.constexpr,
    EACH: tl.constexpr, WHOLE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    view = tl.program_id(1)
    sample = tl.program_id(2) + first
    each = view.to(tl.int64)
    if WIDE:
        width = width.to(tl.int64)

    # What is the same for all pixels of the program.
    where += each * where_view + sample.to(tl.int64) * 6
    axes = (_entry(where, 0), _entry(where, 1), _entry(where, 2), _entry(where, 3), _entry(where, 4), _entry(where, 5))
    index = tl.minimum(tl.maximum(tl.load(row + sample), 0), faces - 1)
    face = (
        store + index * (height.to(tl.int64) * width * CHANNELS),
        width,
        tl.where(height > 1, width * CHANNELS, 0),
        (width - 1).to(tl.float32),
        (height - 1).to(tl.float32),
        tl.maximum(width - 2, 0).to(tl.int32),
        tl.maximum(height - 2, 0),
    )
    colour += each * colour_view + sample.to(tl.int64) * 12
    shows += each * shows_view + sample.to(tl.int64) * (grid * grid)
    turn += each * turn_view + sample.to(tl.int64) * (grid * grid)
    shown = CELLS or tl.load(shows) >= 0
    rows = (_row_of(colour, shown), _row_of(colour + 4, shown), _row_of(colour + 8, shown))
    # An option that is absent is never read either.
    sigma = 0.0
    amount = 0.0
    seed = 0
    left = 0
    top = 0
    right = 0
    bottom = 0
    if BLUR:
        sigma = tl.load(blur + each * blur_view + sample)
    if NOISE:
        amount = tl.load(noise + each * noise_view + sample, mask=shown, other=0.0) * (1.0 / 255.0)
        seed = tl.load(key + each * key_view + sample)
    if CUT:
        cut += each * cut_view + sample.to(tl.int64) * 4
        left = tl.load(cut)
        top = tl.load(cut + 1)
        right = tl.load(cut + 2)
        bottom = tl.load(cut + 3)
    options = (sigma, amount, seed, left, top, right, bottom)

    # A number of a table that is NaN shall be seen, and the limits of `_saturated` hide it.
    nan = amount * 0.0
    if BLUR:
        nan += _edge(sigma) * 0.0
    red_offset = tl.where(shown, red_offset + (_nan_of(rows[0]) + nan), 0.0)
    green_offset = tl.where(shown, green_offset + (_nan_of(rows[1]) + nan), 0.0)
    blue_offset = tl.where(shown, blue_offset + (_nan_of(rows[2]) + nan), 0.0)
    scales = (red_scale, green_scale, blue_scale, red_offset, green_offset, blue_offset)
    at = (size, grid, per_unit, by_unit)

    # A lane has EACH neighbouring pixels of a line. Lanes past the end of the view come along: positions in the store
    # are clamped, so only tables need a mask for them.
    lane = block * LANES + tl.arange(0, LANES)
    pixel = lane * EACH
    inside = pixel < size * size
    y = divide(lane, by_line, by_line_shift)
    x = pixel - y * size
    cell = (x, y, x, y, x, pixel < 0)  # of an uncut view: never read, but a name needs a value of its type
    if WHOLE:
        cell = _cell(x, y, inside, shows, turn, grid, by_side, by_side_shift, by_grid, TURN)
    place = (
        out + ((each * batch + sample) * (size * size) + block * (LANES * EACH)) * 3 + tl.arange(0, LANES) * (3 * EACH)
    )
    if EACH == 4:
        place = tl.multiple_of(place, out.dtype.element_ty.primitive_bitwidth // 2)  # bytes of four values
    for i in tl.static_range(EACH):
        if CELLS and not WHOLE:
            cell = _cell(x + i, y, inside, shows, turn, grid, by_side, by_side_shift, by_grid, TURN)
        red, green, blue = _pixel(
            x, y, i, pixel + i, cell, at, face, axes, rows, scales, options,
            CHANNELS, RIGHT, CELLS, TURN, CUT, BLUR, NOISE, SUPERSAMPLE,
        )  # fmt: skip
        if EACH == 1:
            tl.store(place, red, mask=inside)
            tl.store(place + 1, green, mask=inside)
            tl.store(place + 2, blue, mask=inside)
        elif i == 0:
            a = red
            b = green
            c = blue
        elif i == 1:
            _store_four(place, inside, a, b, c, red, LANES)
            a = green
            b = blue
        elif i == 2:
            _store_four(place + 4, inside, a, b, red, green, LANES)
            a = blue
        else:
            _store_four(place + 8, inside, a, red, green, blue, LANES)


@dataclass(frozen=True, slots=True)
class Configuration:
    """How the pixels of a view are shared out; it changes the speed, never a value."""

    block: int
    """Pixels a program, a power of 2."""
    warps: int


_MOST_PROGRAMS = 65_535
"""Of the second and third axis of a launch."""


def _neighbours(size: int) -> int:
    """How many neighbouring pixels of a line a lane has at a time."""
    return 4 if size % 4 == 0 and size > 4 else 1  # a line of one group has no `divisor`


def configuration(size: int, *, heavy: bool) -> Configuration:
    """Chooses the largest program of which 1 pixel in 32, at most, lies past the end of a view; or the smallest.

    A lane has 16 pixels, so that what is the same for all of them costs little each; 8 or 4 where the work on each is
    `heavy` (blur, noise or supersampling) and takes registers.
    """
    pixels = 32 * (16 if not heavy else 8 if _neighbours(size) == 4 else 4)
    choices = [Configuration(pixels * warps, warps) for warps in (4, 2, 1)]
    fit = [chosen for chosen in choices if 32 * (-(size * size) % chosen.block) <= size * size]
    return (fit or choices[-1:])[0]


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
    cut_up = grid > 1 or turn is not None
    if chosen is None:
        chosen = configuration(size, heavy=blur is not None or noise is not None or supersample > 1)

    row = row.contiguous()
    where, colour, shows = _by_sample(where), _by_sample(colour), _by_sample(shows)
    # An option that is absent is never read: any pointer serves.
    tables = [where if table is None else _by_sample(table) for table in (blur, noise, key, turn, cut)]
    each = _neighbours(size)
    by_line = divisor(size // each, size * size // each - 1)
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
                *by_line, *by_side, by_unit, -(-(2**23) // grid), 1.0 / (2 * grid),
                *(1.0 / s for s in std), *(-m / s for m, s in zip(mean, std, strict=True)),
                CHANNELS=channels,
                RIGHT=channels if width > 1 else 0,
                CELLS=cut_up,
                TURN=turn is not None,
                CUT=cut is not None,
                BLUR=blur is not None,
                NOISE=noise is not None,
                SUPERSAMPLE=supersample,
                WIDE=height * width * channels >= 2**31,
                EACH=each,
                WHOLE=cut_up and size % (each * grid) == 0,
                LANES=chosen.block // each,
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
