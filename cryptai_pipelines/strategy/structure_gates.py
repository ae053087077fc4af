"""Gates that read market structure, the series' own and the higher timeframe's. Verdicts and scores are as in `gates`."""

from __future__ import annotations

import numpy as np

from cryptai_pipelines.strategy.gates import Gate, of_direction, verdict

WARNED = 0.5
"""What is left of the structure score after a change of character against it."""


def higher_agreement(higher_trend: np.ndarray, higher_bias: np.ndarray) -> np.ndarray:
    """What the higher timeframe says, float64: 1 where its averages and its structure both rise, -1 where both fall, between
    them the mean of the two, NaN where the trend is unknown."""
    return (higher_trend + higher_bias) / 2


def agreement_gate(direction: np.ndarray, agreement: np.ndarray) -> Gate:
    """Whether trend and structure of the higher timeframe both point in `direction`. Score: the agreement."""
    return Gate(verdict(agreement == direction, np.isfinite(agreement)), agreement)


def structure_gate(direction: np.ndarray, bos: np.ndarray, choch: np.ndarray, window: int, choch_blocks: bool) -> Gate:
    """Whether structure broke in `direction` (BOS) at this bar or at most `window - 1` bars before, and with `choch_blocks`
    has not changed its character against it (CHoCH) since then.

    Score: that of the last BOS, 1 up and -1 down, fading to 0 over the window, and `WARNED` of it after a CHoCH against it.
    bos, choch: as in `indicators.market_structure`. Unknown where one of them is NaN within the window.
    """
    rows = np.arange(len(bos))
    broke = {side: _last(bos == side) for side in (1, -1)}
    warned = {side: _last(choch == -side) > broke[side] for side in (1, -1)}
    unknown = _last(~(np.isfinite(bos) & np.isfinite(choch)))
    known = rows - unknown >= window

    def holds(side: int) -> Gate:
        recent = (broke[side] >= 0) & (rows - broke[side] < window)
        return Gate(verdict(recent & ~(warned[side] & choch_blocks), known), np.zeros(len(bos)))

    up = broke[1] > broke[-1]
    age = rows - np.where(up, broke[1], broke[-1])
    fresh = np.where(np.maximum(broke[1], broke[-1]) >= 0, np.maximum(1 - age / window, 0.0), 0.0)
    left = np.where(np.where(up, warned[1], warned[-1]), WARNED, 1.0)
    score = np.where(known, np.where(up, 1.0, -1.0) * fresh * left, np.nan)
    return Gate(of_direction(direction, holds).verdict, score)


def _last(happened: np.ndarray) -> np.ndarray:
    """Position of the last row, up to each, at which it happened; far before the first where it never did."""
    never = -2 * len(happened) - 1_000_000
    return np.maximum.accumulate(np.where(happened, np.arange(len(happened)), never)) if len(happened) else np.empty(0, "int64")
