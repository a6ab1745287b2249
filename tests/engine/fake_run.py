"""A run folder with made-up figures of realistic shape, for the tests of everything that reads runs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from engine.figures import Figure
from engine.reports.classwise import confusion_counts, recall

CLASSES = [
    "Neutral",
    "Happiness (broad smile)",
    "Sadness",
    "Surprise",
    "Fear / apprehension",
    "Disgust",
    "Anger_and_annoyance",
    "Contempt",
]
FIGURES = {
    "expression/accuracy": Figure("accuracy", greater_is_better=True, unit="%", chance=1 / len(CLASSES)),
    "expression/macro_f1": Figure("macro_f1", greater_is_better=True, unit="%", label="macro-F1", leads=True),
    "puzzle/tile_accuracy": Figure("tile_accuracy", greater_is_better=True, unit="%", chance=1 / 9),
    "puzzle/puzzle_accuracy": Figure("puzzle_accuracy", greater_is_better=True, unit="%", chance=1 / math.factorial(9)),
    "inpaint/l1": Figure("l1", label="L1"),
}
SUPPORT = {"val": [491, 879, 416, 353, 470, 55, 607, 24], "test": [500, 901, 402, 340, 512, 61, 580, 30]}
RECIPE = '''"""HMTL with puzzling on a stratified part of FER2013.

