"""`render_views` in Triton against the reference: on a GPU where there is one, else interpreted on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import Augment, Key, centre, draw, draw_permutation, draw_turns, identity_cells, inverse
from kernels.views import numba_kernel, reference, triton_kernel
from kernels.views.triton_kernel import Configuration
from tests.kernels.pairwise import name_of, pairwise

# Interpreted, -0.5 / sigma^2 of a blur of 0 warns; it is meant to be -inf.
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Largest difference between backends in gray levels before the cast (DESIGN, Exactness), and one unit of the dtype.
GRAY_TOLERANCE = 0.02
UNIT = {torch.float32: 0.0, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}

# Interpreted, a program costs milliseconds whatever its size: large blocks, but more than one a view. A GPU is given
# what it launches elsewhere: `test_triton_compile` holds that to no stack; a large block takes minutes to compile.
LARGE = Configuration(block=16384, warps=4) if DEVICE == "cpu" else None

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

FACTORS = {
    "size": [17, 24, 33, 61, 240],
    "grid": [1, 2, 3, 7, 15],
    "store": [(1, 1), (7, 9), (48, 48), (64, 40)],
    "views": [1, 2, 3, 4],
    "dtype": [torch.float32, torch.float16, torch.bfloat16],
    "hidden": ["none", "some", "all"],
    "channels": [1, 3],
    "batch": [1, 3],
    "blur": [True, False],
    "noise": [True, False],
    "turn": [True, False],
    "cut": [True, False],
    "supersample": [1, 2],
}


def affordable(case):
    """A view of 240 pixels costs as much as all the others: once a case, and read once a pixel or nine times."""
    pixels = case.get("batch", 1) * case.get("views", 1) * case.get("supersample", 1)
    return case.get("size") != 240 or pixels == 1


CASES = pairwise(FACTORS, affordable)


def faces(count, height, width, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, height, width, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(DEVICE)


def plain(views, batch, grid=1):
    """`where`, `colour` and `shows` that change nothing."""
    return {
        "where": torch.eye(2, 3, device=DEVICE).repeat(views, batch, 1, 1),
        "colour": torch.eye(3, 4, device=DEVICE).repeat(views, batch, 1, 1),
        "shows": identity_cells(grid, batch, DEVICE).repeat(views, 1, 1),
    }


def random_tables(store, views, batch, grid, size, seed=0):
    """Tables of independent views, with every option."""
    mean = torch.full((batch, 3), 120.0)
    keys = [Key(seed, 0, torch.arange(batch)).stream(f"view {v}") for v in range(views)]
    drawn = [draw(EVERYTHING, key, mean=mean, store=store.shape[1:3], size=size) for key in keys]
    tables = {
        name: torch.stack([getattr(view, name) for view in drawn])
        for name in ("where", "colour", "blur", "noise", "key", "cut")
    }
    tables["shows"] = torch.stack([draw_permutation(grid, key) for key in keys])
    tables["turn"] = torch.stack([draw_turns(grid, key) for key in keys])
    return {name: table.to(DEVICE) for name, table in tables.items()}


def render(store, row, tables, *, size, mean=MEAN, std=STD, dtype=torch.float32, supersample=1, chosen=LARGE):
    options = [tables.get(name) for name in ("blur", "noise", "key", "turn", "cut")]
    required = (tables["where"], tables["colour"], tables["shows"])
    return triton_kernel.render_views(
        store, row.to(DEVICE), *required, *options, size, mean, std, dtype, supersample, chosen
    )


def gray_levels(store, row, tables, **settings):
    """Views whose pixels are bytes of the store: whole numbers, from which rounding alone may part them."""
    shown = render(store, row, tables, mean=(0.0,) * 3, std=(1 / 255,) * 3, **settings)
    assert (shown - shown.round()).abs().max() < 1e-4
    return shown.round()


@pytest.fixture
def poisoned(monkeypatch):
    """Memory that is not written holds NaN."""
    empty = torch.empty

    def nan(*arguments, **settings):
        made = empty(*arguments, **settings)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(triton_kernel.torch, "empty", nan)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_it_follows_the_reference(case, poisoned):
    store = faces(4, *case["store"], case["channels"])
    views, batch, size = case["views"], case["batch"], case["size"]
    row = torch.tensor([2, 0, 3], device=DEVICE)[:batch]
    tables = random_tables(store, views, batch, case["grid"], size, seed=case["grid"] + size)
    if case["hidden"] == "all":
        tables["shows"].fill_(-1)
    elif case["hidden"] == "some":
        tables["shows"][:, batch // 2, ::3] = -1
    for name in ("blur", "noise", "turn", "cut"):
        if not case[name]:
            tables[name] = None
    settings = {"size": size, "mean": MEAN, "std": STD, "supersample": case["supersample"]}
    expected = reference.render_views(store, row, **tables, **settings, dtype=torch.float32)
    shown = render(store, row, tables, **settings, dtype=case["dtype"])

    assert shown.dtype == case["dtype"]
    assert shown.shape == expected.shape
    assert shown.stride() == expected.stride()
    gray_level = (1 / 255 / torch.tensor(STD, device=DEVICE))[:, None, None]
    bound = GRAY_TOLERANCE * gray_level + UNIT[case["dtype"]] * expected.abs()
    assert (shown - expected).abs().le(bound).all()
    blank = reference._blank(tables["shows"], tables["cut"], size)[:, :, None].expand_as(shown)
    assert not shown[blank].any()
    assert not shown[blank].signbit().any()


def test_positions_equal_those_of_the_reference_far_from_the_origin():
    """One unit in the last place of a position in a store of 4,000 pixels is 0.06 gray levels beside a sharp edge."""
    store = faces(1, 1, 4000, 1)
    tables = plain(1, 1, 3)
    tables["where"][..., 0, :] = torch.tensor([91.37, -1.91, 133.7])
    row = torch.zeros(1, dtype=torch.int64)
    settings = {"size": 40, "mean": (0.0,) * 3, "std": (1 / 255,) * 3, "dtype": torch.float32}
    expected = reference.render_views(store, row.to(DEVICE), **tables, **settings)
    assert (render(store, row, tables, **settings) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 16, 33])
def test_identity_tables_give_the_stored_bytes(channels, size):
    store, row = faces(3, size, size, channels), torch.tensor([2, 2, 0, 1])
    shown = gray_levels(store, row, plain(2, 4, min(size, 3)), size=size)
    stored = store[row].permute(0, 3, 1, 2).float()
    assert torch.equal(shown, stored.expand(2, 4, 3, size, size))


def test_centre_tables_give_the_stored_bytes():
    store, row = faces(3, 20, 20, 3), torch.arange(3)
    drawn = centre(1.0, store=(20, 20), size=20, batch=3, device=DEVICE)
    tables = {name: getattr(drawn, name)[None] for name in ("where", "colour", "blur", "noise", "key", "cut")}
    tables["shows"] = identity_cells(1, 3, DEVICE)[None]
    assert torch.equal(gray_levels(store, row, tables, size=20)[0], store.permute(0, 3, 1, 2).float())


@pytest.mark.parametrize(("grid", "size"), [(2, 8), (3, 9), (5, 15)])
def test_a_puzzle_and_its_inverse_give_the_face_back(grid, size):
    store, row = faces(6, size, size, 3), torch.arange(6)
    tables = plain(1, 6)
    shows = draw_permutation(grid, Key(0, 0, row)).to(DEVICE)
    puzzled = gray_levels(store, row, tables | {"shows": shows[None]}, size=size)[0]
    again = puzzled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    assert not torch.equal(again, store)
    back = gray_levels(again, row, tables | {"shows": inverse(shows)[None]}, size=size)[0]
    assert torch.equal(back, store.permute(0, 3, 1, 2).float())


@pytest.mark.parametrize("size", [8, 13])
def test_a_flip_twice_gives_the_face_back(size):
    store, row = faces(2, size, size, 3), torch.arange(2)
    tables = plain(1, 2)
    tables["where"][:] = torch.tensor([[-1.0, 0.0, size], [0.0, 1.0, 0.0]])
    once = gray_levels(store, row, tables, size=size)[0].to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    assert torch.equal(once, store.flip(2))
    assert torch.equal(gray_levels(once, row, tables, size=size)[0], store.permute(0, 3, 1, 2).float())


def test_turned_tiles_equal_rot90():
    store, row = faces(1, 8, 8, 3), torch.zeros(1, dtype=torch.int64)
    tables = plain(1, 1) | {"shows": torch.tensor([[[3, 1, 0, 2]]], dtype=torch.int16, device=DEVICE)}
    tables["turn"] = torch.tensor([[[0, 1, 2, 3]]], dtype=torch.uint8, device=DEVICE)
    shown = gray_levels(store, row, tables, size=8)[0, 0]
    picture = store[0].permute(2, 0, 1).float()
    for j, s in enumerate([3, 1, 0, 2]):
        y, x, v, u = (4 * k for k in (j // 2, j % 2, s // 2, s % 2))
        expected = torch.rot90(picture[:, v : v + 4, u : u + 4], j, (1, 2))
        assert torch.equal(shown[:, y : y + 4, x : x + 4], expected)


def test_pixels_do_not_depend_on_the_batch_nor_on_the_configuration():
    store = faces(7, 13, 11, 3)
    row = torch.tensor([6, 1, 1, 0, 4])
    tables = random_tables(store, 2, 5, 3, 14)
    whole = render(store, row, tables, size=14)
    for picked in ([3], [4, 2]):
        part = {name: table[:, picked] for name, table in tables.items()}
        assert torch.equal(render(store, row[picked], part, size=14), whole[:, picked])
    part = {name: table[1:] for name, table in tables.items()}
    assert torch.equal(render(store, row, part, size=14)[0], whole[1])
    streamed = store[row.to(DEVICE)].contiguous()
    assert torch.equal(render(streamed, torch.arange(5), tables, size=14), whole)
    for chosen in (Configuration(64, 1), Configuration(32, 2)):
        part = {name: table[:1, :1] for name, table in tables.items()}
        assert torch.equal(render(store, row[:1], part, size=14, chosen=chosen), whole[:1, :1])


def test_a_batch_of_more_samples_than_a_launch_holds_takes_several(monkeypatch):
    store, row = faces(4, 9, 9, 3), torch.tensor([2, 0, 3, 1, 1])
    tables = random_tables(store, 2, 5, 2, 8)
    whole = render(store, row, tables, size=8)
    monkeypatch.setattr(triton_kernel, "_MOST_PROGRAMS", 2)
    assert torch.equal(render(store, row, tables, size=8), whole)


def test_tables_may_be_expanded_over_views_and_strided_over_samples():
    store, row = faces(4, 9, 9, 3), torch.tensor([2, 0, 3])
    tables = random_tables(store, 1, 3, 2, 8)
    once = render(store, row, tables, size=8)
    shared = {name: table.expand(3, *table.shape[1:]) for name, table in tables.items()}
    assert torch.equal(render(store, row, shared, size=8), once.expand(3, *once.shape[1:]))
    strided = {name: torch.stack([table, table], dim=-1)[..., 0] for name, table in tables.items()}
    assert not strided["where"].is_contiguous()
    rows = torch.stack([row, row], dim=-1)[:, 0]
    assert torch.equal(render(store, rows, strided, size=8), once)


def test_values_out_of_range_are_clamped_as_the_reference_clamps_them():
    """On a device they cannot be refused without waiting for it."""
    store = faces(3, 8, 8, 3)
    tables = random_tables(store, 1, 6, 2, 9)
    row = torch.tensor([-1, 3, 2**62, -(2**62), 1, 2], device=DEVICE)
    tables["where"][0, 0, 0, 0] = float("nan")
    tables["where"][0, 1, 0, 2] = float("inf")
    tables["where"][0, 2, 1, 2] = -float("inf")
    tables["where"][0, 3] = 1e30
    tables["shows"][0, 4] = torch.tensor([4, 2**15 - 1, -(2**15), -2])
    tables["turn"][0, 5] = torch.tensor([4, 255, 7, 2])
    settings = {"size": 9, "mean": MEAN, "std": STD, "dtype": torch.float32}
    expected = reference.render_views(store, row, **tables, **settings)
    shown = render(store, row, tables, **settings)
    assert shown.isfinite().all()
    assert (shown - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["colour", "noise", "blur"])
def test_what_is_not_a_number_stays_visible(name):
    store, row = faces(2, 8, 8, 3), torch.arange(2)
    tables = random_tables(store, 1, 2, 1, 8)
    tables["blur"].fill_(1.0)
    tables["cut"].zero_()
    tables[name][0, 1] = float("nan")
    shown = render(store, row, tables, size=8)[0]
    assert shown[0].isfinite().all()
    assert shown[1].isnan().all()


def test_a_blur_of_zero_and_a_noise_of_zero_change_nothing():
    store, row = faces(3, 11, 11, 3), torch.arange(3)
    tables = random_tables(store, 2, 3, 3, 10)
    without = render(store, row, tables | dict.fromkeys(("blur", "noise", "key")), size=10)
    zero = {name: torch.zeros(2, 3, device=DEVICE) for name in ("blur", "noise")}
    assert torch.equal(render(store, row, tables | zero, size=10), without)


def test_faces_beyond_2_to_the_31_bytes_are_reached():
    # Pages of a fresh numpy array take memory only where they are touched.
    store = torch.from_numpy(np.zeros((33_000, 256, 256, 1), dtype=np.uint8)).to(DEVICE)
    assert store.numel() > 2**31
    store[-1] = faces(1, 256, 256, 1)[0]
    shown = gray_levels(store, torch.tensor([32_999]), plain(1, 1), size=256)
    assert torch.equal(shown[0, 0, 0], store[-1, :, :, 0].float())


def test_a_face_of_more_than_2_to_the_31_bytes_is_read_to_its_end():
    height, width = 46_342, 46_343
    store = torch.from_numpy(np.zeros((1, height, width, 1), dtype=np.uint8)).to(DEVICE)
    assert store.numel() > 2**31
    store[0, -20:, -20:] = faces(1, 20, 20, 1)[0]
    tables = plain(1, 1)
    tables["where"][..., 2] = torch.tensor([width - 20.0, height - 20.0])
    shown = gray_levels(store, torch.zeros(1, dtype=torch.int64), tables, size=20)
    assert torch.equal(shown[0, 0, 0], store[0, -20:, -20:, 0].float())


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("size", [1, 7, 28, 48, 64, 96, 112, 160, 224, 225, 4000])
def test_few_lanes_are_idle(size, heavy):
    """From 112 px on, at most 1 in 32; smaller views may be given the smallest program, of one warp."""
    chosen = triton_kernel.configuration(size, heavy=heavy)
    assert chosen.block == 32 * chosen.warps * (16 if not heavy else 4 if size % 4 else 8)
    idle = -(size * size) % chosen.block
    assert idle <= size * size / 32 or (chosen.warps == 1 and size < 112)


@settings(max_examples=8)
@given(
    size=st.integers(1, 40),
    grid=st.integers(1, 15),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    supersample=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**32),
)
def test_a_sample_s_views_are_equal_in_numba(size, grid, height, width, channels, supersample, seed):
    grid = min(grid, size)
    store, row = faces(2, height, width, channels, seed), torch.tensor([1])
    tables = random_tables(store, 1, 1, grid, size, seed)
    on_cpu = {name: table.cpu() for name, table in tables.items()}
    numbers = {"size": size, "mean": (0.0,) * 3, "std": (1 / 255,) * 3, "supersample": supersample}
    shown = render(store, row, tables, **numbers).cpu()
    expected = numba_kernel.render_views(store.cpu(), row, **on_cpu, **numbers, dtype=torch.float32)
    assert (shown - expected).abs().max() < GRAY_TOLERANCE
