"""Tasks that learn what a teacher says: their losses by hand, what the teacher sees, and what is refused."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.losses import AnnealWeight, RampWeight
from engine.recipe import Recipe
from engine.tasks import SYNTHETIC_7, Expression, FixMatch, PseudoLabels, SolvePuzzle
from engine.tasks.base import Look
from engine.tasks.pseudo_labels import ConfidentCrossEntropy, SoftCrossEntropy
from engine.training.cost import cost_of
from engine.training.loop import Trainer
from engine.training.objective import teach
from engine.training.train import open_split
from engine.views import Cells, Plain, Puzzle
from kernels import Augment
from loaders import Composed, HideLabels, Synthetic
from tests.engine import tiny
from tests.engine.test_resume import contents, interrupt_after, run

CPU = torch.device("cpu")
LOGITS, TAUGHT = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).unbind(0)


def look(taught: torch.Tensor) -> Look:
    none = torch.zeros(0)
    return Look(none, Cells(none), none, None, {}, taught=taught)


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)


def probabilities(logits: torch.Tensor) -> np.ndarray:
    each = np.exp(logits.double().numpy())
    return each / each.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_soft_labels_cost_the_cross_entropy_with_what_the_teacher_says(temperature: float, dtype: torch.dtype) -> None:
    logits, taught = LOGITS.to(dtype), TAUGHT.to(dtype)
    expected = -(probabilities(taught / temperature) * np.log(probabilities(logits))).sum(axis=1).mean()
    found = SoftCrossEntropy(temperature).loss(logits, look(taught))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(expected, rel=2e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.99])
def test_fixmatch_learns_the_sure_class_and_counts_the_unsure_as_0(threshold: float) -> None:
    said, answer = probabilities(TAUGHT), probabilities(LOGITS)
    losses = [-np.log(answer[i, said[i].argmax()]) if said[i].max() >= threshold else 0.0 for i in range(5)]
    assert float(ConfidentCrossEntropy(threshold).loss(LOGITS, look(TAUGHT))) == pytest.approx(
        np.mean(losses), rel=1e-5
    )


def recipe(task: PseudoLabels | FixMatch, **changes: Any) -> Recipe:
    strong = Augment(contrast=(0.2, 1.8), rotation=(-30, 30))
    return tiny.recipe(
        data=HideLabels(Synthetic(train=48, val=16, test=16, size=32), keep=16),
        sampler=Composed(labelled=4, unlabelled=6, label="expression"),
        batch_size=10,
        views={
            "plain": Plain(of="labelled"),
            "weak": Plain(of="unlabelled"),
            "strong": Plain(of="unlabelled", augment=strong),
        },
        tasks=(Expression(SYNTHETIC_7, dropout=0.3), task),
        **{"ema": 0.9} | changes,
    )


@pytest.mark.parametrize("task", [PseudoLabels(), FixMatch(threshold=0.1), FixMatch(teacher_is="average")])
def test_the_teacher_answers_in_evaluation_mode_and_only_the_student_learns(task: Any) -> None:
    made = trainer(recipe(task))
    rendered = made.renderer.training(next(made.train.epoch(0)), epoch=0, step=0)
    average = copy.deepcopy(made.model)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.add_(0.05)
    before = [buffer.clone() for buffer in made.model.buffers()]
    taught = teach(made.recipe.tasks, made.model, average, rendered)
    assert all(torch.equal(a, b) for a, b in zip(before, made.model.buffers(), strict=True))
    network = average if task.taught_by.average else made.model
    network.eval()
    with torch.no_grad():
        expected = network.inference()(rendered.pictures["weak"])["expression"]
    torch.testing.assert_close(taught[task.name], expected)
    assert taught.keys() == {task.name}
    assert not taught[task.name].requires_grad
    made.model.train()
    objective = made.trains(tuple(each.name for each in made.recipe.tasks)).objective
    objective(rendered, taught)[task.name].backward()
    assert all(p.grad is None for p in average.parameters())
    assert made.model.heads["expression"].linear.weight.grad.abs().sum() > 0
    assert set(made.model.heads) == {"expression"}


def test_faces_without_labels_are_encoded_once_and_the_weak_view_by_the_teacher() -> None:
    for task in (PseudoLabels(), FixMatch()):
        found = cost_of(recipe(task, epochs=1), steps=1)
        assert (found.trained, found.forward_only) == (4 + 6, 6)


def test_a_run_that_starts_with_a_puzzle_and_ends_with_pseudo_labels_is_resumed_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = recipe(PseudoLabels(weight=RampWeight(1.0, start=0.5, end=0.75)), checkpoint_every=3, evaluate_every=2)
    scheduled = replace(
        base,
        views={**base.views, "puzzle": Puzzle(grid=2, of="unlabelled")},
        tasks=(*base.tasks, SolvePuzzle(weight=AnnealWeight(1.0, 0.4, 0.6))),
    )
    run(scheduled, tmp_path / "whole")
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert "pseudo_labels" not in " ".join(result["last"]["test"])
    assert "Pseudo" in (tmp_path / "whole" / "recipe.json").read_text()
    interrupt_after(monkeypatch, 8)  # the first step with pseudo-labels was the sixth
    with pytest.raises(KeyboardInterrupt):
        run(scheduled, tmp_path / "stopped")
    monkeypatch.undo()
    run(scheduled, tmp_path / "stopped", resume=True)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def _with(task: PseudoLabels | FixMatch, **views: Plain | Puzzle) -> Recipe:
    made = recipe(PseudoLabels())
    return replace(made, views={**made.views, **views}, tasks=(made.tasks[0], task))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: recipe(PseudoLabels(temperature=0)), "temperature (=0) must be above 0"),
        (lambda: recipe(FixMatch(threshold=1.0)), "threshold (=1.0) must be 0 or more and below 1; FixMatch: 0.95"),
        (lambda: recipe(PseudoLabels(weak="week")), "weak names the view 'week', the recipe has plain, weak, strong"),
        (lambda: recipe(PseudoLabels(of="gender")), "of (='gender') must name a task with classes of the recipe"),
        (lambda: recipe(PseudoLabels(), ema=None), "the recipe's ema (=None) keeps none; set ema=0.995"),
        (lambda: _with(PseudoLabels(), weak=Plain()), "let both show the same samples"),
        (
            lambda: _with(FixMatch(), weak=Puzzle(grid=2, of="unlabelled")),
            "which is cut; give the recipe a",
        ),
    ],
)
def test_what_cannot_be_taught_is_refused(make: Callable[[], Recipe], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_fixmatch_by_the_network_itself_needs_no_average() -> None:
    assert recipe(FixMatch(), ema=None).ema is None
