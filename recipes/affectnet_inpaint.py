"""Expression on AffectNet-8 with in-painting and perceptual loss, EfficientNet-B0 from scratch (E2c, E3 of the paper).

Source:  arXiv 2105.06421, in-painting-pl, the best row of its table of AffectNet-8 results.
Expect:  61.72 %, and 55.36 % with 20 % of the training data (published); not run here, the data needs a licence.
Differs: What is hidden, the decoder and the perceptual loss are ours, the paper gives none of them: blocks of a 14 x 14
         grid, and as the network that compares pictures a moving average of the encoder itself, which needs no other
         data. The decoder reads the maps at strides 8, 16 and 32. The supervised head looks at the plain view only.
         112 px; class weights are capped at 10.
Run:     hmtl prepare affectnet2021 AffectNet --out data/affectnet8 --size 128   (or affectnet2017)
         hmtl train affectnet_inpaint   (val: 5 % of train, test: the official validation set)
Try:     affectnet_inpaint:pixels     (the pixel loss alone)
         --set "sampler=Fraction(0.2, label='expression')"     (E3)  --set tasks.inpaint.weight=0.3
         --set batch_size=32 --set accumulate=4     (as many faces a step, for 2 or 4 ranks: docs/ranks.md)
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdaBelief
from engine.recipe import Recipe
from engine.tasks import AFFECTNET_8, Expression, Inpaint, Perceptual
from engine.views import Holes, Plain
from kernels import weak
from loaders import Packed

recipe = Recipe(
    data=Packed("data/affectnet8"),
    augment=weak(),
    views={"plain": Plain(), "holes": Holes()},
    backbone=Backbone("efficientnet_b0"),
    tasks=(
        Expression(AFFECTNET_8, on=("plain",), class_weights="balanced", cap=10.0, dropout=0.3),
        Inpaint(on=("holes",), maps=3, perceptual=Perceptual()),
    ),
    optim=AdaBelief(lr=1e-3, warmup_epochs=3, lookahead=True),
    epochs=200,
    batch_size=128,
    image_size=112,
    evaluation_crop=0.85,
)

pixels = replace(recipe, tasks=(recipe.tasks[0], Inpaint(on=("holes",), maps=3)))
supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
