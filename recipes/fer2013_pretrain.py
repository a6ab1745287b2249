"""Self-supervised pre-training on FER2013 by puzzling alone: the first half of E4 of the paper.

Source:  ours; the paper's statement that HMTL is better than pre-training and fine-tuning (arXiv 2105.06421, abstract).
Expect:  tile accuracy above the chance of 25 %; what it is worth is told by recipes/fer2013_finetune.py.
Differs: The paper does not say how its pre-training was done. Here it is the pretext task of recipes/fer2013_hmtl.py
         with the network, augmentation and optimiser of that recipe; the weight per tile is 1, nothing competes.
         With the fine-tuning as many pictures pass through the encoder as in recipes/fer2013_hmtl.py.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl train fer2013_pretrain
Try:     --set sampler="Fraction(0.2, label='expression')" --set epochs=20     (20 % of the training data)
"""

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import SolvePuzzle
from engine.views import Puzzle
from kernels import Augment
from loaders import Packed

recipe = Recipe(
    data=Packed("data/fer2013"),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), scale=(0.8, 1.05), shift=(-0.1, 0.1)),
    views={"puzzle": Puzzle(grid=2)},
    backbone=Backbone("resnet10t"),
    tasks=(SolvePuzzle(on=("puzzle",), weight=1.0),),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=4),
    epochs=40,
    batch_size=64,
    ema=0.995,
    image_size=48,
    evaluation_crop=1.0,
)
