"""Head pose trained on 300W-LP and tested on AFLW2000, with the pretext task of puzzling (E6 of the paper).

Source:  arXiv 2105.06421v2, abstract: the error is reduced by 11 % against the supervised baseline.
Expect:  no figures found for the paper's own; Hopenet, whose bins this is, has 6.2 degrees (Ruiz et al., CVPRW 2018).
         Not run here: the data must be fetched by hand.
Differs: ours: the head, batch, schedule and augmentation, of which neither abstract nor code tells; 112 px, and epochs
         are chosen on 5 % of 300W-LP's originals, all their views together.
Run:     hmtl prepare 300wlp 300W_LP --out data/w300lp --size 128
         hmtl prepare aflw2000 AFLW2000 --out data/aflw2000 --size 128
         hmtl train w300lp_hmtl
Try:     --set "tasks.pose=PoseRotation(weight=3.0)" --set "augment.rotation=(-20, 20)"
         w300lp_hmtl:supervised     w300lp_hmtl:supervised_equal_cost
"""

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdaBelief
from engine.recipe import Recipe
from engine.tasks import PoseBins, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import Packed, WithTest

recipe = Recipe(
    data=WithTest(Packed("data/w300lp"), test=Packed("data/aflw2000")),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), crop=(0.75, 1.0), shift=(-0.05, 0.05)),
    views={"plain": Plain(), "puzzle": Puzzle(grid=3)},
    backbone=Backbone("efficientnet_b0"),
    tasks=(
        PoseBins(on=("plain",), weight=0.05, dropout=0.1),
        SolvePuzzle(on=("puzzle",), weight=0.3, dropout=0.3),
    ),
    optim=AdaBelief(lr=1e-3, warmup_epochs=3, lookahead=True),
    epochs=25,
    batch_size=128,
    image_size=112,
    evaluation_crop=0.9,
)

supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
