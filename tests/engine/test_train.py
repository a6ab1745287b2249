"""What training promises beside exact resume: bad numbers stop it, tasks do not disturb each other."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.optim import SGD, AdamW
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.runs import checkpoint
from engine.runs.folder import RunDir
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, SolvePuzzle
from engine.tasks.base import Criterion
from engine.tasks.softmax import CrossEntropy
from engine.training.evaluate import figures
from engine.training.loop import Trainer
from engine.training.meters import NonFiniteLossError, Watch
from engine.training.objective import Objective
from engine.training.precision import resolve
from engine.training.ranks import Ranks
from engine.training.train import open_split, train
from engine.views import Holes, Plain, Puzzle
from engine.weights import load_weights
from loaders import Batch, Fraction, HideLabels, Loader, Packed, Split, Union, identity
from loaders.terminal import Terminal
from tests.engine import tiny

CPU = torch.device("cpu")


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)


def losses(recipe: Recipe, task: str, steps: int) -> list[float]:
    """A task's loss over the first steps of training."""
    made = trainer(recipe)
    found = []
    for batch in [batch for epoch in range(steps // len(made.train)) for batch in made.train.epoch(epoch)]:
        made.step([batch])
        found.append(made.watch.recent().read()[f"{task}/loss"])
        if made.at.step == made.steps:
            made.at.epoch, made.at.step = made.at.epoch + 1, 0
    return found


def run(recipe: Recipe, out: Path, console: Terminal | None = None) -> Path:
    file, console = RecipeFile("tiny", recipe, '"""Tiny."""\n'), console or Terminal(quiet=True)
    return train(file, out, device=CPU, resume=False, deterministic=False, console=console)


def test_a_finished_run_leaves_everything_and_its_figures_agree(tmp_path: Path) -> None:
    recipe = tiny.recipe(
        views={"plain": Plain(), "puzzle": Puzzle(grid=2), "holes": Holes()},
        tasks=(Expression(SYNTHETIC_7), SolvePuzzle(weight=0.3), Inpaint(width=16)),
    )
    report = run(recipe, tmp_path / "run")
    assert report == tmp_path / "run" / "report.md"
    for name in ("recipe.json", "recipe.py", "environment.json", "log.jsonl", "metrics.csv", "result.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0, name
    pictures = {path.name for path in (tmp_path / "run" / "charts").iterdir()}
    assert {
        "views.png",
        "inpaint.png",
        "learning-curves.png",
        "confusion-expression.png",
        "answers-expression.png",
    } <= pictures
    assert "(charts/answers-expression.png)" in report.read_text()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    stored = np.load(tmp_path / "run" / "predictions" / "test-last.npz")
    assert sorted(stored["sample"]) == sorted(open_split(recipe, "test", CPU).split.sample.tolist())
    right = (stored["expression.probability"].argmax(1) == stored["expression.target"]).mean()
    assert result["last"]["test"]["expression/accuracy"] == pytest.approx(right)
    assert result["pictures_through_encoder"] == 2 * 32 * 3
    assert result["parameters"]["inference"] < result["parameters"]["training"]
    weights = load_weights(tmp_path / "run" / "checkpoints" / "best")
    assert weights.about["classes"] == {"expression": list(SYNTHETIC_7)}
    assert weights.about["preprocessing"]["image_size"] == 32


def test_faces_without_labels_train_what_needs_none_and_the_run_says_what_its_data_is(tmp_path: Path) -> None:
    drawn = tiny.recipe().data
    data = Union(
        labelled=HideLabels(drawn, keep=2),
        unlabelled=replace(drawn, train=6, seed=1),  # type: ignore[type-var]
        classes={"glasses": {"yes": "worn"}},
    )
    printed = io.StringIO()
    out = run(tiny.recipe(data=data, epochs=1), tmp_path / "run", Terminal(printed)).parent
    (start,) = json.loads((out / "environment.json").read_text())
    assert start["data"] == json.loads(json.dumps(identity(data)))
    result = json.loads((out / "result.json").read_text())
    assert result["counts"]["train"] == 38
    assert "2 of the 32 faces of train keep expression" in result["notes"]["train"]
    assert re.search(r"; glasses: yes \(\d+\) became worn$", result["notes"]["train"])
    assert re.search(r"\nglasses *\nclass +became +faces *\n─+\nno +no +\d+ *\nyes +worn +\d+", printed.getvalue())
    assert "32 faces of HideLabels(Synthetic), and 6 without labels of Synthetic" in (out / "report.md").read_text()


def test_a_loss_that_is_no_number_stops_the_run_names_the_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    recipe = tiny.recipe(optim=SGD(lr=1e30), checkpoint_every=1)
    with pytest.raises(NonFiniteLossError, match=r"not finite at step \d; the last good checkpoint is kept"):
        run(recipe, tmp_path / "run")
    weights = load_weights(tmp_path / "run" / "checkpoints" / "last")
    assert max(tensor.abs().max() for tensor in weights.tensors.values() if tensor.is_floating_point()) < 1e3
    assert checkpoint.damaged(tmp_path / "run" / "checkpoints" / "last") is None


def test_the_first_bad_step_is_remembered_without_reading_the_device() -> None:
    watch = Watch(["a"], CPU)
    for step, value in enumerate([1.0, float("inf"), 2.0, float("nan")]):
        watch.add(torch.tensor([value, value]), step, ["a"])
    with pytest.raises(NonFiniteLossError, match=r"at step 1;"):
        watch.check()


def test_a_pretext_task_of_weight_zero_on_the_plain_view_leaves_the_supervised_losses_bit_for_bit() -> None:
    plain = {"plain": Plain()}
    expression = Expression(SYNTHETIC_7, dropout=0.0)
    alone = tiny.recipe(views=plain, tasks=(expression,), optim=AdamW(lr=1e-3))
    # Puzzles are made of puzzle views alone; in-painting would hide cells: a second classifier stands for a pretext.
    pretext = replace(expression, name="pretext", weight=0.0)
    both = replace(alone, tasks=(expression, pretext))
    assert losses(alone, "expression", 20) == losses(both, "expression", 20)


def test_accumulated_batches_make_the_step_of_one_large_batch() -> None:
    norm_free = replace(tiny.BACKBONE, name="convnext_atto", options={"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)})
    base = tiny.recipe(
        backbone=norm_free,
        views={"plain": Plain()},
        tasks=(Expression(SYNTHETIC_7, dropout=0.0),),
        optim=SGD(lr=0.1, momentum=0),
    )
    large, small = trainer(replace(base, batch_size=8)), trainer(replace(base, batch_size=4, accumulate=2))
    large.step([next(iter(large.train.epoch(0)))])
    batches = iter(small.train.epoch(0))
    small.step([next(batches), next(batches)])
    for (name, a), b in zip(large.model.named_parameters(), small.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5, msg=name)


def test_the_moving_average_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    recipe = tiny.recipe(ema=0.99)
    made = trainer(recipe)
    for batch in made.train.epoch(0):
        made.step([batch])
    assert made.evaluated is not made.model
    assert not torch.equal(*(m.state_dict()["heads.expression.linear.weight"] for m in (made.evaluated, made.model)))
    run(recipe, tmp_path / "run")
    state = checkpoint.load_state(tmp_path / "run" / "checkpoints" / "last")
    kept = load_weights(tmp_path / "run" / "checkpoints" / "last").tensors
    name = "heads.expression.linear.weight"
    assert not torch.equal(state["model"][name], kept[name])


@pytest.mark.parametrize(
    "changes",
    [{}, {"batch_statistics": "per_view_plain"}],
    ids=["joint", "per-view"],
)
def test_the_objective_compiles_whole_and_gives_the_same_losses(changes: dict[str, Any]) -> None:
    recipe = tiny.recipe(
        views={"plain": Plain(), "puzzle": Puzzle(grid=2), "holes": Holes()},
        tasks=(Expression(SYNTHETIC_7, dropout=0.0), SolvePuzzle(dropout=0.0), Inpaint(width=16)),
        **changes,
    )
    made = trainer(recipe)
    batch: Batch = next(iter(made.train.epoch(0)))
    rendered = made.renderer.training(batch, epoch=0, step=0)
    objective = Objective(made.model, recipe.tasks, made.criteria)
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    for name, loss in compiled(rendered).items():
        torch.testing.assert_close(loss, objective(rendered)[name], atol=1e-5, rtol=1e-5)


def test_bf16_trains_on_a_cpu_to_its_report(tmp_path: Path) -> None:
    views = {"plain": Plain(), "holes": Holes()}
    tasks = (Expression(SYNTHETIC_7), Inpaint(width=40))
    report = run(tiny.recipe(epochs=1, precision="bf16", views=views, tasks=tasks), tmp_path / "run")
    assert (report.parent / "charts" / "inpaint.png").is_file()


def test_bf16_views_on_a_cpu() -> None:
    made = trainer(tiny.recipe(precision="bf16"))
    batch = next(iter(made.train.epoch(0)))
    assert made.renderer.training(batch, epoch=0, step=0).pictures["plain"].dtype == torch.bfloat16
    made.step([batch])
    made.watch.check()


def test_evaluation_counts_each_sample_once_and_pretext_tasks_too() -> None:
    recipe = tiny.recipe(batch_size=8)
    made = trainer(recipe)
    samples, rows = made.predict(made.model, made.select)
    assert len(samples) == len(set(samples.tolist())) == 12
    assert rows["expression"]["probability"].shape == (12, 7)
    assert rows["puzzle"]["guess"].shape == (12, 4)
    assert set(figures(recipe.tasks, recipe.views, rows)) >= {
        "expression/accuracy",
        "expression/macro_f1",
        "puzzle/tile_accuracy",
    }


def test_epochs_are_chosen_by_the_supervised_task_and_without_one_by_the_first() -> None:
    assert tiny.recipe().headline == "expression/accuracy"
    pretext = tiny.recipe(views={"holes": Holes()}, tasks=(Inpaint(width=16),))
    assert pretext.headline == "inpaint/l1"


def test_a_recipe_of_pretext_tasks_alone_trains(tmp_path: Path) -> None:
    recipe = tiny.recipe(epochs=1, views={"puzzle": Puzzle(grid=2)}, tasks=(SolvePuzzle(),))
    run(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["select_on"] == "val/puzzle/tile_accuracy"


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({"bf16": True}, "fp32"),  # Arm: not measured
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
    ],
)
def test_precision_by_device(monkeypatch: pytest.MonkeyPatch, has: dict[str, bool], expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert resolve("auto", CPU) == expected
    assert (resolve("fp32", CPU), resolve("bf16", CPU)) == ("fp32", "bf16")
    with pytest.raises(ValueError, match=r"precision \(='fp16'\) needs a CUDA device, this is cpu"):
        resolve("fp16", CPU)


@pytest.mark.parametrize(("has", "warned"), [({}, True), ({"amx_bf16": True}, False)])
def test_a_precision_that_the_processor_emulates_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: dict[str, bool], warned: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    told = io.StringIO()
    recipe = tiny.recipe(precision="bf16", epochs=1)
    console = Terminal(told, width=300)
    train(RecipeFile("tiny", recipe, ""), tmp_path, device=CPU, resume=False, deterministic=False, console=console)
    assert ("warning: precision (='bf16'), which this CPU emulates, is many times slower" in told.getvalue()) is warned
    assert ("start with --set precision=fp32" in told.getvalue()) is warned


def test_nothing_is_written_when_the_data_is_not_there(tmp_path: Path) -> None:
    from loaders import Packed

    with pytest.raises(ValueError, match=r"hmtl prepare"):
        run(tiny.recipe(data=Packed(str(tmp_path / "none"))), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


class Counting(Expression):
    """An expression task whose loss notes what the loop tells it."""

    __slots__ = ()

    def criterion(self, split: Split) -> Criterion:
        return Notes(self, torch.ones(len(self.names)))


class Notes(CrossEntropy):
    heard: list[object]
    steps: Tensor

    def attach(self, encoder: nn.Module, mean: object, std: object) -> None:
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.heard = ["attached"]

    def begin(self, epoch: int) -> None:
        self.heard.append(epoch)

    def follow(self, encoder: nn.Module) -> None:
        self.steps += 1


def test_a_loss_hears_of_epochs_and_steps_and_its_state_is_kept(tmp_path: Path) -> None:
    recipe = tiny.recipe(tasks=(Counting(SYNTHETIC_7), SolvePuzzle()))
    run(recipe, tmp_path / "run")
    again = trainer(recipe)
    assert again.criteria["expression"].heard == ["attached"]
    run_dir = RunDir.reopen(tmp_path / "run", [], [])
    again.load(tmp_path / "run" / "checkpoints" / "last", run_dir)
    run_dir.close()
    assert again.criteria["expression"].steps == again.at.total == 8
    other = trainer(tiny.recipe())  # its loss keeps no count, as that of another version may not
    with pytest.raises(ValueError, match=r"another version, .*steps.*; go on with that version, or start again"):
        other.load(tmp_path / "run" / "checkpoints" / "last", run_dir)


def test_a_fraction_of_the_faces_is_counted_in_the_result_and_said_in_the_report(tmp_path: Path) -> None:
    recipe = tiny.recipe(sampler=Fraction(0.6, "expression"), epochs=1)
    report = run(recipe, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["trained_on"], result["counts"]["train"]) == (19, 32)
    assert "trained on 19 of the 32 faces of train: a share of 0.6 in the proportions of" in report.read_text()


@pytest.mark.parametrize(
    ("notes", "lines"),
    [
        ({"train": "mapped", "val": "mapped", "test": "mapped"}, ["train, val, test: mapped"]),
        ({"train": "pinned", "val": "resident", "test": "resident"}, ["train: pinned", "val, test: resident"]),
        ({}, []),
    ],
)
def test_what_the_source_chose_is_said_once_for_splits_that_agree(
    notes: dict[str, str], lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(recipe: Recipe, split: str, device: torch.device, ranks: Ranks, *, evaluation: bool = False) -> Loader:
        loader = open_split(recipe, split, device, ranks, evaluation=evaluation)
        loader.note = notes.get(split, "")
        return loader

    monkeypatch.setattr("engine.training.train.open_split", noted)
    said = io.StringIO()
    file, console = RecipeFile("tiny", tiny.recipe(epochs=1), ""), Terminal(file=said)
    train(file, tmp_path / "run", device=CPU, resume=False, deterministic=False, console=console)
    assert [line for line in said.getvalue().splitlines() if re.match("(train|val|test)[,:]", line)] == lines


def test_a_folder_that_is_taken_is_refused_before_the_data_is_opened(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(ValueError, match=r"is there already; go on with it by --resume"):
        run(tiny.recipe(data=Packed("not/opened")), tmp_path)
