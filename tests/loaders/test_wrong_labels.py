"""Wrong labels: which faces get one and which class, and that nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from loaders import Classes, HideLabels, Numbers, Packed, Source, Union, WrongLabels, identity
from loaders.base import Faces, augments
from tests.loaders.data_sets import Given

LABELS = {
    "expression": Classes(("sad", "happy", "angry", "calm")),
    "glasses": Classes(("no", "yes")),
    "kind": Classes(("face",)),
    "pose": Numbers(("yaw",)),
}
FACES = Given({"train": (1,) * 8000, "val": (2,) * 9, "test": (3,) * 5}, LABELS)


def expressions(source: Source, split: str = "train") -> torch.Tensor:
    return source.open(split, "cpu").split.target["expression"]


RIGHT = expressions(FACES)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.9])
def test_a_share_of_the_faces_gets_another_class_each_alike(share: float) -> None:
    given = expressions(WrongLabels(FACES, share))
    wrong = given != RIGHT
    assert 0 <= int(given.min()) <= int(given.max()) == 3
    assert abs(wrong.float().mean() - share) < 4 * (share * (1 - share) / 8000) ** 0.5
    # Each of 4 classes becomes each of the 3 others equally often: chi-squared of 12 cells, 8 degrees of freedom.
    pairs = torch.bincount(RIGHT[wrong] * 4 + given[wrong], minlength=16).view(4, 4)
    off = pairs[~torch.eye(4, dtype=torch.bool)].view(4, 3).double()
    assert int(pairs.trace()) == 0
    expected = off.mean(1, keepdim=True)
    assert float(((off - expected) ** 2 / expected).sum()) < 26.1  # 1 in 1,000 is above it


def test_a_label_is_a_function_of_seed_sample_id_and_class() -> None:
    given = expressions(WrongLabels(FACES, 0.3))
    assert torch.equal(given, expressions(WrongLabels(FACES, 0.3)))
    assert not torch.equal(given, expressions(WrongLabels(FACES, 0.3, seed=1)))
    assert torch.equal(given[100:], expressions(WrongLabels(_From(FACES, 100), 0.3)))


@dataclass(frozen=True)
class _From:
    """The samples of a source from a position on, with their own ids."""

    source: Source
    first: int

    def open(self, split: str, device: torch.device | str) -> Faces:
        faces = self.source.open(split, device)
        own = faces.split
        target = {name: each[self.first :] for name, each in own.target.items()}
        return replace(faces, split=replace(own, sample=own.sample[self.first :], target=target))


def test_faces_wrong_at_a_small_share_are_wrong_in_the_same_way_at_a_larger_one() -> None:
    small, large = (expressions(WrongLabels(FACES, share)) for share in (0.2, 0.4))
    wrong = small != RIGHT
    assert torch.equal(small[wrong], large[wrong])
    assert torch.equal(expressions(WrongLabels(FACES, 0.0)), RIGHT)
    assert bool((expressions(WrongLabels(FACES, 1.0)) != RIGHT).all())


def test_all_but_the_label_stays_and_the_note_counts() -> None:
    source = WrongLabels(FACES, 0.2, seed=3)
    assert isinstance(source, Source)
    all_, some = FACES.open("train", "cpu"), source.open("train", "cpu")
    for same in ("pose", "glasses"):
        assert torch.equal(some.split.target[same], all_.split.target[same])
    assert torch.equal(some.split.sample, all_.split.sample)
    assert torch.equal(torch.as_tensor(some.pixels), torch.as_tensor(all_.pixels))
    wrong = int((some.split.target["expression"] != RIGHT).sum())
    assert some.note == f"{wrong:,} of the 8,000 faces of train with a label have a wrong expression, by seed 3"


@pytest.mark.parametrize("split", ["val", "test"])
def test_other_splits_keep_theirs(split: str) -> None:
    assert torch.equal(expressions(WrongLabels(FACES, 1.0), split), expressions(FACES, split))


def test_the_training_split_may_have_another_name() -> None:
    assert bool((expressions(WrongLabels(FACES, 1.0, split="val"), "val") != expressions(FACES, "val")).all())


def test_hidden_labels_stay_hidden_and_those_kept_are_wrong_as_without_hiding() -> None:
    hidden = HideLabels(FACES, 0.1)
    few = expressions(WrongLabels(hidden, 0.4))
    kept = expressions(hidden) >= 0
    assert torch.equal(few >= 0, kept)
    assert torch.equal(few[kept], expressions(WrongLabels(FACES, 0.4))[kept])
    note = WrongLabels(hidden, 1.0).open("train", "cpu").note
    assert note.startswith("800 of the 8,000 faces of train keep expression (200 sad, ")
    assert note.endswith("; 800 of the 800 faces of train with a label have a wrong expression, by seed 0")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"share": -0.1}, r"share \(=-0.1\) must be a probability from 0 to 1; 0.2 makes one in five wrong"),
        ({"share": 20}, r"share \(=20\) must be a probability"),
        ({"share": float("nan")}, r"share \(=nan\) must be a probability"),
        ({"label": "mood"}, r"label \(='mood'\) must be a label of 'train' with two classes.*expression, glasses$"),
        ({"label": "pose"}, r"label \(='pose'\) must be a label of 'train' with two classes or more"),
        ({"label": "kind"}, r"label \(='kind'\) must be a label of 'train' with two classes or more"),
    ],
)
def test_what_cannot_be_made_wrong_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WrongLabels(FACES, **changed).open("train", "cpu")


def test_who_augments_is_the_source_s_choice() -> None:
    assert not augments(WrongLabels(FACES))
    assert augments(WrongLabels(_Augmenting({}, {})))


class _Augmenting(Given):
    """A source that was told to augment."""

    augment = "loader"


def test_it_is_known_by_its_store_and_by_what_it_makes_wrong(store: Path) -> None:
    known = identity(WrongLabels(Packed(store, tier="mapped")))
    assert known == identity(WrongLabels(Packed(str(store))))
    assert known["source"].keys() == {"images_sha256", "manifest_sha256"}
    assert known != identity(WrongLabels(Packed(store), seed=1)) != identity(WrongLabels(Packed(store), 0.4))


def test_a_union_shows_what_is_stored_and_names_it(store: Path) -> None:
    joined = Union(labelled=WrongLabels(Packed(store)), unlabelled=Packed(store), held_out=())
    note = joined.open("train", "cpu").note
    named = f"Packed('{store}')"
    assert f"23 faces of WrongLabels({named}), and 0 without labels of {named}, of which 23" in note
