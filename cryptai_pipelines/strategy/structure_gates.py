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
    known = _age(~(np.isfinite(bos) & np.isfinite(choch))) >= window
    age = {side: _age(bos == side) for side in (1, -1)}
    warned = {side: _age(choch == -side) < age[side] for side in (1, -1)}
    up, down = (verdict((age[side] < window) & ~(warned[side] & choch_blocks), known) for side in (1, -1))
    rose = age[1] < age[-1]
    fresh = np.maximum(1 - np.where(rose, age[1], age[-1]) / window, 0.0)
    left = np.where(np.where(rose, warned[1], warned[-1]), WARNED, 1.0)
    # Of a break beyond the window nothing may show, not even the sign of a 0.
    score = np.where(fresh > 0, np.where(rose, 1.0, -1.0) * fresh * left, 0.0)
    return Gate(of_direction(direction, up, down), np.where(known, score, np.nan))


def _age(happened: np.ndarray) -> np.ndarray:
    """Rows since it happened, 0 where it does; infinite before the first time."""
    rows = np.arange(len(happened), dtype="float64")
    return rows - np.maximum.accumulate(np.where(happened, rows, -np.inf))
