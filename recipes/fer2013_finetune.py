"""Expression on FER2013, fine-tuned from an encoder that was pre-trained by puzzling: the second half of E4.

Source:  ours; the paper's statement that HMTL is better than pre-training and fine-tuning (arXiv 2105.06421, abstract).
Expect:  with 2,010 pictures and 15 epochs 50.7 % on test (3 seeds), where recipes/fer2013_hmtl.py has 48.1 %.
Differs: The paper does not say how it fine-tuned. Here the whole encoder is trained on, with a new head and the
         settings of recipes/fer2013_hmtl.py. Budget: 40 epochs of one view there and 40 here are the 40 epochs of two
         views of recipes/fer2013_hmtl.py in pictures through the encoder.
Run:     hmtl train fer2013_pretrain     (leaves runs/fer2013_pretrain)
         hmtl train fer2013_finetune
Try:     --set optim.lr=1e-3     --set init=runs/fer2013_pretrain/checkpoints/best
         --set sampler="Fraction(0.2, label='expression')" --set epochs=20     (20 % of the labelled data)
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
    init="runs/fer2013_pretrain",
    tasks=(Expression(FER2013_7, on=("plain",), label_smoothing=0.1, dropout=0.3),),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=4),
    epochs=40,
    batch_size=64,
    ema=0.995,
    image_size=48,
    evaluation_crop=1.0,
)
