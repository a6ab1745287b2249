"""E2 and E3 of the paper: expression on AffectNet-8, all of the training data and 20 % of it.

Source:  arXiv 2105.06421, table of AffectNet-8 results (B0 and B2, from scratch).
Expect:  The published column: in-painting-pl 61.72 % against 60.34 % supervised; 55.36 against 52.46 % with 20 %.
Differs: The recipes named in the rows say how; supervised rows train as long as the others (affectnet_supervised.py has
         the authors' shorter schedule), and rows of equal cost are added.
Run:     hmtl prepare affectnet2021 AffectNet --out data/affectnet8 --size 128   (or affectnet2017)
         hmtl table e2_affectnet   (each row once for each seed: days on one GPU; see --list)
Try:     --seeds 1  --set epochs=50  --list
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="Does hybrid multi-task learning beat supervised learning, and by more with less data?",
    table="E2a, E2b, E2c and E3 of arXiv 2105.06421",
    data="AffectNet-8, official validation set",
    published_on="AffectNet-8, EfficientNet-B0 and -B2",
    groups=(
        Group(
            title="all training data, B0",
            rows=(
                Row("supervised", "recipes/affectnet_hmtl.py:supervised", published=60.34, baseline=True),
                Row("supervised, 2 views", "recipes/affectnet_hmtl.py:supervised_equal_cost", baseline=True),
                Row("puzzling", "recipes/affectnet_hmtl.py", published=61.09),
                Row("in-painting", "recipes/affectnet_inpaint.py:pixels"),
                Row("in-painting-pl", "recipes/affectnet_inpaint.py", published=61.72),
            ),
        ),
        Group(
            title="all training data, B2",
            set=("backbone.name=efficientnet_b2",),
            rows=(
                Row("supervised", "recipes/affectnet_hmtl.py:supervised", published=60.35, baseline=True),
                Row("supervised, 2 views", "recipes/affectnet_hmtl.py:supervised_equal_cost", baseline=True),
                Row("puzzling", "recipes/affectnet_hmtl.py", published=61.32),
            ),
        ),
        Group(
            title="20 % of the training data, B0",
            set=("sampler=Fraction(0.2, label='expression')",),
            rows=(
                Row("supervised", "recipes/affectnet_inpaint.py:supervised", published=52.46, baseline=True),
                Row("supervised, 3 views", "recipes/affectnet_inpaint.py:supervised_equal_cost", baseline=True),
                Row("in-painting-pl", "recipes/affectnet_inpaint.py", published=55.36),
            ),
        ),
    ),
)
