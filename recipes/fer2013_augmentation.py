"""Expression on FER2013, supervised: {none, weak, strong} augmentation x {scratch, ImageNet}, the twin of E1.

Source:  ours; a stand-in for E1 of the paper (arXiv 2105.06421, abstract), whose AffectNet needs a licence.
Expect:  Not run yet. The question is whether the lead of ImageNet's weights shrinks from none to strong.
Differs: FER2013 for AffectNet-8, ResNet-10-t at 48 px for EfficientNet-B0 at 224 px, AdamW for AdaBelief. The levels
         are the paper's; their central crop of 0.69 suits faces with a margin, FER2013's are cut close: so evaluation
         shows 0.85 of the side, as the authors' does.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl train fer2013_augmentation:none     (and weak, strong)
         hmtl train fer2013_augmentation:none_imagenet     (and weak_, strong_; these need a local
         file of timm's weights of resnet10t at weights/resnet10t.safetensors, nothing is fetched)
Try:     --set sampler="Fraction(0.2, label='expression')" --set epochs=20     --set evaluation_crop=1.0
"""

from dataclasses import replace

import kernels
from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import FER2013_7, Expression
from engine.views import Plain
from loaders import Packed

WEIGHTS = "weights/resnet10t.safetensors"

weak = Recipe(
    data=Packed("data/fer2013"),
    augment=kernels.weak(),
    views={"plain": Plain()},
    backbone=Backbone("resnet10t"),
    tasks=(Expression(FER2013_7, on=("plain",), label_smoothing=0.1, dropout=0.3),),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=4),
    epochs=40,
    batch_size=64,
    ema=0.995,
    image_size=48,
    evaluation_crop=0.85,
)
none = replace(weak, augment=kernels.none())
strong = replace(weak, augment=kernels.strong())
none_imagenet = replace(none, init=WEIGHTS)
weak_imagenet = replace(weak, init=WEIGHTS)
strong_imagenet = replace(strong, init=WEIGHTS)
recipe = weak
