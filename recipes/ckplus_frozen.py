"""Expression on CK+48 from frozen features of an HMTL encoder, with a linear and a non-linear head (E5 of the paper).

Source:  arXiv 2105.06421, evaluation of frozen HMTL puzzling features on CK+ with 7 classes.
Expect:  98.23 % with the non-linear head (published); not run here, the data needs a licence.
Differs: The paper's encoder is EfficientNet-B0 trained on AffectNet-8 at 224 px; here it is the encoder of
         recipes/fer2013_hmtl.py at 48 px. The listing does not tell how the people were split: here no person of the
         test split is in train, which is harder than a split by picture. The size of the head (512) is ours.
Run:     hmtl prepare ckplus48 CK+48 --out data/ckplus48
         hmtl train fer2013_hmtl     (leaves runs/fer2013_hmtl)
         hmtl train ckplus_frozen
Try:     ckplus_frozen:linear     --set init=runs/affectnet_hmtl --set backbone.name=efficientnet_b0
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import CKPLUS48_7, Expression
from engine.views import Plain
from kernels import Augment
from loaders import Packed

nonlinear = Recipe(
    data=Packed("data/ckplus48"),
    augment=Augment(flip=0.5),
    views={"plain": Plain()},
    backbone=Backbone("resnet10t"),
    init="runs/fer2013_hmtl",
    frozen_encoder=True,
    tasks=(Expression(CKPLUS48_7, on=("plain",), hidden=512, dropout=0.3),),
    optim=AdamW(lr=1e-3, weight_decay=0.05, warmup_epochs=2),
    epochs=60,
    batch_size=64,
    image_size=48,
    evaluation_crop=1.0,
)
linear = replace(nonlinear, tasks=(Expression(CKPLUS48_7, on=("plain",), dropout=0.0),))
recipe = nonlinear
