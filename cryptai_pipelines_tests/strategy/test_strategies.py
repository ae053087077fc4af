"""What holds for every strategy of ours: nothing known of the future, the same rows wherever the frames start, and rules that
equal an independent reading of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptai_pipelines.indicators.chunks import chunk_start
from cryptai_pipelines.indicators.leaks import find_leak
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.strategy.candle_gates import BEARISH, BULLISH
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS, own_columns
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.parameters import parameters_in, parameters_of
from cryptai_pipelines.strategy.protocol import Inputs, Strategy
from cryptai_pipelines.strategy.signals import STRATEGIES

OURS = list(STRATEGIES.values())
WITH_SIDES = [strategy for strategy in OURS if "directions" in {one.name for one in parameters_in(strategy.parameters)}]
WARM = 2_500
"""Bars after which every indicator here has its value and TA-Lib's own beginning no longer shows."""

names = {"ids": lambda strategy: strategy.name}


def asking_both(strategy: Strategy) -> Any:
    return parameters_of(strategy.parameters, {"directions": "both"} if strategy in WITH_SIDES else {})


def rows_of(strategy: Strategy, bars: pd.DataFrame, parameters: Any, timeframe: Timeframe = Timeframe.H1) -> pd.DataFrame:
    return decide_checked(strategy, gather(bars, strategy, parameters, timeframe), parameters)


@pytest.fixture(scope="module")
def hours(real_data) -> pd.DataFrame:
    """Recorded hours with real holes, and some bars that are said to be filled."""
    bars = pd.read_parquet(real_data / "binance" / "BTCUSDT_1h.parquet").set_index("ts").iloc[:20_000]
    return bars.assign(is_filled=np.random.default_rng(1).random(len(bars)) < 0.002)


@pytest.fixture(scope="module")
def quarters(real_data) -> pd.DataFrame:
    """Recorded quarters of an hour without a hole."""
    return pd.read_parquet(real_data / "binance" / "BTCUSDT_15m.parquet").set_index("ts").iloc[:10_000].assign(is_filled=False)


@pytest.mark.parametrize("strategy", OURS, **names)
def test_later_bars_change_nothing(strategy, hours):
    parameters = asking_both(strategy)
    whole = rows_of(strategy, hours, parameters)
    for known in (1, 30, 700, 2_500, 8_193, 8_700, 16_400, 19_999):
        assert_frame_equal(rows_of(strategy, hours.iloc[:known], parameters), whole.iloc[:known])


@pytest.mark.parametrize("strategy", OURS, **names)
def test_the_leak_detector_finds_nothing(strategy, hours):
    parameters = asking_both(strategy)
    assert find_leak(lambda bars: rows_of(strategy, bars, parameters), hours.iloc[:2_600], cuts=30) is None


def bits(rows: pd.DataFrame) -> bytes:
    """Equal only when every bit is: not so for 0 and -0."""
    return rows.index.asi8.tobytes() + rows.astype("float64").to_numpy().tobytes()


@pytest.mark.parametrize("strategy", OURS, **names)
def test_where_the_frames_start_does_not_matter_beyond_the_warm_up(strategy, hours):
    """As rows are computed from what is stored: indicators and structure of the whole series, cut to a window."""
    parameters = asking_both(strategy)
    known = gather(hours, strategy, parameters, Timeframe.H1)
    whole = decide_checked(strategy, known, parameters)
    opens = index_ms(hours.index)
    for begin in (1, 5_000, 8_192, 14_011, 19_999):
        first = int(np.searchsorted(opens, chunk_start(int(opens[begin]), Timeframe.H1)))
        window = slice(max(first - strategy.warmup_bars(parameters, Timeframe.H1), 0), None)
        structure = None if known.structure is None else known.structure.iloc[window]
        part = Inputs(known.bars.iloc[window], known.indicators.iloc[window], structure, Timeframe.H1)
        assert bits(decide_checked(strategy, part, parameters).loc[hours.index[begin] :]) == bits(whole.iloc[begin:])


@pytest.mark.parametrize("strategy", OURS, **names)
def test_rows_are_what_the_strategy_declares(strategy, hours):
    rows = rows_of(strategy, hours.iloc[:9_000], asking_both(strategy))
    numbers, flags = own_columns(rows)
    declared = {column.name: column.kind for column in strategy.columns if column.name not in DECISION_COLUMNS}
    assert declared == {**{name: declared[name] for name in numbers}, **{name: declared[name] for name in flags}}
    assert {declared[name] for name in flags} <= {"gate", "evidence"}
    assert {declared[name] for name in numbers} <= {"score", "number"}
    gates = [rows[name].to_numpy(dtype=bool, na_value=False) for name in strategy.gates]
    np.testing.assert_array_equal(rows["entry"], np.logical_and.reduce(gates))
    np.testing.assert_array_equal(rows["entry"], rows["side"] != 0)
    assert not rows.loc[hours.iloc[:9_000]["is_filled"], "entry"].any()


