"""Face crops: where squares stand, what they show at and beyond the edge, and landmarks on their template."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from loaders.decoding.crops import TEMPLATE, Square, aligned, around_box, around_points, check_crop, cut, five_of_68
from loaders.decoding.pictures import Form, UnreadableError, decode


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A picture without edges, different at every place."""
    y, x = np.mgrid[:height, :width]
    channels = [120 + 100 * np.sin(x / 23 + k) * np.cos(y / 17 - k) for k in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def turned_points(square: Square) -> NDArray[np.float64]:
    """Where the template's points lie in the picture when the square shows them in their places."""
    angle = math.radians(square.turn)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return square.side * (TEMPLATE - 0.5) @ rotation.T + [square.x, square.y]


# --- squares ------------------------------------------------------------------------------------------------------


def test_a_box_becomes_the_square_of_its_longer_side_about_its_centre() -> None:
    assert around_box(10, 20, 30, 60) == Square(20, 40, 40)


def test_the_margin_is_added_on_each_side() -> None:
    square = around_box(0, 0, 40, 40, margin=0.25)
    assert square == Square(20, 20, 60)
    assert square.bounds() == (-10, -10, 50, 50)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 9, 9), (9, 5, 5, 9), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)])
def test_a_box_without_extent_gives_none(box: tuple[float, float, float, float]) -> None:
    assert around_box(*box) is None


def test_points_are_held_by_their_smallest_box() -> None:
    points = np.array([[3.0, 8.0], [9.0, 2.0], [5.0, 5.0]])
    assert around_points(points) == around_box(3, 2, 9, 8)
    assert around_points(np.empty((0, 2))) is None
    assert around_points(points[:1]) is None


def test_the_bounds_hold_the_corners_of_a_turned_square() -> None:
    left, top, right, bottom = Square(0, 0, 2, turn=45).bounds()
    assert (left, top, right, bottom) == pytest.approx((-math.sqrt(2),) * 2 + (math.sqrt(2),) * 2)


