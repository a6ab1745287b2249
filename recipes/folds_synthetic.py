"""Five folds on drawn faces: the demo's rows on all 7,000 faces, each answered by the run that did not train on it.

Source:  ours; the rows of recipes/demo.py.
Expect:  not run yet.
Differs: from the demo in the split, five in place of one: 4,200 training faces a fold, 350 of which keep their label.
Run:     hmtl table folds_synthetic --seeds 1
Try:     --set data.per_class=20
"""

from engine.table import Experiment, Group, Row

experiment = Experiment(
    title="Do puzzle and pseudo-labels win on drawn faces in every fold?",
    table="no published one: a question of ours",
    data="drawn faces in five folds, 350 of 4,200 training faces labelled, test_resnet at 48 px",
    folds=5,
    fold_field="data.source.fold",
    groups=(
        Group(
            rows=(
                Row("supervised at equal cost", "recipes/demo.py:supervised_equal_cost", baseline=True),
                Row("hybrid: puzzle, labels, pseudo-labels", "recipes/demo.py"),
            ),
            set=(
                "data=HideLabels(Folds(Synthetic(train=5000, val=1000, test=1000, size=48), label='expression'), "
                "per_class=50)",
                "epochs=10",
                "evaluate_every=10",
                "precision=bf16",
            ),
        ),
    ),
)
