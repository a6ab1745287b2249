"""Charts: what they say is what the arrays hold, and nothing of it is cut off."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import TextArea
from matplotlib.text import Text
from PIL import Image

import engine.reports.classwise
import engine.reports.curves
from engine.figures import Figure as Declared
from engine.metrics import angle_figures
from engine.reports import curves
from engine.reports.classwise import confusion, recall_bars
from engine.reports.curves import curve_panels
from tests.engine.fake_run import CLASSES, FIGURES, predictions
from tests.engine.saved_figures import keep_figures

CHARTS_ARE_DRAWN = True

EMPTY = float("nan")
SHARE = Declared("accuracy", greater_is_better=True, unit="%")
FIGURES = FIGURES | {"task/accuracy": SHARE, "a/accuracy": SHARE, "pose/mae_yaw": angle_figures(("yaw",))[0]}
learning_curves = partial(curves.learning_curves, figures=FIGURES)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    return keep_figures(monkeypatch, engine.reports.classwise, engine.reports.curves)


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and seen(text)]


def seen(text: Text) -> bool:
    """Whether the axes of a text are drawn: hidden places of a grid have labels too."""
    return text.axes is None or text.axes.get_visible()


def cut_off(figure: Figure) -> list[str]:
    """Texts of which a part lies outside the figure."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    # Ticks outside the limits keep a text that is not drawn.
    ticks = {
        id(tick.label1)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure) if id(text) not in ticks]
    assert boxes
    page = figure.bbox
    return [
        text
        for text, box in boxes
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > page.width + 0.5 or box.y1 > page.height + 0.5
    ]


def overlapping(labels: list[Text]) -> list[tuple[str, str]]:
    boxes = [(label.get_text(), label.get_window_extent()) for label in labels if label.get_text()]
    return [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]


def expression() -> tuple[np.ndarray, np.ndarray]:
    arrays = predictions("val", seed=1, skill=1.9)
    return arrays["expression.target"], arrays["expression.probability"]


def metrics(epochs: int) -> dict[str, np.ndarray]:
    x = np.arange(1, epochs + 1, dtype=np.float64)
    every_second = np.where(x % 2 == 1, 0.1 + 0.01 * x, EMPTY)
    return {
        "epoch": x,
        "step": 40 * x,
        "lr": 1e-3 / x,
        "train/loss": 3 / x,
        "train/expression/accuracy": 1 - 0.9 / x,
        "train/expression/loss": 2 / x,
        "val/expression/accuracy": 1 - 0.95 / x,
        "val/expression/macro_f1": 1 - 0.97 / x,
        "val/puzzle/tile_accuracy": every_second,
        "val/never/loss": np.full(epochs, EMPTY),
        "images_per_second": x,
        "seconds": x,
    }


def test_panels_go_task_by_task_with_the_loss_first_and_drop_what_has_no_value() -> None:
    assert curve_panels(metrics(4)) == [
        {
            "loss": {"train": "train/loss"},
            "lr": {"": "lr"},
            "expression/loss": {"train": "train/expression/loss"},
        },
        {
            "expression/accuracy": {"train": "train/expression/accuracy", "val": "val/expression/accuracy"},
            "expression/macro_f1": {"val": "val/expression/macro_f1"},
            "puzzle/tile_accuracy": {"val": "val/puzzle/tile_accuracy"},
        },
    ]


