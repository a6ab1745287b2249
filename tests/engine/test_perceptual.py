"""In-painting with perceptual loss: the teacher is looked at, never trained, and equal pictures cost nothing."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.backbone import Backbone
from engine.recipe import Recipe, settings
from engine.recipe.file import RecipeFile
from engine.runs import checkpoint
from engine.runs.folder import RunDir
from engine.tasks import SYNTHETIC_7, CheckpointTeacher, EMATeacher, Expression, Inpaint, Perceptual, TimmTeacher
from engine.tasks.base import Look
from engine.tasks.inpaint import HiddenL1AndPerceptual
from engine.tasks.perceptual import MovingAverage, Teacher, compared_stages, distance
from engine.training.batchnorm import normalise_per_view
from engine.training.cost import cost_of
from engine.training.loop import Trainer
from engine.training.objective import Objective
from engine.training.train import open_split, train
from engine.views import Cells, Holes, Plain
from engine.weights import load_weights
from loaders.base import Batch
from loaders.terminal import Terminal
from tests.engine import tiny

import timm  # isort: skip - after engine.torchvision_ops

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


def recipe(perceptual: Perceptual | None = None, **changes: Any) -> Recipe:
    inpaint = Inpaint(width=16, perceptual=perceptual or Perceptual())
    return tiny.recipe(
        views={"plain": Plain(), "holes": Holes(grid=8)},
        tasks=(Expression(SYNTHETIC_7), inpaint),
        **changes,
    )


def trainer(of: Recipe) -> Trainer:
    return Trainer(of, open_split(of, "train", CPU), open_split(of, "val", CPU), CPU)


def run(of: Recipe, out: Path) -> Path:
    return train(
        RecipeFile("tiny", of, '"""Tiny."""\n'),
        out,
        device=CPU,
        resume=False,
        deterministic=False,
        console=Terminal(quiet=True),
    )


def look(whole: Tensor, hidden: int = 5) -> Look:
    shows = torch.arange(16, dtype=torch.int16).repeat(len(whole), 1)
    shows[:, hidden] = -1
    return Look(
        picture=torch.zeros_like(whole),
        cells=Cells(shows),
        where=torch.eye(2, 3).expand(len(whole), 2, 3),
        whole=whole,
        target={},
    )


def criterion(perceptual: Perceptual | None = None, epoch: int = 1) -> HiddenL1AndPerceptual:
    """The loss of in-painting-pl with the tiny encoder, as it is in an epoch."""
    made = Inpaint(perceptual=perceptual or Perceptual()).criterion(tiny.split([0]))
    assert isinstance(made, HiddenL1AndPerceptual)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made.attach(tiny.BACKBONE.build(), MEAN, STD)
    made.begin(epoch)
    return made


def pictures(seed: int = 0, size: int = 32) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed))


def same(state: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states are equal bit for bit."""
    return state.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, Tensor) else value == other[key]
        for key, value in state.items()
    )


def test_a_perfect_reconstruction_costs_nothing_and_another_does() -> None:
    whole, loss = pictures(), criterion()
    assert loss.loss(whole.clone(), look(whole)).item() == 0
    assert loss.loss(whole + 0.5, look(whole)).item() > 0.5
    assert loss.rows(whole.clone(), look(whole))["perceptual"].tolist() == [0, 0, 0]


def test_what_the_decoder_says_of_known_pixels_costs_nothing() -> None:
    whole, loss = pictures(), criterion()
    guess = whole + 1
    guess[:, :, 8:16, 8:16] = whole[:, :, 8:16, 8:16]  # cell 5 of 4 x 4
    assert loss.loss(guess, look(whole)).item() == 0


def test_the_loss_is_the_pixels_and_the_weighted_mean_distance() -> None:
    whole, guess = pictures(), pictures(1)
    loss = criterion(Perceptual(weight=0.25))
    rows = loss.rows(guess, look(whole))
    expected = rows["error"].sum() / rows["hidden"].sum() + 0.25 * rows["perceptual"].mean()
    assert loss.loss(guess, look(whole)).item() == pytest.approx(expected.item(), rel=1e-5)
    figures = Inpaint(perceptual=Perceptual()).measure({name: value.numpy() for name, value in rows.items()})
    assert figures["perceptual"] == pytest.approx(rows["perceptual"].mean().item(), rel=1e-6)
    assert set(figures) == {"l1", "perceptual"}


