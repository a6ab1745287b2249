"""Faces that are nearly the same picture: which pairs are found, which are equal, and which are not looked at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from loaders import Classes
from loaders.decoding.reading import Face
from loaders.importers import Record
from loaders.store.near_duplicates import NearDuplicates, find_near_duplicates, near_pairs
from loaders.store.opening import open_store
from loaders.store.writing import new_store


def photo(seed: int, side: int = 48) -> NDArray[np.uint8]:
    """A picture with detail, as photographs have: of a smoother one the hash is noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


def compressed(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(face).save(file, format="JPEG", quality=60)
    return np.asarray(Image.open(file))


def write_store(out: Path, faces: list[NDArray[np.uint8]]) -> Path:
    with new_store(out, {"kind": Classes(("a", "b"))}, origin={}) as writer:
        for place, face in enumerate(faces):
            pixels = face if face.ndim == 3 else face[:, :, None]
            writer.add([Face(Record("train", f"{place}.png", {"kind": "a"}, pixels), pixels)])
    return out


def found(out: Path, faces: list[NDArray[np.uint8]], **options: int) -> NearDuplicates:
    return find_near_duplicates(open_store(write_store(out, faces)), **options)  # type: ignore[arg-type]


def test_pairs_are_those_of_a_plain_comparison_across_blocks() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (531, 32), dtype=np.uint8)
    hashes[500:] = hashes[:31]
    hashes[500:, 3] ^= np.arange(31, dtype=np.uint8)  # 0 to 5 bits apart
    blocks = list(near_pairs(hashes, 3))
    assert [count for _, _, count in blocks] == [256, 256, 19]
    bits = np.unpackbits(hashes, axis=1).astype(int)
    plain = [
        (one, other, int(apart))
        for one in range(531)
        for other, apart in enumerate(np.abs(bits[one] - bits[one + 1 :]).sum(axis=1), start=one + 1)
        if apart <= 3
    ]
    assert len(plain) == 26  # of 31 numbers below 31 those with at most three bits
    assert [(*pair, d) for pairs, apart, _ in blocks for pair, d in zip(pairs.tolist(), apart, strict=True)] == plain


def test_copies_are_found_however_they_were_made_and_others_are_not(tmp_path: Path, labels_extra: None) -> None:
    face = photo(0)
    darker = (face * 0.7).astype(np.uint8)
    smaller = np.asarray(Image.fromarray(face).resize((40, 40)).resize((48, 48)))
    twins = found(tmp_path / "store", [face, *map(photo, range(1, 9)), compressed(face), darker, smaller, face])
    assert {tuple(pair) for pair in twins.pairs.tolist()} == {
        (one, other) for one in (0, 9, 10, 11, 12) for other in (9, 10, 11, 12) if one < other
    }
    assert twins.pairs[twins.equal].tolist() == [[0, 12]]
    assert twins.distance[twins.equal].tolist() == [0]
    assert twins.distance.max() <= 50


def test_blank_faces_are_left_out_and_gray_ones_are_read(tmp_path: Path, labels_extra: None) -> None:
    blank = [np.full((48, 48), level, np.uint8) for level in (0, 128, 255)]
    gray = photo(0)[:, :, 0]
    twins = found(tmp_path / "store", [blank[0], gray, blank[1], gray, blank[2]])
    assert twins.pairs.tolist() == [[1, 3]]
    nothing = found(tmp_path / "blank", blank)
    assert nothing.pairs.shape == (0, 2)
    assert nothing.distance.shape == nothing.equal.shape == (0,)


def test_with_no_bits_only_equal_hashes_are_pairs(tmp_path: Path, labels_extra: None) -> None:
    twins = found(tmp_path / "store", [photo(0), photo(0), compressed(photo(0)), photo(1)], most=0)
    assert twins.pairs.tolist() == [[0, 1]]
    for wrong in (-1, 257):
        with pytest.raises(ValueError, match=rf"labels: near \(={wrong}\) must be in 0..256, the bits of a hash; 50"):
            found(tmp_path / f"store{wrong}", [photo(0)], most=wrong)
