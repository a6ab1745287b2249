"""Training from every source: the same decoded bytes give the same weights, whoever augments gives the same views."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import kernels
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.tasks import SYNTHETIC_7
from engine.training.evaluate import figures
from engine.training.loop import Trainer
from engine.training.train import open_split, train
from engine.views import Plain, Puzzle
from loaders import DALI, FFCV, Folder, Packed, Source
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders
from loaders.prepare import prepare
from loaders.synthetic import draw_faces
from loaders.terminal import Terminal
from tests.engine import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces of 32 x 32 px, as PNG files by split and expression."""
    root = tmp_path_factory.mktemp("faces")
    for split, count in (("train", 40), ("val", 14), ("test", 14)):
        pictures, drawn = draw_faces(0, split, np.arange(count), 32)
        for place, picture in enumerate(pictures):
            folder = root / split / SYNTHETIC_7[int(drawn.expression[place])]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{place:03}.png")
    return root


@pytest.fixture(scope="module")
def named(
    faces: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[..., Source]:
    """A source of the faces by its name; skips where its package is not installed."""
    importer = ClassFolders(faces, classes=SYNTHETIC_7)
    written: dict[str, Path] = {}

    def store(format: Any) -> Path:
        if format not in written:
            written[format] = tmp_path_factory.mktemp(format) / "faces"
            prepare(importer, written[format], Form(), format=format)
        return written[format]

    def make(name: str, **options: Any) -> Source:
        if name == "folder":
            return Folder(importer, workers=0, **options)
        if name == "dali":
            request.getfixturevalue("dali")
            return DALI(importer, **options)
        if name == "ffcv":
            request.getfixturevalue("interpreted_ffcv")
            return FFCV(store("ffcv"), **options)
        return Packed(store("packed"), tier=name, **options)  # type: ignore[arg-type]

    return make


def trained(recipe: Recipe) -> tuple[dict[str, Tensor], list[float], dict[str, float]]:
    """Weights, losses of all steps and figures on val after the recipe's epochs."""
    with ExitStack() as stack:
        train, val = (stack.enter_context(closing(open_split(recipe, split, CPU))) for split in ("train", "val"))
        trainer = Trainer(recipe, train, val, CPU)
        losses = []
        for epoch in range(recipe.epochs):
            trainer.at.epoch, trainer.at.step = epoch, 0
            for batch in train.epoch(epoch):
                trainer.step([batch])
                losses.append(trainer.watch.recent().read()["loss"])
        _, rows = trainer.predict(trainer.model, val)
        return trainer.model.state_dict(), losses, figures(recipe.tasks, recipe.views, rows)


@pytest.mark.slow
def test_the_same_bytes_give_the_same_weights_and_figures_from_every_source(named: Callable[..., Source]) -> None:
    wanted, losses, numbers = trained(tiny.recipe(data=named("folder")))
    start = trained(tiny.recipe(data=named("folder"), epochs=1))[0]
    assert not all(torch.equal(wanted[name], start[name]) for name in wanted)
    for name in ("mapped", "resident", "dali", "ffcv"):
        weights, those, figures = trained(tiny.recipe(data=named(name)))
        assert those == losses
        assert figures == numbers
        assert all(torch.equal(weights[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("name", ["dali", "ffcv"])
def test_augmenting_in_the_loader_trains_the_same_but_for_rounding(named: Callable[..., Source], name: str) -> None:
    changes: dict[str, Any] = {"augment": kernels.strong(), "epochs": 1}
    _, losses, _ = trained(tiny.recipe(data=named(name), **changes))
    _, those, _ = trained(tiny.recipe(data=named(name, augment="loader"), **changes))
    assert those != losses  # somebody rounded
    # What is rounded grows with every step; other draws are apart from the first one on.
    np.testing.assert_allclose(those, losses, rtol=1e-2)
    _, others, _ = trained(tiny.recipe(data=named(name), **changes | {"augment": kernels.weak()}))
    assert not np.allclose(others, losses, rtol=3e-2)


@pytest.mark.parametrize("name", ["dali", "ffcv"])
def test_a_run_augmented_in_the_loader_reaches_its_report(
    named: Callable[..., Source], name: str, tmp_path: Path
) -> None:
    recipe = tiny.recipe(data=named(name, augment="loader"), epochs=1)
    out = tmp_path / "run"
    report = train(
        RecipeFile("tiny", recipe, '"""Tiny."""\n'),
        out,
        device=CPU,
        resume=False,
        deterministic=False,
        console=Terminal(quiet=True),
    )
    assert report.is_file()
    assert json.loads((out / "result.json").read_text())["finished"]
    assert json.loads((out / "recipe.json").read_text())["data"]["augment"] == "loader"
    assert (out / "charts" / "views.png").is_file()


def test_views_of_several_draws_are_refused_before_anything_is_written(
    named: Callable[..., Source], tmp_path: Path
) -> None:
    views = {"plain": Plain(fresh=True), "puzzle": Puzzle(grid=2)}
    recipe = tiny.recipe(data=named("ffcv", augment="loader"), views=views)
    with pytest.raises(ValueError, match=r"Recipe: data.augment \(='loader'\) gives one augmented face a sample"):
        train(
            RecipeFile("tiny", recipe, ""),
            tmp_path / "run",
            device=CPU,
            resume=False,
            deterministic=False,
            console=Terminal(quiet=True),
        )
    assert not (tmp_path / "run").exists()


def test_a_run_says_which_tier_was_chosen_for_each_split(named: Callable[..., Source], tmp_path: Path) -> None:
    said = io.StringIO()
    train(
        RecipeFile("tiny", tiny.recipe(data=named("auto"), epochs=1), '"""Tiny."""\n'),
        tmp_path / "run",
        device=CPU,
        resume=False,
        deterministic=False,
        console=Terminal(file=said, width=200),
    )
    lines = [line.strip() for line in said.getvalue().splitlines()]
    assert lines.count("train, val, test: mapped: on a CPU the file's pages are memory already") == 1