def test_the_distance_is_the_mean_over_stages_of_the_difference_of_directions() -> None:
    a = [torch.tensor([[[[3.0]], [[4.0]]]]), torch.full((1, 8, 2, 2), 10.0)]
    b = [torch.tensor([[[[-30.0]], [[40.0]]]]), torch.full((1, 8, 2, 2), -2.0)]
    # Root mean squares: 5 / sqrt(2) and 50 / sqrt(2), so the first stage's channels differ by 1.2 sqrt(2) and 0.
    expected = (1.2 * 2**0.5 / 2 + 2) / 2
    assert distance(a, b).item() == pytest.approx(expected, rel=1e-4)
    assert distance([x * 7 for x in a], b).item() == pytest.approx(expected, rel=1e-4), "lengths do not count"


def test_the_gradient_flows_through_the_teacher_and_none_into_it() -> None:
    whole, loss = pictures(), criterion()
    guess = pictures(1).requires_grad_()
    loss.distances(guess, look(whole)).mean().backward()
    assert guess.grad is not None
    assert guess.grad[:, :, 8:16, 8:16].abs().sum() > 0
    assert guess.grad[:, :, :8].abs().sum() == 0, "known pixels are the original's"
    assert all(not p.requires_grad and p.grad is None for p in loss.teacher.parameters())
    assert list(loss.teacher.parameters())


def test_the_teacher_stays_in_evaluation_mode_and_looking_leaves_it_as_it_is() -> None:
    loss = criterion()
    loss.train()
    assert not any(module.training for module in loss.teacher.modules())
    before = copy.deepcopy(loss.teacher.state_dict())
    loss.loss(pictures(1), look(pictures()))
    assert same(loss.teacher.state_dict(), before)


def test_the_perceptual_part_is_off_in_the_first_epoch() -> None:
    whole, guess = pictures(), pictures(1)
    pixels = Inpaint().criterion(tiny.split([0])).loss(guess, look(whole))
    loss = criterion(epoch=0)
    assert torch.equal(loss.loss(guess, look(whole)), pixels)
    loss.begin(1)
    assert loss.loss(guess, look(whole)) > pixels
    at_once = criterion(Perceptual(from_epoch=0), epoch=0)
    assert at_once.loss(guess, look(whole)) > pixels


def test_training_calls_the_teacher_from_the_second_epoch_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []
    forward = Teacher.forward

    def noted(self: Teacher, pictures: Tensor, stages: Sequence[int]) -> list[Tensor]:
        if pictures.device.type != "meta":  # there the cost is counted
            seen.append((len(seen), torch.is_grad_enabled()))
        return forward(self, pictures, stages)

    monkeypatch.setattr(Teacher, "forward", noted)
    run(recipe(epochs=2), tmp_path / "run")
    with_gradient = [grad for _, grad in seen].count(True)
    assert with_gradient == 4, "one pass with a gradient in each of the 4 steps of epoch 2, none in epoch 1"
    metrics = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
    assert "val/inpaint/perceptual" in metrics
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["last"]["test"]["inpaint/perceptual"] > 0


def test_the_teacher_moves_only_by_its_average_and_copies_running_statistics() -> None:
    encoder = tiny.BACKBONE.build()
    teacher = MovingAverage(encoder, 0.5)
    assert all(torch.equal(p, q) for p, q in zip(teacher.network.parameters(), encoder.parameters(), strict=True))
    expected = [p.detach().double() for p in encoder.parameters()]
    encoder.train()
    for update in range(12):
        encoder(torch.randn(2, 3, 32, 32))
        for parameter in encoder.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        for p, q in zip(teacher.network.parameters(), expected, strict=True):
            torch.testing.assert_close(p.double(), q, atol=1e-6, rtol=1e-5)  # the encoder moved, it did not
        teacher.follow(encoder)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = [
            decay * p + (1 - decay) * q.detach().double() for p, q in zip(expected, encoder.parameters(), strict=True)
        ]
        for p, q in zip(teacher.network.parameters(), expected, strict=True):
            torch.testing.assert_close(p.double(), q, atol=1e-6, rtol=1e-5)
        assert all(torch.equal(a, b) for a, b in zip(teacher.network.buffers(), encoder.buffers(), strict=True))


