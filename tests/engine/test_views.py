"""Views of the later pretext tasks: turned tiles, hidden parts of the face, puzzles at several sizes."""

from __future__ import annotations

import lzma
import zipfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from PIL import Image
from torch import Tensor

import kernels
from engine.recipe import settings
from engine.tasks import Inpaint
from engine.training.render import Renderer
from engine.views import (
    EVALUATION,
    FAIRFACE_PARTS,
    FER2013_PARTS,
    LARGER_SIZES,
    SMALLER_SIZES,
    Box,
    Frame,
    HiddenParts,
    Holes,
    Plain,
    Puzzle,
    Turned,
    View,
)
from kernels import Augment, Key
from loaders.base import Batch
from tests.engine import tiny

SIZE = 24


def renderer(views: Mapping[str, View], augment: Augment | None = None) -> Renderer:
    return Renderer(
        views=views,
        augment=Augment() if augment is None else augment,
        image_size=SIZE,
        evaluation_crop=1.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        seed=3,
    )


def straight(size: int = SIZE, faces: int = 4) -> Frame:
    """A view that shows the stored face as it is."""
    return Frame(torch.eye(2, 3).expand(faces, 2, 3), size, (size, size))


@pytest.mark.parametrize(("grid", "puzzled"), [(1, False), (2, False), (3, False), (2, True), (3, True)])
def test_each_tile_is_turned_counter_clockwise_by_its_quarters(grid: int, puzzled: bool) -> None:
    views: dict[str, View] = {
        "plain": Plain(),
        "turned": Puzzle(grid=grid, turn=True) if puzzled else Turned(grid=grid),
    }
    rendered = renderer(views, kernels.weak()).training(tiny.batch(), epoch=1, step=0)
    plain, turned, cells = rendered.pictures["plain"], rendered.pictures["turned"], rendered.cells["turned"]
    side = SIZE // grid
    assert cells.turn is not None
    for sample, (shows, turns) in enumerate(zip(cells.shows.tolist(), cells.turn.tolist(), strict=True)):
        for cell, (source, quarters) in enumerate(zip(shows, turns, strict=True)):
            y, x, from_y, from_x = cell // grid * side, cell % grid * side, source // grid * side, source % grid * side
            expected = torch.rot90(plain[sample, :, from_y : from_y + side, from_x : from_x + side], quarters, (1, 2))
            here = turned[sample, :, y : y + side, x : x + side]
            torch.testing.assert_close(here, expected, atol=1e-4, rtol=1e-4)


def test_turned_tiles_stay_in_place_and_every_quarter_is_as_likely() -> None:
    sample = torch.arange(4000)
    cells = Turned(grid=2).cells(Key(0, 0, sample), straight())
    assert torch.equal(cells.shows, kernels.identity_cells(2, 4000, sample.device))
    assert cells.turn is not None
    shares = torch.bincount(cells.turn.flatten().long(), minlength=4) / cells.turn.numel()
    assert (shares - 0.25).abs().max() < 4 * (0.25 * 0.75 / cells.turn.numel()) ** 0.5


def test_a_puzzles_order_and_its_turns_know_nothing_of_each_other() -> None:
    sample = torch.arange(6000)
    cells = Puzzle(grid=2, turn=True).cells(Key(0, 0, sample), straight())
    assert cells.turn is not None
    table = torch.zeros(4, 4)
    table.index_put_((cells.shows[:, 0].long(), cells.turn[:, 0].long()), torch.ones(6000), accumulate=True)
    chi_squared = ((table - 375) ** 2 / 375).sum().item()
    assert chi_squared < 37.7, "15 degrees of freedom: exceeded once in a thousand"
    alone = Puzzle(grid=2).cells(Key(0, 0, sample), straight())
    assert torch.equal(alone.shows, cells.shows)
    assert alone.turn is None


def test_turned_and_still_views_share_a_launch_and_stay_what_they_are() -> None:
    views: dict[str, View] = {
        "plain": Plain(),
        "turned": Turned(grid=2),
        "whole": Turned(grid=1),
        "holes": Holes(grid=2),
    }
    together = renderer(views).training(tiny.batch(), epoch=0, step=0)
    for name, view in views.items():
        alone = renderer({name: view}).training(tiny.batch(), epoch=0, step=0)
        assert torch.equal(alone.pictures[name], together.pictures[name]), name


def test_evaluation_asks_the_same_turns_every_time() -> None:
    maker = renderer({"turned": Turned(grid=2)}, kernels.strong())
    first, second = (maker.evaluation(tiny.batch(), ("turned",)) for _ in range(2))
    assert torch.equal(first.pictures["turned"], second.pictures["turned"])
    assert (first.cells["turned"].turn != 0).any()
    assert first.cells[EVALUATION].turn is None


def hidden(view: HiddenParts, frame: Frame, samples: int = 4, seed: int = 0) -> Tensor:
    """Which cells are hidden, "b grid grid"."""
    cells = view.cells(Key(seed, 0, torch.arange(samples)), frame)
    return (cells.shows < 0).view(samples, view.grid, view.grid)


def test_the_cells_whose_centre_lies_in_a_part_are_hidden() -> None:
    view = HiddenParts(grid=4, parts=((0.25, 0.5, 0.75, 1.0),))
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[2:, 1:3] = True
    assert all(torch.equal(found, expected) for found in hidden(view, straight()))
    cells = view.cells(Key(0, 0, torch.arange(4)), straight())
    assert torch.equal(
        cells.shows[~expected.flatten().expand(4, -1)].view(4, -1)[0], torch.arange(16)[~expected.flatten()]
    )


