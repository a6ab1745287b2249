"""Random words depend on their address alone."""

from __future__ import annotations

import zlib

import pytest
import torch

import kernels
from kernels import Key
from kernels.tables.philox import philox4x32
from kernels.tables.streams import AUGMENT_WORDS


def test_committed_words_never_change():
    sample = torch.tensor([0, 1, -1])
    key = Key(1234, 5, sample)
    assert kernels.random_bits(key, 5).tolist() == GOLDEN
    assert kernels.uniform(key, 1)[0, 0] == (GOLDEN[0][0] >> 8) / 2**24
    first = Key(1234, 5, sample, torch.zeros(3, dtype=torch.int32))
    assert kernels.random_bits(first, 5).tolist() == GOLDEN
    assert key.stream("other").stream("shared").name == key.name == "shared"


def test_addresses_are_as_documented():
    seed, epoch, sample, occurrence, stream = 2**63 + 17, 2**32 - 1, -5, 2**31 - 1, "puzzle"
    expected = []
    for block in range(2):
        counter = (block, zlib.crc32(stream.encode()), epoch, sample & 0xFFFFFFFF)
        words = philox4x32(tuple(torch.tensor(word) for word in counter), (seed % 2**32, seed // 2**32 ^ occurrence))
        expected += [int(word) for word in words]
    key = Key(seed, epoch, torch.tensor([sample]), torch.tensor([occurrence], dtype=torch.int32))
    drawn = kernels.random_bits(key.stream(stream), 7)
    assert drawn.tolist() == [expected[:7]]


def test_every_augmentation_quantity_keeps_its_number():
    assert list(AUGMENT_WORDS.values()) == list(range(len(AUGMENT_WORDS)))
    assert list(AUGMENT_WORDS)[:4] == ["flip", "jitter", "contrast", "brightness"]
    assert AUGMENT_WORDS["cut_y"] == 22


def test_words_do_not_depend_on_the_batch_or_the_count():
    sample = torch.tensor([9, -1, 2**40 + 3, 0])
    again = torch.tensor([0, 3, 0, 2**31 - 1], dtype=torch.int32)
    whole = kernels.random_bits(Key(3, 1, sample, again), 9)
    alone = torch.cat([kernels.random_bits(Key(3, 1, sample[i : i + 1], again[i : i + 1]), 6) for i in range(4)])
    assert torch.equal(whole[:, :6], alone)


def test_seed_epoch_sample_occurrence_and_stream_each_matter():
    def bits(seed=1, epoch=2, sample=3, occurrence=0, stream="a"):
        key = Key(seed, epoch, torch.tensor([sample]), torch.tensor([occurrence], dtype=torch.int32))
        return kernels.random_bits(key.stream(stream), 8)

    base, again = bits(), bits(occurrence=1)
    others = [bits(seed=2), bits(seed=1 + 2**32), bits(epoch=3), bits(sample=4), bits(stream="b"), bits(occurrence=2)]
    for other in (again, *others):
        assert not (base == other).any()
    for other in (bits(seed=2), bits(epoch=3), bits(sample=4), bits(stream="b"), bits(occurrence=2)):
        assert not (again == other).any()


def test_no_two_draws_of_a_seed_share_a_block():
    """Keyed by seed and occurrence, counted by the rest: another of any of them is another block of Philox."""
    seen = set()
    sample = torch.arange(16).repeat(16)
    occurrence = torch.arange(16, dtype=torch.int32).repeat_interleave(16)
    for seed in range(4):
        for epoch in range(4):
            for stream in ("shared", "puzzle"):
                words = kernels.random_bits(Key(seed, epoch, sample, occurrence, stream), 4)
                seen |= {tuple(block) for block in words.tolist()}
    assert len(seen) == 4 * 4 * 2 * 16 * 16


def test_uniform_is_uniform():
    drawn = kernels.uniform(Key(0, 0, torch.arange(20_000)).stream("u"), 3)
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
        ({"seed": -1}, r"Key: seed \(=-1\) must be in 0..2\*\*64-1;"),
        ({"seed": 2**64}, r"Key: seed \(=18446744073709551616\) must be in"),
        ({"epoch": -1}, r"Key: epoch \(=-1\) must be in 0..2\*\*32-1;"),
        ({"epoch": 2**32}, r"Key: epoch \(=4294967296\) must be in"),
        (
            {"sample": torch.arange(3, dtype=torch.int32)},
            r"Key: sample \(=torch.int32 of shape \(3,\)\) must be",
        ),
        ({"sample": torch.zeros(2, 2, dtype=torch.int64)}, r"Key: sample .* must be int64 of one axis;"),
        (
            {"occurrence": torch.arange(3)},
            r"Key: occurrence \(=torch.int64 of shape \(3,\)\) must be int32 of shape \(3,\); say how often the epoch",
        ),
        ({"occurrence": torch.zeros(2, dtype=torch.int32)}, r"Key: occurrence .* must be int32 of shape \(3,\);"),
        (
            {"occurrence": torch.zeros(3, dtype=torch.int32, device="meta")},
            r"Key: occurrence \(on meta\) must be where sample is \(cpu\); move it there",
        ),
    ],
)
def test_bad_keys_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        Key(**({"seed": 0, "epoch": 0, "sample": torch.arange(3)} | changed))


@pytest.mark.parametrize("count", [0, 2**26 + 1])
def test_bad_counts_are_refused(count):
    with pytest.raises(ValueError, match=rf"random_bits: count \(={count}\) must be in 1..2\*\*26;"):
        kernels.random_bits(Key(0, 0, torch.arange(3)), count)


GOLDEN = [
    [2122036043, 103683204, 3256754032, 3166906669, 2440840374],
    [581211673, 3315771617, 603170393, 1125743004, 4249076991],
    [1793792367, 16087849, 1847240729, 2902935251, 2323535345],
]