@pytest.mark.parametrize(
    ("crop", "margin", "message"),
    [
        ("tight", 0.1, r"a /x: crop \(='tight'\) must be one of none, box here; choose one of them"),
        ("align", 0.1, r"crop \(='align'\) must be one of none, box here"),
        ("box", -0.1, r"a /x: margin \(=-0.1\) must be in 0\.\.2; it is the share of the side added on each side"),
        ("box", math.nan, r"margin \(=nan\) must be in 0\.\.2"),
    ],
)
def test_wrong_options_are_refused(crop: str, margin: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_crop("a /x", crop, margin, ("none", "box"))


# --- alignment ----------------------------------------------------------------------------------------------------


@given(
    st.floats(-500, 500), st.floats(-500, 500), st.floats(20, 900), st.floats(-179, 179), st.sampled_from([0.0, 0.5])
)
def test_alignment_finds_the_similarity_that_moved_the_template(
    x: float, y: float, side: float, turn: float, margin: float
) -> None:
    found = aligned(turned_points(Square(x, y, side, turn)), margin)
    assert found is not None
    assert (found.x, found.y) == pytest.approx((x, y), abs=1e-6)
    assert found.side == pytest.approx(side * (1 + 2 * margin))
    assert found.turn == pytest.approx(turn)


def test_alignment_is_the_best_similarity_where_none_fits() -> None:
    points = turned_points(Square(50, 60, 80, 20)) + np.random.default_rng(0).normal(0, 4, (5, 2))
    best = aligned(points)
    assert best is not None

    def error(square: Square) -> float:
        return float(((turned_points(square) - points) ** 2).sum())

    for x, y, side, turn in np.random.default_rng(1).normal(0, 0.3, (200, 4)):
        assert error(best) < error(Square(best.x + x, best.y + y, best.side + side, best.turn + turn))


def test_alignment_never_mirrors() -> None:
    mirrored = turned_points(Square(50, 50, 80)) * [-1, 1] + [100, 0]
    found = aligned(mirrored)
    assert found is not None
    assert found.side < 80  # the best that can be done without mirroring


def test_landmarks_without_extent_align_nothing() -> None:
    assert aligned(np.full((5, 2), 7.0)) is None
    assert aligned(np.full((5, 2), math.nan)) is None


def test_five_points_of_68_are_eyes_nose_and_mouth_corners() -> None:
    points = np.stack([np.arange(68.0), 100 + np.arange(68.0)], axis=1)
    assert five_of_68(points)[:, 0].tolist() == [38.5, 44.5, 30, 48, 54]


def test_an_aligned_face_shows_its_landmarks_on_the_template() -> None:
    where = Square(130, 110, 120, turn=33)
    picture = np.zeros((240, 260), np.uint8)
    y, x = np.mgrid[:240, :260] + 0.5
    for px, py in turned_points(where):
        picture[(x - px) ** 2 + (y - py) ** 2 < 9] = 255
    square = aligned(turned_points(where))
    assert square is not None
    face = np.asarray(cut(Image.fromarray(picture), square, 112)).astype(float)
    rows, columns = np.mgrid[:112, :112] + 0.5
    for tx, ty in TEMPLATE * 112:
        near = face * ((columns - tx) ** 2 + (rows - ty) ** 2 < 64)
        assert (near * columns).sum() / near.sum() == pytest.approx(tx, abs=0.3)
        assert (near * rows).sum() / near.sum() == pytest.approx(ty, abs=0.3)


# --- cutting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_a_square_inside_equals_the_box(colour: str) -> None:
    picture = smooth(90, 120)
    form = Form(24, colour=colour)  # type: ignore[arg-type]
    square = decode(picture, form, Square(60.5, 40, 50))
    np.testing.assert_array_equal(square, decode(picture, form, (35.5, 15, 85.5, 65)))


@pytest.mark.parametrize(("side", "flat"), [(20.0, 0), (77.5, 0), (400.0, 16)])
def test_beyond_the_edge_the_nearest_pixel_is_shown(side: float, flat: int) -> None:
    # Where pixels are averaged first, the averages at the edge are repeated: then the edge is made flat here.
    picture = np.pad(smooth(60, 80), ((flat, flat), (flat, flat), (0, 0)), mode="edge")
    reach = math.ceil(side)
    wide = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    for x, y in [(2, 3), (79, 20), (40, 59), (78, 58)]:
        shown = decode(picture, Form(32), Square(x, y, side)).astype(int)
        expected = decode(wide, Form(32), Square(x + reach, y + reach, side)).astype(int)
        assert np.abs(shown - expected).mean() < 0.5
        assert np.abs(shown - expected).max() <= 12  # averaging starts at another pixel


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (-90, -1), (180, 2)])
def test_a_quarter_turn_shows_the_turned_picture(turn: float, quarters: int) -> None:
    # The square is turned clockwise, so what it shows turns counter-clockwise.
    picture = smooth(64, 64)
    shown = decode(picture, Form(64), Square(32, 32, 64, turn)).astype(int)
    assert np.abs(shown - np.rot90(picture, quarters).astype(int)).max() <= 1


def test_turning_back_gives_the_face_again() -> None:
    picture = smooth(200, 200)
    turned = Image.fromarray(picture).rotate(-25, Image.Resampling.BICUBIC)  # clockwise
    shown = decode(np.asarray(turned), Form(60), Square(100, 100, 100, turn=25)).astype(int)
    assert np.abs(shown - decode(picture, Form(60), Square(100, 100, 100)).astype(int)).mean() < 1.5


def test_small_faces_are_enlarged() -> None:
    picture = smooth(40, 40)
    shown = decode(picture, Form(80), Square(20, 20, 20, turn=1e-9)).astype(int)
    assert np.abs(shown - decode(picture, Form(80), Square(20, 20, 20)).astype(int)).mean() < 1.0


@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_a_fine_pattern_is_averaged_and_not_sampled(turn: float) -> None:
    picture = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    shown = decode(picture, Form(20), Square(200, 200, 250, turn))
    assert shown.std() < 3
    assert abs(shown.mean() - 127.5) < 2


def test_memory_depends_on_the_size_and_not_on_the_square() -> None:
    picture = Image.fromarray(smooth(50, 50))
    tracemalloc.start()
    cut(picture, Square(25, 25, 1e6, turn=10), 16)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


@pytest.mark.parametrize("square", [Square(-60, 20, 50), Square(20, 200, 90, turn=10)])
def test_a_square_outside_the_picture_is_unreadable(square: Square) -> None:
    with pytest.raises(UnreadableError, match="box outside the picture"):
        decode(smooth(40, 40), Form(16), square)


def test_a_square_needs_a_size() -> None:
    with pytest.raises(ValueError, match=r"pictures: size \(=None\) must be given where faces are cut from boxes"):
        decode(smooth(40, 40), Form(), Square(20, 20, 10))
