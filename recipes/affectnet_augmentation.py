"""Expression on AffectNet-8, supervised: {none, weak, strong} augmentation x {scratch, ImageNet} (E1 of the paper).

Source:  arXiv 2105.06421, abstract: with stronger augmentation, training from scratch is at least as good.
Expect:  no figures found; the question is whether ImageNet's lead shrinks from none to strong. Not run here, the data
         needs a licence.
Differs: 112 px, AdaBelief with warm-up and cosine as in the authors' supervised script; class weights capped at 10.
Run:     hmtl prepare affectnet2021 AffectNet --out data/affectnet8 --size 168   (or affectnet2017)
         hmtl train affectnet_augmentation:none     (and weak, strong)
         hmtl train affectnet_augmentation:none_imagenet     (and weak_, strong_; these need a
         local file of timm's weights of efficientnet_b0 at weights/efficientnet_b0.safetensors, nothing is fetched)
Try:     --set image_size=224     --set seed=1     --set init=weights/another_file.safetensors
         --set batch_size=32 --set accumulate=4     (as many faces a step, for 2 or 4 ranks: docs/ranks.md)
"""

from dataclasses import replace

import kernels
from engine.backbone import Backbone
from engine.optim import AdaBelief
from engine.recipe import Recipe
from engine.tasks import AFFECTNET_8, Expression
from engine.views import Plain
from loaders import Packed

WEIGHTS = "weights/efficientnet_b0.safetensors"

weak = Recipe(
    data=Packed("data/affectnet8"),
    augment=kernels.weak(),
    views={"plain": Plain()},
    backbone=Backbone("efficientnet_b0"),
    tasks=(Expression(AFFECTNET_8, on=("plain",), class_weights="balanced", cap=10.0, dropout=0.3),),
    optim=AdaBelief(lr=1e-3, warmup_epochs=5, lookahead=True),
    epochs=100,
    batch_size=128,
    image_size=112,
    evaluation_crop=0.85,
)
none = replace(weak, augment=kernels.none())
strong = replace(weak, augment=kernels.strong())
none_imagenet = replace(none, init=WEIGHTS)
weak_imagenet = replace(weak, init=WEIGHTS)
strong_imagenet = replace(strong, init=WEIGHTS)
recipe = weak
