"""Functions of bars as people write them: `LEAKS` know the future, each in another way; `CLEAN` do not. All take a bars frame
(hourly, open to volume) and give a frame of columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import talib

from cryptai_pipelines.indicators.market_structure import readings
from cryptai_pipelines.market.timeframe import Timeframe

Columns = Callable[[pd.DataFrame], pd.DataFrame]

LEAKS: dict[str, Columns] = {}
CLEAN: dict[str, Columns] = {}


def _into(corpus: dict[str, Columns]) -> Callable[[Callable], Callable]:
    def add(function: Callable) -> Callable:
        def columns(bars: pd.DataFrame) -> pd.DataFrame:
            made = function(bars)
            return made if isinstance(made, pd.DataFrame) else pd.DataFrame({"column": made}, index=bars.index)

        corpus[function.__name__] = columns
        return function

    return add


leak, clean = _into(LEAKS), _into(CLEAN)


def _crosses(fast: pd.Series, slow: pd.Series) -> pd.Series:
    return (fast > slow) & (fast.shift(1) <= slow.shift(1))


@leak
def the_next_close(bars):
    return bars["close"].shift(-1)


@leak
def the_next_return_as_a_signal(bars):
    return bars["close"].pct_change().shift(-1) > 0.01


@leak
def a_centred_mean(bars):
    return bars["close"].rolling(11, center=True).mean()


@leak
def a_centred_mean_of_two(bars):
    return (bars["close"] + bars["close"].shift(-1)) / 2


@leak
def scaled_by_the_whole_mean(bars):
    return (bars["close"] - bars["close"].mean()) / bars["close"].std()


@leak
def scaled_by_the_whole_range(bars):
    return (bars["close"] - bars["close"].min()) / (bars["close"].max() - bars["close"].min())


@leak
def a_rank_among_all(bars):
    return bars["volume"].rank(pct=True)


@leak
def quantiles_of_all(bars):
    return bars["close"].pct_change().fillna(0) > bars["close"].pct_change().quantile(0.95)


@leak
def four_hours_joined_on_their_open(bars):
    higher = bars["close"].resample("4h").last()
    return higher.reindex(bars.index, method="ffill")


@leak
def the_day_joined_on_its_open(bars):
    return bars["close"].resample("1D").mean().reindex(bars.index, method="ffill")


@leak
def the_high_of_the_day(bars):
    return bars["high"].groupby(bars.index.date).transform("max")


@leak
def the_mean_of_the_week(bars):
    return bars["close"].groupby(pd.Grouper(freq="W")).transform("mean")


@leak
def filled_backward(bars):
    return bars["close"].where(bars["volume"] > bars["volume"].rolling(20).mean()).bfill()


@leak
def interpolated(bars):
    return bars["close"].where(np.arange(len(bars)) % 3 == 0).interpolate()


@leak
def a_pivot_stamped_at_its_bar(bars):
    return bars["high"] == bars["high"].rolling(11, center=True, min_periods=1).max()


@leak
def the_library_way_to_find_swings(bars):
    return bars["high"] == bars["high"].shift(-5).rolling(10).max()


@leak
def a_break_stamped_at_the_pivot(bars):
    known = readings(bars, Timeframe.H1, 3)
    marked = pd.Series(0.0, index=bars.index)
    broken = known[known["bos"] == 1]
    at = pd.to_datetime(broken["swing_high_ts"].dropna(), unit="ms", utc=True)
    marked[marked.index.isin(at)] = 1.0
    return marked


@leak
def turns_of_a_smooth_line(bars):
    smooth = np.convolve(bars["close"], np.ones(9) / 9, mode="same")
    return np.sign(np.gradient(smooth))


@leak
def a_gradient(bars):
    return np.gradient(bars["close"])


@leak
def detrended_over_all(bars):
    x = np.arange(len(bars))
    return bars["close"] - np.polyval(np.polyfit(x, bars["close"], 1), x)


@leak
def a_filter_run_both_ways(bars):
    forward = bars["close"].ewm(alpha=0.2).mean()
    return forward[::-1].ewm(alpha=0.2).mean()[::-1]


@leak
def a_transform_of_all(bars):
    spectrum = np.fft.rfft(bars["close"])
    spectrum[10:] = 0
    return np.fft.irfft(spectrum, len(bars))


@leak
def principal_components_of_all(bars):
    returns = bars[["open", "close", "volume"]].pct_change().fillna(0)
    _, _, axes = np.linalg.svd(returns - returns.mean(), full_matrices=False)
    return (returns @ axes.T)[0]


@leak
def counted_from_the_end(bars):
    return np.arange(len(bars))[::-1] % 24


@leak
def its_own_share_of_all_volume(bars):
    return bars["volume"] / bars["volume"].sum()


@leak
def the_last_close_as_a_reference(bars):
    return bars["close"] / bars["close"].iloc[-1]


@leak
def a_stop_that_knows_the_low(bars):
    ahead = bars["low"][::-1].rolling(10, min_periods=1).min()[::-1]
    return bars["close"] * 0.97 < ahead


@leak
def entries_without_those_that_lose(bars):
    crossed = _crosses(bars["close"].rolling(5).mean(), bars["close"].rolling(20).mean())
    return crossed & (bars["close"].shift(-6) > bars["close"])


@leak
def outliers_against_all(bars):
    returns = bars["close"].pct_change()
    return returns.clip(returns.quantile(0.01), returns.quantile(0.99))


@leak
def the_lagging_span(bars):
    return bars["close"].shift(-26)


@leak
def fitted_to_all(bars):
    x = bars["close"].pct_change().shift(1).fillna(0)
    y = bars["close"].pct_change().fillna(0)
    return x * float((x * y).sum() / (x * x).sum())


@leak
def the_best_threshold_of_all(bars):
    returns = bars["close"].pct_change().fillna(0)
    gains = [returns.shift(-1)[returns > level].sum() for level in (0.0, 0.005, 0.01, 0.015)]
    return returns > (0.0, 0.005, 0.01, 0.015)[int(np.argmax(gains))]


@leak
def one_rare_bar_ahead(bars):
    """True on few bars, and by the next one only."""
    return (bars["close"] > bars["high"].rolling(48).max().shift(1)) & (bars["close"].shift(-1) > bars["close"])


@leak
def an_expanding_mean_turned_round(bars):
    return bars["close"][::-1].expanding().mean()[::-1]


@clean
def the_close(bars):
    return bars["close"]


@clean
def a_mean(bars):
    return bars["close"].rolling(20).mean()


@clean
def an_exponential_mean(bars):
    return bars["close"].ewm(span=20, adjust=False).mean()


@clean
def adjusted_weights(bars):
    return bars["close"].ewm(span=20).mean()


@clean
def means_that_cross(bars):
    return _crosses(bars["close"].rolling(5).mean(), bars["close"].rolling(20).mean())


@clean
def strength(bars):
    return pd.Series(talib.RSI(bars["close"].to_numpy(), 14), index=bars.index) < 30


@clean
def convergence(bars):
    return pd.DataFrame(dict(zip("abc", talib.MACD(bars["close"].to_numpy()), strict=True)), index=bars.index)


@clean
def bands_broken(bars):
    upper, _, _ = talib.BBANDS(bars["close"].to_numpy(), 20)
    return bars["close"] > upper


@clean
def turtles(bars):
    return bars["close"] > bars["high"].rolling(20).max().shift(1)


@clean
def an_expanding_rank(bars):
    return bars["close"].expanding().rank(pct=True)


@clean
def scaled_by_what_was_known(bars):
    return (bars["close"] - bars["close"].expanding().mean()) / bars["close"].expanding().std()


@clean
def four_hours_joined_on_their_close(bars):
    higher = bars["close"].resample("4h").last()
    known = higher.set_axis(higher.index + pd.Timedelta("3h"))
    return known.reindex(bars.index, method="ffill")


@clean
def yesterdays_high(bars):
    daily = bars["high"].resample("1D").max().shift(1)
    return daily.reindex(bars.index, method="ffill")


@clean
def the_high_of_the_day_so_far(bars):
    return bars["high"].groupby(bars.index.date).cummax()


@clean
def filled_forward(bars):
    return bars["close"].where(bars["volume"] > bars["volume"].rolling(20).mean()).ffill()


@clean
def confirmed_pivots(bars):
    return bars["high"].shift(5) == bars["high"].rolling(11).max()


@clean
def structure(bars):
    return readings(bars, Timeframe.H1)


@clean
def volume_added_up(bars):
    return talib.OBV(bars["close"].to_numpy(), bars["volume"].to_numpy())


@clean
def a_session_price(bars):
    day = bars.index.date
    paid = (bars["close"] * bars["volume"]).groupby(day).cumsum()
    return paid / bars["volume"].groupby(day).cumsum()


@clean
def the_hour_of_the_day(bars):
    return bars.index.hour


@clean
def a_rolling_fit(bars):
    return talib.LINEARREG_SLOPE(bars["close"].to_numpy(), 14)


@clean
def a_state_machine(bars):
    held, stop, told = False, 0.0, []
    for close in bars["close"].tolist():
        stop = max(stop, close * 0.95) if held else close * 0.95
        held = close > stop
        told.append(held)
    return np.array(told)


@clean
def drawdown_so_far(bars):
    return bars["close"] / bars["close"].cummax() - 1


@clean
def noise_of_its_own(bars):
    """Random, but of the open time alone."""
    return (bars.index.asi8 // 3_600_000 * 2_654_435_761 % 2**32) / 2**32
