"""Test-time augmentation: the pictures are the ones described, their probabilities are averaged, nothing else moves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import kernels
from engine.averaging import Averaging
from engine.recipe import Recipe, settings
from engine.recipe.file import RecipeFile
from engine.reports.report import write_report
from engine.tasks import SolvePuzzle
from engine.training.averaging import render
from engine.training.loop import Trainer
from engine.training.train import open_split, train
from engine.views import EVALUATION, Puzzle
from loaders.terminal import Terminal
from tests.engine import tiny

CPU = torch.device("cpu")


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)


def run(recipe: Recipe, out: Path) -> Path:
    file = RecipeFile("tiny", recipe, '"""Tiny."""\n')
    train(file, out, device=CPU, resume=False, deterministic=False, console=Terminal(quiet=True))
    return out


@pytest.mark.parametrize("crops", [1, 5, 9])
@pytest.mark.parametrize("flip", [False, True])
def test_the_pictures_are_the_shifted_and_mirrored_centre(crops: Literal[1, 5, 9], flip: bool) -> None:
    """With whole pixels, a moved crop is a slice of the stored face and a mirrored one its reverse, bit for bit."""
    if crops == 1 and not flip:
        pytest.skip("nothing to average; refused, see below")
    averaging = Averaging(flip=flip, crops=crops, shift=0.125)
    batch = tiny.batch(faces=3, height=24, width=24)
    mean, std = (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)
    made = trainer(tiny.recipe(image_size=16, evaluation_crop=16 / 24))
    renderer = replace(made.renderer, mean=mean, std=std)
    pictures, _ = render(averaging, renderer, batch)
    stored = batch.store[batch.row].permute(0, 3, 1, 2).float()
    moves = [(0, 0), (-2, -2), (2, -2), (-2, 2), (2, 2), (0, -2), (-2, 0), (2, 0), (0, 2)][:crops]
    expected = [stored[:, :, 4 + y : 20 + y, 4 + x : 20 + x] for x, y in moves]
    if flip:
        expected += [picture.flip(3) for picture in expected]
    assert len(pictures) == averaging.pictures == len(expected)
    for picture, slice_ in zip(pictures, expected, strict=True):
        torch.testing.assert_close(picture, slice_, atol=2e-3, rtol=0)
    assert torch.equal(pictures[0], renderer.evaluation(batch).pictures[EVALUATION])


def test_the_probabilities_are_the_mean_over_the_pictures_in_the_order_of_evaluation() -> None:
    averaging = Averaging(flip=True, crops=5, shift=0.1)
    made = trainer(tiny.recipe(test_time=averaging, batch_size=5))
    samples, plain = made.predict(made.model, made.select)
    rows = made.predict_averaged(made.model, made.select, made.recipe.tasks[:1])
    assert rows.keys() == {"expression"}
    np.testing.assert_array_equal(rows["expression"]["target"], plain["expression"]["target"])
    model = made.model.eval()
    expected = []
    for batch in made.select.epoch(0):
        size = made.renderer.image_size
        where = kernels.centre(
            made.renderer.evaluation_crop, store=(32, 32), size=size, batch=len(batch.row), device=CPU
        ).where
        probabilities = []
        for mirror in (False, True):
            for x, y in ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)):
                # A plain re-statement: homogeneous matrices, view -> (mirrored) -> moved -> stored face.
                moved = torch.tensor([[1, 0, 0.1 * size * x], [0, 1, 0.1 * size * y], [0, 0, 1]])
                mirrored = torch.tensor([[-1.0, 0, size], [0, 1, 0], [0, 0, 1]]) if mirror else torch.eye(3)
                picture = kernels.render_views(
                    batch.store,
                    batch.row,
                    (where @ moved @ mirrored)[None],
                    torch.eye(3, 4).expand(1, len(batch.row), 3, 4).contiguous(),
                    kernels.identity_cells(1, len(batch.row), CPU)[None],
                    size=size,
                    mean=made.renderer.mean,
                    std=made.renderer.std,
                    dtype=torch.float32,
                )[0]
                with torch.no_grad():
                    logits = model.heads["expression"](model.encoder(picture))
                probabilities.append(logits.softmax(1))
        expected.append(torch.stack(probabilities).mean(0)[batch.sample >= 0])
    np.testing.assert_allclose(rows["expression"]["probability"], torch.cat(expected).numpy(), atol=1e-5)
    assert len(samples) == len(rows["expression"]["probability"]) == 12


def test_averaged_figures_stand_beside_the_plain_ones_which_do_not_change(tmp_path: Path) -> None:
    plain = run(tiny.recipe(), tmp_path / "plain")
    both = run(tiny.recipe(test_time=Averaging()), tmp_path / "both")
    was, now = (json.loads((out / "result.json").read_text()) for out in (plain, both))
    for which in ("best", "last"):
        for split in ("val", "test"):
            figures = now[which][split]
            assert {key: value for key, value in figures.items() if "_tta/" not in key} == was[which][split]
            stored = np.load(both / "predictions" / f"{split}-{which}.npz")
            right = (stored["expression_tta.probability"].argmax(1) == stored["expression_tta.target"]).mean()
            assert figures["expression_tta/accuracy"] == pytest.approx(right)
            assert not np.array_equal(stored["expression_tta.probability"], stored["expression.probability"])
            np.testing.assert_array_equal(
                stored["expression.probability"],
                np.load(plain / "predictions" / f"{split}-{which}.npz")["expression.probability"],
            )
    assert json.loads((both / "figures.json").read_text())["expression_tta/accuracy"]["chance"] == pytest.approx(1 / 7)
    text = write_report(both).read_text()
    assert "Classes of expression\\_tta" in text or "Classes of expression_tta" in text
    assert "predictions of `expression_tta`" not in text  # the sentence on those that cannot be drawn


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crops": 4}, r"Averaging: crops \(=4\) must be 1, 5 \(corners\) or 9"),
        ({"shift": 0.0}, r"Averaging: shift \(=0.0\) must be above 0 and below 0.5"),
        ({"crops": 1, "flip": False}, r"crops \(=1\) without flip shows one picture"),
    ],
)
def test_what_cannot_be_averaged_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Averaging(**changes)  # type: ignore[arg-type]


def test_without_a_task_with_classes_it_is_refused() -> None:
    tiny.recipe(test_time=Averaging()).check_labels(tiny.split([0, 1]))
    pretext = tiny.recipe(views={"puzzle": Puzzle(grid=2)}, tasks=(SolvePuzzle(),), test_time=Averaging())
    with pytest.raises(ValueError, match=r"test_time needs a task with classes"):
        pretext.check_labels(tiny.split([0, 1]))


def test_it_is_set_from_the_command_line() -> None:
    recipe = settings.apply(tiny.recipe(), ["test_time=Averaging(flip=False, crops=9)"])
    assert recipe.test_time == Averaging(flip=False, crops=9)
    assert settings.apply(recipe, ["test_time.shift=0.1"]).test_time == Averaging(flip=False, crops=9, shift=0.1)
