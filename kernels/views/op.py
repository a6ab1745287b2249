"""Checks the arguments of `render_views` and registers the custom operator behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Float32, Int16, Int64, UInt8
from torch import Tensor

from kernels.grid import grid_of
from kernels.views import reference

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def render_views(
    store: UInt8[Tensor, "s h w c"],
    row: Int64[Tensor, " b"],
    where: Float32[Tensor, "v b 2 3"],
    colour: Float32[Tensor, "v b 3 4"],
    shows: Int16[Tensor, "v b n"],
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.bfloat16,
    blur: Float32[Tensor, "v b"] | None = None,
    noise: Float32[Tensor, "v b"] | None = None,
    key: Int64[Tensor, "v b"] | None = None,
    turn: UInt8[Tensor, "v b n"] | None = None,
    cut: Int16[Tensor, "v b 4"] | None = None,
    supersample: int = 1,
) -> Float[Tensor, "v b 3 size size"]:
    """Shows stored faces through their tables: v views of b samples, normalised, in one pass.

    Positions are in pixels with the origin at the outer corner of the first pixel: pixel i has its centre at i + 0.5.
    Steps: cells, store (bilinear, outside it the nearest edge pixel), blur, colour, clip, noise, clip, normalise; then
    hidden cells and `cut` are exactly 0. `kernels.views.reference` states every step exactly. Not differentiable.

    In fp32 a sample's pixels are bit-equal whatever else is in the batch. Identity tables give the stored pixels, but
    for the rounding of the normalisation; a blur of sigma 0 gives the unblurred view exactly.

    Args:
        store: Decoded faces, contiguous; c = 3, or 1 for gray (R = G = B before `colour`).
        row: Which face of the store each sample is, 0..s-1.
        where: View pixel to store pixel. Finite.
        colour: (R, G, B, 1) on 0..255 to (R, G, B) on the same scale.
        shows: Cell j of the view, counted row by row on a grid of sqrt(n), shows cell shows[..., j] of the un-cut
            view, 0..n-1; -1 hides it.
        size: Side of the views in pixels, at least sqrt(n).
        mean: Three means on the 0..1 scale.
        std: Three standard deviations on the 0..1 scale, above 0.
        dtype: torch.float32, float16 or bfloat16.
        blur: Sigma, in pixels of the view, of a Gaussian on 3 x 3 pixels of the un-cut view; 0 leaves a sample as it
            is, None skips the work.
        noise: Standard deviation on 0..255 of Gaussian noise; needs `key`.
        key: 64 bits that key a sample's noise; pixels are counted in the un-cut view, so noise travels with its tile.
        turn: Quarter turns, 0..3, of the cell shown at j, counter-clockwise like `torch.rot90`.
        cut: Left, top, right, bottom in view pixels, the last two exclusive; empty where left = right.
        supersample: 1, or 2 to average 2 x 2 readings of the store a pixel (for views much smaller than the store).

    Returns:
        The views in `dtype`, in memory v, b, y, x, channel: each out[i] and out.flatten(0, 1) is channels-last.

    Raises:
        ValueError: A tensor has another dtype, shape or device than stated, or a setting is out of range. Values of
            `row`, `shows`, `turn` and `where` are checked where the tensors lie on the CPU. On a device that would
            wait for it: there `row` and `shows` are clamped into range (below -1 hides too), `turn` counts modulo 4
            and entries of `where` that are not finite count as 0.
    """
    _check(store, row, where, colour, shows, size, mean, std, dtype, blur, noise, key, turn, cut, supersample)
    seeds = key if noise is not None else None
    numbers = (size, list(mean), list(std), dtype, supersample)
    out: Tensor = _render_views(store, row, where, colour, shows, blur, noise, seeds, turn, cut, *numbers)
    return out


_SCHEMA = (
    "(Tensor store, Tensor row, Tensor where, Tensor colour, Tensor shows, Tensor? blur, Tensor? noise, Tensor? key, "
    "Tensor? turn, Tensor? cut, SymInt size, float[] mean, float[] std, ScalarType dtype, SymInt supersample) -> Tensor"
)
_NAMES = re.findall(r"(\w+)[,)]", _SCHEMA)


def _named(given: Sequence[Any]) -> dict[str, Any]:
    """Gives what the operator was called with its names."""
    return dict(zip(_NAMES, given, strict=True))


def _by_rule(*given: Any) -> Tensor:
    return reference.render_views(**_named(given))


_render_views = torch.library.custom_op("hmtl::render_views", _by_rule, mutates_args=(), schema=_SCHEMA)


@_render_views.register_kernel("cpu")
def _(*given: Any) -> Tensor:
    from kernels.views import numba_kernel  # only where it runs: numba takes a while to import

    named = _named(given)
    _check_values(*(named[name] for name in ("store", "row", "where", "shows", "turn")))
    return numba_kernel.render_views(**named)


@_render_views.register_kernel("cuda")
def _(*given: Any) -> Tensor:
    from kernels.views import triton_kernel  # only where it runs: Triton takes a while to import

    return triton_kernel.render_views(*given)


@_render_views.register_fake
def _(*given: Any) -> Tensor:
    named = _named(given)
    views, batch = named["where"].shape[:2]
    shape = views, batch, named["size"], named["size"], 3
    return named["store"].new_empty(shape, dtype=named["dtype"]).permute(0, 1, 4, 2, 3)  # type: ignore[no-any-return]


def _check(
    store: Tensor,
    row: Tensor,
    where: Tensor,
    colour: Tensor,
    shows: Tensor,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
    blur: Tensor | None,
    noise: Tensor | None,
    key: Tensor | None,
    turn: Tensor | None,
    cut: Tensor | None,
    supersample: int,
) -> None:
    _check_faces(store, shows)
    views, batch, cells = shows.shape
    tables: dict[str, tuple[Tensor | None, torch.dtype, tuple[int, ...]]] = {
        "row": (row, torch.int64, (batch,)),
        "where": (where, torch.float32, (views, batch, 2, 3)),
        "colour": (colour, torch.float32, (views, batch, 3, 4)),
        "shows": (shows, torch.int16, (views, batch, cells)),
        "blur": (blur, torch.float32, (views, batch)),
        "noise": (noise, torch.float32, (views, batch)),
        "key": (key, torch.int64, (views, batch)),
        "turn": (turn, torch.uint8, (views, batch, cells)),
        "cut": (cut, torch.int16, (views, batch, 4)),
    }
    for name, (table, wanted, shape) in tables.items():
        if table is None:
            continue
        if table.dtype != wanted or tuple(table.shape) != shape:
            raise ValueError(
                f"render_views: {name} (={table.dtype} of shape {tuple(table.shape)}) must be {wanted} of shape "
                f"{shape}; views and batch are those of `shows`"
            )
        if table.device != store.device:
            raise ValueError(
                f"render_views: {name} (on {table.device}) must be where the store is ({store.device}); move it there"
            )
    if noise is not None and key is None:
        raise ValueError("render_views: noise needs `key`; pass the key that was drawn with it")
    grid_of("render_views", cells, size)
    _check_settings(size, mean, std, dtype, supersample)


def _check_faces(store: Tensor, shows: Tensor) -> None:
    if not isinstance(store, Tensor):
        raise ValueError(f"render_views: store (a {type(store).__name__}) must be a tensor; torch.from_numpy makes one")
    if store.dtype != torch.uint8 or store.ndim != 4 or store.shape[3] not in (1, 3) or 0 in store.shape:
        raise ValueError(
            f"render_views: store (={store.dtype} of shape {tuple(store.shape)}) must be uint8 of shape (s, h, w, 3) "
            "or (s, h, w, 1), none of them 0; give decoded faces, channels last"
        )
    if not store.is_contiguous():
        raise ValueError("render_views: store must be contiguous; call .contiguous() once, when the faces are loaded")
    if shows.ndim != 3:
        raise ValueError(f"render_views: shows (of shape {tuple(shows.shape)}) must have axes v, b, n; stack the views")
    if 0 in shows.shape:
        raise ValueError(
            f"render_views: shows (of shape {tuple(shows.shape)}) must hold a view, a sample and a cell; "
            "skip empty batches"
        )


def _check_settings(
    size: int, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype, supersample: int
) -> None:
    if size >= 2**15:
        raise ValueError(f"render_views: size (={size}) must be below 32768; choose a smaller view")
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) != 3 or not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"render_views: {name} (={numbers}) must be three finite numbers; give one a channel")
    if min(std) <= 0.0:
        raise ValueError(f"render_views: std (={std}) must be above 0; it divides")
    if dtype not in _DTYPES:
        raise ValueError(f"render_views: dtype (={dtype}) must be float32, float16 or bfloat16; choose one")
    if supersample not in (1, 2):
        raise ValueError(f"render_views: supersample (={supersample}) must be 1 or 2; choose one")


def _check_values(store: Tensor, row: Tensor, where: Tensor, shows: Tensor, turn: Tensor | None) -> None:
    faces, cells = store.shape[0], shows.shape[2]
    low, high = (int(value) for value in row.aminmax())
    if low < 0 or high >= faces:
        raise ValueError(f"render_views: row (={low}..{high}) must be in 0..{faces - 1}; the store has {faces} faces")
    low, high = (int(value) for value in shows.aminmax())
    if low < -1 or high >= cells:
        raise ValueError(
            f"render_views: shows (={low}..{high}) must be in -1..{cells - 1}; number the cells row by row, -1 hides"
        )
    if not bool(where.isfinite().all()):
        raise ValueError("render_views: where must be finite; look for a division by 0 where it was made")
    if turn is not None and int(turn.max()) > 3:
        raise ValueError(f"render_views: turn (={int(turn.max())}) must be in 0..3; give quarter turns")
