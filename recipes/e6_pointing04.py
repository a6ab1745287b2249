"""E6 on Pointing'04: does puzzling lower the error of head pose on people that were not trained on?

Source:  arXiv 2105.06421 (version 2, abstract): with HMTL the error of head pose falls by 11 %.
Expect:  No figure is published for these data. For ours see docs/results.md.
Differs: Pointing'04, 3 of its 15 people held out as test, yaw and pitch only, ResNet-10-t at 64 px.
Run:     hmtl prepare pointing04 Pointing04 --out data/pointing04 --size 64
         hmtl table e6_pointing04
Try:     --set epochs=15 --set image_size=48 --set evaluate_every=5 --set precision=bf16
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="Does HMTL lower the error of head pose?",
    table="E6 of arXiv 2105.06421 on other data",
    data="Pointing'04, people held out, ResNet-10-t",
    metric="pose/mae_yaw_pitch",
    groups=(
        Group(
            rows=(
                Row("supervised, one view", "recipes/pointing04_hmtl.py:supervised", baseline=True),
                Row("supervised, 2 views", "recipes/pointing04_hmtl.py:supervised_equal_cost", baseline=True),
                Row("HMTL, puzzling 2 x 2", "recipes/pointing04_hmtl.py"),
            ),
        ),
    ),
)
