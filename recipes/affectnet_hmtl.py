"""Expression on AffectNet-8 with the pretext task of puzzling, EfficientNet-B0 from scratch (E2b of the paper).

Source:  arXiv 2105.06421, table of AffectNet-8 results.
Expect:  61.09 % with B0, 61.32 % with B2 (published); not run here, the data needs a licence.
Differs: The supervised head looks at the plain and the puzzled view, of which the paper does not say; 112 px with
         AdaBelief and Lookahead, warm-up 3 and cosine as in the authors' multi-size script, but one puzzled size; class
         weights are capped at 10.
Run:     hmtl prepare affectnet2021 AffectNet --out data/affectnet8 --size 128   (or affectnet2017)
         hmtl train affectnet_hmtl   (val: 5 % of train, test: the official validation set)
Try:     --set views.puzzle.grid=2  --set tasks.expression.join=geometric  --set batch_statistics=per_view
         --set batch_size=32 --set accumulate=4     (as many faces a step, for 2 or 4 ranks: docs/ranks.md)
"""

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdaBelief
from engine.recipe import Recipe
from engine.tasks import AFFECTNET_8, Expression, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import weak
from loaders import Packed

recipe = Recipe(
    data=Packed("data/affectnet8"),
    augment=weak(),
    views={"plain": Plain(), "puzzle": Puzzle(grid=3)},
    backbone=Backbone("efficientnet_b0"),
    tasks=(
        Expression(AFFECTNET_8, on=("plain", "puzzle"), class_weights="balanced", cap=10.0, dropout=0.3),
        SolvePuzzle(on=("puzzle",), weight=0.3, dropout=0.3),
    ),
    optim=AdaBelief(lr=1e-3, warmup_epochs=3, lookahead=True),
    epochs=200,
    batch_size=128,
    image_size=112,
    evaluation_crop=0.85,
)

supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
