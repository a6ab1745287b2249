"""E2 and E3 on a small part of FER2013, for a machine without a GPU: a check of the machinery, no more.

Source:  ours; recipes/e2_fer2013.py with fewer pictures.
Expect:  One standard error on the test split is 0.8 points, so only large differences can be told; see docs/results.md.
Differs: 7 % of the training data for all of it, and 1.4 % for 20 % of it, with longer training there; bf16 on the CPU.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl table e2_fer2013_small --jobs 2
Try:     --seeds 1  --set precision=fp32
"""

from dataclasses import replace

from engine.table import Experiment, Group, Row

common = ("evaluate_every=5", "precision=bf16")
one, two, three = "supervised, one view", "supervised, 2 views", "supervised, 3 views"
rows = (
    Row(one, "recipes/e2_fer2013.py:supervised", baseline=True),
    Row(two, "recipes/e2_fer2013.py:two_views", baseline=True),
    Row("HMTL, puzzling 2 x 2", "recipes/e2_fer2013.py", against=(one, two)),
    Row("HMTL, puzzling 3 x 3", "recipes/e2_fer2013.py:puzzle3", against=(one, two)),
    Row("HMTL, in-painting", "recipes/e2_fer2013.py:inpaint", against=(one, two)),
    Row("HMTL, in-painting-pl", "recipes/e2_fer2013.py:inpaint_pl", against=(one, three)),
)
three_views = Row(three, "recipes/e2_fer2013.py:three_views", baseline=True)

experiment = Experiment(
    title="Does HMTL win, and by more with less data?",
    table="E2 and E3 of arXiv 2105.06421 on other data",
    data="FER2013 (PrivateTest), ResNet-10-t at 48 px",
    groups=(
        Group(
            title="2,010 pictures, 15 epochs",
            rows=(*rows, replace(three_views, set=("epochs=14",))),  # the FLOPs of in-painting-pl
            set=("sampler=Fraction(0.07, label='expression')", "epochs=15", *common),
        ),
        Group(
            title="402 pictures, 40 epochs",
            rows=(*rows, replace(three_views, set=("epochs=38",))),
            set=("sampler=Fraction(0.014, label='expression')", "epochs=40", *common),
        ),
    ),
)
