"""Where the stop and the target of a position would lie, judged from the close, and what that is worth after costs. The engine
sets the true levels from the price of the entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_BASIS_POINT = 1e-4


class Level(NamedTuple):
    """`price`: the nearer of a share of the close and of the market's own level, NaN where unknown. `own`: the market's level
    where that is the nearer one, else NaN. float64."""

    price: np.ndarray
    own: np.ndarray


def stop(direction: np.ndarray, close: np.ndarray, share: float, swing: np.ndarray, buffer: np.ndarray) -> Level:
    """The stop of a long (`direction` 1) or short (-1): the nearer of `share` of the close, and `buffer` beyond the last
    confirmed swing against it. A swing that is NaN, or with its buffer not beyond the close, is none; a buffer that is NaN
    makes the stop unknown where there is a swing."""
    by_share = close * (1 - direction * share)
    own = swing - direction * buffer
    level = _nearer(direction, by_share, np.where(direction * (close - own) > 0, own, np.nan))
    unknown = ~np.isnan(swing) & np.isnan(buffer)
    return Level(np.where(unknown, np.nan, level.price), level.own)


def target(direction: np.ndarray, close: np.ndarray, share: float, opposing: Sequence[np.ndarray]) -> Level:
    """The target of a long or short: the nearer of `share` of the close, and the next of the levels `opposing` that lies beyond
    the close. NaN is no level."""
    by_share = close * (1 + direction * share)
    ahead = [np.where(direction * (level - close) > 0, direction * level, np.inf) for level in opposing]
    nearest = np.minimum.reduce(ahead)
    return _nearer(-direction, by_share, np.where(np.isfinite(nearest), direction * nearest, np.nan))


def by_share(direction: np.ndarray, close: np.ndarray, share: float) -> Level:
    """A level at a fixed share of the close: `share` above it for a long, below it for a short; negative for a stop."""
    return Level(close * (1 + direction * share), np.full(len(close), np.nan))


def _nearer(direction: np.ndarray, share_price: np.ndarray, own: np.ndarray) -> Level:
    """Of two prices below the close (`direction` 1) the higher one, of two above it (-1) the lower; NaN in `own` is none."""
    nearer = direction * (own - share_price) > 0
    return Level(np.where(nearer, own, share_price), np.where(nearer, own, np.nan))


def risk_reward(
    direction: np.ndarray,
    close: np.ndarray,
    stop_price: np.ndarray,
    target_price: np.ndarray,
    fee_rate: float,
    slippage_bps: float,
) -> np.ndarray:
    """Reward per unit of risk of an entry at the close, after fees and slippage of both sides: what is gained at the target
    over what is lost at the stop. NaN where a level is."""
    paid = (1 + slippage_bps * _BASIS_POINT) * (1 + fee_rate)
    kept = (1 - slippage_bps * _BASIS_POINT) * (1 - fee_rate)
    long = direction > 0
    gain = np.where(long, target_price * kept - close * paid, close * kept - target_price * paid)
    loss = np.where(long, close * paid - stop_price * kept, stop_price * paid - close * kept)
    return gain / loss
