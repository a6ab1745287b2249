"""E5 on FER2013: what a linear and a non-linear head make of frozen features.

Source:  arXiv 2105.06421, frozen HMTL puzzling features on CK+ and FER2013 (98.23 % on CK+ with a non-linear head).
Expect:  No published figure for FER2013. For ours see docs/results.md.
Differs: The features are of encoders trained on FER2013 itself; in the paper on AffectNet-8.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl table e5_fer2013
Try:     --set "sampler=Fraction(0.07, label='expression')" --set epochs=15 --set evaluate_every=5 --set precision=bf16
"""

from engine.table import Experiment, Group, Row, Start

experiment = Experiment(
    title="Whose features are better when they are frozen?",
    table="E5 of arXiv 2105.06421 on other data",
    data="FER2013 (PrivateTest), ResNet-10-t at 48 px",
    groups=(
        Group(
            rows=(
                Row("encoder: supervised, 2 views", "recipes/fer2013_hmtl.py:supervised_equal_cost", shown=False),
                Row("encoder: puzzling alone", "recipes/fer2013_pretrain.py", shown=False),
                Row("encoder: HMTL", "recipes/fer2013_hmtl.py", shown=False),
                Row("random, linear", "recipes/fer2013_frozen.py:linear", set=("init=None",), baseline=True),
                Row(
                    "supervised, 2 views, linear",
                    "recipes/fer2013_frozen.py:linear",
                    baseline=True,
                    start=Start("encoder: supervised, 2 views"),
                ),
                Row("puzzling, linear", "recipes/fer2013_frozen.py:linear", start=Start("encoder: puzzling alone")),
                Row("HMTL, linear", "recipes/fer2013_frozen.py:linear", start=Start("encoder: HMTL")),
                Row("HMTL, non-linear", "recipes/fer2013_frozen.py:nonlinear", start=Start("encoder: HMTL")),
            ),
        ),
    ),
)
