"""What the votes of FER+ teach beyond the class that has most of them: soft and hard labels at equal FLOPs.

Source:  Barsoum et al., ICMI 2016 (arXiv 1608.01041, abstract): learning the majority does worse than learning the
         whole distribution of the votes.
Expect:  Ours: the votes are ahead by 1.9 points of accuracy (+0.4 to +3.5; seeds 0 to 2); docs/results.md.
Differs: a fifth of the training faces; those without a majority are left out of training and test, for both; a small
         ResNet at 48 px for VGG13.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013     (with fer2013new.csv beside the csv)
         hmtl table votes_ferplus
Try:     --set "sampler=Shuffled()" --set "backbone=Backbone('resnet10t')"
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="What do votes teach beyond their majority?",
    table="a statement of arXiv 1608.01041 on the same faces",
    data="FER2013 with FER+ (PrivateTest, faces with a majority), a fifth of train, test_resnet at 48 px",
    seeds=6,
    groups=(
        Group(
            rows=(
                Row("hard labels", "recipes/ferplus_votes.py:hard", baseline=True),
                Row("soft votes", "recipes/ferplus_votes.py"),
            ),
            set=(
                "backbone=Backbone('test_resnet')",
                "optim.warmup_epochs=1",
                "sampler=Fraction(0.2, label='ferplus')",
                "epochs=10",
                "evaluate_every=10",
                "precision=bf16",
            ),
        ),
    ),
)
