"""Computes means under many weightings of the pictures at once, and packs arrays of answers as text."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from jaxtyping import Float, Float64

Weights = Float[np.ndarray, "r n"]
"""How often each of n pictures counts, in each of r weightings."""


def weighted_mean(values: Float64[np.ndarray, " n"], weights: Weights) -> Float64[np.ndarray, " r"]:
    """Averages over the values that are known, not NaN; NaN where none of these is drawn."""
    known = np.isfinite(values)
    total = weights @ np.where(known, values, 0).astype(weights.dtype)
    return ratio(total, weights @ known.astype(weights.dtype))


def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Divides in double precision, NaN where the divisor is 0."""
    quotient: np.ndarray = np.full(np.shape(over), np.nan)
    np.divide(over, under, out=quotient, where=np.asarray(under) > 0)
    return quotient


def as_text(array: np.ndarray) -> str:
    """Packs the numbers of an array, without its shape; see `from_text`."""
    little = array.astype(array.dtype.newbyteorder("<"))
    return base64.b64encode(zlib.compress(little.tobytes(), 9)).decode("ascii")


def from_text(text: str, dtype: type[np.generic]) -> np.ndarray:
    """Unpacks what `as_text` packed of an array of this type, as one row."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.dtype(dtype).newbyteorder("<"))
