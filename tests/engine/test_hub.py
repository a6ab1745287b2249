"""A run exported for timm: loaded by `timm.create_model` it says what the model says, and its card tells what it is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import engine.torchvision_ops  # noqa: F401 - before timm, which imports torchvision
from engine.deployed import hub, load
from engine.deployed.card import CARD, model_card
from engine.export import app
from engine.runs.result import read_run
from engine.tasks import SYNTHETIC_7, Attribute, Expression, SolvePuzzle
from engine.views import Plain, Puzzle
from tests.engine import tiny

import timm  # isort: skip

FILES = ["README.md", "config.json", "model.safetensors"]
PLAIN: dict[str, Any] = {"views": {"plain": Plain()}, "epochs": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose faces are seen in part."""
    return tiny.trained(tiny.recipe(evaluation_crop=0.85), tmp_path_factory.mktemp("hub") / "run")


def call(run: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [str(run), "--to", "hub", "--out", str(out), *words])


def faces(count: int = 5, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def opened(folder: Path) -> Any:
    """As the card says, with nothing of this project."""
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@pytest.fixture(scope="module")
def exported(run: Path) -> tuple[Path, Result]:
    result = call(run, run.parent / "out", "--licence", "cc-by-nc-4.0")
    assert result.exit_code == 0, result.output
    return run.parent / "out", result


def test_timm_loads_it_and_says_what_the_model_says(run: Path, exported: tuple[Path, Result]) -> None:
    folder, _ = exported
    network, model = opened(folder), load(run)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    with torch.no_grad():
        said = network(model.pictures(faces())).softmax(1)
    torch.testing.assert_close(said, model(faces())["expression"], atol=1e-5, rtol=0)
    assert network.pretrained_cfg["label_names"] == list(SYNTHETIC_7)
    config = timm.data.resolve_data_config({}, model=network)
    assert (config["input_size"], config["crop_pct"], config["interpolation"]) == ((3, 32, 32), 0.85, "bilinear")
    assert config["mean"] == pytest.approx(model.about["preprocessing"]["mean"])
    written = json.loads((folder / "config.json").read_text())
    assert written["hmtl"]["answers"] == {"expression": list(SYNTHETIC_7)}
    assert written["pretrained_cfg"]["license"] == "cc-by-nc-4.0"


def test_the_command_tells_how_closely_it_agrees(run: Path, exported: tuple[Path, Result]) -> None:
    folder, result = exported
    lines = result.stdout.splitlines()
    assert re.fullmatch(
        r"test: expression: largest difference \de.\d\d, same class 12/12, in batches of 64 and 7", lines[1]
    )
    assert re.match(r"test: expression, pictures prepared by timm: largest difference \de.\d\d, same class", lines[2])
    assert result.stdout.replace("\n", "").endswith(", ".join(str(folder / name) for name in reversed(FILES)))


def test_whole_faces_are_prepared_by_timm_as_by_us(tmp_path: Path) -> None:
    """Where nothing is cropped or resized, timm's transform gives the network the very same picture."""
    run = tiny.trained(tiny.recipe(evaluation_crop=1.0, epochs=1), tmp_path / "run")
    assert call(run, tmp_path / "out").exit_code == 0
    same, by_timm = hub.compare(load(run), tmp_path / "out", faces(9))
    assert (same.same, by_timm.same, by_timm.batches) == (9, 9, (64,))
    assert by_timm.largest < 1e-5


def test_a_calibrated_head_is_written_as_such(run: Path, tmp_path: Path) -> None:
    result = call(run, tmp_path / "out", "--calibrated")
    assert result.exit_code == 0, result.output
    model = load(run, calibrated=True)
    with torch.no_grad():
        said = opened(tmp_path / "out")(model.pictures(faces())).softmax(1)
    torch.testing.assert_close(said, model(faces())["expression"], atol=1e-5, rtol=0)
    assert not torch.allclose(said, load(run)(faces())["expression"], atol=1e-5)
    assert f"divided by a temperature, {model.temperatures['expression']:.2f}" in (tmp_path / "out" / CARD).read_text()


def test_the_code_of_the_card_runs(
    exported: tuple[Path, Result], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (exported[0] / CARD).read_text(), re.DOTALL)
    monkeypatch.chdir(exported[0])
    monkeypatch.setattr(Image, "open", lambda name: Image.fromarray(faces(1)[0].numpy()))
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(SYNTHETIC_7)
    assert sum(float(line.partition(":")[2]) for line in lines) == pytest.approx(1, abs=0.005)


def test_the_card_says_what_it_was_trained_and_measured_on(run: Path, exported: tuple[Path, Result]) -> None:
    card = (exported[0] / CARD).read_text()
    head, _, body = card.removeprefix("---\n").partition("\n---\n")
    assert 'license: "cc-by-nc-4.0"' in head.splitlines()
    assert 'pipeline_tag: "image-classification"' in head.splitlines()
    found = read_run(run)
    accuracy = found.figures["expression/accuracy"].write(found.best.value("test", "expression/accuracy"))  # type: ignore[union-attr]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in body.splitlines() if line.startswith("| ")]
    assert ["expression", "accuracy", "test", "12", accuracy] == next(row for row in rows if row[2] == "test")[:5]
    assert [row[0] for row in rows if row[0] in SYNTHETIC_7] == list(SYNTHETIC_7)
    assert (
        "- puzzle (pretext, its head is not in these weights), `SolvePuzzle` on puzzle (`Puzzle`, 2 x 2 cells)" in body
    )
    assert "> **Drawn faces.**" in body
    assert "The network sees the central 85 % of their side" in body
    assert "How its errors differ between groups of people was not measured" in body
    assert "`val/expression/accuracy`" in body


def test_the_card_tells_of_groups_of_gray_and_of_what_was_done_to_pictures(run: Path) -> None:
    model, found = load(run), read_run(run)
    model.faces = (32, 32, 1)
    task = {"kind": "Attribute", "name": "gender", "group": "race", "on": ["plain"]}
    found = replace(found, recipe={**found.recipe, "tasks": [task], "init": "runs/before"}, result={}, best=None)
    card = model_card(model, found, hub.compare(load(run), run.parent / "out", faces()), "test", licence="mit")
    assert '.convert("L").convert("RGB")' in card
    assert "timm's config cannot say that pictures must be gray" in card
    assert "Errors differ between groups of people: gender by race stand among the figures." in card
    assert "The encoder began with the weights of `runs/before`." in card


def test_the_encoder_alone_gives_features_also_of_a_run_without_heads(tmp_path: Path) -> None:
    puzzle = tiny.recipe(views={"puzzle": Puzzle(grid=2)}, tasks=(SolvePuzzle(),), epochs=1)
    run = tiny.trained(puzzle, tmp_path / "run")
    refused = call(run, tmp_path / "out")
    assert "has no supervised head, only pretext ones" in refused.stderr
    result = call(run, tmp_path / "out", "--encoder")
    assert result.exit_code == 0, result.output
    assert "test: encoder: largest difference" in result.stdout
    model, network = load(run, headless=True), opened(tmp_path / "out")
    with torch.no_grad():
        features = network(model.pictures(faces()))
        assert features.shape == (5, 16)
        torch.testing.assert_close(features, model.network.encoder(model.pictures(faces())).pooled)
    card = (tmp_path / "out" / CARD).read_text()
    assert "it has no supervised head" in card
    assert 'pipeline_tag: "image-feature-extraction"' in card


def test_what_timm_cannot_hold_is_refused_with_nothing_left(tmp_path: Path) -> None:
    two = (Expression(SYNTHETIC_7), Attribute(("no", "yes"), label="glasses"))
    run = tiny.trained(tiny.recipe(**PLAIN, tasks=two), tmp_path / "two")
    result = call(run, tmp_path / "out")
    assert result.exit_code == 2
    said = (
        "export: heads (=expression, glasses) must be one for --to hub, as timm holds one; write the encoder alone by"
    )
    assert said in result.stderr
    assert call(run, tmp_path / "encoder", "--encoder").exit_code == 0
    assert "Of the run with its heads, which are not here." in (tmp_path / "encoder" / CARD).read_text()
    hidden = tiny.recipe(**PLAIN, tasks=(Attribute(("no", "yes"), label="glasses", hidden=4),))
    result = call(tiny.trained(hidden, tmp_path / "hidden"), tmp_path / "out")
    assert "export: head of glasses (=ClassHead) must be one linear layer over classes for --to hub" in result.stderr
    result = call(run, tmp_path / "out", "--encoder", "--calibrated")
    assert "export: calibrated (=True) must be left out with --encoder, which gives no prob" in result.stderr
    model = load(run)
    model.about = {**model.about, "backbone": {"name": "resnet10t", "small_pictures": True}}
    with pytest.raises(ValueError, match=r"export: small_pictures \(=True\) must be False for --to hub: timm cannot"):
        hub.export(model, tmp_path, encoder=True, licence="mit")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "hidden", "two"]


