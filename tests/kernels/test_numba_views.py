"""`render_views` in numba against the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import Augment, Key, draw, draw_holes, draw_permutation, draw_turns, identity_cells, inverse
from kernels.views import numba_kernel, reference
from kernels.views.numba_kernel import render
from tests.kernels.pairwise import name_of, pairwise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GRAY_LEVELS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255), "dtype": torch.float32}

# Largest difference between backends in gray levels before the cast (DESIGN, Exactness), and one unit of the dtype.
GRAY_TOLERANCE = 0.02
UNIT = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
TABLES = ("where", "colour", "blur", "noise", "key", "cut")

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
    "size": [17, 24, 33, 61, 240, 300],  # 300 is more than a run
    "grid": [1, 2, 3, 7, 14, 15],
    "store": [(1, 1), (1, 5), (7, 9), (48, 48), (64, 40)],
    "views": [1, 2, 3, 4],
    "dtype": [torch.float32, torch.float16, torch.bfloat16],
    "hidden": ["none", "some", "all"],
    "channels": [1, 3],
    "batch": [1, 3],
    "threads": [1, 2],
    "blur": [True, False],
    "noise": [True, False],
    "turn": [True, False],
    "cut": [True, False],
    "supersample": [1, 2],
}


def affordable(case):
    """The reference reads a view of 240 pixels once, not twelve times."""
    return case.get("size", 17) < 100 or case.get("batch", 1) * case.get("views", 1) <= 2


CASES = pairwise(FACTORS, affordable)


def faces(count, height, width, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8, generator=generator)


def plain(views, batch, grid=1):
    """`where`, `colour` and `shows` that change nothing."""
    return {
        "where": torch.eye(2, 3).repeat(views, batch, 1, 1),
        "colour": torch.eye(3, 4).repeat(views, batch, 1, 1),
        "shows": identity_cells(grid, batch, "cpu").repeat(views, 1, 1),
    }


def random_tables(store, views, batch, grid, size, seed=0):
    """Tables of independent views, with every option."""
    mean = torch.full((batch, 3), 120.0)
    keys = [Key(seed, 0, torch.arange(batch)).stream(f"view {v}") for v in range(views)]
    drawn = [draw(EVERYTHING, key, mean=mean, store=store.shape[1:3], size=size) for key in keys]
    tables = {name: torch.stack([getattr(view, name) for view in drawn]) for name in TABLES}
    tables["shows"] = torch.stack([draw_permutation(grid, key) for key in keys])
    tables["turn"] = torch.stack([draw_turns(grid, key) for key in keys])
    return tables


@pytest.fixture
def poisoned(monkeypatch):
    """Memory that is not written holds NaN."""
    empty = torch.empty

    def nan(*arguments, **settings):
        made = empty(*arguments, **settings)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", nan)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_it_follows_the_reference(case, poisoned, threads):
    threads(case["threads"])
    store = faces(4, *case["store"], case["channels"])
    views, batch, size = case["views"], case["batch"], case["size"]
    row = torch.tensor([2, 0, 3])[:batch]
    tables = random_tables(store, views, batch, case["grid"], size, seed=case["grid"] + size)
    if case["hidden"] == "all":
        tables["shows"].fill_(-1)
    elif case["hidden"] == "some":
        tables["shows"][:, batch // 2, ::3] = -1
    tables |= {name: None for name in ("blur", "noise", "turn", "cut") if not case[name]}
    numbers = {"size": size, "mean": MEAN, "std": STD, "supersample": case["supersample"]}
    shown = numba_kernel.render_views(store, row, **tables, **numbers, dtype=torch.float32)
    expected = reference.render_views(store, row, **tables, **numbers, dtype=torch.float32)
    assert shown.shape == expected.shape
    assert shown.stride() == expected.stride()
    if case["blur"] or case["noise"]:
        levels = (shown - expected).abs() * torch.tensor(STD).view(3, 1, 1) * 255
        assert levels.max() < GRAY_TOLERANCE
    else:
        assert torch.equal(shown, expected)
    if case["dtype"] != torch.float32:
        cast = numba_kernel.render_views(store, row, **tables, **numbers, dtype=case["dtype"])
        assert cast.dtype == case["dtype"]
        assert torch.equal(cast, shown.to(case["dtype"]))


@pytest.mark.parametrize("dtype", list(UNIT))
@pytest.mark.parametrize("scale", [1e-6, 1e-5, 3e-3, 1.0, 1e3, 3e5, 1e8])
def test_it_rounds_as_torch_does(dtype, scale):
    """From beyond the largest number of fp16 down to below its smallest."""
    store = faces(2, 31, 31, 3)
    tables = plain(1, 2) | {"where": torch.tensor([[0.7, 0.2, 1.0], [-0.2, 0.7, 9.0]]).expand(1, 2, 2, 3)}
    numbers = {"size": 33, "mean": (0.5, 0.1, 0.9), "std": (scale, 3 * scale, 7 * scale)}
    arguments = (store, torch.arange(2))
    shown = numba_kernel.render_views(*arguments, **tables, **numbers, dtype=dtype)
    assert torch.equal(shown, reference.render_views(*arguments, **tables, **numbers, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, *UNIT])
def test_a_colour_that_is_not_a_number_shows(dtype):
    tables = plain(1, 2)
    tables["colour"][0, 1, 1, 0] = float("nan")
    arguments = (faces(2, 8, 8, 3), torch.arange(2))
    shown = numba_kernel.render_views(*arguments, **tables, size=8, mean=MEAN, std=STD, dtype=dtype)
    assert shown[0, 1, 1].isnan().all()
    assert shown[0, 0].isfinite().all()
    assert shown[0, 1, ::2].isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_do_not_depend_on_batch_threads_or_place_in_the_store(channels, threads):
    threads(1)
    size, grid = 37, 3
    store = faces(9, 13, 11, channels)
    row = torch.tensor([8, 1, 1, 0, 4])  # the last face is read from a copy
    tables = random_tables(store, 2, 5, grid, size)
    numbers = {"size": size, "mean": MEAN, "std": STD, "dtype": torch.float32}
    whole = numba_kernel.render_views(store, row, **tables, **numbers)
    for count in (2, 3, 7):
        threads(count)
        assert torch.equal(numba_kernel.render_views(store, row, **tables, **numbers), whole)
    for sample in range(5):
        alone = {name: table[:, sample : sample + 1] for name, table in tables.items()}
        shown = numba_kernel.render_views(
            store[row[sample]][None], torch.zeros(1, dtype=torch.int64), **alone, **numbers
        )
        assert torch.equal(shown, whole[:, sample : sample + 1])


def test_tables_may_be_shared_between_views():
    """Expanded along the views, as training does: no axis of stride 0 is written over or read past."""
    store = faces(3, 16, 16, 3)
    one = random_tables(store, 1, 3, 2, 16)
    shared = {name: table.expand(2, *table.shape[1:]) for name, table in one.items()}
    numbers = {"size": 16, "mean": MEAN, "std": STD, "dtype": torch.float32}
    shown = numba_kernel.render_views(store, torch.arange(3), **shared, **numbers)
    assert torch.equal(*shown)
    assert torch.equal(shown[:1], numba_kernel.render_views(store, torch.arange(3), **one, **numbers))


def test_a_face_too_large_for_int32_places_is_left_to_the_reference(monkeypatch):
    store = faces(2, 12, 12, 3)
    tables = random_tables(store, 1, 2, 2, 9)
    numbers = {"size": 9, "mean": MEAN, "std": STD, "dtype": torch.float32}
    monkeypatch.setattr(render, "_LARGEST_FACE", 12 * 12 * 3 - 1)
    monkeypatch.setattr(render, "_render", None)
    monkeypatch.setattr(render, "_render_parallel", None)
    shown = numba_kernel.render_views(store, torch.arange(2), **tables, **numbers)
    assert torch.equal(shown, reference.render_views(store, torch.arange(2), **tables, **numbers))


@settings(max_examples=40)
@given(tile=st.integers(1, 19), grid=st.integers(1, 15), channels=st.sampled_from([1, 3]), seed=st.integers(0, 2**32))
def test_a_puzzle_and_its_inverse_are_the_identity(tile, grid, channels, seed):
    size = tile * grid
    store, row = faces(2, size, size, channels, seed), torch.arange(2)
    tables = plain(1, 2)
    shows = draw_permutation(grid, Key(seed, 0, row))
    puzzled = numba_kernel.render_views(store, row, **(tables | {"shows": shows[None]}), size=size, **GRAY_LEVELS)[0]
    again = puzzled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    back = tables | {"shows": inverse(shows)[None]}
    shown = numba_kernel.render_views(again, row, **back, size=size, **GRAY_LEVELS)[0]
    assert torch.equal(shown.round().to(torch.uint8), store.permute(0, 3, 1, 2).expand(2, 3, size, size))


@settings(max_examples=40)
@given(
    size=st.integers(1, 70),
    grid=st.integers(1, 15),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    supersample=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**32),
)
def test_backends_agree(size, grid, height, width, channels, supersample, seed):
    grid = min(grid, size)
    store, row = faces(3, height, width, channels, seed), torch.tensor([2, 1])
    tables = random_tables(store, 2, 2, grid, size, seed)
    numbers = {"size": size, "supersample": supersample} | GRAY_LEVELS
    shown = numba_kernel.render_views(store, row, **tables, **numbers)
    assert (shown - reference.render_views(store, row, **tables, **numbers)).abs().max() < GRAY_TOLERANCE


@settings(max_examples=25)
@given(
    others=st.lists(st.integers(-1, 2**40), min_size=1, max_size=6),
    sample=st.integers(-1, 2**40),
    place=st.integers(0, 6),
    grid=st.integers(1, 5),
    epoch=st.integers(0, 2**32 - 1),
    seed=st.integers(0, 2**64 - 1),
)
def test_views_of_a_sample_do_not_depend_on_the_batch_it_is_drawn_in(others, sample, place, grid, epoch, seed):
    """From sample ids to pixels, bit for bit."""
    store = faces(1, 20, 20, 3)

    def views(samples):
        key = Key(seed, epoch, torch.tensor(samples))
        mean = torch.full((len(samples), 3), 100.0)
        tables = draw(EVERYTHING, key, mean=mean, store=(20, 20), size=18)
        shows = torch.stack([draw_permutation(grid, key), draw_holes(grid, key)])
        shared = {name: getattr(tables, name).expand(2, *getattr(tables, name).shape) for name in TABLES}
        turn = draw_turns(grid, key).expand(2, -1, -1)
        row = torch.zeros(len(samples), dtype=torch.int64)
        numbers = {"size": 18, "mean": MEAN, "std": STD, "dtype": torch.float32}
        return numba_kernel.render_views(store, row, **shared, shows=shows, turn=turn, **numbers)

    place = min(place, len(others))
    batch = [*others[:place], sample, *others[place:]]
    assert torch.equal(views(batch)[:, place], views([sample])[:, 0])


def test_size_grid_batch_and_views_are_run_time_numbers(threads):
    """Many sizes are one compilation, on one thread and on two."""
    compiled = {1: render._render, 2: render._render_parallel}

    def show(size, grid, views, batch):
        store = faces(3, size + 3, size, 3)
        row = torch.arange(batch) % 3
        tables = random_tables(store, views, batch, grid, size)
        numba_kernel.render_views(store, row, **tables, size=size, mean=MEAN, std=STD, dtype=torch.float32)

    for count, kernel in compiled.items():
        threads(count)
        show(16, 2, 1, 2)
        before = len(kernel.overloads)
        for size, grid, views, batch in ((1, 1, 1, 1), (17, 3, 2, 5), (64, 15, 4, 1), (113, 14, 3, 2), (240, 1, 1, 1)):
            show(size, grid, views, batch)
        assert len(kernel.overloads) == before
