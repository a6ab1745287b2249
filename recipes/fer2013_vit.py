"""Expression on a fifth of FER2013 by a small vision transformer, which also learns masked patches and distances.

Source:  ours; masked patches beside supervision are SSAT (Das et al., 2024), distances are DrLoc (Liu et al., 2021).
Expect:  No published figure. Rows of equal FLOPs: recipes/vit_fer2013.py.
Differs: FER2013 at 48 px, 5,742 training faces; a transformer of width 128 and depth 6 on 8 x 8 patches, without class
         token. Both pretext tasks see the labelled faces alone; weights are constant.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl train fer2013_vit
Try:     fer2013_vit:masked     :positions     :supervised (as many FLOPs)     :convolutional (ResNet-10-t)
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import FER2013_7, Expression, MaskedPatches, RelativePositions
from engine.views import Masked, PlacePairs, Plain
from kernels import Augment
from loaders import Fraction, Packed

transformer = {
    "img_size": 48,
    "patch_size": 6,
    "embed_dim": 128,
    "depth": 6,
    "num_heads": 4,
    "class_token": False,
    "global_pool": "avg",
    "fc_norm": False,
}
expression = Expression(FER2013_7, label_smoothing=0.1, dropout=0.1)
patches, distances = MaskedPatches(weight=9.0), RelativePositions(weight=0.5, width=128)

recipe = Recipe(
    data=Packed("data/fer2013"),
    sampler=Fraction(0.2, label="expression"),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), scale=(0.8, 1.05), shift=(-0.1, 0.1)),
    views={"plain": PlacePairs(), "masked": Masked(grid=8)},
    backbone=Backbone("vit_tiny_patch16_224", options=transformer),
    tasks=(expression, patches, distances),
    optim=AdamW(lr=1e-3, weight_decay=0.05, warmup_epochs=2),
    epochs=23,
    batch_size=64,
    ema=0.995,
    image_size=48,
    evaluation_crop=1.0,
)

masked = replace(recipe, views={"plain": Plain(), "masked": Masked(grid=8)}, tasks=(expression, patches), epochs=24)
positions = replace(recipe, views={"plain": PlacePairs()}, tasks=(expression, distances), epochs=31)
supervised = replace(recipe, views={"plain": Plain()}, tasks=(expression,), epochs=32)
convolutional = replace(supervised, backbone=Backbone("resnet10t"), optim=replace(recipe.optim, lr=4e-3), epochs=46)