def test_a_step_of_training_moves_the_teacher_by_the_formula() -> None:
    made = trainer(recipe())
    loss = made.criteria["inpaint"]
    assert isinstance(loss, HiddenL1AndPerceptual)
    start = [p.clone() for p in loss.teacher.network.parameters()]
    made.step([next(iter(made.train.epoch(0)))])
    for p, old, new in zip(loss.teacher.network.parameters(), start, made.model.encoder.parameters(), strict=True):
        torch.testing.assert_close(p, 0.1 * old + 0.9 * new, atol=1e-6, rtol=1e-5)
    trained = {id(p) for group in made.optimiser.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in loss.parameters()}


@pytest.mark.parametrize("statistics", ["joint", "per_view", "per_view_plain"])
def test_any_batch_statistics_have_a_teacher_and_channels_stay_last(statistics: Any) -> None:
    made = trainer(recipe(batch_statistics=statistics))
    made.criteria["inpaint"].begin(1)
    batch = next(iter(made.train.epoch(0)))
    made.step([batch])
    made.watch.check()
    loss = made.criteria["inpaint"]
    assert isinstance(loss, HiddenL1AndPerceptual)
    first = next(m for m in loss.teacher.modules() if isinstance(m, nn.Conv2d))
    assert first.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_encoder_whose_normalisation_was_exchanged_is_copied_with_it() -> None:
    encoder = tiny.BACKBONE.build()
    plain = MovingAverage(encoder, 0.9)
    normalise_per_view(encoder).tracked = (True, False)
    exchanged = MovingAverage(encoder, 0.9)
    whole = pictures()
    assert all(torch.equal(a, b) for a, b in zip(plain(whole, (1, 2)), exchanged(whole, (1, 2)), strict=True))


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    of = recipe(epochs=2)
    run(of, tmp_path / "run")
    again = trainer(of)
    folder = RunDir.reopen(tmp_path / "run", [], [])
    again.load(tmp_path / "run" / "checkpoints" / "before", folder)  # inside or at the end of an earlier epoch
    folder.close()
    assert 0 < again.at.total < 8
    loss = again.criteria["inpaint"]
    assert isinstance(loss, HiddenL1AndPerceptual)
    assert loss.teacher.get_extra_state() == again.at.total
    loss.begin(again.at.epoch)
    for batch in again.train.epoch(again.at.epoch, start=again.at.step):
        again.step([batch])
    kept = checkpoint.load_state(tmp_path / "run" / "checkpoints" / "last")["criteria"]["inpaint"]
    assert any(key.startswith("teacher.network.") for key in kept)
    assert same(loss.state_dict(), kept)
    weights = load_weights(tmp_path / "run" / "checkpoints" / "last").tensors
    assert all(torch.equal(weights[key], value) for key, value in again.model.state_dict().items())


def test_bf16_takes_distances_in_fp32() -> None:
    whole, loss = pictures(), criterion()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss.teacher(whole, loss.stages)[0].dtype == torch.bfloat16
        total = loss.loss(pictures(1).bfloat16(), look(whole))
        nothing = loss.loss(whole.clone(), look(whole))
    assert total.dtype == torch.float32
    assert nothing.item() == 0
    assert total.item() == pytest.approx(loss.loss(pictures(1), look(whole)).item(), rel=0.05)


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_objective_compiles_whole(epoch: int) -> None:
    made = trainer(recipe())
    made.criteria["inpaint"].begin(epoch)
    batch: Batch = next(iter(made.train.epoch(0)))
    rendered = made.renderer.training(batch, epoch=0, step=0)
    objective = Objective(made.model, made.recipe.tasks, made.criteria)
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    torch.manual_seed(0)
    ours = compiled(rendered)["inpaint"]
    torch.testing.assert_close(ours, objective(rendered)["inpaint"], atol=1e-5, rtol=1e-5)
    ours.backward()
    assert all(p.grad is None for p in made.criteria["inpaint"].parameters())
    assert all(p.grad is not None for p in made.model.heads["inpaint"].parameters())


