"""E6 on 300W-LP and AFLW2000: does puzzling lower the error of head pose?

Source:  arXiv 2105.06421 (version 2, abstract): with HMTL the error of head pose falls by 11 %.
Expect:  That difference; not run here: the data must be fetched by hand.
Differs: The recipe named in the rows says how.
Run:     hmtl prepare 300wlp 300W_LP --out data/w300lp --size 128
         hmtl prepare aflw2000 AFLW2000 --out data/aflw2000 --size 128
         hmtl table e6_w300lp
Try:     --seeds 1  --list
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="Does HMTL lower the error of head pose?",
    table="E6 of arXiv 2105.06421",
    data="AFLW2000, trained on 300W-LP, EfficientNet-B0",
    metric="pose/mae_yaw_pitch_roll",
    groups=(
        Group(
            rows=(
                Row("supervised, one view", "recipes/w300lp_hmtl.py:supervised", baseline=True),
                Row("supervised, 2 views", "recipes/w300lp_hmtl.py:supervised_equal_cost", baseline=True),
                Row("HMTL, puzzling 3 x 3", "recipes/w300lp_hmtl.py"),
            ),
        ),
    ),
)
