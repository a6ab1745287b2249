"""E8 on Pointing'04: rotation pre-training and an auxiliary puzzling head, each alone and together.

Source:  arXiv 2108.04893: the error of head pose falls by up to 23.1 % on AFLW2000 (ResNet-50).
Expect:  No figure is published for these data. For ours see docs/results.md.
Differs: The recipe named in the rows says how; pre-training sees the same pictures, without their labels.
Run:     hmtl prepare pointing04 Pointing04 --out data/pointing04 --size 64
         hmtl table e8_pointing04
Try:     --seeds 1  --set epochs=15  --list
"""

from engine.table import Experiment, Group, Row, Start

experiment = Experiment(
    title="What do rotation pre-training and an auxiliary puzzle give head pose?",
    table="E8: arXiv 2108.04893 on other data",
    data="Pointing'04, people held out, ResNet-10-t",
    metric="pose/mae_yaw_pitch",
    groups=(
        Group(
            rows=(
                Row("pre-training", "recipes/pointing04_turns.py:pretrain", shown=False),
                Row(
                    "supervised, one view", "recipes/pointing04_turns.py:supervised", set=("init=None",), baseline=True
                ),
                Row(
                    "supervised, 2 views",
                    "recipes/pointing04_turns.py:supervised_equal_cost",
                    set=("init=None",),
                    baseline=True,
                ),
                Row("HMTL, puzzling", "recipes/pointing04_turns.py", set=("init=None",)),
                Row("pre-trained, supervised", "recipes/pointing04_turns.py:supervised", start=Start("pre-training")),
                Row("pre-trained, HMTL", "recipes/pointing04_turns.py", start=Start("pre-training")),
            ),
        ),
    ),
)
