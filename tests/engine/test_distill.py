"""Distillation: both losses by hand, their gradients, the cost of the teacher, runs, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from engine.cost import Cost
from engine.recipe import Recipe, settings
from engine.recipe.written import describe, read
from engine.runs import checkpoint
from engine.runs.folder import RunDir
from engine.tasks import SYNTHETIC_7, CheckpointTeacher, Distill, Expression, TimmTeacher
from engine.tasks.distill import FeaturesOfTeacher, LogitsOfTeacher
from engine.training.cost import cost_of
from engine.training.evaluate import look
from engine.training.objective import Objective
from engine.training.parts import build_model
from engine.views import Plain
from engine.weights import load_weights
from loaders import Composed, HideLabels, Synthetic
from tests.engine import tiny
from tests.engine.test_train import trainer

PLAIN = {"plain": Plain()}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that learns expressions, with a head of two layers."""
    made = trainer(tiny.recipe(views=PLAIN, tasks=(Expression(SYNTHETIC_7, hidden=5),)))
    made.step([next(iter(made.train.epoch(0)))])
    checkpoint.save(folder := tmp_path_factory.mktemp("teacher"), "last", made.model.state_dict(), made.about(), {})
    return folder / "last"


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("timm") / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet", num_classes=3).state_dict(), path)
    return path


def recipe(task: Distill, **changes: Any) -> Recipe:
    return tiny.recipe(**{"views": PLAIN, "tasks": (Expression(SYNTHETIC_7), task), **changes})


def logits(taught: Path, **changes: Any) -> Distill:
    return Distill(teacher=CheckpointTeacher(str(taught)), of="expression", **changes)


def seen_by(made: Any) -> Any:
    return made.renderer.training(next(iter(made.train.epoch(0))), epoch=0, step=0)


def look_at(made: Any, rendered: Any) -> Any:
    return look(rendered, "plain")


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_the_loss_of_logits_is_that_of_two_softmaxes(taught: Path, temperature: float) -> None:
    made = trainer(recipe(logits(taught, temperature=temperature)))
    rendered = seen_by(made)
    weights = load_weights(taught).tensors
    criterion = made.criteria["distill"]
    assert isinstance(criterion, LogitsOfTeacher)
    pooled = criterion.teacher(rendered.pictures["plain"])[0].numpy().astype(float)
    own = {k.removeprefix("heads.expression."): v.numpy().astype(float) for k, v in weights.items() if "heads." in k}
    between = np.maximum(pooled @ own["hidden.0.weight"].T + own["hidden.0.bias"], 0)
    truth = softmax((between @ own["linear.weight"].T + own["linear.bias"]) / temperature)
    output = torch.randn(len(truth), 7, requires_grad=True)
    guess = softmax(output.detach().numpy().astype(float) / temperature)
    loss = criterion.loss(output, look_at(made, rendered))
    expected = temperature**2 * (truth * np.log(truth / guess)).sum(axis=1).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()  # of a divergence: temperature * (guess - truth), over the batch
    gradient = temperature * (guess - truth) / len(truth)
    np.testing.assert_allclose(output.grad, gradient, atol=1e-6)


def test_the_teacher_of_a_run_says_what_the_run_says(taught: Path) -> None:
    """The criterion's network and head are the run's own: on equal pictures its answers are those of the run."""
    made = trainer(recipe(logits(taught)))
    own = build_model(tiny.recipe(views=PLAIN, tasks=(Expression(SYNTHETIC_7, hidden=5),))).eval()
    own.load_state_dict(dict(load_weights(taught).tensors))
    rendered = seen_by(made)
    with torch.no_grad():
        said = own(rendered.pictures)["expression"]["plain"]
    zero = made.criteria["distill"].loss(said, look_at(made, rendered))
    assert zero.item() == pytest.approx(0, abs=1e-6)
    assert made.criteria["distill"].loss(said.flip(1), look_at(made, rendered)) > 1e-4


@pytest.mark.parametrize("kind", ["run", "timm"])
def test_the_loss_of_features_is_a_squared_error_of_standardised_ones(kind: str, taught: Path, timm_file: Path) -> None:
    teacher = CheckpointTeacher(str(taught)) if kind == "run" else TimmTeacher("test_efficientnet", str(timm_file))
    made = trainer(recipe(Distill(teacher=teacher)))
    rendered = seen_by(made)
    criterion = made.criteria["distill"]
    assert isinstance(criterion, FeaturesOfTeacher)
    truth = criterion.teacher(rendered.pictures["plain"])[0].double().numpy()
    truth = (truth - truth.mean(1, keepdims=True)) / np.sqrt(truth.var(1, keepdims=True) + 1e-5)
    output = torch.randn(truth.shape, requires_grad=True)
    expected = ((output.detach().double().numpy() - truth) ** 2).mean(axis=1)
    seen = look_at(made, rendered)
    loss = criterion.loss(output, seen)
    assert loss.item() == pytest.approx(expected.mean(), rel=1e-4)
    loss.backward()
    np.testing.assert_allclose(output.grad, 2 * (output.detach().numpy() - truth) / truth.size, atol=1e-6)
    assert criterion.loss(torch.zeros(truth.shape), seen).item() == pytest.approx((truth**2).mean(), rel=1e-4)
    rows = {name: value.numpy() for name, value in criterion.rows(output.detach(), seen).items()}
    assert made.recipe.tasks[1].measure(rows) == {"mse": pytest.approx(expected.mean(), rel=1e-4)}
    assert made.model.heads["distill"].linear.out_features == truth.shape[1]


