"""Leave one person out on Pointing'04: the error of head pose on each person, of a run that was not trained on them.

Source:  ours; the rows of recipes/e6_pointing04.py, whose three test people say little of others.
Expect:  No figure is published for these data. Ours: one view errs by 10.4 degrees (9.2 to 11.7 over persons, one
         seed); the other two rows have not been run. docs/results.md.
Differs: Pointing'04, yaw and pitch only, a small ResNet at 48 px; 15 runs a row and seed, each tested on one person.
Run:     hmtl prepare pointing04 Pointing04 --out data/pointing04 --size 64
         hmtl table people_pointing04 --seeds 1
Try:     --set "backbone=Backbone('resnet10t')"
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="Does HMTL lower the error of head pose on a person who was not trained on?",
    table="E6 of arXiv 2105.06421 on other data, by leave-one-person-out",
    data="Pointing'04, each of its 15 people held out in turn, test_resnet at 48 px",
    metric="pose/mae_yaw_pitch",
    folds=15,
    groups=(
        Group(
            rows=(
                Row("supervised, one view", "recipes/pointing04_hmtl.py:supervised", baseline=True),
                Row("supervised, 2 views", "recipes/pointing04_hmtl.py:supervised_equal_cost", baseline=True),
                Row("HMTL, puzzling 2 x 2", "recipes/pointing04_hmtl.py"),
            ),
            set=(
                "data=Folds(Packed('data/pointing04'), leave_out='person')",
                "backbone=Backbone('test_resnet')",
                "image_size=48",
                "epochs=10",
                "evaluate_every=10",
                "precision=bf16",
            ),
        ),
    ),
)
