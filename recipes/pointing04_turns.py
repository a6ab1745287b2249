"""Head pose on Pointing'04, pre-trained by tile rotation and then trained beside puzzling: a twin of E8.

Source:  ours; a stand-in for arXiv 2108.04893, whose 300W-LP, AFLW2000 and BIWI must be fetched by hand.
Expect:  no figure is published for these data; recipes/e8_pointing04.py makes the table.
Differs: Pointing'04 with people held out, ResNet-10-t at 64 px; `pretrain` sees the same pictures, without labels.
Run:     hmtl prepare pointing04 Pointing04 --out data/pointing04 --size 64
         hmtl train pointing04_turns:pretrain     (leaves runs/pointing04_turns-pretrain)
         hmtl train pointing04_turns
Try:     --set init=None     (without pre-training)     pointing04_turns:supervised
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import PoseRegression, SolvePuzzle, SolveTurns
from engine.views import Plain, Puzzle, Turned
from kernels import Augment
from loaders import Packed

recipe = Recipe(
    data=Packed("data/pointing04"),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), brightness=(-0.1, 0.1), scale=(0.85, 1.15), shift=(-0.08, 0.08)),
    views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
    backbone=Backbone("resnet10t"),
    init="runs/pointing04_turns-pretrain",
    tasks=(
        PoseRegression(angles=("yaw", "pitch"), on=("plain",), weight=0.1, dropout=0.1),
        SolvePuzzle(on=("puzzle",), weight=0.1),
    ),
    optim=AdamW(lr=2e-3, weight_decay=0.05, warmup_epochs=2),
    batch_statistics="per_view_plain",
    epochs=30,
    batch_size=64,
    ema=0.99,
    image_size=64,
    evaluation_crop=1.0,
)

pretrain = replace(
    recipe, init=None, batch_statistics="joint", views={"turned": Turned(grid=2)}, tasks=(SolveTurns(on=("turned",)),)
)
supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
