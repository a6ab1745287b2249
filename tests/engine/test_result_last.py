"""result.json is written after everything else, so that a run that has one is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import engine.training.train
from engine.figures import format_count
from engine.recipe.file import RecipeFile
from engine.reports.report import write_report
from engine.training.train import train
from loaders.terminal import Terminal
from tests.engine import tiny


def run(out: Path, *, resume: bool = False) -> Path:
    return train(
        RecipeFile("tiny", tiny.recipe(epochs=1, test="test"), ""),
        out,
        device=torch.device("cpu"),
        resume=resume,
        deterministic=False,
        console=Terminal(quiet=True),
    )


def test_a_run_that_ends_while_it_reports_has_no_result_and_is_completed_by_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.training.train, "write_report", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    assert not (tmp_path / "run" / "report.md").exists()
    monkeypatch.undo()
    report = run(tmp_path / "run", resume=True)
    text = report.read_text(encoding="utf-8")
    assert "Unfinished" not in text
    assert "result.json is not there" not in text
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["finished"]
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns >= report.stat().st_mtime_ns
    # Made anew from the files, the report is the same: it was told what the file says now.
    assert write_report(tmp_path / "run").read_text(encoding="utf-8") == text


def test_a_result_tells_how_many_pictures_a_face_costs(tmp_path: Path) -> None:
    run(tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["pictures_a_face"] == 2
    assert result["pictures_through_encoder"] == result["pictures_trained"] == 2 * result["steps"] * 8
    assert result["pictures_forward_only"] == 0
    assert result["training_flops"] > 0
    cost = "; 0 of them forward only; {}FLOPs of training; ".format(format_count(result["training_flops"]))
    assert cost in (tmp_path / "run" / "report.md").read_text()
