"""E1 on FER2013: is training from scratch as good as from ImageNet's weights where augmentation is strong?

Source:  arXiv 2105.06421 (abstract): from scratch is at least as good at stronger augmentation; no figures are given.
Expect:  Rows from ImageNet print 'not run: no weights' until the file that their recipe names is there.
Differs: FER2013 for AffectNet-8, ResNet-10-t at 48 px for EfficientNet-B0 at 224 px.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl table e1_fer2013
Try:     --set "sampler=Fraction(0.07, label='expression')" --set epochs=15 --set evaluate_every=5 --set precision=bf16
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="From scratch or from ImageNet, at three levels of augmentation?",
    table="E1 of arXiv 2105.06421 on other data",
    data="FER2013 (PrivateTest), ResNet-10-t at 48 px",
    groups=tuple(
        Group(
            title=f"{level} augmentation",
            rows=(
                Row("from scratch", f"recipes/fer2013_augmentation.py:{level}", baseline=True),
                Row("from ImageNet", f"recipes/fer2013_augmentation.py:{level}_imagenet"),
            ),
        )
        for level in ("none", "weak", "strong")
    ),
)
