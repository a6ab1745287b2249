"""Training data from one source, the test split from another."""

from __future__ import annotations

from contextlib import closing

import pytest

from loaders import Loader, Packed, Synthetic, WithTest
from loaders.base import Source, augments

SOURCE = WithTest(Synthetic(train=8, val=4, test=4, size=24), test=Synthetic(train=1, val=1, test=6, size=32, seed=5))


@pytest.mark.parametrize(("split", "faces", "size"), [("train", 8, 24), ("val", 4, 24), ("test", 6, 32)])
def test_the_test_split_alone_is_the_others(split: str, faces: int, size: int) -> None:
    assert isinstance(SOURCE, Source)
    with closing(Loader.open(SOURCE, split, batch_size=4, seed=0, device="cpu")) as loader:
        assert (len(loader.split.sample), loader.split.shape) == (faces, (size, size, 3))
        batches = list(loader.epoch(0))
    assert sum(int((batch.sample >= 0).sum()) for batch in batches) == faces


def test_the_source_that_has_the_split_refuses(tmp_path: object) -> None:
    broken = WithTest(SOURCE.source, test=Packed(f"{tmp_path}/nothing"))
    assert len(broken.open("val", "cpu").split.sample) == 4
    with pytest.raises(ValueError, match=r"WithTest: test is read from test \(=Packed\): store .*nothing: must"):
        broken.open("test", "cpu")
    with pytest.raises(ValueError, match=r"WithTest: val is read from source \(=Packed\): store .*nothing"):
        WithTest(Packed(f"{tmp_path}/nothing"), test=SOURCE.test).open("val", "cpu")


def test_who_augments_is_the_training_source_s_choice() -> None:
    assert not augments(SOURCE)
    assert augments(WithTest(_Augmenting(), test=SOURCE.test))


class _Augmenting(Synthetic):
    """A source that was told to augment."""

    augment = "loader"
