"""Head pose on 300W-LP with ResNet-50, pre-trained by tile rotation and then trained beside puzzling (E8).

Source:  arXiv 2108.04893: rotation pre-training plus an auxiliary puzzling head lower the error by up to 23.1 % on
         AFLW2000 and 14.2 % on BIWI.
Expect:  those differences; no figures of ours: the data must be fetched by hand. Not run here.
Differs: the head, batch, schedule and augmentation are ours, of which the abstract does not tell; 112 px.
Run:     hmtl prepare 300wlp 300W_LP --out data/w300lp --size 128
         hmtl prepare aflw2000 AFLW2000 --out data/aflw2000 --size 128
         hmtl train w300lp_turns:pretrain     (leaves runs/w300lp_turns-pretrain)
         hmtl train w300lp_turns
Try:     --set init=None     (without pre-training)     w300lp_turns:supervised
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdaBelief
from engine.recipe import Recipe
from engine.tasks import PoseBins, SolvePuzzle, SolveTurns
from engine.views import Plain, Puzzle, Turned
from kernels import Augment
from loaders import Packed, WithTest

recipe = Recipe(
    data=WithTest(Packed("data/w300lp"), test=Packed("data/aflw2000")),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), crop=(0.75, 1.0), shift=(-0.05, 0.05)),
    views={"plain": Plain(), "puzzle": Puzzle(grid=3)},
    backbone=Backbone("resnet50"),
    init="runs/w300lp_turns-pretrain",
    tasks=(
        PoseBins(on=("plain",), weight=0.05, dropout=0.1),
        SolvePuzzle(on=("puzzle",), weight=0.3, dropout=0.3),
    ),
    optim=AdaBelief(lr=1e-3, warmup_epochs=3, lookahead=True),
    epochs=25,
    batch_size=128,
    image_size=112,
    evaluation_crop=0.9,
)

pretrain = replace(recipe, init=None, views={"turned": Turned(grid=2)}, tasks=(SolveTurns(on=("turned",)),))
supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