def test_the_change_of_epochs_compiles_one_graph_more_and_is_heard() -> None:
    made = trainer(recipe())
    loss = made.criteria["inpaint"]
    graphs: list[object] = []

    def backend(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(module)
        return module.forward

    objective = torch.compile(Objective(made.model, made.recipe.tasks, made.criteria), backend=backend)
    found = []
    for step, batch in enumerate(made.train.epoch(0)):
        loss.begin(step // 2)
        rendered = made.renderer.training(batch, epoch=0, step=step)
        found.append(objective(rendered)["inpaint"].item())
        loss.begin(0)
        pixels = Objective(made.model, made.recipe.tasks, made.criteria)(rendered)["inpaint"].item()
        assert (found[-1] > pixels + 1e-3) == (step >= 2)
    assert len(graphs) == 2


def test_a_checkpoint_of_an_earlier_run_is_a_teacher_that_stays(tmp_path: Path) -> None:
    run(tiny.recipe(epochs=1, mean=HALF, std=HALF, batch_statistics="per_view"), tmp_path / "earlier")
    path = tmp_path / "earlier" / "checkpoints" / "best"
    loss = criterion(Perceptual(teacher=CheckpointTeacher(str(path))))
    kept = load_weights(path).tensors
    for key, value in loss.teacher.network.state_dict().items():
        assert torch.equal(value, kept[f"encoder.{key}"])
    shown = pictures()
    normalised = (shown * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1) - 0.5) / 0.5
    expected = loss.teacher.network.forward_intermediates(  # type: ignore[operator]
        normalised, indices=[1, 2, 3], intermediates_only=True
    )
    for a, b in zip(loss.teacher(shown, loss.stages), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    made = trainer(recipe(Perceptual(teacher=CheckpointTeacher(str(path)), from_epoch=0)))
    before = copy.deepcopy(made.criteria["inpaint"].state_dict())
    made.step([next(iter(made.train.epoch(0)))])
    assert same(made.criteria["inpaint"].state_dict(), before)


def timm_file(path: Path, name: str = "test_resnet", change: Mapping[str, Tensor | None] | None = None) -> str:
    """A weights file of a timm model with its classifier, as it is published."""
    model = timm.create_model(name, pretrained=False)
    tensors: dict[str, Tensor] = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in (change or {}).items():
        if value is None:
            del tensors[key]
        else:
            tensors[key] = value
    save_file(tensors, path)
    return str(path)


def test_a_timm_model_with_a_local_file_sees_colours_as_its_own_training_did(tmp_path: Path) -> None:
    weights = timm_file(tmp_path / "model.safetensors")
    loss = criterion(Perceptual(teacher=TimmTeacher("test_resnet", weights)))  # trained with mean and std 0.5
    full = timm.create_model("test_resnet", checkpoint_path=weights).eval()
    shown = pictures()
    normalised = (shown * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1) - 0.5) / 0.5
    for a, b in zip(loss.teacher(shown, loss.stages), full.forward_intermediates(normalised)[1][1:4], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert loss.loss(shown.clone(), look(shown)).item() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.conv1.weight": None}, r"does not fit test_resnet \(layer1\.0\.conv1\.weight is missing there\)"),
        (
            {"other.weight": torch.zeros(1)},
            r"\(other\.weight is not in the encoder\); name weights of this architecture",
        ),
        ({"bn1.weight": torch.zeros(3)}, r"bn1\.weight has shape \(3,\), here \(\d+,\)"),
    ],
)
def test_a_file_of_another_model_is_refused(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    weights = timm_file(tmp_path / "model.safetensors", change=change)
    with pytest.raises(ValueError, match=message):
        criterion(Perceptual(teacher=TimmTeacher("test_resnet", weights)))


def test_teachers_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a file of weights .* that is there; nothing is fetched"):
        criterion(Perceptual(teacher=TimmTeacher("test_resnet", str(tmp_path / "none.safetensors"))))
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"is cut or damaged \(.*\); take another copy"):
        criterion(Perceptual(teacher=TimmTeacher("test_resnet", str(tmp_path / "cut.safetensors"))))
    with pytest.raises(ValueError, match=r"checkpoint: .* is not there; give a run, or its checkpoints/last"):
        criterion(Perceptual(teacher=CheckpointTeacher(str(tmp_path / "none"))))


