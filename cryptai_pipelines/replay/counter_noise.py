"""Random numbers by position instead of by order: the value at (key, index) costs the same wherever it is asked for.

Integers only, so that every platform, process and library version gives the same ones.
"""

from __future__ import annotations

import hashlib

import numpy as np

NOISE_BITS = 16
"""`uniform` lies in [0, 2**NOISE_BITS)."""

_MASK = (1 << 64) - 1
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)


def derive_key(*parts: int | str) -> int:
    """A 64-bit key from a path of names and numbers, such as (seed, symbol, level)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mix(key: int, index: np.ndarray) -> np.ndarray:
    """64 random bits (uint64) for each int64 index: the SplitMix64 output function (Steele, Lea, Flood 2014) on a counter."""
    state = index.astype(np.int64).view(np.uint64) * _STEP + np.uint64(key & _MASK)
    state = (state ^ (state >> np.uint64(30))) * _MULTIPLY_1
    state = (state ^ (state >> np.uint64(27))) * _MULTIPLY_2
    return state ^ (state >> np.uint64(31))


def uniform(bits: np.ndarray, lane: int) -> np.ndarray:
    """One of the four 16-bit lanes (0 to 3) of random bits, int64 in [0, 65536)."""
    return ((bits >> np.uint64(16 * lane)) & np.uint64(0xFFFF)).astype(np.int64)


def bell(bits: np.ndarray) -> np.ndarray:
    """A bell-shaped int64 from all four lanes: mean 0, standard deviation about 2**15.2 (37,837), within +-131,070."""
    return uniform(bits, 0) + uniform(bits, 1) + uniform(bits, 2) + uniform(bits, 3) - 131_070


BELL_DEVIATION = 37_837
"""Standard deviation of `bell`: two uniform standard deviations of 65536 / sqrt(12)."""
