"""A run of head pose and one of gender, as reports and tables show them."""

from __future__ import annotations

from pathlib import Path

import pytest

import engine.reports.report
from engine.metrics import angle_figures
from engine.reports.report import write_report
from engine.tasks import FAIRFACE_RACES, GENDERS, Attribute
from tests.engine.fake_run import declare, edit_json, write_fake_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run without charts."""
    for name in ("learning_curves", "confusion", "recall_bars"):
        monkeypatch.setattr(engine.reports.report, name, lambda *args, **options: tmp_path / "run" / "chart.png")
    return write_fake_run(tmp_path / "run", epochs=2)


def test_a_report_of_head_pose_has_degrees_beside_the_median(run: Path) -> None:
    figures = {"pose/mae_yaw_pitch": 6.5, "pose/mae_yaw": 5.0, "pose/mae_pitch": 8.0}
    edit_json(
        run / "result.json",
        last={"epoch": 2, "val": figures, "test": figures},
        best={"epoch": 1, "val": figures, "test": figures},
        classes={},
        majority={"val": {"pose/mae_yaw_pitch": 30.0}, "test": {"pose/mae_yaw_pitch": 31.0}},
        select_on="val/pose/mae_yaw_pitch",
    )
    edit_json(run / "recipe.json", tasks=[{"name": "pose", "label": "pose"}])
    declare(run, {f"pose/{figure.name}": figure for figure in angle_figures(("yaw", "pitch"))})
    text = write_report(run).read_text(encoding="utf-8")
    summary = text.splitlines()[2]
    assert summary.startswith("**pose on val: MAE of yaw, pitch 6.50° last / 6.50° best** (constant guess 30.00°)")
    assert "constant guess (val / test)" in text
    assert "| pose | MAE of yaw, pitch |" in text
    assert "30.00° / 31.00°" in text
    assert "median of each number" in text


def test_a_report_of_gender_has_the_error_rate_of_each_group(run: Path) -> None:
    figures = {"gender/error_rate": 0.1, "gender/spread_of_error_rate": 0.05, "gender/East Asian error_rate": 0.12}
    edit_json(
        run / "result.json",
        last={"epoch": 2, "val": figures},
        best={"epoch": 1, "val": figures},
        classes={"gender": ["Male", "Female"]},
        majority={"val": {"gender/error_rate": 0.47}},
    )
    declared = Attribute(GENDERS, label="gender", group="race", group_names=FAIRFACE_RACES).figures({})
    declare(run, {f"gender/{figure.name}": figure for figure in declared})
    text = write_report(run).read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith(
        "**gender on val: error rate 10.00 % last / 10.00 % best, spread of error rate 5.00 % last / 5.00 % best** "
        "(chance 50.00 %, majority class 47.00 %)"
    )
    assert "majority class (val)" in text
    assert "| gender | East Asian error rate |" in text
