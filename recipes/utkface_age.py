"""Age on UTKFace with the pretext task of puzzling, by regression; `:ordinal` asks of each year whether it is passed.

Source:  ours; the ordinal head is CORAL (Cao, Mirjalili, Raschka 2020; arXiv 1901.07884).
Expect:  not run yet: UTKFace was not at hand.
Differs: from CORAL's experiment in network, size and split, which are those of `hmtl prepare utkface`.
Run:     hmtl prepare utkface UTKFace --size 96 --out data/utkface
         hmtl train utkface_age
Try:     utkface_age:ordinal     utkface_age:supervised_equal_cost
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import Number, OrdinalNumber, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import weak
from loaders import Packed

recipe = Recipe(
    data=Packed("data/utkface"),
    augment=weak(),
    views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
    backbone=Backbone("resnet18"),
    tasks=(Number(label="age", column="years", low=0, high=116, unit="years", weight=0.1), SolvePuzzle(weight=0.1)),
    optim=AdamW(lr=2e-3, weight_decay=0.05, warmup_epochs=2),
    epochs=30,
    batch_size=64,
    ema=0.995,
    image_size=96,
)
ordinal = replace(
    recipe,
    tasks=(OrdinalNumber(label="age", column="years", low=0, high=116, unit="years", weight=0.05), recipe.tasks[1]),
)
supervised_equal_cost = equal_cost(recipe)
