"""`--smoke` gives any recipe the labels that its tasks want, on drawn faces."""

from __future__ import annotations

from contextlib import closing

import torch

from engine.recipe.smoke import Relabelled, smoke
from engine.tasks import FAIRFACE_RACES, FER2013_7, GENDERS, SYNTHETIC_7, Attribute, Expression, PoseRegression
from engine.views import Plain
from kernels import Augment
from loaders import Loader, Synthetic
from loaders.base import Classes, Label, Numbers
from tests.engine import tiny

SOURCE = Synthetic(train=20, val=14, test=3, size=24)


def test_labels_the_source_has_as_they_are_wanted_stay() -> None:
    wanted: dict[str, Label] = {"expression": Classes(SYNTHETIC_7), "pose": Numbers(("yaw", "pitch", "roll"))}
    with (
        closing(Loader.open(SOURCE, "val", batch_size=4, seed=0, device="cpu")) as own,
        closing(Loader.open(Relabelled(SOURCE, wanted), "val", batch_size=4, seed=0, device="cpu")) as loader,
    ):
        for name in wanted:
            assert loader.split.target[name].equal(own.split.target[name])


def test_labels_the_source_lacks_are_made_up_and_missing_in_padding() -> None:
    wanted: dict[str, Label] = {"expression": Classes(FER2013_7), "race": Classes(GENDERS), "age": Numbers(("years",))}
    with closing(Loader.open(Relabelled(SOURCE, wanted), "val", batch_size=4, seed=0, device="cpu")) as loader:
        assert {name: loader.split.labels[name] for name in wanted} == wanted
        assert set(loader.split.target["race"].tolist()) == {0, 1}
        assert set(loader.split.target["expression"].tolist()) == set(range(7))
        age = loader.split.target["age"]
        assert age.shape == (14, 1)
        assert age.isfinite().all()
        assert len(age.unique()) > 5
        batches = list(loader.epoch(0))
    assert torch.cat([batch.target["age"] for batch in batches])[:14].equal(age)
    padding = batches[-1].sample < 0
    assert padding.sum() == 2
    assert batches[-1].target["age"][padding].isnan().all()
    assert (batches[-1].target["race"][padding] == -1).all()


def test_every_task_finds_the_labels_it_wants() -> None:
    recipe = tiny.recipe(
        augment=Augment(flip=0.5),
        views={"plain": Plain()},
        tasks=(
            Expression(FER2013_7),
            PoseRegression(),
            Attribute(GENDERS, label="gender", group="race", group_names=FAIRFACE_RACES),
        ),
    )
    small = smoke(recipe)
    with closing(Loader.open(small.data, "train", batch_size=4, seed=0, device="cpu")) as loader:
        small.check_labels(loader.split)
        assert loader.split.labels["race"] == Classes(FAIRFACE_RACES)


def test_a_recipe_without_supervised_task_smokes_too() -> None:
    recipe = tiny.recipe()
    pretext = tiny.recipe(tasks=recipe.tasks[1:], views={"puzzle": recipe.views["puzzle"]})
    data = smoke(pretext).data
    assert isinstance(data, Relabelled)
    assert data.labels == {}
