"""Numbers as files spell them. A value that is none is NaN, so that its row is judged alone; nothing is repaired."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

# float() would also take "1_000", digits of other scripts and "infinity"; no file that is meant holds those.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def texts_to_floats(texts: Sequence[str]) -> np.ndarray:
    """float64; NaN for a text that is no plain decimal number, spaces around it left aside."""
    try:
        if not "".join(texts).encode().translate(None, b"0123456789."):
            return np.array(texts, dtype="float64")
    except (ValueError, UnicodeEncodeError):
        pass  # Some text is empty or has two points; each is then read by itself.
    return np.array([_float(text) for text in texts], dtype="float64")


def is_number(text: str) -> bool:
    """Whether `text` is a plain decimal number."""
    return bool(_NUMBER.fullmatch(text.strip()))


def _float(text: str) -> float:
    stripped = text.strip()
    return float(stripped) if _NUMBER.fullmatch(stripped) else np.nan
