"""Picture sheets: tiles lie where their numbers say, and pixels stay what they were."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import engine.reports.sheets
import kernels
from engine.reports.sheets import (
    LARGEST,
    Answered,
    Column,
    answers_sheet,
    inpaint_sheet,
    is_puzzle,
    magnify,
    tile_numbers,
    views_sheet,
)
from tests.engine.saved_figures import keep_figures

CHARTS_ARE_DRAWN = True

rng = np.random.default_rng(3)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    return keep_figures(monkeypatch, engine.reports.sheets)


def colour_of(cell: int) -> np.ndarray:
    """A colour that tells the cell: no two of a grid are equal."""
    return np.array([10 + 9 * cell % 240, 200 - 7 * cell % 190, 40 + 5 * cell], dtype=np.uint8)


def coloured(grid: int, size: int) -> np.ndarray:
    """A picture whose cell i has `colour_of(i)`."""
    cell = (np.arange(size) * grid) // size
    return np.stack([[colour_of(int(i * grid + j)) for j in cell] for i in cell])


def rendered(picture: np.ndarray, shows: np.ndarray) -> np.ndarray:
    """The picture under a table of cells, by the kernel that training uses."""
    size = len(picture)
    out = kernels.render_views(
        torch.from_numpy(picture)[None],
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([[[[1.0, 0, 0], [0, 1, 0]]]]),
        torch.eye(3, 4).reshape(1, 1, 3, 4),
        torch.from_numpy(shows).reshape(1, 1, -1),
        size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        dtype=torch.float32,
    )
    return (out[0, 0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def picture_texts(figure: Figure) -> list[tuple[float, float, str]]:
    """Texts that are numbers, as (x, y, text) in pixels of the sheet."""
    return [(*text.get_position(), text.get_text()) for text in figure.axes[0].texts if text.get_text().isdigit()]


@pytest.mark.parametrize(("grid", "size"), [(2, 48), (3, 48), (4, 60), (5, 120)])
def test_the_number_in_each_place_is_the_tile_that_stands_there(grid: int, size: int) -> None:
    shows = rng.permutation(grid * grid).astype(np.int16)
    shows[1] = -1
    view = rendered(coloured(grid, size), shows)
    numbers = tile_numbers(shows, size, size)
    assert len(numbers) == grid * grid - 1
    for number in numbers:
        middle = view[int(number.y + size / grid / 2), int(number.x + size / grid / 2)]
        assert middle.tolist() == colour_of(int(number.text)).tolist()


@pytest.mark.parametrize(("grid", "size"), [(2, 48), (3, 48), (3, 44), (3, 225)])
def test_on_the_sheet_each_number_is_drawn_in_the_tile_that_it_names(
    drawn: list[Figure], tmp_path: Path, grid: int, size: int
) -> None:
    shows = np.stack([rng.permutation(grid * grid) for _ in range(3)]).astype(np.int16)
    shows[1] = np.arange(grid * grid)  # a puzzle may fall on its feet: numbered all the same
    views = np.stack([rendered(coloured(grid, size), row) for row in shows])
    stored = np.stack([coloured(grid, size)] * 3)
    path = views_sheet([Column("stored", stored), Column("puzzle · weak", views, shows)], tmp_path / "v.png")
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    numbers = picture_texts(drawn[0])
    assert len(numbers) == 3 * grid * grid
    tile = magnify(views[0]).shape[0] / grid
    for x, y, text in numbers:
        # Right of and below the number, inside the tile whose corner it stands in.
        found = sheet[int(y + 0.7 * tile), int(x + 0.7 * tile)]
        # Averaging down blends the edges of tiles only.
        assert np.abs(found - colour_of(int(text))).max() <= 1


def test_pictures_keep_their_pixels_on_the_sheet(tmp_path: Path) -> None:
    pictures = rng.integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    gray = rng.integers(0, 256, (2, 144, 100, 1), dtype=np.uint8)
    path = views_sheet([Column("a", pictures), Column("b", gray)], tmp_path / "v.png")
    sheet = np.asarray(Image.open(path).convert("RGB"))
    for wanted in (magnify(pictures[0]), magnify(pictures[1]), magnify(gray[1])):
        height, width = wanted.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (height, width))
        places = np.argwhere((windows[..., 0, :] == wanted[0, :, 0]).all(-1))
        assert any((sheet[y : y + height, x : x + width] == wanted).all() for y, x in places)


@pytest.mark.parametrize(
    ("size", "shown"), [(1, 144), (44, 132), (48, 144), (49, 98), (112, 112), (144, 144), (145, 112), (224, 112)]
)
def test_small_pictures_grow_by_a_whole_factor_and_large_ones_shrink(size: int, shown: int) -> None:
    picture = rng.integers(0, 256, (size, size, 1), dtype=np.uint8)
    large = magnify(picture)
    assert large.shape == (shown, shown, 3)
    if size <= LARGEST:
        factor = shown // size
        np.testing.assert_array_equal(large[::factor, ::factor, :1], picture)
        np.testing.assert_array_equal(large[factor - 1 :: factor, factor - 1 :: factor, 2:], picture)


def test_a_picture_of_twice_the_size_is_averaged() -> None:
    picture = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    mean = picture.reshape(112, 2, 112, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(magnify(picture) - mean).max() <= 1


def test_only_moved_tiles_make_a_puzzle() -> None:
    assert is_puzzle(np.array([[0, 1, 3, 2]], dtype=np.int16))
    assert not is_puzzle(np.array([[0, -1, 2, -1], [0, 1, 2, 3]], dtype=np.int16))


def test_hidden_cells_are_outlined_and_not_numbered(drawn: list[Figure], tmp_path: Path) -> None:
    shows = np.arange(16, dtype=np.int16)[None].repeat(2, 0)
    shows[0, [5, 6]] = -1
    pictures = np.full((2, 40, 40, 3), 120, np.uint8)
    views_sheet([Column("holes", pictures, shows)], tmp_path / "v.png")
    assert picture_texts(drawn[0]) == []
    shadow, line = drawn[0].axes[0].collections
    # The outline of 2 x 1 cells has six edges of a cell; the face without holes has none.
    edges = line.get_segments()  # type: ignore[attr-defined]
    assert len(edges) == len(shadow.get_segments()) == 6  # type: ignore[attr-defined]
    cell = magnify(pictures[0]).shape[0] / 4
    corners = np.concatenate(edges)
    np.testing.assert_allclose(np.ptp(corners, axis=0), [2 * cell, cell])
    assert "Outlined: hidden cells." in " ".join(text.get_text() for text in drawn[0].axes[0].texts)


def test_a_view_that_is_not_cut_has_no_lines(drawn: list[Figure], tmp_path: Path) -> None:
    pictures = np.zeros((1, 30, 30, 3), np.uint8)
    identity = np.arange(9, dtype=np.int16)[None]
    views_sheet([Column("stored", pictures), Column("plain", pictures, identity)], tmp_path / "v.png")
    assert not drawn[0].axes[0].collections
    assert picture_texts(drawn[0]) == []


def test_tiles_too_small_for_a_number_have_lines_and_the_sheet_says_so(drawn: list[Figure], tmp_path: Path) -> None:
    shows = rng.permutation(225).astype(np.int16)[None]
    views_sheet([Column("fine", np.zeros((1, 60, 60, 3), np.uint8), shows)], tmp_path / "v.png")
    assert picture_texts(drawn[0]) == []
    assert len(drawn[0].axes[0].collections[0].get_segments()) == 2 * 14  # type: ignore[attr-defined]
    caption = " ".join(text.get_text() for text in drawn[0].axes[0].texts)
    assert "Where tiles are too small, numbers are left out." in caption


def test_titles_and_caption_stay_on_the_sheet_and_apart(drawn: list[Figure], tmp_path: Path) -> None:
    titles = ["stored", "a_rather_long_name_of_a_view · weak", "puzzle · this recipe", "p"]
    shows = np.array([[1, 0, 3, 2]], dtype=np.int16)
    columns = [Column(title, np.zeros((1, 50, 50, 1), np.uint8), shows) for title in titles]
    views_sheet(columns, tmp_path / "v.png")
    figure = drawn[0]
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if not text.get_text().isdigit()]
    assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= figure.bbox.width and b.y1 <= figure.bbox.height for b in boxes)
    assert not [1 for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]


def test_a_sheet_of_large_noisy_pictures_stays_small(tmp_path: Path) -> None:
    noise = rng.integers(0, 256, (6, 112, 112, 1), dtype=np.uint8).repeat(3, 3) // np.array([1, 2, 3], np.uint8)
    path = views_sheet([Column(f"view {i}", np.roll(noise, i, 1)) for i in range(4)], tmp_path / "v.png")
    assert path.stat().st_size < 500_000
    with Image.open(path) as image:
        assert image.mode == "P"


def test_only_the_first_rows_are_drawn(tmp_path: Path) -> None:
    pictures = np.zeros((9, 144, 144, 3), np.uint8)
    heights = [Image.open(views_sheet([Column("a", pictures)], tmp_path / "v.png", rows=n)).height for n in (1, 2, 9)]
    assert heights[1] - heights[0] == 152
    assert heights[2] - heights[0] == 8 * 152


GOOD = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], r"columns \(=0\) and rows \(=6\) must be at least 1"),
        ([Column("a", GOOD.astype(np.float32))], r"'a': pictures \(=float32 \[2, 8, 8, 3\]\) must be uint8 \[n, h, w"),
        ([Column("a", GOOD.transpose(0, 3, 1, 2))], "must be uint8 .* move the channels last"),
        ([Column("a", GOOD[:0])], "none of them 0"),
        ([Column("a", GOOD), Column("b", GOOD[:1])], r"'b': pictures \(=1\) must be of as many samples .* \(=2\)"),
        ([Column("a", GOOD, np.zeros((2, 8), np.int16))], r"shows \(=\[2, 8\]\) must be \[2, cells\] with a square"),
        ([Column("a", GOOD, np.zeros((1, 9), np.int16))], r"shows \(=\[1, 9\]\) must be \[2, cells\]"),
        ([Column("a", GOOD, np.full((2, 4), 4, np.int16))], r"shows \(=4\.\.4\) must lie in -1\.\.3"),
        ([Column("a", GOOD, np.full((2, 4), -2, np.int16))], r"shows \(=-2\.\.-2\) must lie in -1\.\.3"),
    ],
)
def test_columns_that_are_not_views_are_refused(columns: list[Column], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        views_sheet(columns, tmp_path / "v.png")
    assert not list(tmp_path.iterdir())


def test_the_difference_is_bright_where_the_completed_picture_errs(drawn: list[Figure], tmp_path: Path) -> None:
    truth = np.full((1, 144, 144, 3), 60, np.uint8)
    hidden, completed = truth.copy(), truth.copy()
    hidden[:, 72:] = 124
    completed[:, 72:, :72] = 255
    path = inpaint_sheet(truth, hidden, completed, tmp_path / "i.png")
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    titles = [text.get_text() for text in drawn[0].axes[0].texts]
    assert titles[:4] == ["before", "hidden", "completed", "difference"]
    # Pictures lie side by side with a gap, below margin and title.
    left = [14 + (144 + 8) * c for c in range(4)]
    top = 14 + 17 + 4
    quarter = {
        name: [sheet[top + dy, x + dx].tolist() for dy, dx in ((20, 20), (100, 20), (100, 100))]
        for name, x in zip(titles, left, strict=False)
    }
    assert quarter["before"] == [[60] * 3] * 3
    assert quarter["hidden"] == [[60] * 3, [124] * 3, [124] * 3]
    assert quarter["completed"] == [[60] * 3, [255] * 3, [60] * 3]
    dark, bright, also_dark = quarter["difference"]
    assert sum(dark) == sum(also_dark) <= 10
    assert sum(bright) >= 600


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((GOOD, GOOD, GOOD.astype(float)), r"completed \(=float64 \[2, 8, 8, 3\]\) must be uint8 \[n, h, w, 3\]"),
        ((GOOD, GOOD[:, :4], GOOD), r"hidden \(=uint8 \[2, 4, 8, 3\]\) must be .* in the shape of truth"),
        ((GOOD[..., :1], GOOD[..., :1], GOOD[..., :1]), r"truth \(=uint8 \[2, 8, 8, 1\]\) must be"),
        ((GOOD[:0], GOOD[:0], GOOD[:0]), r"truth \(=\[0, 8, 8, 3\]\) and rows \(=6\) must hold a picture"),
    ],
)
def test_inpainting_of_other_arrays_is_refused(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        inpaint_sheet(*arrays, tmp_path / "i.png")
    assert not list(tmp_path.iterdir())


def test_cells_of_a_picture_that_the_grid_does_not_divide_lie_at_fractions() -> None:
    numbers = tile_numbers(np.array([8, 7, 6, 5, 4, 3, 2, 1, 0], np.int16), 44, 50)
    assert [(n.x, n.y) for n in numbers[:4]] == [(0, 0), (50 / 3, 0), (100 / 3, 0), (0, 44 / 3)]
    assert [n.text for n in numbers] == list("876543210")
    assert math.isclose(numbers[8].y, 88 / 3)


def test_answers_stand_in_rows_of_their_class_with_their_heat_beside(drawn: list[Figure], tmp_path: Path) -> None:
    """A face keeps its pixels; heat 0 leaves the gray face, heat 1 is bright."""
    face = np.full((12, 12, 3), (200, 100, 0), np.uint8)
    heat = np.zeros((12, 12), np.float32)
    heat[:, 6:] = 1
    right, wrong = Answered(face, heat, "Happy 90 %"), Answered(face[..., :1], heat, "Happy 80 %, is Sad")
    path = answers_sheet([([right], []), ([], [wrong, wrong])], tmp_path / "answers.png")
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert texts[:6] == ["right", "mistake 1", "mistake 2", "Happy 90 %", "Happy 80 %, is Sad", "Happy 80 %, is Sad"]
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    orange = np.argwhere((picture == (200, 100, 0)).all(axis=2))
    (top, left), (bottom, last) = orange.min(axis=0), orange.max(axis=0)
    assert (bottom - top + 1, last - left + 1) == (LARGEST, LARGEST)
    dark, bright = picture[top + 70, last + 20], picture[top + 70, last + LARGEST - 20]
    assert dark.tolist() == pytest.approx([75, 75, 76], abs=2)  # 3/4 of the gray 100, 1/4 of the map's black
    assert bright.min() > 120
    with pytest.raises(ValueError, match=r"answers_sheet: rows must hold an answer; give faces that were named"):
        answers_sheet([([], [])], tmp_path / "none.png")
