"""Strategies as people write them, on the protocol: `CLEAN` know nothing of later bars, `LEAKING` do, each in another way or
column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy, as_strategy

CLEAN: dict[str, Strategy] = {}
LEAKING: dict[str, Strategy] = {}


def _into(corpus: dict[str, Strategy], **declared: object) -> Callable[[Callable], Strategy]:
    def add(decide: Callable) -> Strategy:
        strategy = as_strategy(**declared)(decide)
        corpus[strategy.name] = strategy
        return strategy

    return add


def clean(*indicators: str, **declared: object) -> Callable[[Callable], Strategy]:
    return _into(CLEAN, indicators=lambda parameters: indicators, **declared)


def leaking(*indicators: str, **declared: object) -> Callable[[Callable], Strategy]:
    return _into(LEAKING, indicators=lambda parameters: indicators, **declared)


def reads_structure(parameters: object) -> int:
    return 5


def rows(inputs: Inputs, long: object, short: object = False, **columns: object) -> pd.DataFrame:
    """Long where `long`, short where `short`, and what else is given."""
    side = np.where(np.asarray(long, dtype=bool), 1, np.where(np.asarray(short, dtype=bool), -1, 0))
    return pd.DataFrame({"side": side.astype("int8"), **columns}, index=inputs.bars.index)


def rises_through(fast: pd.Series, slow: pd.Series | float) -> pd.Series:
    before = slow.shift(1) if isinstance(slow, pd.Series) else slow
    return (fast > slow) & (fast.shift(1) <= before)


@clean("ema_12", "ema_26")
def averages_cross(inputs, parameters):
    fast, slow = inputs.indicators["ema_12"], inputs.indicators["ema_26"]
    return rows(inputs, rises_through(fast, slow), rises_through(slow, fast))


@clean("rsi_14")
def rsi_turns_back(inputs, parameters):
    rsi = inputs.indicators["rsi_14"]
    return rows(inputs, rises_through(rsi, 30.0), exit_long=rsi > 60)


@clean("bollinger")
def a_band_is_broken(inputs, parameters):
    known = inputs.indicators
    return rows(inputs, rises_through(inputs.bars["close"], known["bb_upper"]), stop_level=known["bb_middle"])


@clean()
def turtles(inputs, parameters):
    bars = inputs.bars
    long = bars["close"] > bars["high"].rolling(20).max().shift(1)
    short = bars["close"] < bars["low"].rolling(20).min().shift(1)
    return rows(inputs, long, short, exit_long=bars["close"] < bars["low"].rolling(10).min().shift(1))


@clean("macd", "adx_14")
def momentum_in_a_trend(inputs, parameters):
    known = inputs.indicators
    return rows(inputs, rises_through(known["macd"], known["macd_signal"]) & (known["adx_14"] > 20))


@clean("atr_14")
def stops_by_the_range(inputs, parameters):
    bars, atr = inputs.bars, inputs.indicators["atr_14"]
    long = bars["close"] > bars["close"].rolling(30).mean()
    return rows(inputs, long, stop_level=bars["close"] - 2 * atr, target_level=bars["close"] + 3 * atr)


@clean()
def buys_below_the_close(inputs, parameters):
    close = inputs.bars["close"]
    return rows(inputs, close < close.rolling(5).mean(), limit_price=close * 0.995)


@clean()
def sized_by_volatility(inputs, parameters):
    returns = inputs.bars["close"].pct_change()
    return rows(inputs, returns > 0.01, volatility=returns.rolling(50).std())


@clean()
def the_strongest_first(inputs, parameters):
    close = inputs.bars["close"]
    return rows(inputs, close > close.shift(24), priority=(close / close.shift(24) - 1).fillna(0.0))


@clean(structure=reads_structure)
def breaks_of_structure(inputs, parameters):
    known = inputs.structure
    return rows(inputs, known["bos"] == 1, known["bos"] == -1, exit_long=known["choch"] == -1, stop_level=known["swing_low"])


@clean(structure=reads_structure)
def with_the_higher_trend(inputs, parameters):
    known = inputs.structure
    long = (known["higher_bias"] == 1) & (known["bos"] == 1)
    return rows(inputs, long, target_level=known["higher_swing_high"])


@clean(structure=reads_structure)
def gaps_are_filled(inputs, parameters):
    return rows(inputs, inputs.structure["fair_value_gap"] == 1, limit_price=inputs.structure["gap_below"])


@clean()
def at_one_hour_of_the_day(inputs, parameters):
    hour = inputs.bars.index.hour
    return rows(inputs, hour == 7, exit_long=hour == 15)


@clean()
def when_volume_jumps(inputs, parameters):
    volume = inputs.bars["volume"]
    return rows(inputs, volume > 3 * volume.rolling(50).mean())


@clean(columns=(Column("day_gate", "gate", "above the high of the day before"),))
def above_yesterdays_high(inputs, parameters):
    daily = inputs.bars["high"].resample("1D").max().shift(1).reindex(inputs.bars.index, method="ffill")
    above = inputs.bars["close"] > daily
    return rows(inputs, above, day_gate=above.astype("boolean").mask(daily.isna()))


@clean(columns=(Column("rank_score", "score", "the close among all before it"),))
def ranked_among_those_before(inputs, parameters):
    rank = inputs.bars["close"].expanding().rank(pct=True)
    return rows(inputs, rank > 0.95, rank_score=2 * rank - 1)


@clean()
def four_hours_when_they_are_over(inputs, parameters):
    close = inputs.bars["close"].resample("4h").last()
    higher = close.set_axis(close.index + pd.Timedelta("3h")).reindex(inputs.bars.index, method="ffill")
    return rows(inputs, inputs.bars["close"] > higher)


@clean()
def once_a_week(inputs, parameters):
    """It remembers when it last asked."""
    asked, last = np.zeros(len(inputs.bars), dtype=bool), -168
    for row, rose in enumerate((inputs.bars["close"].diff() > 0).tolist()):
        if rose and row - last >= 168:
            asked[row], last = True, row
    return rows(inputs, asked)


@clean("parabolic_sar")
def turns_with_the_sar(inputs, parameters):
    close, sar = inputs.bars["close"], inputs.indicators["parabolic_sar"]
    return rows(inputs, rises_through(close, sar), exit_long=close < sar)


@clean()
def unless_the_data_is_poor(inputs, parameters):
    filled = inputs.bars["is_filled"].rolling(20, min_periods=1).sum()
    return rows(inputs, (inputs.bars["close"].diff() > 0) & (filled == 0))


@clean()
def nothing_is_asked(inputs, parameters):
    return rows(inputs, np.zeros(len(inputs.bars), dtype=bool))


@leaking()
def buys_before_it_rises(inputs, parameters):
    return rows(inputs, inputs.bars["close"].shift(-1) > inputs.bars["close"] * 1.01)


@leaking()
def leaves_before_it_falls(inputs, parameters):
    close = inputs.bars["close"]
    return rows(inputs, close > close.rolling(20).mean(), exit_long=close.shift(-1) < close * 0.98)


@leaking()
def a_stop_below_the_next_lows(inputs, parameters):
    low = inputs.bars["low"]
    ahead = low[::-1].rolling(10, min_periods=1).min()[::-1]
    return rows(inputs, low > low.shift(1), stop_level=ahead * 0.999)


@leaking()
def a_target_at_the_next_high(inputs, parameters):
    high = inputs.bars["high"]
    return rows(inputs, high > high.shift(1), target_level=high.rolling(11, center=True).max())


@leaking()
def a_limit_at_the_low_of_the_next_bar(inputs, parameters):
    low = inputs.bars["low"]
    return rows(inputs, low < low.shift(1), limit_price=low.shift(-1).fillna(low))


@leaking()
def the_best_first(inputs, parameters):
    close = inputs.bars["close"]
    return rows(inputs, close > close.shift(1), priority=(close.shift(-24) / close - 1).fillna(0.0))


@leaking()
def volatility_of_all(inputs, parameters):
    returns = inputs.bars["close"].pct_change()
    return rows(inputs, returns > 0, volatility=pd.Series(returns.std(), index=returns.index))


@leaking(columns=(Column("trend_gate", "gate", "above the mean of all"),))
def a_gate_against_the_whole_mean(inputs, parameters):
    above = inputs.bars["close"] > inputs.bars["close"].mean()
    return rows(inputs, above & (inputs.bars["close"].diff() > 0), trend_gate=above)


@leaking(columns=(Column("range_score", "score", "where the close is in its range"),))
def a_score_over_the_whole_range(inputs, parameters):
    close = inputs.bars["close"]
    scaled = 2 * (close - close.min()) / (close.max() - close.min()) - 1
    return rows(inputs, close > close.shift(1), range_score=scaled.clip(-1, 1))


@leaking(structure=reads_structure)
def pivots_at_their_own_bar(inputs, parameters):
    pivots = inputs.structure["swing_low_ts"].dropna().unique()
    return rows(inputs, inputs.bars.index.isin(pd.to_datetime(pivots, unit="ms", utc=True)))


@leaking("rsi_14")
def an_indicator_a_bar_early(inputs, parameters):
    return rows(inputs, rises_through(inputs.indicators["rsi_14"].shift(-1), 30.0))


@leaking()
def four_hours_when_they_begin(inputs, parameters):
    higher = inputs.bars["close"].resample("4h").last().reindex(inputs.bars.index, method="ffill")
    return rows(inputs, higher > inputs.bars["close"])


@leaking()
def without_the_trades_that_lose(inputs, parameters):
    close = inputs.bars["close"]
    return rows(inputs, rises_through(close, close.rolling(20).mean()) & (close.shift(-10) > close))


@leaking()
def the_threshold_that_paid_best(inputs, parameters):
    returns = inputs.bars["close"].pct_change().fillna(0)
    levels = (0.0, 0.005, 0.01, 0.015)
    paid = [returns.shift(-1)[returns > level].sum() for level in levels]
    return rows(inputs, returns > levels[int(np.argmax(paid))])


@leaking()
def holes_filled_from_behind(inputs, parameters):
    close = inputs.bars["close"].where(inputs.bars["volume"] > inputs.bars["volume"].rolling(20).mean()).bfill()
    return rows(inputs, close > inputs.bars["close"])


@leaking()
def only_in_the_last_tenth(inputs, parameters):
    """As one who looks where the sample ends."""
    return rows(inputs, np.arange(len(inputs.bars)) > 0.9 * len(inputs.bars))
