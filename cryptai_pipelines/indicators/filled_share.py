"""How much of what an indicator looked at was filled in and never traded. Which bars are filled is decided in `quality`."""

from __future__ import annotations

import numpy as np

FILLED_WINDOW = 200
"""Bars looked back upon, the present one included: the longest window of the default set."""


def filled_share(is_filled: np.ndarray, window: int = FILLED_WINDOW) -> np.ndarray:
    """The share of filled bars among the last `window` existing ones, the present one included; float64 in [0, 1].

    is_filled: bool, one per existing bar, ascending. Where fewer bars exist, the share of those that do. Never NaN.
    """
    filled = np.concatenate(([0], np.cumsum(is_filled)))
    rows = np.arange(1, len(is_filled) + 1)
    first = np.maximum(rows - window, 0)
    return (filled[rows] - filled[first]) / (rows - first)
