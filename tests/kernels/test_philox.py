"""The generator is the published one, whatever shape its counters come in."""

from __future__ import annotations

import pytest
import torch

from kernels.tables.philox import LOW_32, philox4x32

# Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (LOW_32, LOW_32, LOW_32, LOW_32),
        (LOW_32, LOW_32),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected):
    assert tuple(int(word) for word in philox4x32(tuple(map(torch.tensor, counter)), key)) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_keys_may_be_tensors_and_counters_broadcast(counter, key, expected):
    words = philox4x32(
        (torch.full((5, 1), counter[0]), *(torch.tensor(word) for word in counter[1:])),
        tuple(torch.full((1, 3), word) for word in key),
    )
    for word, value in zip(words, expected, strict=True):
        assert torch.equal(word, torch.full((5, 3), value))


def test_words_stay_in_32_bits_and_differ_from_counter_to_counter():
    counter = torch.arange(4096)
    zero = torch.zeros(4096, dtype=torch.int64)
    words = torch.stack(philox4x32((counter, zero, zero, zero), (7, 9)))
    assert words.min() >= 0
    assert words.max() <= LOW_32
    assert words.unique().numel() > words.numel() - 10
