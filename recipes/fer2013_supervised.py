"""Expression on FER2013, supervised, with one plain view: the first baseline of recipes/fer2013_hmtl.py.

Source:  ours; a small-picture stand-in for E2a of the paper, whose AffectNet needs a licence.
Expect:  with 20 % of the data (see Try) val accuracy 55.6 %, one seed; chance is 14.3 %. Not run on all data yet.
Differs: FER2013 for AffectNet-8, ResNet-10-t at 48 px for EfficientNet at 224 px, AdamW for AdaBelief.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl train fer2013_supervised
Try:     --set sampler="Fraction(0.2, label='expression')" --set epochs=20     (20 % of the training data)
"""

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import FER2013_7, Expression
from engine.views import Plain
from kernels import Augment
from loaders import Packed

recipe = Recipe(
    data=Packed("data/fer2013"),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), scale=(0.8, 1.05), shift=(-0.1, 0.1)),
    views={"plain": Plain()},
    backbone=Backbone("resnet10t"),
    tasks=(Expression(FER2013_7, on=("plain",), label_smoothing=0.1, dropout=0.3),),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=4),
    epochs=40,
    batch_size=64,
    ema=0.995,
    image_size=48,
    evaluation_crop=1.0,
)
