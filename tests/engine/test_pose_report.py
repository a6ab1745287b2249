"""A run of head pose and one of gender, as reports and tables show them."""

from __future__ import annotations

from pathlib import Path

import pytest

import engine.reports.report
from engine.quantities import format_value, in_brackets, is_degrees, is_percent, label_of, scale_of, unit_of
from engine.reports.report import write_report
from engine.table.report import metric_in_words
from tests.engine.fake_run import edit_json, write_fake_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run without charts."""
    for name in ("learning_curves", "confusion", "recall_bars"):
        monkeypatch.setattr(engine.reports.report, name, lambda *args, **options: tmp_path / "run" / "chart.png")
    return write_fake_run(tmp_path / "run", epochs=2)


@pytest.mark.parametrize(
    ("metric", "label", "unit", "value", "text"),
    [
        ("pose/mae_yaw_pitch_roll", "MAE of yaw, pitch, roll", "°", 6.25, "6.25°"),
        ("mae_yaw", "MAE of yaw", "°", 0.125, "0.12°"),
        ("gender/error_rate", "error rate", "%", 0.0625, "6.25 %"),
        ("gender/Latino_Hispanic error_rate", "Latino Hispanic error rate", "%", 0.5, "50.00 %"),
        ("gender/spread_of_error_rate", "spread of error rate", "%", 0.125, "12.50 %"),
        ("inpaint/l1", "L1", "", 0.125, "0.125"),
    ],
)
def test_figures_are_written_in_their_unit(metric: str, label: str, unit: str, value: float, text: str) -> None:
    assert (label_of(metric), unit_of(metric), format_value(metric, value)) == (label, unit, text)
    assert (is_degrees(metric), is_percent(metric)) == (unit == "°", unit == "%")
    assert (in_brackets(metric), scale_of(metric)) == (unit and f" ({unit})", 100 if unit == "%" else 1)


def test_a_table_of_head_pose_says_degrees() -> None:
    assert metric_in_words("pose/mae_yaw_pitch") == "MAE of yaw, pitch of pose (°)"
    assert metric_in_words("expression/accuracy") == "accuracy of expression (%)"


def test_a_report_of_head_pose_has_degrees_beside_the_median(run: Path) -> None:
    figures = {"pose/mae_yaw_pitch": 6.5, "pose/mae_yaw": 5.0, "pose/mae_pitch": 8.0}
    edit_json(
        run / "result.json",
        last={"epoch": 2, "val": figures, "test": figures},
        best={"epoch": 1, "val": figures, "test": figures},
        classes={},
        chance={},
        majority={"val": {"pose/mae_yaw_pitch": 30.0}, "test": {"pose/mae_yaw_pitch": 31.0}},
        select_on="val/pose/mae_yaw_pitch",
    )
    text = write_report(run).read_text(encoding="utf-8")
    summary = text.splitlines()[2]
    assert summary.startswith(
        "**pose on val: MAE of yaw, pitch 6.50° last / 6.50° best** (median of the training data 30"
    )
    assert "constant guess (val / test)" in text
    assert "| pose | MAE of yaw, pitch |" in text
    assert "30.00° / 31.00°" in text
    assert "median of each angle" in text


def test_a_report_of_gender_has_the_error_rate_of_each_group(run: Path) -> None:
    figures = {"gender/error_rate": 0.1, "gender/spread_of_error_rate": 0.05, "gender/East Asian error_rate": 0.12}
    edit_json(
        run / "result.json",
        last={"epoch": 2, "val": figures},
        best={"epoch": 1, "val": figures},
        chance={"gender/error_rate": 0.5},
        majority={"val": {"gender/error_rate": 0.47}},
    )
    text = write_report(run).read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith(
        "**gender on val: error rate 10.00 % last / 10.00 % best, spread of error rate 5.00 % last / 5.00 % best** "
        "(chance 50.00 %, majority class 47.00 %)"
    )
    assert "majority class (val)" in text
    assert "| gender | East Asian error rate |" in text