def test_every_choice_of_parts_but_none_is_as_likely() -> None:
    corners = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0))
    found = hidden(HiddenParts(grid=2, parts=corners), straight(faces=7000), samples=7000).flatten(1)
    code = (found * torch.tensor([1, 2, 4, 8])).sum(dim=1)
    counts = torch.bincount(code, minlength=8)
    assert counts[0] == 0
    assert ((counts[1:] - 1000).abs() < 4 * (7000 / 7 * 6 / 7) ** 0.5).all()


def test_holes_follow_flip_crop_and_turn() -> None:
    view = HiddenParts(grid=4, parts=((0.0, 0.0, 0.5, 0.25),))  # the two left cells of the first row
    size = float(SIZE)
    flip = torch.tensor([[-1.0, 0.0, size], [0.0, 1.0, 0.0]])
    turn = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, size]])  # view (x, y) shows stored (y, size - x)
    crop = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])  # the stored face's upper left quarter
    away = torch.tensor([[0.5, 0.0, size / 2], [0.0, 0.5, size / 2]])  # its lower right one
    found = hidden(view, Frame(torch.stack([flip, turn, crop, away]), SIZE, (SIZE, SIZE)))
    places = [[tuple(place) for place in cells.nonzero().tolist()] for cells in found]
    assert places[0] == [(0, 2), (0, 3)]
    assert places[1] == [(0, 3), (1, 3)]
    assert places[2] == [(row, column) for row in range(2) for column in range(4)]
    assert places[3] == []


def test_a_face_is_measured_by_its_own_width_and_height() -> None:
    view = HiddenParts(grid=2, parts=((0.0, 0.0, 0.5, 1.0),))
    stretch = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    found = hidden(view, Frame(stretch, SIZE, (SIZE, 2 * SIZE)), samples=1)
    assert found[0].tolist() == [[True, False], [True, False]]


def test_hidden_parts_lie_on_the_same_places_of_the_face_however_it_is_augmented() -> None:
    """A face whose only bright spots are its parts: a view with all of them hidden shows none."""
    face = torch.zeros(1, 48, 48, 3, dtype=torch.uint8)
    face[:, 16:18, 16:18], face[:, 16:18, 30:32], face[:, 36:38, 23:25] = 255, 255, 255
    first = torch.zeros(32, dtype=torch.int32)
    batch = Batch(face, torch.zeros(32, dtype=torch.int64), torch.arange(32), first, torch.zeros(32, 3), {})
    spots = ((0.2, 0.2, 0.8, 0.5), (0.3, 0.6, 0.7, 0.9))
    views: dict[str, View] = {"plain": Plain(), "parts": HiddenParts(grid=12, parts=spots)}
    rendered = renderer(views, Augment(flip=0.5, rotation=(-20.0, 20.0))).training(batch, epoch=0, step=0)
    bright = (rendered.pictures["parts"] > 0).flatten(1).any(1)
    both = (rendered.cells["parts"].shows < 0).sum(dim=1) > 40
    assert both.any()
    assert not bright[both].any()
    assert (rendered.pictures["plain"] > 0).flatten(1).any(1).all()


def mean_face(data: Path, name: str) -> Float64[np.ndarray, "y x"]:
    """The mean of the first 500 faces, gray."""
    if name == "fer2013":
        with lzma.open(data / "fer2013" / "fer2013.csv.xz", "rt") as file:
            rows = [line.split(",")[1].split() for line in islice(file, 1, 501)]
        return np.array(rows, dtype=np.float64).mean(axis=0).reshape(48, 48)
    with zipfile.ZipFile(data / "fairface" / "fairface_val_5000_96px.zip") as file:
        names = [entry for entry in file.namelist() if entry.endswith(".jpg")][:500]
        return np.mean([np.asarray(Image.open(file.open(entry)).convert("L"), np.float64) for entry in names], axis=0)


@pytest.mark.data
@pytest.mark.parametrize(("name", "parts"), [("fer2013", FER2013_PARTS), ("fairface", FAIRFACE_PARTS)])
def test_the_first_box_covers_the_eyes_the_darkest_of_a_mean_face(
    hmtl_data: Path, name: str, parts: tuple[Box, ...]
) -> None:
    mean = mean_face(hmtl_data, name)
    side = len(mean)
    left, top, right, bottom = parts[0]
    for start, stop in ((0.2, 0.5), (0.5, 0.8)):  # columns between the hair at both sides
        rows, columns = slice(int(0.15 * side), int(0.6 * side)), slice(int(start * side), int(stop * side))
        y, x = np.unravel_index(mean[rows, columns].argmin(), mean[rows, columns].shape)
        assert left < (x + columns.start) / side < right
        assert top + 0.03 < (y + rows.start) / side < bottom - 0.03


def test_set_takes_boxes_by_their_name() -> None:
    recipe = tiny.recipe(views={"parts": HiddenParts()}, tasks=(Inpaint(on=("parts",), width=16),))
    assert settings.apply(recipe, ["views.parts.parts=FAIRFACE_PARTS"]).views["parts"] == HiddenParts(
        parts=FAIRFACE_PARTS
    )


def test_the_sizes_of_a_puzzle_are_multiples_of_8_of_the_authors_ranges() -> None:
    assert tuple(size for size in range(113, 129) if size % 8 == 0) == LARGER_SIZES
    assert tuple(size for size in range(64, 112) if size % 8 == 0) == SMALLER_SIZES