@pytest.mark.parametrize("strategy", OURS, **names)
@pytest.mark.parametrize("timeframe", TIMEFRAMES, ids=lambda timeframe: timeframe.code)
def test_every_timeframe_and_hardly_any_bar_will_do(strategy, timeframe):
    from cryptai_pipelines_tests.indicators.samples import random_bars

    bars = random_bars(1, 60, timeframe)
    for count in (0, 1, 2, 60):
        assert len(rows_of(strategy, bars.iloc[:count], strategy.parameters(), timeframe)) == count


@pytest.mark.parametrize("strategy", WITH_SIDES, **names)
def test_sides_are_those_asked_for(strategy, quarters):
    taken = {}
    for directions in ("long", "short", "both"):
        parameters = parameters_of(strategy.parameters, {"directions": directions})
        taken[directions] = rows_of(strategy, quarters, parameters, Timeframe.M15)["side"].to_numpy()
    assert set(taken["long"]) <= {0, 1} and set(taken["short"]) <= {0, -1} and {1, -1} <= set(taken["both"])
    np.testing.assert_array_equal(taken["both"], taken["long"] + taken["short"])


def turned_round(inputs: Inputs) -> Inputs:
    """All prices negated, so that every rise is a fall of the same size; what has a side changes it."""
    bars = inputs.bars.copy()
    bars["open"], bars["close"], bars["high"], bars["low"] = -bars["open"], -bars["close"], -bars["low"], -bars["high"].copy()
    known, told = inputs.indicators, {}
    mirrors = dict(zip((*BULLISH, *BEARISH), (*BEARISH, *BULLISH), strict=True))
    for name in known.columns:
        other = mirrors.get(name, name.replace("_upper", "_x").replace("_lower", "_upper").replace("_x", "_lower"))
        unsided = name.startswith(("atr", "adx"))
        told[name] = known[name] if unsided else 100 - known[name] if name.startswith("rsi") else -known[other]
    structure = inputs.structure
    if structure is not None:
        pairs = (("swing_low", "swing_high"), ("higher_swing_low", "higher_swing_high"), ("gap_below", "gap_above"))
        swapped = dict((*pairs, *(pair[::-1] for pair in pairs)))
        structure = pd.DataFrame({name: -structure[swapped.get(name, name)] for name in structure.columns})
    return replace(inputs, bars=bars, indicators=pd.DataFrame(told), structure=structure)


@pytest.mark.parametrize("strategy", WITH_SIDES, **names)
def test_a_short_is_a_long_turned_round(strategy, quarters):
    """Of decide itself: prices below 0 are no bars. Shares of the price do not turn round, so levels and the gate of risk and
    reward are left out here."""
    parameters = asking_both(strategy)
    known = gather(quarters, strategy, parameters, Timeframe.M15)
    # Thirds of a unit in the last place would decide: an RSI on a grid is turned round its middle exactly.
    rounded = known.indicators.apply(lambda one: np.round(one * 2**20) / 2**20 if one.name.startswith("rsi") else one)
    known = replace(known, indicators=rounded)
    with np.errstate(invalid="ignore"):  # the logarithm of a price below 0
        rows, turned = strategy.decide(known, parameters), strategy.decide(turned_round(known), parameters)
    told = rows["direction"] == -turned["direction"]
    assert told.mean() > 0.4
    for name in (column.name for column in strategy.columns):
        if name.endswith("_gate") and name != "risk_reward_gate":
            assert_frame_equal(rows.loc[told, [name]], turned.loc[told, [name]])
        elif name.endswith("_score") and name not in ("sentiment_score", "ml_score"):
            np.testing.assert_allclose(rows.loc[told, name], -turned.loc[told, name], atol=1e-9)
    if "exit_long" in rows:
        np.testing.assert_array_equal(rows["exit_long"], turned["exit_short"])
        np.testing.assert_array_equal(rows["exit_short"], turned["exit_long"])


def crossings(above: pd.Series, known: pd.Series) -> pd.Series:
    return above & ~above.shift(fill_value=True) & known & known.shift(fill_value=False)


