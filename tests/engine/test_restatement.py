"""Puzzling with one view as its authors train it, said again in plain torch: the engine's losses, step by step."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.optim import AdaBelief, Steps
from engine.recipe import Recipe
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.training.loop import Trainer
from engine.training.train import open_split
from engine.views import Plain, Puzzle
from tests.engine import tiny

CPU = torch.device("cpu")
STEPS = 20


def authors_puzzling(grid: int) -> Recipe:
    """The authors' first script: one puzzled view for both heads, weight 1 a tile, class weights majority / count,
    dropout 0.3 and 0.2, AdaBelief; on a network and pictures small enough for a test.
    """
    return tiny.recipe(
        views={"puzzle": Puzzle(grid=grid)},
        tasks=(
            Expression(SYNTHETIC_7, on=("puzzle",), class_weights="balanced", dropout=0.3),
            SolvePuzzle(on=("puzzle",), weight=1.0, dropout=0.2),
        ),
        optim=AdaBelief(lr=1e-3, schedule=Steps(at=(15, 40))),
        image_size=36,
        epochs=10,
    )


class Restated(nn.Module):
    """One encoder, a head of classes, and grid * grid heads of grid * grid source tiles, each its own layer."""

    def __init__(self, trainer: Trainer, grid: int) -> None:
        super().__init__()
        self.grid, tiles = grid, grid * grid
        self.encoder = copy.deepcopy(trainer.model.encoder.network)
        expression = trainer.model.heads["expression"].linear
        puzzle = trainer.model.heads["puzzle"].linear
        assert isinstance(expression, nn.Linear)
        assert isinstance(puzzle, nn.Linear)
        self.expression = copy.deepcopy(expression)
        self.tiles = nn.ModuleList(nn.Linear(puzzle.in_features, tiles) for _ in range(tiles))
        for position, head in enumerate(self.tiles):
            assert isinstance(head, nn.Linear)
            rows = slice(position * tiles, (position + 1) * tiles)
            head.weight.data.copy_(puzzle.weight[rows])
            head.bias.data.copy_(puzzle.bias[rows])

    def forward(self, face: Tensor, order: Tensor, label: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.encoder(puzzled(face, order, self.grid))  # num_classes=0: the pooled representation
        log_probability = self.expression(F.dropout(pooled, 0.3)).log_softmax(dim=1)
        picked = -log_probability[torch.arange(len(label)), label]
        supervised = (weight[label] * picked).mean()
        pooled, pretext = F.dropout(pooled, 0.2), torch.zeros(())
        for position, head in enumerate(self.tiles):
            log_probability = head(pooled).log_softmax(dim=1)
            pretext = pretext + (-log_probability[torch.arange(len(label)), order[:, position]]).mean()
        return supervised, pretext


def puzzled(face: Tensor, order: Tensor, grid: int) -> Tensor:
    """Tile order[i] of the face stands at position i; one picture of the same size."""
    side = face.shape[-1] // grid
    made = torch.empty_like(face)
    for sample, tiles in enumerate(order.tolist()):
        for position, source in enumerate(tiles):
            y, x = position // grid * side, position % grid * side
            from_y, from_x = source // grid * side, source % grid * side
            made[sample, :, y : y + side, x : x + side] = face[
                sample, :, from_y : from_y + side, from_x : from_x + side
            ]
    return made


@pytest.mark.parametrize("grid", [2, 3])
def test_the_puzzling_recipe_is_its_restatement_loss_by_loss_over_20_steps(grid: int) -> None:
    recipe = authors_puzzling(grid)
    made = Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)
    restated = Restated(made, grid)
    restated.train()
    optimiser = recipe.optim.build([restated])
    counts = torch.bincount(made.train.split.target["expression"], minlength=7).float()
    weight = torch.where(counts > 0, counts.max() / counts.clamp(min=1), 1.0)
    # The un-puzzled faces, as a recipe with a plain view renders them.
    faces = replace(made.renderer, views={"plain": Plain()})
    batches = [(epoch, batch) for epoch in range(STEPS // len(made.train)) for batch in made.train.epoch(epoch)]
    assert len(batches) == STEPS
    for epoch, batch in batches:
        made.at.epoch = epoch
        order = made.renderer.training(batch, epoch=epoch, step=0).cells["puzzle"].shows.long()
        face = faces.training(batch, epoch=epoch, step=0).pictures["plain"]
        with torch.random.fork_rng():  # the engine's step draws the same dropout after it
            supervised, pretext = restated(face, order, batch.target["expression"], weight)
        optimiser.zero_grad()
        (supervised + pretext).backward()
        optimiser.step()
        made.step([batch])
        recent = made.watch.recent().read()
        assert recent["expression/loss"] == pytest.approx(supervised.item(), rel=2e-4)
        assert recent["puzzle/loss"] == pytest.approx(pretext.item(), rel=2e-4)
        assert recent["loss"] == pytest.approx((supervised + pretext).item(), rel=2e-4)
    for ours, theirs in zip(made.model.encoder.network.parameters(), restated.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-2)


def test_the_restatement_is_told_apart_from_a_wrong_one() -> None:
    """Positions and sources exchanged, the mistake that is easiest to make, is another loss from the first step on."""
    recipe = authors_puzzling(3)
    made = Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)
    restated = Restated(made, 3)
    batch = next(iter(made.train.epoch(0)))
    order = made.renderer.training(batch, epoch=0, step=0).cells["puzzle"].shows.long()
    face = replace(made.renderer, views={"plain": Plain()}).training(batch, epoch=0, step=0).pictures["plain"]
    _, pretext = restated(face, order.argsort(dim=1), batch.target["expression"], torch.ones(7))
    made.step([batch])
    assert abs(made.watch.recent().read()["puzzle/loss"] - pretext.item()) > 1e-2
