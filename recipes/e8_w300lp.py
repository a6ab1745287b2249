"""E8 on 300W-LP and AFLW2000: rotation pre-training and an auxiliary puzzling head, each alone and together.

Source:  arXiv 2108.04893: the error of head pose falls by up to 23.1 % on AFLW2000 (ResNet-50).
Expect:  Those differences; not run here: the data must be fetched by hand.
Differs: The recipe named in the rows says how; pre-training sees the same pictures, without their labels.
Run:     hmtl prepare 300wlp 300W_LP --out data/w300lp --size 128
         hmtl prepare aflw2000 AFLW2000 --out data/aflw2000 --size 128
         hmtl table e8_w300lp
Try:     --seeds 1  --set epochs=15  --list
"""

from engine.table import Experiment, Group, Row, Start

experiment = Experiment(
    title="What do rotation pre-training and an auxiliary puzzle give head pose?",
    table="E8: arXiv 2108.04893",
    data="AFLW2000, trained on 300W-LP, ResNet-50",
    metric="pose/mae_yaw_pitch_roll",
    groups=(
        Group(
            rows=(
                Row("pre-training", "recipes/w300lp_turns.py:pretrain", shown=False),
                Row("supervised, one view", "recipes/w300lp_turns.py:supervised", set=("init=None",), baseline=True),
                Row(
                    "supervised, 2 views",
                    "recipes/w300lp_turns.py:supervised_equal_cost",
                    set=("init=None",),
                    baseline=True,
                ),
                Row("HMTL, puzzling", "recipes/w300lp_turns.py", set=("init=None",)),
                Row("pre-trained, supervised", "recipes/w300lp_turns.py:supervised", start=Start("pre-training")),
                Row("pre-trained, HMTL", "recipes/w300lp_turns.py", start=Start("pre-training")),
            ),
        ),
    ),
)