def test_a_classifier_that_is_no_linear_layer_is_refused(run: Path, tmp_path: Path, monkeypatch: Any) -> None:
    made = timm.create_model

    def create(*args: Any, **options: Any) -> Any:
        network = made(*args, **options)
        network.get_classifier = torch.nn.Identity
        return network

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ValueError, match=r"export: classifier of test_resnet \(=Identity\) must be one linear layer"):
        hub.export(load(run), tmp_path, encoder=False, licence="mit")


def test_weights_that_say_something_else_are_not_written(run: Path, tmp_path: Path, monkeypatch: Any) -> None:
    write = hub.export

    def wrong(model: Any, folder: Path, **options: Any) -> None:
        head = model.network.heads["expression"].linear
        with torch.no_grad():
            head.bias[0] += 1
            write(model, folder, **options)
            head.bias[0] -= 1

    monkeypatch.setattr(hub, "export", wrong)
    result = call(run, tmp_path / "out")
    assert result.exit_code == 2
    assert "export: the exported file does not say what the model says (expression: largest diff" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_gray_faces_reach_timm_as_three_equal_channels(tmp_path: Path, run: Path) -> None:
    """Gray stores are shown to the network as R = G = B, which a picture turned gray and RGB is too."""
    model = load(run)
    model.faces = (32, 32, 1)
    model.renderer = replace(model.renderer, evaluation_crop=1.0)
    model.about = {**model.about, "preprocessing": {**model.about["preprocessing"], "evaluation_crop": 1.0}}
    hub.export(model, tmp_path, encoder=False, licence="mit")
    gray = faces(4)[..., :1]
    same, by_timm = hub.compare(model, tmp_path, gray)
    assert max(same.largest, by_timm.largest) < 1e-5
    assert np.ptp(model.pictures(gray).mean(dim=(0, 2, 3)).numpy()) > 0.01  # each channel has its own mean
