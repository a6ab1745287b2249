"""E1 on AffectNet-8: is training from scratch as good as from ImageNet's weights where augmentation is strong?

Source:  arXiv 2105.06421 (abstract): from scratch is at least as good at stronger augmentation; no figures are given.
Expect:  Rows from ImageNet print 'not run: no weights' until the file that their recipe names is there.
Differs: The recipes of recipes/affectnet_augmentation.py say how.
Run:     hmtl prepare affectnet2021 AffectNet --out data/affectnet8 --size 168   (or affectnet2017)
         hmtl table e1_affectnet
Try:     --seeds 1  --list
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="From scratch or from ImageNet, at three levels of augmentation?",
    table="E1 of arXiv 2105.06421",
    data="AffectNet-8, official validation set, EfficientNet-B0",
    groups=tuple(
        Group(
            title=f"{level} augmentation",
            rows=(
                Row("from scratch", f"recipes/affectnet_augmentation.py:{level}", baseline=True),
                Row("from ImageNet", f"recipes/affectnet_augmentation.py:{level}_imagenet"),
            ),
        )
        for level in ("none", "weak", "strong")
    ),
)
