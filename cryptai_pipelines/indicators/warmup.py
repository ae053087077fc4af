"""How many bars of the past an indicator needs: the derivations behind every declared warm-up. No indicator is named here.

An indicator with a finite window needs the rest of that window. A recursive one never forgets entirely; its warm-up is the
number of bars after which what came before moves the value by less than `TOLERANCE`, relative. One that is carried (`carried`)
goes on from its own last value; its warm-up is for what else it reads.
"""

from __future__ import annotations

import math

TOLERANCE = 1e-9
"""Largest relative difference from the value that an infinite past would give."""

SWING = 1e3
"""Margin: what is forgotten (a price, a range, a mean move) may have been this many times the present value."""

LULL_BARS = 1_440
"""Bars without a price change that a ratio of averages must survive, on top of what its averages need: a day of minutes.

In RSI and its like both averages shrink alike without a change, and their ratio keeps what it was, however long ago: a run of
equal closes forgets nothing. After a longer run the movement before it is out of reach, and the value is that of a series that
never moved.
"""


def window_bars(period: int) -> int:
    """Bars before the first value of a function of the last `period` bars: exact, not a margin."""
    return period - 1


def settling_bars(decay: float) -> int:
    """Steps after which an error that shrinks by `decay` per bar, 0 < decay < 1, is below tolerance.

    Two runs of `y = decay * y + (1 - decay) * x` on the same input differ by `decay ** n` of their first difference, which is
    at most `SWING` times the value: the smallest n with `decay ** n * SWING <= TOLERANCE`.
    """
    return math.ceil(math.log(TOLERANCE / SWING) / math.log(decay))


def ema_bars(period: int) -> int:
    """Exponential mean with alpha = 2 / (period + 1), seeded by the plain mean of its first `period` bars."""
    return window_bars(period) + settling_bars(1 - 2 / (period + 1))


def wilder_bars(period: int) -> int:
    """Wilder's mean, alpha = 1 / period, of changes or true ranges, of which a first bar has none: one more than for levels."""
    return period + settling_bars(1 - 1 / period)


def macd_bars(slow_period: int, signal_period: int) -> int:
    """An exponential mean (the signal) of a difference of two, of which the slower settles last.

    Once the slow mean has settled the signal's input is right, and the signal forgets what it saw before as any mean does.
    """
    return ema_bars(slow_period) + ema_bars(signal_period)


def rma_bars(period: int) -> int:
    """Exponential mean with alpha = 1 / period of levels, seeded by the plain mean of its first `period` bars."""
    return window_bars(period) + settling_bars(1 - 1 / period)


def kama_bars(period: int, slow_period: int = 30) -> int:
    """Kaufman's adaptive mean: alpha moves between the squares of two exponential ones, so at its slowest it is that of
    `slow_period` squared, as in a market that goes nowhere."""
    return period + settling_bars(1 - (2 / (slow_period + 1)) ** 2)


def adx_bars(period: int) -> int:
    """Wilder's mean of a ratio of Wilder's means: the first settles, then the second forgets what it saw before."""
    return 2 * wilder_bars(period)