def test_the_student_learns_the_teacher_does_not_and_both_losses_compile(taught: Path) -> None:
    of_logits = logits(taught)
    of_features = replace(of_logits, of=None, name="features")
    made = trainer(recipe(of_logits, tasks=(Expression(SYNTHETIC_7, dropout=0.0), of_logits, of_features)))
    state = {name: made.criteria[name].state_dict() for name in ("distill", "features")}
    before = [each.clone() for of in state.values() for each in of.values() if isinstance(each, Tensor)]
    objective = Objective(made.model, made.recipe.tasks, made.criteria)
    rendered = seen_by(made)
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    losses = objective(rendered)
    for name, loss in compiled(rendered).items():
        torch.testing.assert_close(loss, losses[name], atol=1e-5, rtol=1e-5)
    losses = objective(rendered)  # once more: the compiled pass has moved running statistics in place
    for name, head in (("distill", "expression"), ("features", "features")):
        learned = next(made.model.encoder.parameters()), made.model.heads[head].linear.weight
        for gradient in torch.autograd.grad(losses[name], learned, retain_graph=True):
            assert gradient.abs().sum() > 0
    made.step([next(iter(made.train.epoch(0)))])
    state = {name: made.criteria[name].state_dict() for name in state}
    after = [each for of in state.values() for each in of.values() if isinstance(each, Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert list(made.model.heads) == ["expression", "features"]  # logits train the head that is there


def test_the_passes_of_the_teacher_are_counted_forward_alone(taught: Path) -> None:
    alone = recipe(logits(taught), tasks=(Expression(SYNTHETIC_7),))
    both = recipe(logits(taught))
    network = build_model(alone)
    found, without = cost_of(both, steps=4), cost_of(alone, steps=4)
    batches = 2 * 4
    assert (found.pictures, found.forward_only) == (2 * batches * 8, batches * 8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.encoder(torch.zeros(8, 3, 32, 32))
    head = 2 * 8 * (16 * 5 + 5 * 7) + 3 * 2 * 8 * 16 * 7  # the teacher's, and the student's once more, with gradients
    assert found == without + Cost(batches * 8, batches * 8, batches * (counter.get_total_flops() + head))


def test_a_run_is_taught_on_faces_without_a_label_and_goes_on(taught: Path, tmp_path: Path) -> None:
    task = Distill(teacher=CheckpointTeacher(str(taught)), on=("other",))
    of = recipe(
        task,
        data=HideLabels(Synthetic(train=16, val=8, test=8, size=32), keep=6),
        sampler=Composed(labelled=3, unlabelled=5, label="expression"),
        views={"plain": Plain(of="labelled"), "other": Plain(of="unlabelled")},
        epochs=1,
    )
    run = tiny.trained(of, tmp_path / "run")
    assert json.loads((run / "result.json").read_text())["last"]["test"]["distill/mse"] < 5
    again = trainer(of)
    folder = RunDir.reopen(run, [], [])
    again.load(run / "checkpoints" / "last", folder)
    folder.close()
    assert again.at.epoch == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "Distill 'distill': temperature (=0.0) must be above 0; e.g. 2"),
        ({"of": "age"}, "of (='age') must name a task with classes of the recipe, which has expression; name one, or"),
        (
            {"teacher": TimmTeacher("resnet18", "w.pth")},
            "of (='expression') asks for logits, and the teacher (=TimmTeacher(name='resnet18', weights='w.pth'))",
        ),
        ({"teacher": TimmTeacher("resnetx", "w.pth")}, "Distill 'distill': teacher: name (='resnetx') must be one of"),
    ],
)
def test_fields_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        recipe(replace(Distill(teacher=CheckpointTeacher("x"), of="expression"), **change))


def test_runs_of_other_classes_and_runs_that_are_not_there_are_refused(taught: Path, tmp_path: Path) -> None:
    other = Expression(tuple(f"class {i}" for i in range(7)), name="other")
    task = logits(taught)
    with pytest.raises(ValueError, match=re.escape(f"teacher.path (={taught}) tells the classes Neutral, ")) as said:
        task.criterion(replace(tiny.split([0]), labels={"expression": next(iter(other.wants().values()))}))
    assert "in this order, which no label of the data has; take a run that was trained on these" in str(said.value)
    with pytest.raises(ValueError, match=r"must be a run with a task 'age' that has classes, and has expression; name"):
        replace(task, of="age").criterion(tiny.split([0]))
    nowhere = Distill(teacher=CheckpointTeacher(str(tmp_path / "none")))
    with pytest.raises(ValueError, match=r"none/?.* is not there"):
        build_model(recipe(nowhere))


def test_recipes_of_it_are_set_written_and_read() -> None:
    task = Distill(teacher=CheckpointTeacher("runs/x/checkpoints/last"), of="expression")
    changed = settings.apply(recipe(task), ["tasks.distill.temperature=4", "tasks.distill.of=None"])
    assert changed.tasks[1] == replace(task, temperature=4.0, of=None)
    assert read(describe(changed), Recipe, "recipe") == changed