def read_anew(name: str, bars: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Entries (without the gates of quality and score) and exits of the long side, from TA-Lib and pandas alone."""
    import talib

    high, low, close = bars["high"], bars["low"], bars["close"]
    if name == "ema_crossover":
        fast, slow = talib.EMA(close, 20), talib.EMA(close, 50)
        return crossings(fast > slow, slow.notna()), fast < slow
    if name == "rsi_mean_reversion":
        rsi = talib.RSI(close, 14)
        return crossings(rsi > 30, rsi.notna()) & (close > talib.SMA(close, 200)), rsi > 55
    if name == "bollinger_breakout":
        upper, middle, _ = talib.BBANDS(close, 20, 2.0, 2.0)
        return crossings(close > upper, upper.notna()), close < middle
    if name == "donchian_trend":
        return close > high.rolling(20).max().shift(), close < low.rolling(10).min().shift()
    macd, signal, _ = talib.MACD(close, 12, 26, 9)
    return crossings(macd > signal, signal.notna()) & (talib.ADX(high, low, close, 14) >= 25), macd < signal


@pytest.mark.parametrize("name", ["ema_crossover", "rsi_mean_reversion", "bollinger_breakout", "donchian_trend", "macd_adx"])
def test_rules_equal_an_independent_reading(name, quarters):
    strategy = STRATEGIES[name]
    rows = rows_of(strategy, quarters, strategy.parameters(), Timeframe.M15)
    entries, leaving = read_anew(name, quarters)
    expected = entries & (rows["score"] >= 0)
    np.testing.assert_array_equal(rows["entry"][WARM:], expected[WARM:])
    np.testing.assert_array_equal(rows["exit_long"][WARM:], leaving[WARM:])
    assert rows["entry"][WARM:].sum() >= 5
    assert not rows["entry"][: strategy.parameters().clean_bars - 1].any()


def test_the_turtles_stop_is_two_average_true_ranges_away(quarters):
    import talib

    strategy = STRATEGIES["donchian_trend"]
    rows = rows_of(strategy, quarters, parameters_of(strategy.parameters, {"directions": "both"}), Timeframe.M15)
    distance = 2 * talib.ATR(quarters["high"], quarters["low"], quarters["close"], 20)
    entered = rows["entry"].to_numpy()
    expected = quarters["close"] - rows["direction"] * distance
    np.testing.assert_allclose(rows["stop_level"].iloc[WARM:][entered[WARM:]], expected.iloc[WARM:][entered[WARM:]])


def test_volatility_is_that_of_the_last_returns(quarters):
    strategy = STRATEGIES["ema_crossover"]
    rows = rows_of(strategy, quarters, strategy.parameters(), Timeframe.M15)
    expected = np.log(quarters["close"]).diff().rolling(20).std(ddof=0)
    np.testing.assert_allclose(rows["volatility"], expected, rtol=1e-6)


def test_buy_and_hold_asks_at_every_bar_that_was_traded(hours):
    rows = rows_of(STRATEGIES["buy_and_hold"], hours, STRATEGIES["buy_and_hold"].parameters())
    np.testing.assert_array_equal(rows["side"] == 1, ~hours["is_filled"])
    assert dict(STRATEGIES["buy_and_hold"].exits(None)) == {"take_profit": np.inf, "stop_loss": np.inf}


@pytest.mark.parametrize("strategy", OURS, **names)
def test_deciding_is_fast(strategy, quarters):
    """At most some seconds for a million bars, and that with room to spare: it takes about half of one."""
    parameters = strategy.parameters()
    known = gather(quarters, strategy, parameters, Timeframe.M15)
    copies = 20
    index = pd.date_range(quarters.index[0], periods=copies * len(quarters), freq="15min").as_unit("ms").rename("ts")
    frames = (known.bars, known.indicators, known.structure)
    many = [None if frame is None else pd.concat([frame] * copies).set_axis(index) for frame in frames]
    inputs = Inputs(*many, Timeframe.M15)
    begun = time.process_time()
    strategy.decide(inputs, parameters)
    assert time.process_time() - begun < 5.0 * len(index) / 1_000_000


def test_two_parameters_may_ask_for_the_same_indicator(hours):
    """An entry and an exit over as many bars: the columns are there once, and the rules read them twice."""
    strategy = STRATEGIES["donchian_trend"]
    parameters = parameters_of(strategy.parameters, {"entry_period": 15, "exit_period": 15})
    inputs = gather(hours.iloc[:2_000], strategy, parameters, Timeframe.H1)
    assert inputs.indicators.columns.is_unique
    assert decide_checked(strategy, inputs, parameters)["side"].any()
