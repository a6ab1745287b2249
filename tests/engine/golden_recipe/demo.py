"""The demo of version 0.2, whose numbers are recorded: expression on drawn faces, with the pretext task of puzzling."""

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import Synthetic

recipe = Recipe(
    data=Synthetic(train=5000, val=1000, test=1000, size=48),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-10, 10), crop=(0.8, 1.0), shift=(-0.05, 0.05)),
    views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
    backbone=Backbone("test_resnet"),
    tasks=(
        Expression(SYNTHETIC_7, on=("plain",), label_smoothing=0.1, dropout=0.1),
        SolvePuzzle(on=("puzzle",), weight=0.1),
    ),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=1),
    epochs=16,
    batch_size=64,
    image_size=48,
    evaluation_crop=0.9,
    ema=0.99,
)

supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
