"""Our reader of MATLAB files says what SciPy's says, and of damaged ones a sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from loaders.importers.mat import read_mat

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
SHAPES = [(1, 1), (2, 68), (1, 7), (3, 0), (2, 3, 4)]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_kind_are_those_that_scipy_reads(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], compressed: bool
) -> None:
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    others = {"text": "abc", "cell": np.array([[1], ["x"]], dtype=object), "s": {"a": 1}, "z": np.array([[1 + 2j]])}
    savemat(tmp_path / "x.mat", {"pt2d": values, "n": 3, **others}, do_compression=compressed)
    found = read_mat(tmp_path / "x.mat", ("pt2d", "n", *others))
    assert found.keys() == {"pt2d", "n"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, loadmat(tmp_path / "x.mat")[name])


def test_the_other_byte_order_is_read_too(tmp_path: Path) -> None:
    def element(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)

    matrix = element(6, bytes([0, 0, 0, 6]) + bytes(4)) + element(5, struct.pack(">ii", 2, 1))
    matrix += element(1, b"x") + element(9, struct.pack(">dd", 1.5, -2))
    (tmp_path / "x.mat").write_bytes(b" " * 124 + b"\x01\x00MI" + element(14, matrix))
    np.testing.assert_array_equal(read_mat(tmp_path / "x.mat", ("x",))["x"], loadmat(tmp_path / "x.mat")["x"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no MATLAB file of version 5 to 7"),
        (b"\x89HDF\r\n" + bytes(600), "no MATLAB file of version 5 to 7"),
        (b" " * 124 + b"\x00\x01IM" + b"\x0e\x00", r"cut or damaged \(.*unpack"),
        (b" " * 124 + b"\x00\x01IM" + struct.pack("<II", 14, 2**31), "ends behind the file"),
        (b" " * 124 + b"\x00\x01IM" + struct.pack("<II", 15, 8) + bytes(8), "cut or damaged"),
    ],
)
def test_what_is_no_matlab_file_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_mat(tmp_path / "x.mat", ("x",))


@settings(max_examples=300)
@given(st.integers(0, 600), st.binary(min_size=1, max_size=8), st.booleans())
def test_damage_ends_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, at: int, new: bytes, packed: bool) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.mat"
    savemat(file, {"Pose_Para": np.zeros((1, 7), np.float32), "pt2d": np.ones((2, 21))}, do_compression=packed)
    content = bytearray(file.read_bytes())
    content[at : at + len(new)] = new
    file.write_bytes(content)
    try:
        read_mat(file, ("Pose_Para", "pt2d"))
    except ValueError as error:
        assert str(error).startswith("it is ")  # noqa: PT017 - either ending is right
