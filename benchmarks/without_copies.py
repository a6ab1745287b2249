"""Copies the small files of finished runs without the test faces that the training split holds too.

    hmtl labels data/fer2013 --out runs/copies
    python -m benchmarks.without_copies data/fer2013 runs/copies/near_duplicates.csv --out runs/without_copies
    hmtl table semi_fer2013 --no-run --results runs/without_copies

The labels of those faces are left out and the figures are computed again, so that the table is that of the other faces.
Kept of each file are the figures that its pictures give: accuracy, error rate, macro-F1, mean recall.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from engine.intervals.answers import ClassAnswers, unpack
from engine.table import finished
from engine.table.fingerprint import fingerprint
from loaders import Packed

SPLIT = "test"
METRICS = ("accuracy", "error_rate", "macro_f1", "mean_recall")


def copied(store: Path, near_duplicates: Path) -> tuple[str, Bool[np.ndarray, " n"]]:
    """Tells which test faces have an equal or nearly equal one in train.

    Args:
        store: The prepared store.
        near_duplicates: What `hmtl labels` wrote of it.

    Returns:
        The fingerprint of the test split's ids, as small files have it, and whether each of its faces is a copy.
    """
    ids = Packed(str(store)).open(SPLIT, torch.device("cpu")).split.sample.tolist()
    with near_duplicates.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    pairs = [((row["split"], row["sample"]), (row["other_split"], row["other_sample"])) for row in rows]
    both = [*pairs, *((other, one) for one, other in pairs)]
    known = {int(sample) for (split, sample), (other, _) in both if (split, other) == (SPLIT, "train")}
    return fingerprint(ids), np.array([sample in known for sample in ids])


def without(content: Mapping[str, Any], samples: str, left_out: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Gives what a small file says of the faces that are not left out; that of a pre-training stays as it is.

    Raises:
        ValueError: Its run was tested on other faces.
    """
    content = json.loads(json.dumps(content))
    for at in ("last", "best"):
        kept, figures = content["pictures"].get(SPLIT, {}).get(at), content[at].get(SPLIT)
        if not kept or not figures:
            continue
        if kept["samples"] != samples:
            raise ValueError(f"without_copies: {content['name']} was tested on other faces than the store's {SPLIT}")
        figures.clear()
        for task, packed in list(kept.items()):
            answers = unpack(packed, dict) if isinstance(packed, dict) and "kind" in packed else None
            if not isinstance(answers, ClassAnswers):
                continue
            fewer = replace(answers, target=np.where(left_out, -1, answers.target))
            kept[task] = fewer.pack()
            for metric in METRICS:
                found = fewer.figure(metric, np.ones((1, fewer.count)))
                assert found is not None
                figures[f"{task}/{metric}"] = float(found[0])
    return content


def main(words: Sequence[str] | None = None) -> None:
    """Writes the small files without copies into a folder, and says how many faces are left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("near_duplicates", type=Path, help="near_duplicates.csv of `hmtl labels STORE`")
    parser.add_argument("--files", type=Path, default=Path("benchmarks/results/runs/semi_fer2013"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(words)
    samples, left_out = copied(options.store, options.near_duplicates)
    runs, _ = finished.read_all(options.files)
    for run in runs:
        finished.write(without(run.content, samples, left_out), options.out / run.path.name)
    print(f"{int(left_out.sum()):,} of {len(left_out):,} faces of {SPLIT} are left out of {len(runs)} runs")


if __name__ == "__main__":
    main()
