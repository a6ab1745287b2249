"""Hidden labels: which faces keep theirs, and that nothing else changes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from loaders import Classes, Fraction, HideLabels, Numbers, Packed, Synthetic, identity
from loaders.base import Source, augments
from tests.loaders.data_sets import Given

LABELS = {"expression": Classes(("sad", "happy")), "glasses": Classes(("no", "yes")), "pose": Numbers(("yaw",))}
FACES = Given({"train": (1,) * 400, "val": (2,) * 9, "test": (3,) * 5}, LABELS)


def kept(**changed: Any) -> torch.Tensor:
    """Positions of the training faces that keep their expression."""
    target = HideLabels(FACES, **changed).open("train", "cpu").split.target["expression"]
    return torch.nonzero(target >= 0).flatten()


def test_the_faces_of_a_fraction_at_that_seed_keep_their_label() -> None:
    source = HideLabels(FACES, keep=0.1, seed=3)
    assert isinstance(source, Source)
    all_, some = FACES.open("train", "cpu"), source.open("train", "cpu")
    part = Fraction(0.1, "expression").part(all_.split, seed=3)
    hidden = torch.full((400,), -1)
    hidden[part] = all_.split.target["expression"][part]
    assert len(part) == 40
    assert torch.equal(some.split.target["expression"], hidden)
    for same in ("pose", "glasses"):
        assert torch.equal(some.split.target[same], all_.split.target[same])
    assert torch.equal(some.split.sample, all_.split.sample)
    assert torch.equal(torch.as_tensor(some.pixels), torch.as_tensor(all_.pixels))
    assert some.note == "40 of the 400 faces of train keep expression (20 sad, 20 happy), by seed 3"


@pytest.mark.parametrize("split", ["val", "test"])
def test_other_splits_keep_all(split: str) -> None:
    there, here = FACES.open(split, "cpu").split, HideLabels(FACES).open(split, "cpu").split
    assert torch.equal(there.target["expression"], here.target["expression"])


def test_the_training_split_may_have_another_name() -> None:
    assert (HideLabels(FACES, 0.5, split="val").open("val", "cpu").split.target["expression"] < 0).sum() == 5


def test_smaller_parts_lie_inside_larger_ones_by_share_by_number_and_by_class() -> None:
    parts = [set(kept(keep=keep).tolist()) for keep in (0.05, 40, 0.5, 1.0)]
    assert list(map(len, parts)) == [20, 40, 200, 400]
    assert all(small < large for small, large in pairwise(parts))
    few, more = kept(per_class=2), kept(per_class=5)
    assert set(few.tolist()) < set(more.tolist())
    counts = torch.bincount(FACES.open("train", "cpu").split.target["expression"][more])
    assert counts.tolist() == [5, 5]
    assert not torch.equal(kept(keep=40), kept(keep=40, seed=1))


def test_numbers_are_hidden_too() -> None:
    pose = HideLabels(FACES, 0.25, label="pose").open("train", "cpu")
    assert pose.split.target["pose"].isnan().all(1).sum() == 300
    assert pose.note == "100 of the 400 faces of train keep pose, by seed 0"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keep": 0.0}, r"keep \(=0.0\) must be a share above 0 and at most 1, or a whole number of faces, 2 or more"),
        ({"keep": 2.5}, r"keep \(=2.5\) must be a share"),
        ({"keep": 401}, r"keep \(=401\) must be at most the 400 faces of 'train'"),
        ({"per_class": 0}, r"per_class \(=0\) must be 1 or more"),
        ({"per_class": 201}, r"class '\w+' of expression must have 201 samples in 'train'"),
        ({"label": "mood"}, r"label \(='mood'\) must be a label of 'train'; it has expression, glasses, pose"),
        ({"label": "pose", "per_class": 2}, r"label \(='pose'\) must be a label with classes"),
    ],
)
def test_what_cannot_be_kept_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HideLabels(FACES, **changed).open("train", "cpu")


def test_who_augments_is_the_source_s_choice() -> None:
    assert not augments(HideLabels(FACES))
    assert augments(HideLabels(_Augmenting()))


class _Augmenting(Synthetic):
    """A source that was told to augment."""

    augment = "loader"


def test_it_is_known_by_its_store_and_by_what_it_hides(store: Path) -> None:
    known = identity(HideLabels(Packed(store, tier="mapped"), keep=4))
    assert known == identity(HideLabels(Packed(str(store)), keep=4))
    assert known["source"].keys() == {"images_sha256", "manifest_sha256"}
    assert known != identity(HideLabels(Packed(store), keep=4, seed=1))
