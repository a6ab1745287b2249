"""E4 on FER2013: pre-training by puzzling and then fine-tuning, against puzzling along the way, at equal budget.

Source:  ours; the statement of arXiv 2105.06421 (abstract) that HMTL is better than pre-training and fine-tuning.
Expect:  No published figure. For ours see docs/results.md.
Differs: FER2013 for AffectNet-8, ResNet-10-t at 48 px. Pre-training sees the pictures that the rest is trained on, and
         no others; one view for as many epochs there and in fine-tuning costs what two views cost in HMTL.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl table e4_fer2013
Try:     --set "sampler=Fraction(0.07, label='expression')" --set epochs=15 --set evaluate_every=5 --set precision=bf16
"""

from engine.table import Experiment, Group, Row, Start

experiment = Experiment(
    title="Is hybrid training better than pre-training and fine-tuning at the same cost?",
    table="E4 of arXiv 2105.06421 on other data",
    data="FER2013 (PrivateTest), ResNet-10-t at 48 px",
    groups=(
        Group(
            rows=(
                Row("supervised, one view", "recipes/fer2013_hmtl.py:supervised", baseline=True),
                Row("supervised, 2 views", "recipes/fer2013_hmtl.py:supervised_equal_cost", baseline=True),
                Row("pre-training", "recipes/fer2013_pretrain.py", shown=False),
                Row("pre-trained, fine-tuned", "recipes/fer2013_finetune.py", start=Start("pre-training")),
                Row(
                    "HMTL, puzzling 2 x 2",
                    "recipes/fer2013_hmtl.py",
                    against=("supervised, one view", "supervised, 2 views", "pre-trained, fine-tuned"),
                ),
            ),
        ),
    ),
)
