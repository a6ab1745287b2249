# mypy: disable-error-code="no-untyped-def"
"""Draws the words of Philox4x32-10 in numba; the rule is `kernels.tables.philox`."""

from __future__ import annotations

import numpy as np

from kernels.numba_jit import inlined


@inlined
def philox4x32(word0, word1, word2, word3, key0, key1):
    """Draws four words for a counter of four under a key of two; all are below 2**32 and held in uint64."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * word0, np.uint64(0xCD9E8D57) * word2
        word0, word1, word2, word3 = (
            (product1 >> half) ^ word1 ^ key0,
            product1 & low,
            (product0 >> half) ^ word3 ^ key1,
            product0 & low,
        )
        key0, key1 = (key0 + np.uint64(0x9E3779B9)) & low, (key1 + np.uint64(0xBB67AE85)) & low
    return word0, word1, word2, word3
