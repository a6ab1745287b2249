"""Accuracy parity: the same bytes from any source train the same weights, bit for bit."""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import closing
from pathlib import Path

import pytest
import torch

from engine.training.evaluate import figures
from engine.training.loop import Position, Trainer
from engine.training.train import open_split
from loaders import DALI, FFCV, Folder, Packed, Source
from tests.engine import tiny
from tests.loaders.data_sets import CLASSES

CPU = torch.device("cpu")
EPOCHS = 2


def trained(source: Source) -> tuple[str, dict[str, float]]:
    """Hash of the weights after two epochs, and the figures on val."""
    base = tiny.recipe(data=source, batch_size=4, image_size=16)
    task = dataclasses.replace(base.tasks[0], names=CLASSES)  # type: ignore[type-var]
    recipe = dataclasses.replace(base, tasks=(task, *base.tasks[1:]))
    with closing(open_split(recipe, "train", CPU)) as train, closing(open_split(recipe, "val", CPU)) as val:
        trainer = Trainer(recipe, train, val, CPU)
        for epoch in range(EPOCHS):
            trainer.at = Position(epoch, 0, trainer.at.total)
            for batch in train.epoch(epoch):
                trainer.step([batch])
        _, rows = trainer.predict(trainer.evaluated, val)
    state = hashlib.sha256()
    for name, tensor in trainer.model.state_dict().items():
        state.update(name.encode() + tensor.numpy().tobytes())
    return state.hexdigest(), figures(recipe.tasks, recipe.views, rows)


@pytest.fixture(scope="module")
def expected(store: Path) -> tuple[str, dict[str, float]]:
    return trained(Packed(store, tier="mapped"))


@pytest.mark.parametrize("name", ["resident", "folder", "ffcv", "dali"])
def test_the_same_bytes_train_the_same_weights(
    name: str, expected: tuple[str, dict[str, float]], store: Path, folders: Path, request: pytest.FixtureRequest
) -> None:
    if name == "dali":
        request.getfixturevalue("dali")
    source: Source = {
        "resident": lambda: Packed(store, tier="resident"),
        "folder": lambda: Folder(folders, workers=0),
        "ffcv": lambda: FFCV(request.getfixturevalue("ffcv_store")),
        "dali": lambda: DALI(folders),
    }[name]()
    weights, found = trained(source)
    assert weights == expected[0]
    assert found == pytest.approx(expected[1], nan_ok=True, rel=0, abs=0)


def test_other_bytes_train_other_weights(expected: tuple[str, dict[str, float]], folders: Path) -> None:
    assert trained(Folder(folders, workers=0, colour="gray"))[0] != expected[0]
