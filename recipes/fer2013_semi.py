"""Expression on FER2013 with few labels and many faces: a puzzle first, then labels, then pseudo-labels, in one run.

Source:  ours; the method of arXiv 2105.06421 with unlabelled faces in the pretext stream (S4L, Zhai et al., ICCV 2019),
         a hand-over from pretext to supervised (MixTraining, arXiv 2502.19513), and soft pseudo-labels at the end.
Expect:  47.7 % on test (3 seeds); 42.5 % with the labelled faces alone, at equal FLOPs: recipes/semi_fer2013.py.
Differs: FER2013 for AffectNet, ResNet-10-t at 48 px; the paper has a label for every face and trains all
         heads throughout.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl train fer2013_semi
Try:     --set data.keep=2010     --set data.per_class=20     fer2013_semi:supervised (labels alone, as many FLOPs)
         fer2013_semi:pretrain, :finetune, :fixmatch, :puzzled_fixmatch, :labelled_only
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.losses import AnnealWeight, RampWeight
from engine.optim import AdamW, CosineRestarts
from engine.recipe import Recipe
from engine.tasks import FER2013_7, Expression, FixMatch, PseudoLabels, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import Composed, HideLabels, Packed

ordinary = Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), scale=(0.8, 1.05), shift=(-0.1, 0.1))
gentle = Augment(flip=0.5, scale=(0.9, 1.0), shift=(-0.05, 0.05))
strong = Augment(
    flip=0.5,
    contrast=(0.4, 1.6),
    brightness=(-0.2, 0.2),
    rotation=(-30, 30),
    scale=(0.7, 1.1),
    shift=(-0.15, 0.15),
    cut=0.4,
)
plain = Plain(of="labelled", augment=strong)
puzzle = Puzzle(grid=2, of="unlabelled")
expression = Expression(FER2013_7, on=("plain",), label_smoothing=0.1, dropout=0.3)

recipe = Recipe(
    data=HideLabels(Packed("data/fer2013"), keep=402),
    sampler=Composed(labelled=64, unlabelled=64, label="expression"),
    batch_size=128,
    augment=ordinary,
    views={
        "plain": plain,
        "puzzle": puzzle,
        "weak": Plain(of="unlabelled", fresh=True, augment=gentle),
        "strong": Plain(of="unlabelled", fresh=True, augment=strong),
    },
    backbone=Backbone("resnet10t"),
    tasks=(
        replace(expression, weight=RampWeight(1.0, start=0.35, end=0.35)),
        SolvePuzzle(weight=AnnealWeight(1.0, hold=0.35, end=0.35)),
        PseudoLabels(weight=RampWeight(1.0, start=0.7, end=0.7)),
    ),
    optim=AdamW(lr=4e-3, weight_decay=0.05, schedule=CosineRestarts(at=(0.35,))),
    batch_statistics="per_view",
    epochs=5,
    ema=0.995,
    image_size=48,
    evaluation_crop=1.0,
)

supervised = replace(
    recipe,
    augment=strong,
    views={"plain": Plain(of="labelled")},
    tasks=(expression,),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=1),
    epochs=7,
)
pretrain = replace(supervised, augment=ordinary, views={"puzzle": puzzle}, tasks=(SolvePuzzle(),), epochs=3)
finetune = replace(supervised, init="runs/fer2013_semi-pretrain", epochs=4)
labelled_only = replace(
    supervised,
    sampler=Composed(labelled=32, unlabelled=64, label="expression"),
    batch_size=96,
    augment=ordinary,
    views={"plain": plain, "puzzle": Puzzle(grid=2, of="labelled")},
    tasks=(expression, SolvePuzzle(weight=0.3)),
    epochs=7,
)
unlabelled_stream = replace(
    supervised,
    augment=ordinary,
    sampler=Composed(labelled=27, unlabelled=36, label="expression"),
    batch_size=63,
    views={"plain": plain, "puzzle": puzzle},
    tasks=(expression, SolvePuzzle(weight=0.3)),
    epochs=4,
)
fixmatch = replace(
    supervised,
    views={**supervised.views, "weak": recipe.views["weak"], "strong": recipe.views["strong"]},
    tasks=(expression, FixMatch()),
    epochs=3,
)
puzzled_fixmatch = replace(recipe, tasks=(*recipe.tasks[:2], FixMatch(weight=RampWeight(1.0, start=0.7, end=0.7))))
