"""Random words depend on their address alone."""

from __future__ import annotations

import zlib

import pytest
import torch

import kernels
from kernels.tables.philox import philox4x32
from kernels.tables.streams import AUGMENT_WORDS


def test_committed_words_never_change():
    sample = torch.tensor([0, 1, -1])
    drawn = kernels.random_bits(1234, epoch=5, sample=sample, stream="shared", count=5)
    assert drawn.tolist() == GOLDEN
    assert kernels.uniform(1234, epoch=5, sample=sample, stream="shared", count=1)[0, 0] == (GOLDEN[0][0] >> 8) / 2**24


def test_addresses_are_as_documented():
    seed, epoch, sample, stream = 2**63 + 17, 2**32 - 1, -5, "puzzle"
    expected = []
    for block in range(2):
        counter = (block, zlib.crc32(stream.encode()), epoch, sample & 0xFFFFFFFF)
        words = philox4x32(tuple(torch.tensor(word) for word in counter), (seed % 2**32, seed // 2**32))
        expected += [int(word) for word in words]
    drawn = kernels.random_bits(seed, epoch=epoch, sample=torch.tensor([sample]), stream=stream, count=7)
    assert drawn.tolist() == [expected[:7]]


def test_every_augmentation_quantity_keeps_its_number():
    assert list(AUGMENT_WORDS.values()) == list(range(len(AUGMENT_WORDS)))
    assert list(AUGMENT_WORDS)[:4] == ["flip", "jitter", "contrast", "brightness"]
    assert AUGMENT_WORDS["cut_y"] == 22


def test_words_do_not_depend_on_the_batch_or_the_count():
    sample = torch.tensor([9, -1, 2**40 + 3, 0])
    whole = kernels.random_bits(3, epoch=1, sample=sample, stream="a", count=9)
    alone = torch.cat([kernels.random_bits(3, epoch=1, sample=s[None], stream="a", count=6) for s in sample])
    assert torch.equal(whole[:, :6], alone)


def test_seed_epoch_sample_and_stream_each_matter():
    def bits(seed=1, epoch=2, sample=3, stream="a"):
        return kernels.random_bits(seed, epoch=epoch, sample=torch.tensor([sample]), stream=stream, count=8)

    base = bits()
    others = [bits(seed=2), bits(seed=1 + 2**32), bits(epoch=3), bits(sample=4), bits(stream="b")]
    for other in others:
        assert not (base == other).any()


def test_uniform_is_uniform():
    drawn = kernels.uniform(0, epoch=0, sample=torch.arange(20_000), stream="u", count=3)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (20_000, 3)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    counts = torch.histc(drawn, bins=50, min=0, max=1)
    chi_square = ((counts - 1200) ** 2 / 1200).sum()
    assert chi_square < 95  # 49 degrees of freedom: exceeded by one stream in 10,000
    assert abs(torch.corrcoef(drawn.T)[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, r"random_bits: seed \(=-1\) must be in 0..2\*\*64-1;"),
        ({"seed": 2**64}, r"random_bits: seed \(=18446744073709551616\) must be in"),
        ({"epoch": -1}, r"random_bits: epoch \(=-1\) must be in 0..2\*\*32-1;"),
        ({"epoch": 2**32}, r"random_bits: epoch \(=4294967296\) must be in"),
        (
            {"sample": torch.arange(3, dtype=torch.int32)},
            r"random_bits: sample \(=torch.int32 of shape \(3,\)\) must be",
        ),
        ({"sample": torch.zeros(2, 2, dtype=torch.int64)}, r"random_bits: sample .* must be int64 of one axis;"),
        ({"count": 0}, r"random_bits: count \(=0\) must be in 1..2\*\*26;"),
    ],
)
def test_bad_addresses_are_refused(changed, message):
    good = {"seed": 0, "epoch": 0, "sample": torch.arange(3), "stream": "a", "count": 1}
    arguments = good | changed
    with pytest.raises(ValueError, match=message):
        kernels.random_bits(arguments.pop("seed"), **arguments)


GOLDEN = [
    [2122036043, 103683204, 3256754032, 3166906669, 2440840374],
    [581211673, 3315771617, 603170393, 1125743004, 4249076991],
    [1793792367, 16087849, 1847240729, 2902935251, 2323535345],
]
