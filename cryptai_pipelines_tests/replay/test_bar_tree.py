"""Cutting any consistent bar, however odd: the parts are orderly and give the bar back exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.replay.bar_tree import Bars, Traded, cut


@st.composite
def whole_bars(draw: st.DrawFn) -> tuple[Bars, int, int]:
    """One bar with mean prices anywhere from its low to its high, the number of its parts, and the minutes in each."""
    parts, minutes = draw(st.sampled_from([2, 3, 4, 5, 6, 7])), draw(st.sampled_from([1, 5, 15, 30, 60, 240, 1440]))
    low = draw(st.integers(1, 10**8))
    high = low + draw(st.integers(0, min(low, 10**7)))
    opened, closed = draw(st.integers(low, high)), draw(st.integers(low, high))
    sides = []
    for _ in range(2):
        lots = parts * minutes + draw(st.integers(0, 10**9))
        sides.append((lots, draw(st.integers(low * lots, high * lots))))
    trades = parts * minutes + draw(st.integers(0, 10**7))
    prices = [np.array([value]) for value in (opened, high, low, closed, trades)]
    bought, sold = (Traded(np.array([lots]), np.array([quote])) for lots, quote in sides)
    return Bars(*prices, bought, sold), parts, minutes


@given(whole=whole_bars(), number=st.integers(0, 10**7), key=st.integers(0, 2**64 - 1))
@settings(max_examples=300)
def test_parts_are_orderly_and_add_up(whole: tuple[Bars, int, int], number: int, key: int) -> None:
    bar, parts, minutes = whole
    inner = cut(bar, np.array([number]), parts, minutes, key)
    assert inner.open.shape == (1, parts)
    assert inner.open[0, 0] == bar.open[0] and inner.close[0, -1] == bar.close[0]
    assert np.array_equal(inner.open[0, 1:], inner.close[0, :-1])
    assert inner.high.max() == bar.high[0] and inner.low.min() == bar.low[0]
    assert (inner.low <= np.minimum(inner.open, inner.close)).all()
    assert (inner.high >= np.maximum(inner.open, inner.close)).all()
    assert inner.trades.sum() == bar.trades[0] and (inner.trades >= minutes).all()
    for side, of_bar in ((inner.bought, bar.bought), (inner.sold, bar.sold)):
        assert side.lots.sum() == of_bar.lots[0] and (side.lots >= minutes).all()
        assert side.quote.sum() == of_bar.quote[0]


@given(whole=whole_bars(), number=st.integers(0, 10**7), key=st.integers(0, 2**64 - 1))
def test_a_bar_is_cut_the_same_alone_and_among_others(whole: tuple[Bars, int, int], number: int, key: int) -> None:
    bar, parts, minutes = whole
    twice = Bars(
        *(np.repeat(values, 2) for values in bar[:5]),
        Traded(*(np.repeat(values, 2) for values in bar.bought)),
        Traded(*(np.repeat(values, 2) for values in bar.sold)),
    )
    alone = cut(bar, np.array([number]), parts, minutes, key)
    among = cut(twice, np.array([number + 1, number]), parts, minutes, key)
    assert np.array_equal(alone.close[0], among.close[1]) and np.array_equal(alone.trades[0], among.trades[1])
    assert np.array_equal(alone.bought.quote[0], among.bought.quote[1])
    assert np.array_equal(alone.sold.lots[0], among.sold.lots[1])
