"""Joined sources: whose faces, ids and labels a split holds, what is left out as a copy, and what is refused."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from loaders import (
    Classes,
    Faces,
    Folder,
    HideLabels,
    Loader,
    Numbers,
    Packed,
    Shuffled,
    Source,
    Split,
    Synthetic,
    Union,
    identity,
)
from loaders.sources import pixel_hashes
from loaders.sources.union import APART, SOURCES
from tests.loaders.data_sets import Given

ONE = Synthetic(train=12, val=5, test=4, size=16)
TWO = Synthetic(train=9, val=3, test=2, size=16, seed=1)
KINDS = Classes(("a", "b"))


def given(*train: int, val: tuple[int, ...] = (90,), test: tuple[int, ...] = (91,), **labels: Label) -> Given:
    return Given({"train": train, "val": val, "test": test}, labels or {"kind": KINDS})


def train(source: Source) -> Split:
    return source.open("train", "cpu").split


def test_the_training_split_is_joined_and_the_others_are_the_labelled_ones() -> None:
    source = Union(labelled=ONE, unlabelled=TWO)
    assert isinstance(source, Source)
    faces = source.open("train", "cpu")
    alone, others = ONE.open("train", "cpu"), TWO.open("train", "cpu")
    assert torch.equal(torch.as_tensor(faces.pixels), torch.cat([alone.pixels, others.pixels]))  # type: ignore[list-item]
    assert torch.equal(faces.mean, torch.cat([alone.mean, others.mean]))
    assert torch.equal(faces.split.sample[:12], alone.split.sample)
    for name, target in alone.split.target.items():
        joined = faces.split.target[name]
        assert torch.equal(joined[:12], target)
        assert (joined[12:].isnan() if joined.is_floating_point() else joined[12:] == -1).all()
    assert faces.note == "12 faces of Synthetic, and 9 without labels of Synthetic, none of which is a copy"
    for split in ("val", "test"):
        there, here = ONE.open(split, "cpu"), source.open(split, "cpu")
        assert torch.equal(here.split.sample, there.split.sample)
        assert torch.equal(torch.as_tensor(here.pixels), torch.as_tensor(there.pixels))
        assert here.note == ""


def test_sample_ids_are_different_and_those_of_a_place() -> None:
    source = Union(labelled=(given(1, 2), given(3, 4, 5)), unlabelled=(given(6), given(7, 8)))
    sample = train(source).sample
    places = [0, 0, 1, 1, 1, SOURCES, SOURCES + 1, SOURCES + 1]
    assert (sample // APART).tolist() == places
    assert (sample % APART).tolist() == [0, 1, 0, 1, 2, 0, 0, 1]
    larger = replace(source, labelled=(given(1, 2, 9, 10), given(3, 4, 5)))
    assert set(sample.tolist()) < set(train(larger).sample.tolist())
    assert int(sample.max()) < 2**32  # of an id, as many bits key its random numbers


def test_copies_are_left_out_of_the_unlabelled_part_and_counted() -> None:
    labelled = given(1, 2, 2, 90, val=(20, 21), test=(30,))
    source = Union(labelled=labelled, unlabelled=(given(40, 2, 20, 41, 40), given(30, 42, 41, val=(43,))))
    faces = source.open("train", "cpu")
    assert torch.as_tensor(faces.pixels)[:, 0, 0, 0].tolist() == [1, 2, 2, 90, 40, 41, 42]
    assert (faces.split.sample[4:] % APART).tolist() == [0, 3, 1]
    assert faces.note == (
        "4 faces of Given, and 3 without labels of Given and Given, of which 5 were left out as copies "
        "(1 labelled too, 1 in val, 2 twice, 1 in test)"
    )


@pytest.mark.parametrize("tiers", [("mapped", "mapped"), ("mapped", "resident"), ("resident", "resident")])
def test_streams_and_resident_faces_give_the_same_batches(store: Path, folders: Path, tiers: tuple[Any, Any]) -> None:
    one, two = (HideLabels(Packed(store, tier=tier), keep=10) for tier in tiers)
    source = Union(labelled=(one, two), unlabelled=(Packed(store), Folder(folders, workers=0)), held_out=())
    with closing(Loader.open(source, "train", batch_size=7, seed=3, device="cpu", sampler=Shuffled())) as loader:
        assert len(loader.split.sample) == 46  # every face is labelled already
        alone = torch.as_tensor(Packed(store, tier="resident").open("train", "cpu").pixels)
        for epoch, start in ((0, 0), (1, 4)):
            batches = list(loader.epoch(epoch, start=start))
            assert len(batches) == 6 - start
            for batch in batches:
                assert torch.equal(batch.store[batch.row], alone[batch.sample % APART])
    with closing(Loader.open(source, "val", batch_size=4, seed=3, device="cpu")) as loader:
        shown = torch.cat([batch.sample[batch.sample >= 0] for batch in loader.epoch(0)])
        assert torch.equal(shown, loader.split.sample)


def test_faces_of_every_part_are_read_as_the_batches_ask_for_them(store: Path, folders: Path) -> None:
    source = Union(labelled=Packed(store, tier="mapped"), unlabelled=(given_rgb(5), Folder(folders)), held_out=())
    faces = source.open("train", "cpu")
    assert callable(faces.pixels)
    with closing(Loader.open(source, "train", batch_size=4, seed=0, device="cpu", sampler=Shuffled())) as loader:
        for batch in loader.epoch(0):
            means = batch.store[batch.row].double().mean((1, 2))
            torch.testing.assert_close(means, batch.mean.double(), rtol=1e-6, atol=0)


def given_rgb(level: int) -> Source:
    """Two pictures of 10 x 10, as `store` has them."""
    faces = torch.full((2, 10, 10, 3), level, dtype=torch.uint8)
    faces[1] += 1
    return _Rgb(faces)


@dataclass(frozen=True, eq=False)
class _Rgb:
    faces: torch.Tensor

    def open(self, split: str, device: torch.device | str) -> Faces:
        part = Split(split, torch.arange(2), (10, 10, 3), {}, {})
        return Faces(part, self.faces.float().mean((1, 2)), self.faces, torch.device("cpu"))


def test_classes_are_called_by_one_list_and_a_map_says_which_became_which() -> None:
    other = given(4, 5, 6, 7, kind=Classes(("B", "c", "A", "odd")), pose=Numbers(("yaw",)))
    source = Union((given(1, 2, 3), other), classes={"kind": {"A": "a", "B": "b", "odd": None}})
    faces = source.open("train", "cpu")
    assert faces.split.labels == {"kind": Classes(("a", "b", "c")), "pose": Numbers(("yaw",))}
    assert faces.split.target["kind"].tolist() == [0, 1, 0, 1, 2, 0, -1]
    assert faces.split.target["pose"].isnan().flatten().tolist() == [True] * 3 + [False] * 4
    assert [str(each) for each in faces.class_maps] == ["kind: B (1) became b, A (1) became a, odd (1) lost the label"]
    assert source.open("val", "cpu").split.labels == faces.split.labels


def test_classes_in_another_order_are_joined_by_their_names() -> None:
    assert train(Union((given(1, 2), given(3, 4, kind=Classes(("b", "a")))))).target["kind"].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: Union(()), r"labelled \(=\(\)\) must be 1 to 128 sources"),
        (
            lambda: Union(ONE, Synthetic(train=2, val=1, test=1, size=24)),
            "of Synthetic are 16 x 16 RGB and those of Synthetic 24 x 24 RGB",
        ),
        (lambda: Union(given(1), ONE), "of Given are 2 x 2 gray and those of Synthetic 16 x 16 RGB, prepare both"),
        (
            lambda: Union((given(1), given(2, kind=Classes(("a", "c"))))),
            r"kind must be alike in all labelled sources; it is a, b in Given and a, c in Given, say which is which: "
            r"classes=\{'kind'",
        ),
        (lambda: Union((given(1), given(2, kind=Numbers(("x",))))), "it is a, b in Given and x in Given$"),
        (lambda: Union(given(1), classes={"mood": {}}), r"classes \(='mood'\) must name a label with classes.* kind"),
        (lambda: Union(given(1), classes={"kind": {"aa": "b"}}), r"\(='aa'\) must be a class .* did you mean 'a'"),
        (
            lambda: Union(Given({"train": (1,)}, {}), given(2)),
            r"held_out \(='val'\) must be a split of Given.*given: split.*name those there are in held_out",
        ),
        (lambda: Union(Union((given(1), given(2)), held_out=()), held_out=()), r"sample ids below 16777216.*in one"),
    ],
)
def test_what_does_not_go_together_is_refused(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source().open("train", "cpu")


def test_a_source_that_augments_is_refused() -> None:
    with pytest.raises(ValueError, match="_Augmenting must leave augmentation to the kernel"):
        Union(ONE, _Augmenting())


class _Augmenting(Synthetic):
    """A source that was told to augment."""

    augment = "loader"


def test_hashes_of_a_store_are_kept_and_others_are_not(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Union(labelled=Packed(store), unlabelled=TEN)
    source.open("train", "cpu")
    hashed = []
    monkeypatch.setattr(pixel_hashes, "digests", lambda block: hashed.append(len(block)) or np.zeros((len(block), 16)))
    source.open("train", "cpu")
    assert hashed == [2]


TEN = given_rgb(9)


def test_it_is_known_by_the_hashes_of_its_parts(store: Path) -> None:
    known = identity(Union(labelled=Packed(store), unlabelled=(Packed(str(store), tier="mapped"), ONE)))
    assert known["labelled"] == known["unlabelled"][0] == identity(Packed(store))
    assert known["labelled"].keys() == {"images_sha256", "manifest_sha256"}
    assert known["unlabelled"][1] == identity(ONE)
