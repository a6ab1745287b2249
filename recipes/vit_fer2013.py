"""What masked patches and distances are worth to a small vision transformer on a fifth of FER2013, at equal FLOPs.

Source:  ours; SSAT (Das et al., 2024) and DrLoc (Liu et al., 2021) on other data.
Expect:  No published figure; not run yet.
Differs: FER2013 with 5,742 training faces at 48 px; see recipes/fer2013_vit.py. Equal FLOPs within 3 %.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl table vit_fer2013
Try:     --seeds 1     --set sampler.share=0.05
"""

from engine.table import Experiment, Group, Row

file = "recipes/fer2013_vit.py"

experiment = Experiment(
    title="Do masked patches and distances teach a transformer from scratch more than labels alone?",
    table="no published one: a question of ours",
    data="FER2013 (PrivateTest), a vision transformer of width 128 and depth 6 at 48 px",
    groups=(
        Group(
            title="5,742 pictures",
            rows=(
                Row("supervised", f"{file}:supervised", baseline=True),
                Row("supervised, ResNet-10-t", f"{file}:convolutional", baseline=True),
                Row("masked patches", f"{file}:masked"),
                Row("relative positions", f"{file}:positions"),
                Row("masked patches and relative positions", file),
            ),
        ),
    ),
)
