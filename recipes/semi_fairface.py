"""What faces without labels are worth on FairFace's gender: supervised, fine-tuned and hybrid at equal FLOPs.

Source:  ours; `recipes/semi_fer2013.py` on other faces with another label.
Expect:  No published figure. Ours: the error of the hybrid is 5.0 points below that of labels alone (3 seeds).
Differs: FairFace with the gender of all but 500 of 4,250 training faces hidden, ResNet-10-t at 48 px.
Run:     hmtl prepare fairface FairFace --out data/fairface --size 48 --val-share 0.15
         hmtl table semi_fairface --seeds 3 --jobs 2
Try:     --set data.keep=100
"""

from engine.table import Experiment, Group, Row, Start

file = "recipes/fairface_semi.py"

experiment = Experiment(
    title="What are faces without labels worth for gender, at equal FLOPs?",
    table="no published one: a question of ours",
    data="FairFace (its validation set), ResNet-10-t at 48 px",
    metric="gender/error_rate",
    groups=(
        Group(
            title="500 labels",
            set=("precision=bf16",),
            rows=(
                Row("supervised", f"{file}:supervised", baseline=True),
                Row("pre-training", f"{file}:pretrain", shown=False),
                Row(
                    "pre-trained by puzzling, fine-tuned",
                    f"{file}:finetune",
                    start=Start("pre-training"),
                    baseline=True,
                ),
                Row("hybrid: puzzle, labels, pseudo-labels", file),
            ),
        ),
    ),
)
