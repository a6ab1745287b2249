"""Expression on AffectNet-8, supervised, EfficientNet-B0 from scratch (E2a of the paper).

Source:  arXiv 2105.06421, table of AffectNet-8 results.
Expect:  60.34 % with B0, 60.35 % with B2 (published); not run here, the data needs a licence.
Differs: 112 px and AdaBelief with warm-up and cosine as in the authors' supervised script; its gradient centralisation
         is left out, its class weights are capped at 10.
Run:     hmtl prepare affectnet2021 AffectNet --out data/affectnet8 --size 128   (or affectnet2017)
         hmtl train affectnet_supervised   (val: 5 % of train, test: the official validation set)
Try:     --set backbone.name=efficientnet_b2  --set "augment=strong()"  --set image_size=224
         --set batch_size=32 --set accumulate=4     (as many faces a step, for 2 or 4 ranks: docs/ranks.md)
"""

from engine.backbone import Backbone
from engine.optim import AdaBelief
from engine.recipe import Recipe
from engine.tasks import AFFECTNET_8, Expression
from engine.views import Plain
from kernels import weak
from loaders import Packed

recipe = Recipe(
    data=Packed("data/affectnet8"),
    augment=weak(),
    views={"plain": Plain()},
    backbone=Backbone("efficientnet_b0"),
    tasks=(Expression(AFFECTNET_8, on=("plain",), class_weights="balanced", cap=10.0, dropout=0.3),),
    optim=AdaBelief(lr=1e-3, warmup_epochs=5, lookahead=True),
    epochs=100,
    batch_size=128,
    image_size=112,
    evaluation_crop=0.85,
)
