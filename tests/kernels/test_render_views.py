"""`render_views` against a slow implementation of its rule, and at the points where it must be exact."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from kernels import (
    Augment,
    Key,
    centre,
    draw,
    draw_permutation,
    draw_turns,
    identity_cells,
    inverse,
    render_views,
    simclr_strong,
    strong,
)
from kernels.views import op

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GRAY_LEVELS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255), "dtype": torch.float32}
NORMALISED = {"mean": MEAN, "std": STD, "dtype": torch.float32}

# Largest difference allowed to the slow implementation, in gray levels before the cast.
GRAY_TOLERANCE = 0.02


def faces(count, height, width, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8, generator=generator)


def plain(views, batch, grid=1):
    """`where`, `colour` and `shows` that change nothing."""
    return (
        torch.eye(2, 3).repeat(views, batch, 1, 1),
        torch.eye(3, 4).repeat(views, batch, 1, 1),
        identity_cells(grid, batch, "cpu").repeat(views, 1, 1),
    )


def normalised(store, mean=MEAN, std=STD):
    """The stored faces as (s, 3, h, w), normalised channel by channel in fp32."""
    values = store.float().expand(*store.shape[:3], 3)
    return torch.stack([(values[..., c] / 255.0 - mean[c]) / std[c] for c in range(3)], dim=1)


def random_tables(store, views, batch, grid, size, augment, seed=0):
    """Tables of several independent views of a strong augmentation."""
    mean = torch.full((batch, 3), 120.0)
    keys = [Key(seed, 0, torch.arange(batch)).stream(f"view {v}") for v in range(views)]
    drawn = [draw(augment, key, mean=mean, store=store.shape[1:3], size=size) for key in keys]
    tables = {
        name: torch.stack([getattr(view, name) for view in drawn])
        for name in ("where", "colour", "blur", "noise", "key", "cut")
    }
    tables["shows"] = torch.stack([draw_permutation(grid, key) for key in keys])
    tables["turn"] = torch.stack([draw_turns(grid, key) for key in keys])
    return tables


def philox(counter: int, key: int) -> list[int]:
    c, k = [counter, 0, 0, 0], [key % 2**32, key // 2**32 % 2**32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b // 2**32 ^ c[1] ^ k[0], b % 2**32, a // 2**32 ^ c[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def slow(store, row, where, colour, shows, *, size, mean, std, blur, noise, key, turn, cut, supersample):
    """The rule, pixel by pixel, in fractions and float64, written from the design and not from the reference."""
    store = store.numpy().astype(np.float64)
    _, height, width, channels = store.shape
    views, batch, cells = shows.shape
    grid = math.isqrt(cells)
    side = Fraction(size, grid)
    out = np.zeros((views, batch, 3, size, size))

    def read(face, m, x, y):
        sx = min(max(m[0][0] * x + m[0][1] * y + m[0][2] - 0.5, 0), width - 1)
        sy = min(max(m[1][0] * x + m[1][1] * y + m[1][2] - 0.5, 0), height - 1)
        x0, y0 = math.floor(sx), math.floor(sy)
        total = np.zeros(channels)
        for i, wy in ((y0, 1 - (sy - y0)), (y0 + 1, sy - y0)):
            for j, wx in ((x0, 1 - (sx - x0)), (x0 + 1, sx - x0)):
                if wx * wy > 0:
                    total += wx * wy * store[face, i, j]
        return total

    def tap(face, m, x, y):
        if supersample == 1:
            return read(face, m, x, y)
        return sum(read(face, m, x + i, y + j) for i in (-0.25, 0.25) for j in (-0.25, 0.25)) / 4

    for v, b, y, x in np.ndindex(views, batch, size, size):
        px, py = x + Fraction(1, 2), y + Fraction(1, 2)
        jx, jy = math.floor(px / side), math.floor(py / side)
        source = int(shows[v, b, jy * grid + jx])
        if source < 0:
            continue
        if cut is not None:
            left, top, right, bottom = cut[v, b].tolist()
            if left <= x < right and top <= y < bottom:
                continue
        half = Fraction(1, 2)
        ux, uy = px - (jx + half) * side, py - (jy + half) * side
        for _ in range(int(turn[v, b, jy * grid + jx]) if turn is not None else 0):
            ux, uy = -uy, ux
        qx, qy = (source % grid + half) * side + ux, (source // grid + half) * side + uy
        m = where[v, b].double().tolist()
        sigma = float(blur[v, b]) if blur is not None else 0.0
        if sigma > 0:
            value, weight = 0.0, 0.0
            for dx in (-1, 0, 1):
                for dy in (-1, 0, 1):
                    w = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
                    value, weight = value + w * tap(row[b], m, float(qx) + dx, float(qy) + dy), weight + w
            value = value / weight
        else:
            value = tap(row[b], m, float(qx), float(qy))
        rgb1 = np.append(np.broadcast_to(value, 3), 1.0)
        shown = np.clip(colour[v, b].double().numpy() @ rgb1, 0, 255)
        if noise is not None:
            word = philox(math.floor(qy) * size + math.floor(qx), int(key[v, b]))
            u = [(word[0] // 256 + 1) / 2**24, word[1] // 256 / 2**24, (word[2] // 256 + 1) / 2**24]
            u.append(word[3] // 256 / 2**24)
            r0, r1 = math.sqrt(-2 * math.log(u[0])), math.sqrt(-2 * math.log(u[2]))
            a0, a1 = 2 * math.pi * u[1], 2 * math.pi * u[3]
            normals = np.array([r0 * math.cos(a0), r0 * math.sin(a0), r1 * math.cos(a1)])
            shown = np.clip(shown + float(noise[v, b]) * normals, 0, 255)
        out[v, b, :, y, x] = (shown / 255 - np.array(mean)) / np.array(std)
    return torch.from_numpy(out)


EVERYTHING = Augment(
    flip=0.5,
    contrast=(0.5, 1.5),
    brightness=(-0.1, 0.1),
    saturation=(0.3, 1.5),
    hue=(-0.1, 0.1),
    noise=(0.0, 0.08),
    blur=0.9,
    blur_probability=0.7,
    rotation=(-180, 180),
    crop=(0.5, 1.3),
    shift=(-0.1, 0.1),
    aspect=(0.7, 1.4),
    cut=0.3,
    cut_probability=0.7,
)


@pytest.mark.parametrize(
    ("height", "width", "channels", "grid", "size", "views", "supersample", "without"),
    [
        (7, 9, 3, 1, 8, 1, 1, ()),
        (9, 7, 1, 2, 7, 2, 1, ()),
        (8, 8, 3, 3, 10, 2, 1, ("blur",)),
        (11, 5, 3, 4, 9, 1, 2, ()),
        (6, 13, 1, 5, 13, 3, 1, ("noise", "key")),
        (10, 10, 1, 3, 8, 1, 2, ("blur", "noise", "key", "cut")),
        (5, 5, 3, 5, 5, 2, 1, ("turn", "cut")),
        (1, 1, 3, 1, 3, 1, 1, ("turn",)),
        (12, 9, 3, 1, 1, 2, 2, ("turn",)),
        (6, 6, 1, 2, 12, 1, 1, ("turn", "blur", "noise", "key")),
    ],
)
def test_it_follows_the_rule(height, width, channels, grid, size, views, supersample, without):
    store = faces(4, height, width, channels)
    row = torch.tensor([2, 0, 3])
    tables = random_tables(store, views, 3, grid, size, EVERYTHING, seed=grid + size)
    tables["shows"][:, 1, ::3] = -1
    tables |= dict.fromkeys(without)
    settings = {"size": size, "mean": GRAY_LEVELS["mean"], "std": GRAY_LEVELS["std"], "supersample": supersample}
    expected = slow(store, row, **tables, **settings)
    shown = render_views(store, row, **tables, **settings, dtype=torch.float32)
    assert (shown - expected).abs().max() < GRAY_TOLERANCE


def test_normalisation_follows_the_rule():
    store, row = faces(2, 6, 6, 3), torch.tensor([1, 0])
    where, colour, shows = plain(1, 2)
    where[..., 2] = 0.3
    nothing = dict.fromkeys(("blur", "noise", "key", "turn", "cut"))
    settings = {"size": 6, "mean": MEAN, "std": STD, "supersample": 1} | nothing
    expected = slow(store, row, where, colour, shows, **settings)
    shown = render_views(store, row, where, colour, shows, **settings, dtype=torch.float32)
    assert (shown - expected).abs().max() < 1e-5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 16, 33])
def test_identity_tables_give_the_stored_pixels(channels, size):
    store, row = faces(3, size, size, channels), torch.tensor([2, 2, 0, 1])
    grid = min(size, 3)
    shown = render_views(store, row, *plain(2, 4, grid), size=size, **NORMALISED)
    assert torch.equal(shown, normalised(store)[row].expand(2, 4, 3, size, size))


def test_centre_tables_give_the_stored_pixels():
    store, row = faces(3, 20, 20, 3), torch.arange(3)
    tables = centre(1.0, store=(20, 20), size=20, batch=3, device="cpu")
    shows = identity_cells(1, 3, "cpu")[None]
    shown = render_views(
        store,
        row,
        tables.where[None],
        tables.colour[None],
        shows,
        size=20,
        blur=tables.blur[None],
        noise=tables.noise[None],
        key=tables.key[None],
        cut=tables.cut[None],
        **NORMALISED,
    )
    assert torch.equal(shown[0], normalised(store))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_dtype_is_the_cast_of_fp32_in_channels_last_memory(dtype):
    store = faces(4, 12, 12, 3)
    tables = random_tables(store, 2, 4, 2, 10, strong())
    settings = {"size": 10, "mean": MEAN, "std": STD}
    shown = render_views(store, torch.arange(4), **tables, **settings, dtype=dtype)
    assert shown.dtype == dtype
    assert shown.shape == (2, 4, 3, 10, 10)
    assert torch.equal(shown, render_views(store, torch.arange(4), **tables, **settings, dtype=torch.float32).to(dtype))
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in shown)
    joined = shown.flatten(0, 1)
    assert joined.data_ptr() == shown.data_ptr()
    assert joined.is_contiguous(memory_format=torch.channels_last)


def test_the_default_dtype_is_bf16():
    shown = render_views(faces(1, 4, 4, 1), torch.zeros(1, dtype=torch.int64), *plain(1, 1), size=4, mean=MEAN, std=STD)
    assert shown.dtype == torch.bfloat16


@pytest.mark.parametrize("size", [8, 13])
def test_a_flip_mirrors_and_twice_gives_the_face_back(size):
    store, row = faces(2, size, size, 3), torch.arange(2)
    _, colour, shows = plain(1, 2)
    mirror = torch.tensor([[-1.0, 0.0, size], [0.0, 1.0, 0.0]]).expand(1, 2, 2, 3)
    once = render_views(store, row, mirror, colour, shows, size=size, **GRAY_LEVELS)[0]
    flipped = once.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    assert torch.equal(flipped, store.flip(2))
    twice = render_views(flipped, row, mirror, colour, shows, size=size, **NORMALISED)[0]
    assert torch.equal(twice, normalised(store))
    drawn = draw(Augment(flip=1), Key(0, 0, row), mean=torch.zeros(2, 3), store=(size, size), size=size)
    assert torch.equal(drawn.where, mirror[0])


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 11])
def test_rotation_by_quarter_turns_equals_rot90(quarters, size):
    store, row = faces(2, size, size, 3), torch.arange(2)
    augment = Augment(rotation=(90.0 * quarters, 90.0 * quarters))
    drawn = draw(augment, Key(0, 0, row), mean=torch.zeros(2, 3), store=(size, size), size=size)
    _, colour, shows = plain(1, 2)
    shown = render_views(store, row, drawn.where[None], colour, shows, size=size, **NORMALISED)[0]
    # rot90 turns counter-clockwise in (y, x); positive degrees turn clockwise.
    assert torch.equal(shown, torch.rot90(normalised(store), -quarters, (2, 3)))


def test_a_crop_by_whole_pixels_is_exact():
    store, row = faces(2, 12, 9, 3), torch.arange(2)
    where, colour, shows = plain(1, 2)
    where[..., 0, 2], where[..., 1, 2] = 2.0, 5.0
    shown = render_views(store, row, where, colour, shows, size=6, **NORMALISED)[0]
    assert torch.equal(shown, normalised(store)[:, :, 5:11, 2:8])


def test_outside_the_store_the_nearest_edge_pixel_is_shown():
    store, row = faces(1, 6, 5, 3), torch.zeros(1, dtype=torch.int64)
    where, colour, shows = plain(1, 1)
    where[..., 0, 2], where[..., 1, 2] = -4.0, -3.0
    shown = render_views(store, row, where, colour, shows, size=14, **NORMALISED)[0]
    padded = torch.nn.functional.pad(normalised(store), (4, 5, 3, 5), mode="replicate")
    assert torch.equal(shown, padded)
    far = render_views(store, row, where + 1e30, colour, shows, size=3, **NORMALISED)
    assert torch.isfinite(far).all()


@pytest.mark.parametrize(("grid", "size"), [(2, 8), (3, 9), (4, 12), (5, 15)])
def test_a_puzzle_and_its_inverse_give_the_face_back(grid, size):
    store, row = faces(6, size, size, 3), torch.arange(6)
    where, colour, _ = plain(1, 6)
    shows = draw_permutation(grid, Key(0, 0, row))
    puzzled = render_views(store, row, where, colour, shows[None], size=size, **GRAY_LEVELS)[0]
    again = puzzled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    assert not torch.equal(again, store)
    back = render_views(again, row, where, colour, inverse(shows)[None], size=size, **NORMALISED)[0]
    assert torch.equal(back, normalised(store))


def test_a_puzzle_shows_the_tiles_that_its_cells_name():
    store, row = faces(1, 9, 9, 3), torch.zeros(1, dtype=torch.int64)
    where, colour, _ = plain(1, 1)
    shows = torch.tensor([[[4, 0, 8, 1, 2, 3, 7, 6, 5]]], dtype=torch.int16)
    shown = render_views(store, row, where, colour, shows, size=9, **NORMALISED)[0, 0]
    picture = normalised(store)[0]
    for j, s in enumerate(shows.flatten().tolist()):
        y, x, v, u = j // 3 * 3, j % 3 * 3, s // 3 * 3, s % 3 * 3
        assert torch.equal(shown[:, y : y + 3, x : x + 3], picture[:, v : v + 3, u : u + 3])


@pytest.mark.parametrize("tile", [3, 4])
def test_turned_tiles_equal_rot90(tile):
    size = 2 * tile
    store, row = faces(1, size, size, 3), torch.zeros(1, dtype=torch.int64)
    where, colour, _ = plain(1, 1)
    shows = torch.tensor([[[3, 1, 0, 2]]], dtype=torch.int16)
    turn = torch.tensor([[[0, 1, 2, 3]]], dtype=torch.uint8)
    shown = render_views(store, row, where, colour, shows, size=size, turn=turn, **NORMALISED)[0, 0]
    picture = normalised(store)[0]
    for j, s in enumerate(shows.flatten().tolist()):
        y, x, v, u = (tile * k for k in (j // 2, j % 2, s // 2, s % 2))
        expected = torch.rot90(picture[:, v : v + tile, u : u + tile], j, (1, 2))
        assert torch.equal(shown[:, y : y + tile, x : x + tile], expected)


def test_hidden_cells_and_the_cut_out_are_exactly_zero():
    store, row = faces(2, 10, 10, 3), torch.arange(2)
    tables = random_tables(store, 1, 2, 3, 10, strong())
    tables["shows"][0, 0, 4] = -1
    tables["shows"][0, 1] = -1
    tables["cut"][0] = torch.tensor([[1, 2, 3, 9], [0, 0, 0, 0]])
    shown = render_views(store, row, **tables, size=10, **NORMALISED)[0]
    zero = torch.zeros(2, 10, 10, dtype=torch.bool)
    zero[0, 3:7, 3:7] = True  # centres 3.5..6.5 lie between 10 / 3 and 20 / 3
    zero[0, 2:9, 1:3] = True
    zero[1] = True
    assert (shown == 0).all(1).equal(zero)
    assert not shown.signbit()[zero[:, None].expand_as(shown)].any()


def test_a_gray_store_equals_its_three_equal_channels():
    gray = faces(3, 9, 9, 1)
    tables = random_tables(gray, 2, 3, 2, 8, simclr_strong())
    one = render_views(gray, torch.arange(3), **tables, size=8, **GRAY_LEVELS)
    three = render_views(gray.expand(3, 9, 9, 3).contiguous(), torch.arange(3), **tables, size=8, **GRAY_LEVELS)
    assert (one - three).abs().max() < 1e-3


def test_colour_is_clipped_to_full_scale():
    store, row = faces(1, 5, 5, 3), torch.zeros(1, dtype=torch.int64)
    where, colour, shows = plain(1, 1)
    shown = render_views(store, row, where, colour * 3 - 0.5, shows, size=5, **GRAY_LEVELS)
    assert shown.min() == 0
    assert abs(shown.max() - 255) < 1e-4
    noisy = render_views(
        store,
        row,
        where,
        colour,
        shows,
        size=5,
        noise=torch.full((1, 1), 500.0),
        key=torch.ones(1, 1, dtype=torch.int64),
        **GRAY_LEVELS,
    )
    assert noisy.min() == 0
    assert abs(noisy.max() - 255) < 1e-4


def test_a_blur_of_zero_and_a_noise_of_zero_change_nothing():
    store = faces(3, 11, 11, 3)
    tables = random_tables(store, 2, 3, 3, 10, strong())
    nothing = dict.fromkeys(("blur", "noise", "key"))
    without = render_views(store, torch.arange(3), **(tables | nothing), size=10, **NORMALISED)
    zero = {"blur": torch.zeros(2, 3), "noise": torch.zeros(2, 3)}
    assert torch.equal(render_views(store, torch.arange(3), **(tables | zero), size=10, **NORMALISED), without)


def test_a_blur_crosses_the_edge_of_its_tile():
    """Neighbours are those of the un-cut view: a blurred puzzle is a puzzle of the blurred view."""
    store, row = faces(1, 8, 8, 3), torch.zeros(1, dtype=torch.int64)
    where, colour, shows = plain(1, 1, 2)
    blur = torch.full((1, 1), 1.0)
    whole = render_views(store, row, where, colour, shows, size=8, blur=blur, **NORMALISED)[0, 0]
    swapped = torch.tensor([[[3, 2, 1, 0]]], dtype=torch.int16)
    puzzled = render_views(store, row, where, colour, swapped, size=8, blur=blur, **NORMALISED)[0, 0]
    assert torch.equal(puzzled, whole.roll((4, 4), (1, 2)))


def noise_of(batch, size, grid=1, shows=None, std=20.0, keys=None):
    store = torch.full((1, 4, 4, 1), 128, dtype=torch.uint8)
    where, colour, plain_shows = plain(1, batch, grid)
    keys = torch.arange(batch)[None] * 0x9E3779B97F4A7C15 if keys is None else keys
    row = torch.zeros(batch, dtype=torch.int64)
    noise = torch.full((1, batch), std)
    shows = plain_shows if shows is None else shows
    return render_views(store, row, where, colour, shows, size=size, noise=noise, key=keys, **GRAY_LEVELS)[0] - 128


def test_noise_is_gaussian_with_its_standard_deviation():
    drawn = noise_of(40, 48).double()  # 40 * 48 * 48 = 92,160 a channel; clipping is 6.4 deviations away
    for channel in drawn.unbind(1):
        assert abs(channel.mean()) < 4 * 20 / 92160**0.5
        assert abs(channel.std() - 20) < 4 * 20 / (2 * 92160) ** 0.5
        assert abs((channel**4).mean() / channel.var() ** 2 - 3) < 4 * (24 / 92160) ** 0.5
        assert abs((channel.abs() < 20).double().mean() - 0.6827) < 0.007
    channels = drawn.transpose(0, 1).flatten(1)
    assert (torch.corrcoef(channels) - torch.eye(3)).abs().max() < 0.014
    right = torch.corrcoef(torch.stack([drawn[..., :-1].flatten(), drawn[..., 1:].flatten()]))[0, 1]
    down = torch.corrcoef(torch.stack([drawn[..., :-1, :].flatten(), drawn[..., 1:, :].flatten()]))[0, 1]
    other = torch.corrcoef(torch.stack([drawn[:-1].flatten(), drawn[1:].flatten()]))[0, 1]
    assert max(abs(right), abs(down), abs(other)) < 0.01


def test_noise_scales_with_its_standard_deviation():
    assert torch.allclose(noise_of(3, 16, std=10.0) * 2, noise_of(3, 16, std=20.0), atol=1e-3)


def test_noise_is_keyed_by_all_64_bits():
    keys = torch.tensor([[1, 1 + 2**32, -1, 2**63 - 1, 1]])
    drawn = noise_of(5, 8, keys=keys)
    assert torch.equal(drawn[0], drawn[4])
    for i in range(4):
        for j in range(i):
            assert not (drawn[i] == drawn[j]).any()


def test_noise_travels_with_its_tile():
    shows = draw_permutation(3, Key(0, 0, torch.arange(4)))
    whole = noise_of(4, 9, grid=3)
    puzzled = noise_of(4, 9, grid=3, shows=shows[None])
    tiles = whole.reshape(4, 3, 3, 3, 3, 3).permute(0, 2, 4, 1, 3, 5).reshape(4, 9, 3, 3, 3)
    moved = puzzled.reshape(4, 3, 3, 3, 3, 3).permute(0, 2, 4, 1, 3, 5).reshape(4, 9, 3, 3, 3)
    for sample in range(4):
        assert torch.equal(moved[sample], tiles[sample][shows[sample].long()])


@pytest.mark.parametrize(("channels", "supersample"), [(3, 1), (1, 2)])
def test_pixels_do_not_depend_on_the_batch(channels, supersample):
    store = faces(7, 13, 11, channels)
    row = torch.tensor([6, 1, 1, 0, 4])
    tables = random_tables(store, 2, 5, 3, 14, EVERYTHING)
    settings = {"size": 14, "supersample": supersample} | NORMALISED
    whole = render_views(store, row, **tables, **settings)
    for picked in ([0], [3], [4, 2], [4, 3, 2, 1, 0]):
        part = {name: table[:, picked] for name, table in tables.items()}
        assert torch.equal(render_views(store, row[picked], **part, **settings), whole[:, picked])
    for view in (0, 1):
        part = {name: table[view : view + 1] for name, table in tables.items()}
        assert torch.equal(render_views(store, row, **part, **settings)[0], whole[view])
    streamed = store[row].contiguous()
    assert torch.equal(render_views(streamed, torch.arange(5), **tables, **settings), whole)


def test_supersampling_averages_four_readings():
    """On a ramp the mean of the readings is the reading; beside a step it is a softer step."""
    ramp = torch.arange(0, 240, 20, dtype=torch.uint8).view(1, 1, 12, 1).expand(1, 12, 12, 1).contiguous()
    row = torch.zeros(1, dtype=torch.int64)
    where, colour, shows = plain(1, 1)
    where = where * 1.0
    where[..., :2] *= 2
    where[..., 2] = 2.0
    one = render_views(ramp, row, where, colour, shows, size=4, **GRAY_LEVELS)
    two = render_views(ramp, row, where, colour, shows, size=4, supersample=2, **GRAY_LEVELS)
    assert torch.allclose(one, two, atol=1e-3)
    step = (ramp > 100).to(torch.uint8) * 200
    two = render_views(step, row, *plain(1, 1), size=12, supersample=2, **GRAY_LEVELS)[0, 0, 0, 0]
    assert torch.allclose(two[4:8], torch.tensor([0.0, 25.0, 175.0, 200.0]), atol=1e-3)


def test_faces_beyond_2_to_the_31_bytes_are_reached():
    # Pages of a fresh numpy array take memory only where they are touched.
    store = torch.from_numpy(np.zeros((33_000, 256, 256, 1), dtype=np.uint8))
    assert store.numel() > 2**31
    store[-1] = faces(1, 256, 256, 1)[0]
    shown = render_views(store, torch.tensor([32_999]), *plain(1, 1), size=256, **NORMALISED)
    assert torch.equal(shown[0], normalised(store[-1:]))


def test_the_operator_passes_torch_s_own_checks():
    store = faces(3, 8, 8, 3)
    tables = random_tables(store, 2, 3, 2, 6, strong())
    order = ("where", "colour", "shows", "blur", "noise", "key", "turn", "cut")
    full = tuple(tables[name] for name in order)
    for optional in (full, (*full[:3], None, None, None, None, None)):
        arguments = (store, torch.arange(3), *optional, 6, list(MEAN), list(STD), torch.bfloat16, 1)
        torch.library.opcheck(op._render_views, arguments)
