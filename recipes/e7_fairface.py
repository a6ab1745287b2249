"""E7 on FairFace: does puzzling lower the error of gender, and for whom?

Source:  arXiv 2105.06421 (version 2, abstract): with HMTL the error of gender falls by 1 %.
Expect:  No figure is published for these data. For ours see docs/results.md.
Differs: FairFace at 64 px with ResNet-10-t; the paper names neither data set nor network.
Run:     hmtl prepare fairface FairFace --out data/fairface --size 64
         hmtl table e7_fairface
Try:     --set "sampler=Fraction(0.43, label='gender')" --set epochs=15 --set image_size=48 --set evaluate_every=5
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="Does HMTL lower the error of gender?",
    table="E7 of arXiv 2105.06421 on other data",
    data="FairFace (its validation set), ResNet-10-t",
    metric="gender/error_rate",
    groups=(
        Group(
            rows=(
                Row("supervised, one view", "recipes/fairface_hmtl.py:supervised", baseline=True),
                Row("supervised, 2 views", "recipes/fairface_hmtl.py:supervised_equal_cost", baseline=True),
                Row("HMTL, puzzling 2 x 2", "recipes/fairface_hmtl.py"),
            ),
        ),
    ),
)