def test_a_missing_teacher_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not there"):
        run(recipe(Perceptual(teacher=CheckpointTeacher(str(tmp_path / "none")))), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "stages"),
    [
        ("efficientnet_b0", {}, [1, 2, 3]),
        ("resnet10t", {}, [1, 2, 3]),
        ("convnext_atto", {}, [0, 1, 2]),
        ("vgg11_bn", {}, [2, 3, 4]),
    ],
)
def test_the_stages_at_strides_4_8_and_16_are_compared(name: str, options: dict[str, Any], stages: list[int]) -> None:
    network = Backbone(name, options=options).build()
    assert compared_stages(network, name, (4, 8, 16)) == stages
    teacher = MovingAverage(network, 0.9)
    assert [f.shape[-1] for f in teacher(torch.zeros(1, 3, 64, 64), stages)] == [16, 8, 4]


def test_small_pictures_compare_the_same_stages_at_finer_strides() -> None:
    backbone = replace(tiny.BACKBONE, small_pictures=True)
    finer = MovingAverage(backbone.build(), 0.9)
    stages = compared_stages(finer.network, "finer", (4, 8, 16))
    assert stages == compared_stages(tiny.BACKBONE.build(), "usual", (4, 8, 16))
    assert [f.shape[-1] for f in finer(torch.zeros(1, 3, 32, 32), stages)] == [32, 16, 8]


def test_a_network_without_these_stages_is_refused() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(ValueError, match=r"VisionTransformer, has stages at the strides 16, those at 4, 8, 16"):
        compared_stages(vit, "VisionTransformer", (4, 8, 16))
    with pytest.raises(ValueError, match=r"the teacher, Linear, gives no features of its stages"):
        compared_stages(nn.Linear(2, 2), "Linear", (4, 8, 16))


@pytest.mark.parametrize(
    ("perceptual", "message"),
    [
        (Perceptual(weight=0), r"Inpaint 'inpaint': perceptual: weight \(=0\) must be above 0; perceptual=None"),
        (Perceptual(from_epoch=-1), r"perceptual: from_epoch \(=-1\) must be 0 or more; 0 is from the start"),
        (
            Perceptual(teacher=EMATeacher(decay=1.0)),
            r"perceptual\.teacher: decay \(=1\.0\) must be 0 or more and below",
        ),
        (Perceptual(teacher=TimmTeacher("resnetx", "x")), r"perceptual\.teacher: name \(='resnetx'\) must be one of"),
        (Perceptual(teacher="ema"), r"perceptual: teacher \(='ema'\) must be of type"),  # type: ignore[arg-type]
        (Perceptual(teacher=CheckpointTeacher(3)), r"teacher: path \(=3\) must be of type str"),  # type: ignore[arg-type]
    ],
)
def test_a_perceptual_loss_that_cannot_be_is_refused(perceptual: Perceptual, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(perceptual)


def test_set_reaches_every_field() -> None:
    changed = settings.apply(
        recipe(),
        [
            "tasks.inpaint.perceptual.weight=0.5",
            "tasks.inpaint.perceptual.teacher.decay=0.99",
            "tasks.inpaint.perceptual.from_epoch=2",
        ],
    )
    assert changed.tasks[1].perceptual == Perceptual(0.5, EMATeacher(0.99), 2)  # type: ignore[attr-defined]
    other = settings.apply(
        recipe(), ["tasks.inpaint.perceptual.teacher=TimmTeacher('resnet18', 'resnet18.safetensors')"]
    )
    assert other.tasks[1].perceptual.teacher == TimmTeacher("resnet18", "resnet18.safetensors")  # type: ignore[attr-defined]
    assert settings.apply(changed, ["tasks.inpaint.perceptual=None"]).tasks[1].perceptual is None  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=re.escape("did you mean tasks.inpaint.perceptual.teacher.decay?")):
        settings.apply(recipe(), ["tasks.inpaint.perceptual.teacher.decy=0.9"])


def test_the_teachers_passes_count_in_the_cost_from_the_epoch_on_in_which_they_begin() -> None:
    taught = replace(recipe(), epochs=5)
    found, batch = cost_of(taught, steps=3), taught.batch_size
    assert (found.trained, found.forward_only) == (5 * 3 * 2 * batch, 4 * 3 * 2 * batch)