Source: arXiv:2105.06421, section 5; figures there are for AffectNet and not comparable.
Expect: 44 to 48 % on val after 20 epochs.
Differs: small backbone, 48 px, gray pictures.
Run: hmtl train fer2013_hmtl
Try: --set tasks.1.weight=0.1
"""

recipe = None
'''


def predictions(
    split: str, seed: int, skill: float, classes: list[str] = CLASSES, missing: int = 7
) -> dict[str, np.ndarray]:
    """Targets and probabilities of one split; a higher `skill` gives higher accuracy."""
    rng = np.random.default_rng(seed)
    support = SUPPORT[split][: len(classes)]
    target = np.repeat(np.arange(len(support)), support)
    # The last classes are taken for the first ones more often, as rare classes are.
    logits = rng.normal(size=(len(target), len(support))) + np.linspace(0.5, -0.5, len(support))
    logits[np.arange(len(target)), target] += skill
    exp = np.exp(logits - logits.max(1, keepdims=True))
    target[:missing] = -1
    return {
        "sample": np.arange(len(target)),
        "expression.target": target.astype(np.int64),
        "expression.probability": (exp / exp.sum(1, keepdims=True)).astype(np.float32),
    }


def scores(arrays: dict[str, np.ndarray], classes: list[str] = CLASSES) -> dict[str, float]:
    counts = confusion_counts(classes, arrays["expression.target"], arrays["expression.probability"])
    precision = counts.diagonal() / np.maximum(counts.sum(0), 1)
    shares = recall(counts)
    f1 = 2 * precision * shares / np.maximum(precision + shares, 1e-9)
    return {"expression/accuracy": float(counts.trace() / counts.sum()), "expression/macro_f1": float(f1.mean())}


def metrics_rows(epochs: int, last: dict[str, float]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    rows = []
    for epoch in range(1, epochs + 1):
        gone = 1 - np.exp(-3 * epoch / max(epochs, 2))
        jitter = rng.normal(scale=0.006, size=8)
        rows.append(
            {
                "epoch": epoch,
                "step": 46 * epoch,
                "lr": 1e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs)) + 1e-6,
                "train/loss": 3.0 - 1.3 * gone + jitter[0],
                "train/expression/loss": 2.0 - 1.1 * gone + jitter[1],
                "train/expression/accuracy": 0.14 + 0.5 * gone + jitter[2],
                "train/puzzle/loss": 2.2 - 0.9 * gone + jitter[3],
                "train/puzzle/tile_accuracy": 0.11 + 0.45 * gone + jitter[4],
                "train/inpaint/loss": 0.8 - 0.4 * gone,
                "val/expression/loss": 1.95 - 0.7 * gone + jitter[5] * 3,
                "val/expression/accuracy": last["expression/accuracy"] * (0.3 + 0.7 * gone) + jitter[6],
                "val/expression/macro_f1": last["expression/macro_f1"] * (0.3 + 0.7 * gone) + jitter[7],
                # The pretext tasks are evaluated every second epoch here.
                "val/puzzle/tile_accuracy": 0.11 + 0.42 * gone if epoch % 2 else "",
                "val/puzzle/puzzle_accuracy": 0.02 + 0.1 * gone if epoch % 2 else "",
                "val/inpaint/l1": 0.19 - 0.08 * gone,
                "images_per_second": 512.4,
                "wait_share": 0.011,
                "seconds": 11.2,
            }
        )
    return rows


def write_metrics(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_fake_run(path: Path, *, name: str = "fer2013_hmtl", epochs: int = 20, skill: float = 1.9) -> Path:
    """Write the folder of a finished run of `epochs` epochs."""
    path.mkdir(parents=True)
    (path / "predictions").mkdir()
    found: dict[str, dict[str, dict[str, float]]] = {"last": {}, "best": {}}
    for i, split in enumerate(("val", "test")):
        for j, which in enumerate(("last", "best")):
            arrays = predictions(split, 10 * i + j, skill + 0.08 * j)
            found[which][split] = scores(arrays)
            if split == "val":
                found[which][split] |= {
                    "expression/loss": 1.31,
                    "puzzle/tile_accuracy": 0.52,
                    "puzzle/puzzle_accuracy": 0.117,
                    "inpaint/l1": 0.1123,
                }
            np.savez(path / "predictions" / f"{split}-{which}.npz", **arrays)
    write_metrics(path / "metrics.csv", metrics_rows(epochs, found["last"]["val"]))
    (path / "recipe.py").write_text(RECIPE)
    recipe = {
        "kind": "Recipe",
        "data": {"kind": "Packed", "path": "data/fer2013"},
        "epochs": epochs,
        "batch_size": 128,
        "views": {"plain": {}, "puzzle": {"grid": 3}},
        "tasks": [
            {"kind": "Expression", "name": "expression", "label": "expression", "on": ["plain"]},
            {"kind": "SolvePuzzle", "name": "puzzle", "on": ["puzzle"]},
        ],
    }
    environment = {
        "machine": "Linux x86_64",
        "cpu": "Example CPU @ 2.50GHz",
        "cores": 2,
        "gpu": None,
        "python": "3.11.2",
        "torch": "2.13.0",
        "commit": "0123abc",
        "date": "2026-11-20 10:00",
        "from_step": 0,
        "command": "hmtl train fer2013_hmtl --out runs/x",
    }
    result = {
        "name": name,
        "finished": True,
        "epochs": epochs,
        "steps": 46 * epochs,
        "seconds": 812.5,
        "select_on": "val/expression/accuracy",
        "best": {"epoch": max(1, epochs - 3), **found["best"]},
        "last": {"epoch": epochs, **found["last"]},
        "classes": {"expression": CLASSES},
        "majority": {"val": {"expression/accuracy": 0.267}, "test": {"expression/accuracy": 0.271}},
        "counts": {"train": 5888, "val": 3295, "test": 3326},
        "views": ["plain", "puzzle"],
        "pictures_a_face": 2,
        "pictures_through_encoder": 2 * 128 * 46 * epochs,
        "parameters": {"training": 5_123_456, "inference": 4_912_345},
        "speed": {
            "images_per_second": 512.4,
            "compute_images_per_second": 518.1,
            "wait_share": 0.0113,
            "wait_label": "time inside next()",
            "step_p50_ms": 248.2,
            "step_p99_ms": 301.9,
            "compile_seconds": 0.0,
            "peak_memory_mib": 1423.0,
        },
    }
    for file, value in (("recipe.json", recipe), ("environment.json", [environment]), ("result.json", result)):
        (path / file).write_text(json.dumps(value))
    (path / "log.jsonl").write_text("")
    declare(path, FIGURES)
    return path


def declare(run: Path, figures: Mapping[str, Figure]) -> None:
    """Write what a run says of its figures."""
    (run / "figures.json").write_text(json.dumps({name: asdict(figure) for name, figure in figures.items()}))


def edit_json(path: Path, **changes: Any) -> None:
    """Change top-level keys of a JSON file; a value of None takes the key away."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))
