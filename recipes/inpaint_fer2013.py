"""What in-painting is worth on FER2013 with few labels, once its decoder reads more than 2 x 2 places.

Source:  ours; the rows of in-painting of arXiv 2105.06421, with a control that has the same holes and no decoder.
Expect:  No published figure. Ours: in-painting is level with labels alone (-0.7 points, one seed); docs/results.md. The
         other rows have not been run.
Differs: FER2013 with the labels of all but 2,010 training faces hidden, ResNet-10-t at 48 px. Equal FLOPs within 3 %,
         with those of the supervised run that is a teacher.
Run:     hmtl prepare fer2013 fer2013.csv --out data/fer2013
         hmtl table inpaint_fer2013
Try:     --seeds 1     --set data.keep=402
"""

from engine.table import Experiment, Group, Row, Start

file = "recipes/fer2013_inpaint.py"
one, cutout, puzzling, old = "supervised", "Cutout: the same holes, no decoder", "puzzling", "in-painting, last map"

experiment = Experiment(
    title="Does in-painting win with a decoder that reads finer maps, at equal FLOPs?",
    table="no published one: a question of ours",
    data="FER2013 (PrivateTest), ResNet-10-t at 48 px",
    groups=(
        Group(
            title="2,010 labels",
            set=("precision=bf16",),
            rows=(
                Row(one, f"{file}:supervised", baseline=True),
                Row(cutout, f"{file}:cutout", baseline=True),
                Row(puzzling, f"{file}:puzzled"),
                Row(old, f"{file}:last_map"),
                Row("in-painting", file, against=(one, cutout, puzzling, old)),
                Row("in-painting-pl", f"{file}:perceptual", against=(one, cutout, puzzling, old)),
                Row("teacher", f"{file}:teacher", shown=False),
                Row(
                    "in-painting-pl, taught by a supervised run",
                    f"{file}:taught",
                    against=(one, cutout, puzzling),
                    start=Start("teacher", field="tasks.inpaint.perceptual.teacher.path"),
                ),
                Row("in-painting, one stream", f"{file}:one_stream", against=(one, cutout)),
            ),
        ),
    ),
)
