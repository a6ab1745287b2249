"""Expression on FER2013 from frozen features of an HMTL encoder, with a linear and a non-linear head (E5 of the paper).

Source:  arXiv 2105.06421, evaluation of frozen HMTL puzzling features on CK+ and FER2013.
Expect:  no figure for FER2013 is listed; 98.23 % is listed for CK+ (recipes/ckplus_frozen.py). Not run yet.
Differs: The paper's encoder is EfficientNet-B0 trained on AffectNet-8, so its features never saw FER2013; here it is
         the encoder of recipes/fer2013_hmtl.py, which did: give AffectNet's by --set init=... and its backbone. The
         size of the non-linear head (512) and all settings are ours.
Run:     hmtl train fer2013_hmtl     (leaves runs/fer2013_hmtl)
         hmtl train fer2013_frozen     (the non-linear head)
Try:     fer2013_frozen:linear
         --set init=runs/fer2013_pretrain     (features of a pretext task alone)     --set init=None     (random ones)
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import FER2013_7, Expression
from engine.views import Plain
from kernels import Augment
from loaders import Packed

nonlinear = Recipe(
    data=Packed("data/fer2013"),
    augment=Augment(),
    views={"plain": Plain()},
    backbone=Backbone("resnet10t"),
    init="runs/fer2013_hmtl",
    frozen_encoder=True,
    tasks=(Expression(FER2013_7, on=("plain",), hidden=512, dropout=0.3),),
    optim=AdamW(lr=1e-3, weight_decay=0.05, warmup_epochs=1),
    epochs=20,
    batch_size=64,
    image_size=48,
    evaluation_crop=1.0,
)
linear = replace(nonlinear, tasks=(Expression(FER2013_7, on=("plain",), dropout=0.0),))
recipe = nonlinear
