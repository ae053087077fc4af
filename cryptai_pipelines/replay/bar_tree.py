"""Cutting a simulated bar into the shorter bars inside it, exactly: highs, lows, and sums of the parts are the whole's.

Everything is int64: prices in ticks, amounts in lots, quote amounts in tick times lot. Bars are numpy columns; a cut turns
n bars into an n x k array of parts. Where whole bars come from is in `simulated`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.replay.counter_noise import BELL_DEVIATION, bell, derive_key, mix, uniform

_ROUGHNESS = 11  # sixty-fourths of the parent's range: the deviation of a boundary from the straight way between extremes
_WICK = 80  # sixty-fourths of the parent's range over k: the mean wick beyond a part's open and close
_CALM_TO_WILD = np.array([3, 5, 8, 8, 10, 14], dtype=np.int64)  # eighths; one is drawn per bar, which clusters volatility


class Traded(NamedTuple):
    """One side's trades in each bar: `lots` bought (or sold) and `quote` paid for them, in ticks times lots."""

    lots: np.ndarray
    quote: np.ndarray


class Bars(NamedTuple):
    """Simulated bars as int64 arrays of one shape. `low * lots <= quote <= high * lots` holds on both sides."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    trades: np.ndarray
    bought: Traded
    sold: Traded


def flatten(bars: Bars) -> Bars:
    """Parts in time order as one row of bars."""
    return _each(np.ravel, bars)


def take(bars: Bars, rows: slice) -> Bars:
    """Some of the bars."""
    return _each(lambda values: values[rows], bars)


def join(pieces: Sequence[Bars]) -> Bars:
    """Bars that follow each other, at least one piece."""
    return _each(lambda *values: np.concatenate(values), *pieces)


def _each(function: Callable[..., np.ndarray], *bars: Bars) -> Bars:
    """`function` of the same column of every one of `bars`, for each column."""
    plain = (function(*values) for values in zip(*(piece[:5] for piece in bars), strict=True))
    bought = (function(*values) for values in zip(*(piece.bought for piece in bars), strict=True))
    sold = (function(*values) for values in zip(*(piece.sold for piece in bars), strict=True))
    return Bars._make((*plain, Traded(*bought), Traded(*sold)))


def cut(bars: Bars, index: np.ndarray, parts: int, minutes: int, key: int) -> Bars:
    """Cut each bar into `parts` bars of `minutes` minutes each; the result has shape (n, parts).

    `index` (int64, n) is each bar's number on its own grid; with `key` it determines the outcome, so a bar is cut the same
    way however it was reached. Aggregating the parts gives the bar back exactly.
    """
    count = len(index)
    part_index = index[:, None] * parts + np.arange(parts)
    first, second, low_first = _extremes(bars, index, parts, key)
    bounds = _boundaries(bars, part_index, first, second, low_first, key)
    opens, closes = bounds[:, :-1], bounds[:, 1:]
    highs, lows = _wicks(bars, part_index, opens, closes, key)
    rows = np.arange(count)
    highs[rows, np.where(low_first, second, first)] = bars.high
    lows[rows, np.where(low_first, first, second)] = bars.low
    weights = _activity(part_index, highs - lows, (bars.high - bars.low)[:, None], key)
    bought = _split_side(bars.bought, weights, part_index, highs, lows, minutes, derive_key(key, "bought"))
    sold = _split_side(bars.sold, weights, part_index, highs, lows, minutes, derive_key(key, "sold"))
    trades = _split_whole(bars.trades, bought.lots + sold.lots, minutes)
    return Bars(opens, highs, lows, closes, trades, bought, sold)


def _extremes(bars: Bars, index: np.ndarray, parts: int, key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part holding the earlier extreme, the part holding the later one, and whether the low is the earlier."""
    bits = mix(derive_key(key, "extremes"), index)
    apart = np.maximum(uniform(bits, 0), uniform(bits, 1)) * parts >> 16
    apart = np.where(uniform(bits, 1) % 16 == 0, apart, np.maximum(apart, 1))
    earlier = uniform(bits, 2) * (parts - apart) >> 16
    rising = bars.close >= bars.open
    usual = uniform(bits, 3) < 52_000
    return earlier, earlier + apart, rising == usual


