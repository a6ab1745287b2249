"""What a run's report says of the baselines whose folders lie beside its own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from engine.reports.beside import baselines_of, difference
from engine.reports.report import write_report
from engine.runs.result import read_arrays, read_run
from tests.engine.fake_run import edit_json, write_fake_run

ACCURACY = "expression/accuracy"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_fake_run(tmp_path / "mine", skill=2.2)
    write_fake_run(tmp_path / "mine-supervised", skill=1.9)
    write_fake_run(tmp_path / "mine-unfinished")
    edit_json(tmp_path / "mine-unfinished" / "result.json", finished=False)
    write_fake_run(tmp_path / "minelike")
    (tmp_path / "mine-notes").mkdir()
    return tmp_path


def test_a_report_shows_the_gain_over_finished_baselines_of_that_name(runs: Path) -> None:
    text = write_report(runs / "mine").read_text()
    section = text.partition("## Beside its baselines")[2].partition("\n## ")[0]
    assert "charts/baselines.png" in section
    assert (runs / "mine" / "report.md").read_text().count("charts/baselines.png)") == 1
    assert (runs / "mine" / "charts" / "baselines.png").is_file()
    assert "mine-supervised" in section
    for other in ("mine-unfinished", "minelike", "mine-notes"):
        assert other not in section
    assert "Beside its baselines" not in write_report(runs / "minelike").read_text()


def test_the_interval_is_that_of_the_paired_difference_over_pictures(runs: Path) -> None:
    run = read_run(runs / "mine", where="test")
    (other,) = baselines_of(run)
    right = []
    for folder in ("mine", "mine-supervised"):
        arrays = read_arrays(runs / folder / "predictions" / "test-last.npz")
        known = arrays["expression.target"] >= 0
        right.append((arrays["expression.probability"].argmax(1) == arrays["expression.target"])[known].astype(float))
    each = 100 * (right[0] - right[1])
    low, high = each.mean() - 1.96 * each.std() / len(each) ** 0.5, each.mean() + 1.96 * each.std() / len(each) ** 0.5
    found = [
        float(x) for x in re.findall(r"[+-][\d.]+", difference(run, other, "test", ACCURACY, run.figures[ACCURACY]))
    ]
    assert found == pytest.approx([each.mean(), low, high], abs=0.15)
    assert low > 0


def test_other_pictures_give_no_interval(runs: Path) -> None:
    run = read_run(runs / "mine", where="test")
    path = runs / "mine-supervised" / "predictions" / "test-last.npz"
    arrays = read_arrays(path)
    np.savez(path, **{name: array[1:] for name, array in arrays.items()})
    (other,) = baselines_of(run)
    assert re.fullmatch(r"[+-]\d+\.\d", difference(run, other, "test", ACCURACY, run.figures[ACCURACY]))
