"""The forty attributes of CelebA at once, with the pretext task of puzzling, beside its two supervised baselines.

Source:  Liu, Luo, Wang, Tang, ICCV 2015: mean accuracy 87 % on the aligned faces (LNets+ANet, table 1).
Expect:  not run yet: CelebA was not at hand. The mean of the commoner answers is about 80 %.
Differs: from that work in everything but data, split and figure: ResNet-18 from scratch at 96 px, 2 x 2 tiles.
Run:     hmtl prepare celeba CelebA --size 96 --out data/celeba
         hmtl train celeba_attributes
Try:     --set tasks.0.labels="('Smiling', 'Eyeglasses', 'Young')"     celeba_attributes:supervised_equal_cost
"""

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import CELEBA_40, Attributes, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import weak
from loaders import Packed

recipe = Recipe(
    data=Packed("data/celeba"),
    augment=weak(),
    views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
    backbone=Backbone("resnet18"),
    tasks=(Attributes(labels=CELEBA_40, dropout=0.2), SolvePuzzle(weight=0.1)),
    optim=AdamW(lr=1e-3, weight_decay=0.05, warmup_epochs=1),
    epochs=10,
    batch_size=128,
    ema=0.995,
    image_size=96,
)

supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
