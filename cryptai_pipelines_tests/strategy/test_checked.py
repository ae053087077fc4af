"""What a strategy may be given and what it may give: a planted case for everything that is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.checked import StrategyFailed, decide_checked
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy, as_strategy

from .conftest import random_bars

BARS = random_bars(2, Timeframe.H1, 30)


@dataclass(frozen=True)
class Parameters:
    period: int = parameter(20, low=2)


@as_strategy(parameters=Parameters, indicators=lambda parameters: ("sma_20",))
def above_mean(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """Long above the mean."""
    above = inputs.bars["close"] > inputs.indicators["sma_20"]
    return pd.DataFrame({"side": above.astype("int8"), "above_gate": above})


def asked(strategy: Strategy, bars: pd.DataFrame = BARS, parameters: object = None) -> pd.DataFrame:
    chosen = parameters or strategy.parameters()
    return decide_checked(strategy, gather(bars, strategy, chosen, Timeframe.H1), chosen, series="BTC-USDT 1h")


def giving(rows: object) -> Strategy:
    return Strategy("mine", lambda inputs, parameters: rows(inputs) if callable(rows) else rows)


def frame(**columns: object) -> object:
    return lambda inputs: pd.DataFrame({"side": np.int8(0), **columns}, index=inputs.bars.index)


def test_a_decorated_function_is_a_strategy_and_what_it_leaves_out_is_nothing():
    assert (above_mean.name, above_mean.summary) == ("above_mean", "Long above the mean.")
    rows = asked(above_mean)
    assert list(rows.columns) == ["above_gate", *DECISION_COLUMNS, "entry"]
    assert rows["side"].dtype == "int8" and set(rows["side"]) == {0, 1}
    assert rows["entry"].tolist() == (rows["side"] == 1).tolist()
    assert not rows[["exit_long", "exit_short"]].any(axis=None) and (rows["priority"] == 0).all()
    assert rows[["stop_level", "target_level", "limit_price", "volatility"]].isna().all(axis=None)


def test_no_bars_give_no_rows():
    rows = asked(above_mean, BARS.iloc[:0])
    assert len(rows) == 0 and list(rows.columns) == ["above_gate", *DECISION_COLUMNS, "entry"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bars: bars.drop(columns="is_filled"), "no column 'is_filled'"),
        (lambda bars: bars.tz_localize(None), "bars are not indexed by open times in UTC"),
        (lambda bars: bars.iloc[::-1], "row 1 at .* does not come after"),
        (lambda bars: bars.iloc[[0, 1, 1, 2]], "row 2 at .* does not come after"),
        (lambda bars: bars.set_axis(bars.index + pd.Timedelta("28min14s")), "not on the grid of 1h"),
        (lambda bars: bars.assign(close=bars["close"].where(np.arange(len(bars)) != 3)), "close is nan in row 3"),
        (lambda bars: bars.assign(volume=np.inf), "volume is inf in row 0"),
        (lambda bars: bars.assign(origin="interpolated"), "is interpolated from a later one"),
    ],
)
def test_bad_bars_are_named(change, message):
    known = gather(BARS, above_mean, Parameters(), Timeframe.H1)
    with pytest.raises(BadArgument, match=message):
        decide_checked(above_mean, replace(known, bars=change(BARS)), Parameters())


def test_other_bad_inputs_are_named():
    known = gather(BARS, above_mean, Parameters(), Timeframe.H1)
    with pytest.raises(BadArgument, match="indicators have no column 'sma_20'"):
        decide_checked(above_mean, replace(known, indicators=known.indicators.iloc[:, :0]), Parameters())
    with pytest.raises(BadArgument, match="indicators row 1 at"):
        decide_checked(above_mean, replace(known, indicators=known.indicators.iloc[::-1]), Parameters())
    with pytest.raises(BadArgument, match="structure is None; strategy 'above_mean' reads .* length 5"):
        decide_checked(replace(above_mean, structure=lambda parameters: 5), known, Parameters())
    with pytest.raises(BadArgument, match="period 1 is not accepted"):
        decide_checked(above_mean, known, Parameters(period=1))


def test_rows_that_are_absent_are_unknown():
    known = gather(BARS, above_mean, Parameters(), Timeframe.H1)
    rows = decide_checked(above_mean, replace(known, indicators=known.indicators.iloc[:25]), Parameters())
    assert not rows["side"].iloc[25:].any()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "gives a NoneType; accepted: a DataFrame"),
        (lambda inputs: pd.DataFrame({"side": np.zeros(3, "int8")}), "gives 3 rows; accepted: one per bar, 30"),
        (lambda inputs: pd.DataFrame({"side": np.zeros(30, "int8")}), "rows of another index"),
        (lambda inputs: pd.DataFrame({"entry": True}, index=inputs.bars.index), "no column 'side'; present: entry"),
        (frame(side=0.0), "side as float64"),
        (frame(side=False), "side as bool"),
        (frame(side=np.where(np.arange(30) == 7, 2, 0)), "side 2 in row 7 at"),
        (frame(exit_long=0), "exit_long as int64; accepted: bool"),
        (frame(stop_level=np.inf), "stop_level inf in row 0 at"),
        (frame(trend_gate=1.0), "trend_gate as float64; accepted: bool"),
        (frame(trend_score=1.5), "trend_score 1.5 in row 0 at .* accepted: a score in .-1, 1."),
        (frame(side=np.int8(1), stop_level=-5.0), "stop_level -5.0 in row 0 at .*accepted: a price above 0"),
        (frame(side=np.int8(-1), limit_price=0.0), "limit_price 0.0 in row 0 at .*accepted: a price above 0"),
        (frame(side=np.int8(1), volatility=-0.1), "volatility -0.1 in row 0 at .*accepted: a number of at least 0"),
        (frame(side=np.int8(1), priority=np.nan), "priority nan in row 0 at .*accepted: a number"),
        (frame(stop_levle=90.0), "a column 'stop_levle'; is 'stop_level' meant"),
        (frame(Exit_Long=False), "a column 'Exit_Long'; is 'exit_long' meant"),
        (frame(note="good"), "note as (str|object); accepted: float64"),
    ],
)
def test_wrong_rows_are_named(rows, message):
    assert len(asked(giving(frame()))) == 30
    told = f"strategy 'mine' on BTC-USDT 1h, 30 bars, the last {BARS.index[-1].isoformat()[:10]}.*{message}"
    with pytest.raises(StrategyFailed, match=told):
        asked(giving(rows))


def test_a_declared_column_must_be_there():
    promised = replace(giving(frame()), columns=(Column("trend_gate", "gate", ""),))
    with pytest.raises(StrategyFailed, match="no column 'trend_gate'; present: side"):
        asked(promised)


def test_only_what_is_asked_for_and_hardly_a_name_of_its_own_is_refused():
    """Levels beside no side are not read; a name that is longer by a part, or declared, is no slip."""
    rows = asked(giving(frame(stop_level=-5.0, priority=np.nan, volatility_20=0.1, stop_price=3.0)))
    assert {"volatility_20", "stop_price"} <= set(rows.columns)
    declared = replace(giving(frame(stop_levle=90.0)), columns=(Column("stop_levle", "number", ""),))
    assert (asked(declared)["stop_levle"] == 90.0).all()


@pytest.mark.parametrize(("error", "told"), [(ZeroDivisionError("by\nzero"), "by zero"), (SystemExit(3), "3")])
def test_what_a_strategy_raises_is_one_error_with_its_cause(error, told):
    def deeper() -> None:
        raise error

    @as_strategy()
    def mine(inputs: Inputs, parameters: object) -> pd.DataFrame:
        return deeper()

    line = deeper.__code__.co_firstlineno + 1
    words = rf"'mine' on BTC-USDT 1h, .*: raises {type(error).__name__}: {told} \({re.escape(__file__)}, line {line}\)$"
    with pytest.raises(StrategyFailed, match=words) as caught:
        asked(mine)
    assert caught.value.__cause__ is error


def test_what_a_strategy_does_to_its_inputs_is_its_own_affair():
    """The caller's frames stay as they are where the strategy works on what it was given in place."""

    def greedy(inputs: Inputs) -> pd.DataFrame:
        inputs.indicators["sma_20"] = 0.0
        inputs.bars["close"] = 0.0
        inputs.structure.iloc[0, 0] = 7.0
        return frame()(inputs)

    strategy = replace(giving(greedy), indicators=lambda parameters: ("sma_20",), structure=lambda parameters: 5)
    known = gather(BARS, strategy, strategy.parameters(), Timeframe.H1)
    before = [one.copy() for one in (known.bars, known.indicators, known.structure)]
    decide_checked(strategy, known, strategy.parameters())
    for left, was in zip((known.bars, known.indicators, known.structure), before, strict=True):
        pd.testing.assert_frame_equal(left, was)
