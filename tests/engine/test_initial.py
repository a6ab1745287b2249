"""An encoder starts from an earlier run or from a file of weights, whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.backbone import Backbone
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.recipe.smoke import smoke
from engine.runs.initial import MissingWeightsError, locate, take_over
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.training.loop import Trainer
from engine.training.model import InferenceModel
from engine.training.parts import build_model
from engine.training.train import open_split, train
from engine.views import Plain, Puzzle
from engine.weights import load_weights
from loaders import Packed
from loaders.terminal import Terminal
from tests.engine import tiny

CPU = torch.device("cpu")
PRETRAIN = {"views": {"puzzle": Puzzle(grid=2)}, "tasks": (SolvePuzzle(),)}
FINETUNE = {"views": {"plain": Plain()}, "tasks": (Expression(SYNTHETIC_7),)}


def run(recipe: Recipe, out: Path, *, resume: bool = False, console: Terminal | None = None) -> Path:
    console = console or Terminal(quiet=True)
    train(RecipeFile("tiny", recipe, ""), out, device=CPU, resume=resume, deterministic=False, console=console)
    return out


def encoder_of(path: Path) -> dict[str, Tensor]:
    tensors = load_weights(path).tensors
    return {key: value for key, value in tensors.items() if key.startswith("encoder.")}


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)


def timm_file(path: Path, backbone: Backbone = tiny.BACKBONE) -> dict[str, Tensor]:
    """A file as timm publishes it: the encoder with a classifier of 1000 classes."""
    torch.manual_seed(7)
    model = backbone.build()
    tensors = {key: torch.rand_like(v) + 0.01 if v.is_floating_point() else v for key, v in model.state_dict().items()}
    tensors |= {"fc.weight": torch.zeros(1000, 4), "fc.bias": torch.zeros(1000)}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict_ema": {f"module.{key}": value for key, value in tensors.items()}, "epoch": 3}, path)
    return tensors


def test_fine_tuning_starts_from_the_encoder_of_a_pre_training_run_and_its_head_as_without(tmp_path: Path) -> None:
    earlier = run(tiny.recipe(**PRETRAIN, ema=0.9), tmp_path / "pretrain")
    recipe = tiny.recipe(**FINETUNE, init=str(earlier))
    start = trainer(recipe)
    pretrained = encoder_of(earlier / "checkpoints" / "last")
    state = start.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in pretrained.items())
    fresh = build_model(replace(recipe, init=None)).state_dict()
    heads = [key for key in fresh if key.startswith("heads.")]
    assert heads
    assert all(torch.equal(state[key], fresh[key]) for key in heads)
    said = io.StringIO()
    out = run(recipe, tmp_path / "finetune", console=Terminal(file=said))
    assert "left out: heads.puzzle" in said.getvalue()
    result = json.loads((out / "result.json").read_text())
    assert result["init"]["path"] == str(earlier / "checkpoints" / "last" / "weights.safetensors")
    assert len(result["init"]["sha256"]) == 64
    assert load_weights(out / "checkpoints" / "best").about["init"]["sha256"] == result["init"]["sha256"]


def test_a_run_goes_on_though_what_it_started_from_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.safetensors"
    timm_file(file)
    recipe = tiny.recipe(init=str(file))
    step = Trainer.step
    whole = json.loads((run(recipe, tmp_path / "whole") / "result.json").read_text())

    def stop(self: Trainer, batches: Any) -> None:
        if self.at.total == 5:
            raise KeyboardInterrupt
        step(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "broken")
    file.unlink()
    result = json.loads((run(recipe, tmp_path / "broken", resume=True) / "result.json").read_text())
    assert result["init"] == whole["init"]
    assert result["last"] == whole["last"]


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("small_pictures", [False, True])
def test_a_file_of_timms_weights_fits_and_its_classifier_is_left_out(
    tmp_path: Path, name: str, small_pictures: bool
) -> None:
    tensors = timm_file(tmp_path / name)
    backbone = replace(tiny.BACKBONE, small_pictures=small_pictures)
    encoder = backbone.build()
    origin = take_over(encoder, backbone, str(tmp_path / name))
    assert origin.dropped == ("fc.bias", "fc.weight")
    assert "left out: fc.bias, fc.weight" in str(origin)
    assert all(torch.equal(value, tensors[key]) for key, value in encoder.state_dict().items())
    assert origin.tensors == len(encoder.state_dict())


def test_a_path_begins_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm_file(tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    assert locate("weights.safetensors", "resnet18") == Path("weights.safetensors")


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("none/weights.safetensors", r"init \(=none/weights\.safetensors\) is not there, and nothing is fetched; put"),
        ("runs/none", r"init \(=runs/none\) is not there; train that run first"),
    ],
)
def test_what_is_not_there_is_refused_before_the_data_is_opened_and_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = Packed("not/opened")  # it would be refused too, were it opened first
    with pytest.raises(MissingWeightsError, match=message):
        run(tiny.recipe(init=init, data=data), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_and_a_folder_of_something_else_are_refused(tmp_path: Path) -> None:
    out = run(tiny.recipe(**PRETRAIN, epochs=1), tmp_path / "run")
    assert locate(str(out / "checkpoints" / "best"), "").parent.name == "best"
    (out / "result.json").unlink()
    with pytest.raises(ValueError, match=r"is a run that has not finished; go on with it by --resume, or name one of"):
        locate(str(out), "")
    with pytest.raises(ValueError, match=r"must be a run, a checkpoint or a weights file, and .* is none"):
        locate(str(tmp_path), "")


def test_another_architecture_is_refused_with_both_named(tmp_path: Path) -> None:
    earlier = run(tiny.recipe(**PRETRAIN, epochs=1), tmp_path / "run")
    other = Backbone("test_resnet", small_pictures=True, options={"channels": (8, 8, 16, 16)})
    with pytest.raises(
        ValueError,
        match=r"is an encoder of test_resnet \(options=.*\), this recipe's is test_resnet \(small_pictures=True, op",
    ):
        take_over(other.build(), other, str(earlier))


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    timm_file(file)
    wider = replace(tiny.BACKBONE, options={"channels": (8, 8, 16, 32)})
    with pytest.raises(ValueError, match=r"does not fit the backbone test_resnet \(.*has shape .*, here"):
        take_over(wider.build(), wider, str(file))
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"is cut or damaged"):
        take_over(tiny.BACKBONE.build(), tiny.BACKBONE, str(file))


class Harmful:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("executed",))


def test_a_pickle_with_code_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Harmful()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"holds more than weights, or is damaged"):
        take_over(tiny.BACKBONE.build(), tiny.BACKBONE, str(tmp_path / "weights.pth"))
    torch.save([1, 2], tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"holds no table of weights"):
        take_over(tiny.BACKBONE.build(), tiny.BACKBONE, str(tmp_path / "weights.pth"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".pth.tar", ".ckpt", ".pkl", ".safetensors", ""])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04cut", b"\x80\x02."])
def test_a_file_of_something_else_is_named_whatever_its_ending(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"weights{ending}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\S*\) (is no file of torch's|is cut or damaged)") as error:
        take_over(tiny.BACKBONE.build(), tiny.BACKBONE, str(file))
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, MissingWeightsError)
    assert content or "it is empty" in str(error.value) or "header too small" in str(error.value)


def test_a_table_without_weights_and_metadata_of_others(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "w.pth.tar")
    with pytest.raises(ValueError, match=r"w\.pth\.tar\) holds no table of weights"):
        take_over(tiny.BACKBONE.build(), tiny.BACKBONE, str(tmp_path / "w.pth.tar"))
    tensors = timm_file(tmp_path / "timm.safetensors")
    for about in ("a model of mine", "[1]", "{}", "null", '{"backbone": 1}'):
        save_file(tensors, tmp_path / "timm.safetensors", {"about": about})
        assert take_over(tiny.BACKBONE.build(), tiny.BACKBONE, str(tmp_path / "timm.safetensors")).tensors > 0


@pytest.mark.parametrize("statistics", ["joint", "per_view_plain"])
def test_a_frozen_encoder_is_bit_for_bit_as_it_was_and_the_head_is_trained(tmp_path: Path, statistics: Any) -> None:
    file = tmp_path / "weights.safetensors"
    tensors = timm_file(file)
    recipe = tiny.recipe(init=str(file), frozen_encoder=True, ema=0.9, batch_statistics=statistics)
    made = trainer(recipe)
    head = made.model.heads["expression"].state_dict()["linear.weight"].clone()
    for batch in made.train.epoch(0):
        made.step([batch])
    held = {id(p) for group in made.optimiser.param_groups for p in group["params"]}
    assert held.isdisjoint(id(p) for p in made.model.encoder.parameters())
    for model in (made.model, made.evaluated):
        state = model.encoder.state_dict()
        assert all(torch.equal(state[key], value) for key, value in tensors.items() if key in state)
    assert not torch.equal(made.model.heads["expression"].state_dict()["linear.weight"], head)
    assert made.model.training
    assert not any(module.training for module in made.model.encoder.modules())
    assert made.model.heads["expression"].training
    out = run(recipe, tmp_path / "run")
    kept = encoder_of(out / "checkpoints" / "last")
    assert all(torch.equal(kept[f"encoder.{key}"], value) for key, value in tensors.items() if key[:3] != "fc.")
    trained = json.loads((out / "result.json").read_text())["parameters"]["training"]
    assert trained == sum(p.numel() for p in made.model.heads.parameters())


def test_a_pre_training_run_leaves_a_report_and_an_inference_model_without_heads(tmp_path: Path) -> None:
    recipe = tiny.recipe(**PRETRAIN)
    out = run(recipe, tmp_path / "run")
    result = json.loads((out / "result.json").read_text())
    assert result["select_on"] == "val/puzzle/tile_accuracy"
    assert 0 <= result["last"]["test"]["puzzle/puzzle_accuracy"] <= 1
    assert result["classes"] == {}
    assert result["parameters"]["inference"] < result["parameters"]["training"]
    assert "tile accuracy" in (out / "report.md").read_text()
    inference = build_model(recipe).eval().inference()
    assert isinstance(inference, InferenceModel)
    assert inference(torch.zeros(1, 3, 32, 32)) == {}


def test_a_smoke_run_needs_no_earlier_run_but_a_weights_file() -> None:
    assert smoke(tiny.recipe(init="runs/none")).init is None
    assert smoke(tiny.recipe(init="weights/none.safetensors")).init == "weights/none.safetensors"


def test_an_encoder_without_a_named_classifier_takes_its_own_tensors(tmp_path: Path) -> None:
    bare = nn.Sequential(nn.Conv2d(3, 4, 3))
    save_file(bare.state_dict(), tmp_path / "bare.safetensors")
    origin = take_over(nn.Sequential(nn.Conv2d(3, 4, 3)), tiny.BACKBONE, str(tmp_path / "bare.safetensors"))
    assert origin.dropped == ()
