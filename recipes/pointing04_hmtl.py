"""Head pose on Pointing'04 with the pretext task of puzzling, people held out, beside its two supervised baselines.

Source:  ours; a small stand-in for E6 of the paper, whose 300W-LP and AFLW2000 must be fetched by hand.
Expect:  supervised for 10 epochs: 11.1 degrees on test (MAE of yaw 9.7 and pitch 12.5, one seed), and still falling;
         with 15 epochs at 48 px 12.1 with and without the puzzle; always answering the median is 39.4 degrees off.
Differs: Pointing'04 for 300W-LP and AFLW2000; 15 people, of whom 3 are test and 2 are val (ours), nominal angles in
         steps of 15 degrees, no roll; ResNet-10-t at 64 px for EfficientNet, AdamW, 2 x 2 tiles, regression by L1.
Run:     hmtl prepare pointing04 Pointing04 --out data/pointing04 --size 64
         hmtl train pointing04_hmtl
Try:     --set "tasks.pose=PoseBins(angles=('yaw', 'pitch'), weight=0.02)"
         pointing04_hmtl:supervised     pointing04_hmtl:supervised_equal_cost
"""

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import PoseRegression, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import Packed

recipe = Recipe(
    data=Packed("data/pointing04"),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), brightness=(-0.1, 0.1), scale=(0.85, 1.15), shift=(-0.08, 0.08)),
    views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
    backbone=Backbone("resnet10t"),
    tasks=(
        PoseRegression(angles=("yaw", "pitch"), on=("plain",), weight=0.1, dropout=0.1),
        SolvePuzzle(on=("puzzle",), weight=0.1),
    ),
    optim=AdamW(lr=2e-3, weight_decay=0.05, warmup_epochs=2),
    batch_statistics="per_view_plain",
    epochs=30,
    batch_size=64,
    ema=0.99,
    image_size=64,
    evaluation_crop=1.0,
)

supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
