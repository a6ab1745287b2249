"""Head pose on drawn faces with the pretext task of puzzling: the 6-D rotation, learned on turned pictures.

Source:  ours; the data set is `loaders.Synthetic`, nothing is downloaded.
Expect:  not run to its end yet; always answering the median is 9.4 degrees off on test (yaw 14.6, pitch 7.6, roll 6.2).
Differs: from E6 of the paper in everything but the method: drawn faces, a network small enough for a CPU.
Run:     hmtl train synthetic_pose_hmtl
Try:     --set "tasks.pose=PoseRegression(weight=0.1)" --set "augment.rotation=(0, 0)"
         synthetic_pose_hmtl:supervised     synthetic_pose_hmtl:supervised_equal_cost
"""

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import PoseRotation, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import Synthetic

recipe = Recipe(
    data=Synthetic(train=5000, val=1000, test=1000, size=48),
    augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-20, 20), crop=(0.8, 1.0), shift=(-0.05, 0.05)),
    views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
    backbone=Backbone("test_resnet"),
    tasks=(PoseRotation(on=("plain",), weight=3.0), SolvePuzzle(on=("puzzle",), weight=0.1)),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=1),
    epochs=16,
    batch_size=64,
    image_size=48,
    evaluation_crop=0.9,
    ema=0.99,
)

supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
