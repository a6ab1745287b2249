"""The benchmark beside timm's script gives both the same faces and compares what they said, round by round."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import timm_train
from benchmarks.timm_train import Case
from loaders.decoding.pictures import Form
from loaders.importers import Fer2013
from loaders.prepare import prepare

CASE = Case("resnet10t", 48, batch=8, steps=5)


@pytest.fixture
def store(tmp_path: Path) -> str:
    rows = ["emotion,pixels,Usage"]
    drawn = random.Random(0)
    for place in range(60):
        pixels = " ".join(str(drawn.randrange(256)) for _ in range(48 * 48))
        rows.append(f"{place % 7},{pixels},{'Training' if place < 50 else 'PublicTest'}")
    (tmp_path / "fer2013.csv").write_text("\n".join(rows) + "\n")
    prepare(Fer2013(tmp_path / "fer2013.csv"), tmp_path / "store", Form())
    return str(tmp_path / "store")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_same_faces_are_trained_on_and_ratios_are_those_of_rounds(
    monkeypatch: pytest.MonkeyPatch, store: str, precision: str
) -> None:
    faster = iter([0.002, 0.004, 0.004, 0.005])  # of two rounds with 0 and 2 workers

    def run(words: list[str]) -> str:
        if "--data-dir" in words:
            pictures = list(Path(words[words.index("--data-dir") + 1]).rglob("*.png"))
            assert ("--amp" in words) == (precision == "bf16")
            assert len({path for path in pictures if "train" in path.parts}) == CASE.batch * CASE.steps
            assert Image.open(pictures[0]).size == (48, 48)
            seconds = [9.0, 9.0, 9.0, *[next(faster) * CASE.batch] * 2]  # the first steps do not count
            return "".join(f"Train: 0 [{at}/5]  Loss: 1  Time: {each:.3f}s,\n" for at, each in enumerate(seconds))
        assert f"sampler=Fraction({40 / 50}, label='expression')" in words
        assert f"precision={precision!r}" in words
        out = Path(words[words.index("--out") + 1])
        out.mkdir()
        views = {"plain": {}} if "recipes/fer2013_hmtl.py:supervised" in words else {"plain": {}, "puzzle": {}}
        (out / "result.json").write_text(json.dumps({"speed": {"images_per_second": 750}, "views": views}))
        return ""

    monkeypatch.setattr(timm_train, "_run", run)
    rows = list(timm_train.compare(CASE, store, Path("train.py"), workers=(0, 2), rounds=2, precision=precision))
    assert [row[1:] for row in rows] == [
        ["supervised", "750", "375", "2.25 (1.50 to 3.00)"],
        ["two views", "1,500", "375", "4.50 (3.00 to 6.00)"],
    ]


def test_what_fails_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"timm_train: .* ended with 3:\nwhy"):
        timm_train._run(["-c", "import sys; print('why'); sys.exit(3)"])
