"""Folds: every face is tested once, groups stay whole, classes spread evenly, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from loaders import DALI, Classes, Faces, Folds, Numbers, Synthetic, Union, identity
from loaders.base import Source
from loaders.sources.folds import deal
from tests.loaders.data_sets import Given

PEOPLE = Classes(tuple("abcdef"))
LABELS = {"expression": Classes(("sad", "happy", "angry")), "person": PEOPLE, "pose": Numbers(("yaw",))}

FIRST = {"train": 0, "val": 40, "test": 49}


@dataclass(frozen=True)
class Numbered(Given):
    """Ids count through the splits, as in a store."""

    def open(self, split: str, device: torch.device | str) -> Faces:
        faces = Given.open(self, split, device)
        return replace(faces, split=replace(faces.split, sample=faces.split.sample + FIRST[split]))


LEVELS = {"train": tuple(range(40)), "val": tuple(range(40, 49)), "test": tuple(range(49, 54))}
FACES = Numbered(LEVELS, LABELS)


def ids(source: Source, split: str) -> list[int]:
    return source.open(split, "cpu").split.sample.tolist()


@pytest.mark.parametrize(
    "fields", [{"k": 3}, {"k": 5, "by": "person"}, {"leave_out": "person"}, {"label": "expression"}]
)
def test_every_face_is_tested_once_and_chosen_on_once(fields: dict[str, Any]) -> None:
    folds = 6 if "leave_out" in fields else fields.get("k", 5)
    everything = sorted(i for split in ("train", "val", "test") for i in ids(FACES, split))
    each = [Folds(FACES, fold=fold, **fields) for fold in range(folds)]
    for split in ("val", "test"):
        assert sorted(i for source in each for i in ids(source, split)) == everything
    for source in each:
        assert isinstance(source, Source)
        parts = [ids(source, split) for split in ("train", "val", "test")]
        assert sorted(i for part in parts for i in part) == everything
        assert all(parts)


def test_faces_keep_their_pixels_labels_and_mean_colour() -> None:
    whole = {
        int(i): (faces.pixels[row], faces.split.target["person"][row], faces.mean[row])
        for faces in (FACES.open(split, "cpu") for split in ("train", "val", "test"))
        for row, i in enumerate(faces.split.sample)
        if isinstance(faces.pixels, Tensor)
    }
    faces = Folds(FACES, k=4, fold=2, by="person").open("train", "cpu")
    assert isinstance(faces.pixels, Tensor)
    for row, i in enumerate(faces.split.sample.tolist()):
        pixels, person, mean = whole[i]
        assert torch.equal(faces.pixels[row], pixels)
        assert faces.split.target["person"][row] == person
        assert torch.equal(faces.mean[row], mean)
    assert faces.note == "54 faces of train, val, test in 4 folds, by person; fold 2 is test"


@pytest.mark.parametrize("fields", [{"by": "person", "k": 3}, {"leave_out": "person"}])
def test_groups_stay_whole(fields: dict[str, Any]) -> None:
    for fold in range(3):
        people = [
            set(Folds(FACES, fold=fold, **fields).open(split, "cpu").split.target["person"].tolist())
            for split in ("train", "val", "test")
        ]
        assert sum(map(len, people)) == len(set.union(*people)) == 6


def test_leaving_one_out_goes_by_name() -> None:
    for fold in range(6):
        test = Folds(FACES, leave_out="person", fold=fold).open("test", "cpu").split
        assert set(test.target["person"].tolist()) == {fold}


@pytest.mark.parametrize(("n", "k"), [(100, 5), (101, 7), (12, 3), (3, 5)])
def test_single_faces_spread_evenly_by_kind_and_in_all(n: int, k: int) -> None:
    kind = torch.arange(n) % 4 // 2
    fold = deal(torch.full((n,), -1), kind, k, seed=0)
    for some in (kind == 0, kind == 1, kind >= 0):
        counts = torch.bincount(fold[some], minlength=k)
        assert counts.max() - counts.min() <= 1
    if n > 50:
        assert not torch.equal(fold, deal(torch.full((n,), -1), kind, k, seed=1))
        assert not torch.equal(fold, torch.arange(n) % k)


def test_groups_of_one_class_each_are_dealt_class_by_class() -> None:
    group = torch.arange(200) // 10  # 20 groups of 10 faces
    kind = group % 2
    fold = deal(group, kind, 5, seed=3)
    table = torch.bincount(fold * 2 + kind, minlength=10).reshape(5, 2)
    assert (table == 20).all()


def test_single_faces_fill_up_what_groups_leave_uneven() -> None:
    group = torch.tensor([0] * 7 + [1] * 2 + [-1] * 12)
    counts = torch.bincount(deal(group, torch.zeros_like(group), 3, seed=0))
    assert counts.tolist() == [7, 7, 7]


def test_folds_do_not_depend_on_the_order_of_the_splits_in_memory_but_on_the_seed() -> None:
    one, same, other = (Folds(FACES, seed=seed) for seed in (0, 0, 1))
    assert ids(one, "test") == ids(same, "test") != ids(other, "test")
    assert identity(one) == identity(same) != identity(other)
    assert identity(one) != identity(Folds(FACES, fold=1))


def test_it_may_be_joined_and_pool_fewer_splits() -> None:
    training = Folds(Synthetic(train=20, val=4, test=4, size=16), k=4, pool=("train",), label="expression")
    assert len(ids(training, "test")) == 5
    assert len(ids(Union(labelled=training, held_out=("val", "test")), "train")) == 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 2}, r"Folds: k \(=2\) must be 3 or more: one fold is test, one val, the others train"),
        ({"fold": 5}, r"Folds: fold \(=5\) must be in 0..4; they are counted from 0"),
        ({"fold": -1, "leave_out": "person"}, r"Folds: fold \(=-1\) must be"),
        ({"by": "person", "leave_out": "person"}, r"by \(='person'\) and leave_out \(='person'\) exclude each other"),
        ({"pool": ()}, r"pool \(=\(\)\) must name one or more splits, each once"),
        ({"pool": ("train", "train")}, r"pool .* must name one or more splits, each once"),
        (
            {"source": DALI("x", size=48, augment="loader")},
            r"source \(=DALI\) must leave augmentation to the kernel",
        ),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Folds(**{"source": FACES, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"by": "mood"}, r"by \(='mood'\) must be a label with classes; those are expression, person"),
        ({"label": "pose"}, r"label \(='pose'\) must be a label with classes"),
        ({"leave_out": "person", "fold": 6}, r"fold \(=6\) must be below 6, the groups of the data"),
    ],
)
def test_what_the_data_does_not_have_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Folds(FACES, **fields).open("train", "cpu")


def test_a_face_in_no_group_cannot_be_left_out_by_group() -> None:
    labels = {"person": Classes(("a", "b"))}
    two = Numbered(LEVELS, labels)
    with pytest.raises(ValueError, match=r"must put each face into one of three or more groups; there are 2, and 0"):
        Folds(two, leave_out="person").open("train", "cpu")


def test_another_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Folds: split \(='holdout'\) must be train, val or test"):
        Folds(FACES).open("holdout", "cpu")


def test_splits_that_share_ids_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the splits train, val, test must not share sample ids"):
        Folds(Given(LEVELS, LABELS)).open("train", "cpu")
