"""Expression on FER2013 with the pretext task of puzzling, beside its two supervised baselines.

Source:  ours; a small-picture stand-in for E2b of the paper, whose AffectNet needs a licence.
Expect:  with 20 % of the data (see Try) val accuracy 56.4 %, one seed; chance is 14.3 %. Not run on all data yet.
Differs: FER2013 for AffectNet-8, ResNet-10-t at 48 px for EfficientNet at 224 px, AdamW for AdaBelief, 2 x 2 tiles, and
         the supervised head looks at the plain view only (in the authors' first script at the puzzled one only).
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl train fer2013_hmtl
Try:     --set sampler="Fraction(0.2, label='expression')" --set epochs=20     (20 % of the training data)
         fer2013_hmtl:supervised_equal_cost     (two plain views)
         fer2013_hmtl:one_stream                (the paper's: every face puzzled, both heads on that view)
         fer2013_hmtl:shared_stream             (one view, three faces in ten puzzled, the others whole)
         fer2013_hmtl:map_heads                 (the puzzle is solved on a branch of the feature map)
         fer2013_hmtl:second_repository         (the authors': that in one stream, sqrt(tiles * supervised))
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.losses import WeightedGeometric
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import FER2013_7, Expression, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import Packed

recipe = Recipe(
    data=Packed("data/fer2013"),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), scale=(0.8, 1.05), shift=(-0.1, 0.1)),
    views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
    backbone=Backbone("resnet10t"),
    tasks=(
        Expression(FER2013_7, on=("plain",), label_smoothing=0.1, dropout=0.3),
        SolvePuzzle(on=("puzzle",), weight=0.3),
    ),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=4),
    batch_statistics="per_view_plain",
    epochs=40,
    batch_size=64,
    ema=0.995,
    image_size=48,
    evaluation_crop=1.0,
)

one_stream = replace(
    recipe,
    views={"puzzle": Puzzle(grid=2)},
    tasks=(replace(recipe.tasks[0], on=("puzzle",)), recipe.tasks[1]),
    batch_statistics="joint",
)
shared_stream = replace(one_stream, views={"puzzle": Puzzle(grid=2, samples=0.3)})
map_heads = replace(recipe, tasks=(recipe.tasks[0], SolvePuzzle(weight=0.3, head="map")))
second_repository = replace(
    one_stream, tasks=(one_stream.tasks[0], SolvePuzzle(head="map", join_tiles="mean")), total=WeightedGeometric()
)
supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