def _boundaries(
    bars: Bars, part_index: np.ndarray, first: np.ndarray, second: np.ndarray, low_first: np.ndarray, key: int
) -> np.ndarray:
    """Prices at the k + 1 boundaries of the parts: straight from open to the earlier extreme, to the later one, to close,
    plus noise, within the bar's range. Times are in half parts; an extreme lies in the middle of its part."""
    parts = part_index.shape[1]
    at = 2 * np.arange(parts + 1)[None, :]
    one, two = (2 * first + 1)[:, None], (2 * second + 1)[:, None]
    early = np.where(low_first, bars.low, bars.high)[:, None]
    late = np.where(low_first, bars.high, bars.low)[:, None]
    opened, closed = bars.open[:, None], bars.close[:, None]
    straight = np.where(
        at < one,
        opened + (early - opened) * at // one,
        np.where(
            at < two,
            early + (late - early) * (at - one) // np.maximum(two - one, 1),
            late + (closed - late) * (at - two) // (2 * parts - two),
        ),
    )
    reach = (bars.high - bars.low)[:, None]
    temper = _CALM_TO_WILD[uniform(mix(derive_key(key, "temper"), part_index[:, 0] // parts), 0) % 6][:, None]
    noise = bell(mix(derive_key(key, "bounds"), part_index)) * reach * _ROUGHNESS * temper // (BELL_DEVIATION * 64 * 8)
    inner = np.clip(straight[:, 1:-1] + noise[:, 1:], bars.low[:, None], bars.high[:, None])
    return np.concatenate((opened, inner, closed), axis=1)


def _wicks(
    bars: Bars, part_index: np.ndarray, opens: np.ndarray, closes: np.ndarray, key: int
) -> tuple[np.ndarray, np.ndarray]:
    reach = (bars.high - bars.low)[:, None]
    bits = mix(derive_key(key, "wicks"), part_index)
    unit = reach * _WICK
    up = unit * (uniform(bits, 0) * uniform(bits, 1) >> 16) // (part_index.shape[1] << 22)
    down = unit * (uniform(bits, 2) * uniform(bits, 3) >> 16) // (part_index.shape[1] << 22)
    highs = np.minimum(np.maximum(opens, closes) + up, bars.high[:, None])
    lows = np.maximum(np.minimum(opens, closes) - down, bars.low[:, None])
    return highs, lows


def _activity(part_index: np.ndarray, reach: np.ndarray, whole: np.ndarray, key: int) -> np.ndarray:
    """Weights (below 2**18) by which amounts are shared out: random, and larger in a part that moves more."""
    bits = mix(derive_key(key, "activity"), part_index)
    moved = 1024 + 4096 * reach // np.maximum(whole, 1)
    return moved * (8192 + (uniform(bits, 0) * uniform(bits, 1) >> 16)) >> 13


def _split_side(
    side: Traded,
    weights: np.ndarray,
    part_index: np.ndarray,
    highs: np.ndarray,
    lows: np.ndarray,
    minutes: int,
    key: int,
) -> Traded:
    """One side's lots and quote shared among the parts, every part's mean price between its low and its high."""
    own = 49_152 + uniform(mix(key, part_index), 0) // 2
    lots = _split_whole(side.lots, weights * own >> 16, minutes)
    lots = _balance(lots, side, highs, lows, minutes)
    return Traded(lots, _split_quote(side.quote, lots, highs, lows))


def _split_whole(total: np.ndarray, weights: np.ndarray, minutes: int) -> np.ndarray:
    """Integers that sum to `total`, one per minute of each part and the rest by weight."""
    parts = weights.shape[1]
    upto = np.cumsum(weights, axis=1)
    free = (total - parts * minutes)[:, None]
    share = _times_ratio(free, upto, upto[:, -1:])
    return minutes + np.diff(share, axis=1, prepend=0)


def _times_ratio(amount: np.ndarray, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Roughly amount * part / whole, without overflow; monotone in `part`, 0 at 0, and exactly `amount` at `whole`."""
    ratio = np.floor(part / whole * (1 << 20)).astype(np.int64)
    return (amount >> 20) * ratio + ((amount & ((1 << 20) - 1)) * ratio >> 20)


def _balance(lots: np.ndarray, side: Traded, highs: np.ndarray, lows: np.ndarray, minutes: int) -> np.ndarray:
    """Move lots between the parts above and below the side's mean price until that mean can be met well inside the ranges.

    A mean price that every part meets at 0.35 to 0.65 of its range is left alone; otherwise lots are scaled on either side
    so that it is met at 0.4 or 0.6. Where all parts lie on one side, the outermost part takes the lots.
    """
    least, reach = (lows * lots).sum(axis=1), ((highs - lows) * lots).sum(axis=1)
    depth = (side.quote - least) / np.maximum(reach, 1)
    rows = np.flatnonzero(np.abs(depth - 0.5) > 0.15)
    if not len(rows):
        return lots
    aim = np.where(depth[rows] > 0.5, 0.6, 0.4)[:, None]
    means = lows[rows] + (highs[rows] - lows[rows]) * aim
    price = (side.quote[rows] / side.lots[rows])[:, None]
    free = (lots[rows] - minutes).astype(np.float64)
    wanted = _scaled(free, means, price)
    balanced = minutes + np.floor(wanted).astype(np.int64)
    balanced[np.arange(len(rows)), wanted.argmax(axis=1)] += side.lots[rows] - balanced.sum(axis=1)
    result = lots.copy()
    result[rows] = balanced
    return result


def _scaled(free: np.ndarray, means: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Lots (float) with the same total as `free` whose mean of `means` is nearest to `price`, scaled on either side of it."""
    above = means >= price
    upper, lower = np.where(above, free, 0.0), np.where(above, 0.0, free)
    upper_lots, lower_lots = upper.sum(axis=1, keepdims=True), lower.sum(axis=1, keepdims=True)
    upper_mean = (upper * means).sum(axis=1, keepdims=True) / np.maximum(upper_lots, 1.0)
    lower_mean = (lower * means).sum(axis=1, keepdims=True) / np.maximum(lower_lots, 1.0)
    both = (upper_lots > 0) & (lower_lots > 0)
    total = upper_lots + lower_lots
    share = np.clip((price - lower_mean) / np.where(both, upper_mean - lower_mean, 1.0), 0.02, 0.98)
    scaled = upper * (share * total / np.maximum(upper_lots, 1.0)) + lower * ((1 - share) * total / np.maximum(lower_lots, 1.0))
    outermost = np.where(lower_lots > 0, means, -means).argmax(axis=1)[:, None]
    alone = np.where(np.arange(free.shape[1]) == outermost, total * 0.9 + free * 0.1, free * 0.1)
    return np.where(both, scaled, alone)


def _split_quote(quote: np.ndarray, lots: np.ndarray, highs: np.ndarray, lows: np.ndarray) -> np.ndarray:
    """Quote amounts that sum to `quote`, each between low and high times the part's lots."""
    least, reach = lows * lots, (highs - lows) * lots
    over, room = quote - least.sum(axis=1), reach.sum(axis=1)
    depth = np.clip(over / np.maximum(room, 1), 0.0, 1.0) * (1 - 2.0**-40)
    extra = np.floor(reach * depth[:, None]).astype(np.int64)
    rest = over - extra.sum(axis=1)
    for part in range(lots.shape[1]):
        given = np.clip(rest, -extra[:, part], reach[:, part] - extra[:, part])
        extra[:, part] += given
        rest = rest - given
    extra[:, -1] += rest
    return least + extra