@pytest.mark.parametrize("count", range(1, 20))
def test_rows_have_three_panels_or_two_and_no_place_is_empty(count: int, drawn: list[Figure], tmp_path: Path) -> None:
    table = {f"val/task/metric{i}": np.ones(2) for i in range(count)}
    rows = curve_panels(table)
    assert [name for row in rows for name in row] == [f"task/metric{i}" for i in range(count)]
    assert {len(row) for row in rows} <= ({2, 3} if count > 1 else {1})
    assert len(rows) == -(-count // 3)
    if count in (1, 5, 7):
        learning_curves({"epoch": np.arange(1, 3), **table}, tmp_path / "curves.png")
        axes = drawn[0].axes
        assert len(axes) == count
        right = {round(float(a.get_position().x1), 2) for a in axes}
        assert max(right) > 0.95
        for row in rows:  # each row reaches as far as the widest
            last = next(a for a in axes if a.get_title(loc="left") == f"task · {list(row)[-1].partition('/')[2]}")
            assert last.get_position().x1 == pytest.approx(max(a.get_position().x1 for a in axes), abs=0.02)


@pytest.mark.parametrize(
    ("name", "value", "span"), [("accuracy", 0.5, 2.0), ("accuracy", 0.0, 2.0), ("loss", 2.0, 0.1), ("loss", 0.0, 1.0)]
)
def test_a_curve_that_does_not_move_is_not_blown_up(
    name: str, value: float, span: float, drawn: list[Figure], tmp_path: Path
) -> None:
    wobble = np.array([value, value + 1e-9 * value, value])
    learning_curves({"epoch": np.arange(1, 4), f"val/task/{name}": wobble}, tmp_path / "curves.png")
    low, high = drawn[0].axes[0].get_ylim()
    assert high - low == pytest.approx(span, rel=0.06)
    assert low <= value * (100 if name == "accuracy" else 1) <= high


def test_bars_and_intervals_lie_over_the_lines_of_the_means(drawn: list[Figure], tmp_path: Path) -> None:
    arrays = predictions("val", 0, 1.5)
    recall_bars(CLASSES, arrays["expression.target"], arrays["expression.probability"], tmp_path / "bars.png")
    (axes,) = drawn[0].axes
    lines = [line for line in axes.get_lines() if len(set(line.get_xdata())) == 1]  # type: ignore[arg-type]
    assert len(lines) >= 2
    assert max(line.get_zorder() for line in lines if len(line.get_xdata()) == 2) < min(  # type: ignore[arg-type]
        patch.get_zorder() for patch in axes.patches
    )


@pytest.mark.parametrize("epochs", [1, 2, 7, 120])
def test_learning_curves_are_whole_for_any_number_of_epochs(drawn: list[Figure], tmp_path: Path, epochs: int) -> None:
    levels = {"chance": {"expression/accuracy": 1 / 7}, "majority class on val": {"expression/accuracy": 0.25}}
    path = learning_curves(metrics(epochs), tmp_path / "new" / "curves.png", levels=levels, best=epochs)
    assert cut_off(drawn[0]) == []
    assert path.stat().st_size < 300_000
    shown = {text.get_text() for text in texts(drawn[0])}
    assert {"total loss", "learning rate", "expression · accuracy (%)", "puzzle · tile accuracy (%)", "train"} <= shown
    assert {"chance", "majority class on val"} <= shown
    # With one epoch there is nothing to choose from.
    assert ("best epoch" in shown) == (epochs > 1)


def test_curves_are_in_percent_and_bridge_epochs_without_evaluation(drawn: list[Figure], tmp_path: Path) -> None:
    learning_curves(metrics(5), tmp_path / "curves.png")
    by_title = {axes.get_title(loc="left"): axes for axes in drawn[0].axes if axes.get_visible()}
    (line,) = by_title["puzzle · tile accuracy (%)"].get_lines()
    assert line.get_xdata().tolist() == [1, 3, 5]  # type: ignore[union-attr]
    np.testing.assert_allclose(line.get_ydata(), [11, 13, 15])
    (loss,) = by_title["total loss"].get_lines()
    np.testing.assert_allclose(loss.get_ydata(), 3 / np.arange(1, 6))


def test_a_metric_that_stays_zero_has_no_axis_of_negative_percents(drawn: list[Figure], tmp_path: Path) -> None:
    table = {"epoch": np.arange(3.0), "val/puzzle/puzzle_accuracy": np.zeros(3), "val/a/accuracy": np.full(3, 0.9)}
    learning_curves(table, tmp_path / "curves.png", levels={"chance": {"a/accuracy": 0.1}})
    zero, high = (axes for axes in drawn[0].axes if axes.get_visible())
    assert not [tick for tick in zero.get_yticks() if zero.get_ylim()[0] <= tick < -1e-9]
    assert zero.get_ylim()[0] < 0 < zero.get_ylim()[1]
    # The level of chance is too far from the curve to widen the axis.
    assert 80 < high.get_ylim()[0] < high.get_ylim()[1] < 100


def notes(axes: Axes) -> list[str]:
    return [area.get_text() for area in axes.findobj(TextArea)]


def test_a_level_near_the_curves_is_a_line_and_one_far_off_a_note_that_leaves_them_their_room(
    drawn: list[Figure], tmp_path: Path
) -> None:
    table = {"epoch": np.arange(1.0, 31), "train/pose/mae_yaw": np.linspace(14, 8, 30)}
    table |= {"val/pose/mae_yaw": np.linspace(12, 10, 30), "val/a/accuracy": np.linspace(0.7, 0.9, 30)}
    levels = {"constant guess": {"pose/mae_yaw": 34.5, "a/accuracy": 0.55}, "chance": {"a/accuracy": 1 / 7}}
    learning_curves(table, tmp_path / "curves.png", levels=levels)
    pose, accuracy = (axes for axes in drawn[0].axes if axes.get_visible())
    assert notes(pose) == ["34.5° ↑"]
    assert notes(accuracy) == ["14.3 % ↓"]
    assert {"constant guess", "chance"} <= {text.get_text() for text in texts(drawn[0])}
    assert cut_off(drawn[0]) == []
    for axes, low, high in ((pose, 8, 14), (accuracy, 55, 90)):
        bottom, top = axes.get_ylim()
        assert bottom < low < high < top
        assert (high - low) / (top - bottom) > 0.7
        boxes = [area.get_window_extent() for area in axes.findobj(TextArea)]
        for line in axes.get_lines():
            ends = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
            assert not any(box.y0 <= y <= box.y1 for box in boxes for y in ends[:, 1]), "a note lies on a curve"


@pytest.mark.parametrize(("height", "noted"), [(14.9, False), (15.1, True), (3.1, False), (2.9, True)])
def test_a_level_is_noted_where_it_is_further_from_the_curves_than_they_reach(
    height: float, noted: bool, drawn: list[Figure], tmp_path: Path
) -> None:
    table = {"epoch": np.arange(1.0, 4), "val/pose/mae_yaw": np.array([8.0, 10.0, 9.0])}
    table["train/pose/mae_yaw"] = np.array([7.0, 11.0, 9.0])
    learning_curves(table, tmp_path / "curves.png", levels={"guess": {"pose/mae_yaw": height}})
    axes = next(axes for axes in drawn[0].axes if "yaw" in axes.get_title(loc="left"))
    assert bool(notes(axes)) == noted
    assert len(axes.get_lines()) == (2 if noted else 3)


def test_several_levels_far_off_stand_under_each_other_and_one_epoch_is_no_curve_to_squeeze(
    drawn: list[Figure], tmp_path: Path
) -> None:
    levels = {"chance": {"a/accuracy": 0.125}, "majority": {"a/accuracy": 0.3}}
    learning_curves(
        {"epoch": np.arange(2.0), "val/a/accuracy": np.array([0.8, 0.82])}, tmp_path / "a.png", levels=levels
    )
    assert notes(drawn[0].axes[0]) == ["30.0 % ↓", "12.5 % ↓"]
    assert overlapping([area._text for area in drawn[0].axes[0].findobj(TextArea)]) == []
    learning_curves({"epoch": np.arange(1.0), "val/a/accuracy": np.array([0.8])}, tmp_path / "b.png", levels=levels)
    assert notes(drawn[1].axes[0]) == []
    assert drawn[1].axes[0].get_ylim()[0] < 12.5


@pytest.mark.parametrize("table", [{}, {"epoch": np.empty(0)}, {"epoch": np.ones(2), "val/a/loss": np.full(2, EMPTY)}])
def test_curves_without_an_epoch_are_refused(table: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"learning_curves: metrics .* must hold at least one epoch"):
        learning_curves(table, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [CLASSES, CLASSES[:2], [f"class {i} of many" for i in range(26)]])
def test_a_confusion_matrix_is_whole_with_readable_labels(
    drawn: list[Figure], tmp_path: Path, names: list[str]
) -> None:
    k = len(names)
    target = np.random.default_rng(0).integers(0, k, 40 * k)
    path = confusion(names, target, np.eye(k)[target], tmp_path / "c.png", title="task · val, last epoch")
    assert cut_off(drawn[0]) == []
    assert path.stat().st_size < 300_000
    matrix = drawn[0].axes[0]
    assert [label.get_text() for label in matrix.get_xticklabels()] == names
    assert overlapping(matrix.get_yticklabels()) == []
    assert overlapping(list(matrix.texts)) == []


def test_each_cell_says_its_percent_of_the_row_and_its_count(drawn: list[Figure], tmp_path: Path) -> None:
    target = np.array([0, 0, 0, 0, 1, 1, -1])
    guess = np.array([0, 0, 0, 1, 1, 0, 2])
    confusion(["x", "y", "z"], target, np.eye(3)[guess], tmp_path / "c.png")
    matrix = drawn[0].axes[0]
    cells = {(round(t.get_position()[1]), round(t.get_position()[0])): "" for t in matrix.texts}
    for text in matrix.texts:
        column, row = (round(value) for value in text.get_position())
        cells[row, column] += f"{text.get_text()};"
    assert cells == {
        (0, 0): "75 %;3;",
        (0, 1): "25 %;1;",
        (0, 2): "0 %;0;",
        (1, 0): "50 %;1;",
        (1, 1): "50 %;1;",
        (1, 2): "0 %;0;",
        (2, 1): "no samples;",
    }
    labels = [label.get_text() for label in matrix.get_yticklabels()]
    assert labels == ["x  (n = 4)", "y  (n = 2)", "z  (n = 0)"]
    assert matrix.get_title(loc="left") == "n = 6, 1 without a label left out"


def test_recall_bars_say_share_and_support_of_each_class(drawn: list[Figure], tmp_path: Path) -> None:
    target, probability = expression()
    path = recall_bars(CLASSES, target, probability, tmp_path / "r.png", title="expression · val, last epoch")
    assert cut_off(drawn[0]) == []
    assert path.stat().st_size < 300_000
    axes = drawn[0].axes[0]
    right = probability.argmax(1) == target
    for i, name in enumerate(CLASSES):
        share, n = right[target == i].mean(), (target == i).sum()
        assert axes.get_yticklabels()[i].get_text() == name
        written = [t.get_text() for t in axes.texts if t.get_position()[1] == i]
        assert written == [f"{100 * share:.1f} %", f"n = {n:,}"]
        assert axes.patches[i].get_width() == pytest.approx(100 * share)  # type: ignore[attr-defined]
    assert overlapping(list(axes.texts)) == []


def test_recall_bars_of_a_class_without_samples_are_empty(drawn: list[Figure], tmp_path: Path) -> None:
    recall_bars(["x", "y"], np.array([0, 0]), np.eye(2), tmp_path / "r.png")
    assert [t.get_text() for t in drawn[0].axes[0].texts] == ["50.0 %", "n = 2", "–", "n = 0"]
    assert cut_off(drawn[0]) == []


def test_class_names_are_text_and_not_formulas(drawn: list[Figure], tmp_path: Path) -> None:
    names = ["$x_1$ happy", "_hidden", "a\\b"]
    confusion(names, np.arange(3), np.eye(3), tmp_path / "c.png", title="$t$")
    recall_bars(names, np.arange(3), np.eye(3), tmp_path / "r.png")
    assert all(not text.get_parse_math() for figure in drawn for text in texts(figure) if "$" in text.get_text())


@pytest.mark.parametrize("draw", [confusion, recall_bars])
def test_charts_refuse_scores_of_other_classes(draw: type, tmp_path: Path) -> None:
    target, probability = expression()
    with pytest.raises(ValueError, match="one score for each of the 7 class names"):
        draw(CLASSES[:7], target, probability, tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def test_equal_numbers_make_equal_files(tmp_path: Path) -> None:
    first, second = (learning_curves(metrics(3), tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second


def test_a_failed_write_leaves_the_figure_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = learning_curves(metrics(3), tmp_path / "curves.png")
    before = path.read_bytes()

    def full(self: Path, target: object) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        learning_curves(metrics(9), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_figures_are_pictures_at_the_resolution_of_the_house(tmp_path: Path) -> None:
    with Image.open(learning_curves(metrics(3), tmp_path / "curves.png")) as image:
        assert image.format == "PNG"
        assert round(image.info["dpi"][0]) == 120


def test_figures_leave_pyplot_alone() -> None:
    rooms = "engine.reports.classwise, engine.reports.curves, engine.reports.sheets, engine.reports.report"
    code = f"import {rooms}, sys; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
