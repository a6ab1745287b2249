"""E3 and E4 on small parts of FER2013, trained five and three times as long: until the puzzle is learned.

Source:  ours; recipes/e2_fer2013_small.py and recipes/e4_fer2013.py with longer schedules.
Expect:  Puzzling is ahead of one view and, by a point with an interval that holds 0, of two; see docs/results.md.
Differs: 1.4 % and 7 % of the training data, ResNet-10-t at 48 px; bf16 on the CPU. Pre-training sees the pictures that
         the rest is trained on, and no others.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl table e3_fer2013_long --jobs 2
Try:     --seeds 5
"""

from dataclasses import replace

from engine.table import Experiment, Group, Row, Start

common = ("evaluate_every=20", "precision=bf16")
one, two, tuned = "supervised, one view", "supervised, 2 views", "pre-trained, fine-tuned"
supervised = (
    Row(one, "recipes/fer2013_hmtl.py:supervised", baseline=True),
    Row(two, "recipes/fer2013_hmtl.py:supervised_equal_cost", baseline=True),
)
hybrid = Row("HMTL, puzzling 2 x 2", "recipes/fer2013_hmtl.py", against=(one, two))

experiment = Experiment(
    title="Does HMTL win when the puzzle has time to be learned, and by more with less data?",
    table="E3 and E4 of arXiv 2105.06421 on other data",
    data="FER2013 (PrivateTest), ResNet-10-t at 48 px",
    groups=(
        Group(
            title="402 pictures, 200 epochs",
            rows=(
                *supervised,
                replace(hybrid, against=(one, two, tuned)),
                Row("pre-training", "recipes/fer2013_pretrain.py", shown=False),
                Row(tuned, "recipes/fer2013_finetune.py", start=Start("pre-training")),
            ),
            set=("sampler=Fraction(0.014, label='expression')", "epochs=200", *common),
        ),
        Group(
            title="2,010 pictures, 45 epochs",
            rows=(*supervised, hybrid),
            set=("sampler=Fraction(0.07, label='expression')", "epochs=45", *common),
        ),
    ),
)
