"""Bad input is named: the argument, the row, the value. And importing the room stays cheap."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import EngineParameters, MarketRules, simulate, simulate_portfolio
from cryptai_pipelines.backtest.engine import start
from cryptai_pipelines.backtest.parameters import parameters_schema, told_parameters
from cryptai_pipelines.market.errors import BadInput


def market() -> tuple[pd.DataFrame, pd.Series]:
    index = pd.date_range("2024-01-01", periods=6, freq="h", tz="UTC", name="ts")
    bars = pd.DataFrame({name: np.full(6, 100.0) for name in ("open", "high", "low", "close", "volume")}, index=index)
    return bars, pd.Series(False, index=index)


def put(column: str, row: int, value: float):
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        bars = bars.copy()
        bars.iloc[row, bars.columns.get_loc(column)] = value
        return bars

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.iloc[[0, 2, 1, 3, 4, 5]], r"bars row 2 at 2024-01-01T01:00:00\+00:00 is before the row before it"),
        (lambda b: b.iloc[[0, 1, 1, 3, 4, 5]], r"bars row 2 at 2024-01-01T01:00:00\+00:00 is a duplicate"),
        (lambda b: b.tz_localize(None), "no time zone; accepted: UTC"),
        (lambda b: b.tz_convert("Asia/Tokyo"), "is in Asia/Tokyo; accepted: UTC"),
        (lambda b: b.reset_index(drop=True), "index is a RangeIndex"),
        (lambda b: b.set_axis([pd.NaT, *b.index[1:]]), "no time in row 0"),
        (put("low", 3, np.nan), r"bars.low is nan in row 3 at 2024-01-01T03:00:00\+00:00"),
        (put("high", 0, np.inf), "bars.high is inf in row 0"),
        (put("open", 5, 0.0), "bars.open is 0.0 in row 5"),
        (put("low", 4, 1e6), r"bars has the low 1000000.0 above the high .* in row 4 at 2024-01-01T04:00:00\+00:00"),
        (put("close", 1, -1.0), "bars.close is -1.0 in row 1"),
        (put("volume", 2, -0.5), "bars.volume is -0.5 in row 2"),
        (put("volume", 2, np.nan), "bars.volume is nan in row 2"),
        (lambda b: b.drop(columns="volume"), "no column 'volume'"),
        (lambda b: b.assign(close="much"), "bars.close of type .* is not numeric"),
        (lambda b: b.assign(is_filled=0.5), "bars.is_filled is of type float64; accepted: bool"),
        (lambda b: b["close"], "bars is a Series"),
    ],
)
def test_bad_bars(change, message):
    bars, entries = market()
    with pytest.raises(ValueError, match=message):
        simulate(change(bars), entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.iloc[:5], "entries has 5 rows and bars has 6"),
        (lambda e: e.set_axis(e.index + pd.Timedelta("1h")), "entries row 0 is at 2024-01-01 01:00"),
        (lambda e: e.astype(float), "entries is of type float64; accepted: bool"),
        (lambda e: e.astype("boolean").mask(np.arange(6) == 4), "entries is missing in row 4"),
        (lambda e: e.to_numpy(), "entries is a ndarray"),
    ],
)
def test_bad_entries(change, message):
    bars, entries = market()
    with pytest.raises(ValueError, match=message):
        simulate(bars, change(entries))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("take_profit", 0.0),
        ("take_profit", -0.1),
        ("stop_loss", 0.0),
        ("stop_loss", 1.0),
        ("fee_rate", -0.001),
        ("fee_rate", 1.0),
        ("slippage_bps", -1.0),
        ("slippage_bps", float("nan")),
        ("initial_capital", 0.0),
        ("initial_capital", -5.0),
        ("initial_capital", float("inf")),
        ("size", 0.0),
        ("size", 1.5),
        ("size", "all"),
        ("fee_rate", True),
        ("fee_rate", None),
    ],
)
def test_bad_arguments(name, value):
    with pytest.raises(BadInput, match=f"^{name} {value!r} is not"):
        simulate(*market(), **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("maker_fee_rate", -0.1),
        ("slippage_range_share", 1.5),
        ("volume_impact", -1.0),
        ("volume_share", 0.0),
        ("sizing", "kelly"),
        ("sizing", 1.0),
        ("risk_per_trade", 0.0),
        ("target_volatility", float("inf")),
        ("bars_per_year", 0.0),
        ("max_positions", -1),
        ("max_positions", 1.0),
        ("cooldown_bars", True),
        ("time_stop_bars", "2"),
        ("trailing_stop", 1.0),
        ("break_even_at", -0.1),
        ("partial_take_profit", 1.0),
        ("limit_expiry_bars", 0),
        ("short", 1),
    ],
)
def test_bad_engine_parameters(name, value):
    with pytest.raises(BadInput, match=f"^{name} {value!r} is not"):
        EngineParameters(**{name: value})


def test_a_partial_exit_lies_before_the_target():
    with pytest.raises(BadInput, match="^partial_at 0.2 is not accepted: a share of gain below take_profit 0.15"):
        EngineParameters(partial_take_profit=0.5, partial_at=0.2)


@pytest.mark.parametrize(("name", "value"), [("tick", -0.1), ("lot", float("nan")), ("min_notional", "10")])
def test_bad_market_rules(name, value):
    with pytest.raises(BadInput, match=f"^{name} {value!r} is not"):
        MarketRules(**{name: value})


def test_what_later_parameters_are_by_default_does_not_change_what_a_backtest_is_called():
    assert list(EngineParameters().told) == ["take_profit", "stop_loss", "fee_rate", "slippage_bps", "initial_capital", "size"]
    assert EngineParameters(trailing_stop=0.1).told["trailing_stop"] == 0.1


def decisions_of(bars: pd.DataFrame) -> pd.DataFrame:
    flags, nothing = np.zeros(len(bars), dtype=bool), np.full(len(bars), np.nan)
    levels = dict.fromkeys(("stop_level", "target_level", "limit_price", "volatility"), nothing)
    columns = {"side": np.ones(len(bars), "int8"), "exit_long": flags, "exit_short": flags, **levels, "priority": 0.0}
    return pd.DataFrame(columns, index=bars.index)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.iloc[:5], r"decisions\['COIN'\] has 5 rows and bars has 6"),
        (lambda d: d.set_axis(d.index + pd.Timedelta("1h")), r"decisions\['COIN'\] row 0 is at 2024-01-01 01:00"),
        (lambda d: d["side"], r"decisions\['COIN'\] is a Series"),
        (lambda d: d.drop(columns="side"), "has no column 'side'"),
        (lambda d: d.astype({"side": float}), r"decisions\['COIN'\].side is of type float64"),
        (put("side", 4, 2), r"decisions\['COIN'\].side is 2.0 in row 4 at 2024-01-01T04:00:00\+00:00; accepted: 1, -1 or 0"),
        (lambda d: d.astype({"exit_long": float}), r"decisions\['COIN'\].exit_long is of type float64; accepted: bool"),
        (put("stop_level", 1, -1.0), r"decisions\['COIN'\].stop_level is -1.0 in row 1 at"),
        (put("target_level", 2, 0.0), r"decisions\['COIN'\].target_level is 0.0 in row 2 at"),
        (put("limit_price", 3, np.inf), r"decisions\['COIN'\].limit_price is inf in row 3 at"),
        (put("volatility", 3, -0.1), r"decisions\['COIN'\].volatility is -0.1 in row 3 at"),
        (put("priority", 5, np.nan), r"decisions\['COIN'\].priority is nan in row 5 at"),
        (lambda d: d.assign(stop_level="low"), r"decisions\['COIN'\].stop_level of type .* is not numeric"),
    ],
)
def test_bad_decisions(change, message):
    bars, _ = market()
    with pytest.raises(ValueError, match=message):
        simulate_portfolio({"COIN": bars}, {"COIN": change(decisions_of(bars))})


def test_decisions_on_rows_without_a_side_are_not_looked_at():
    bars, _ = market()
    decisions = decisions_of(bars).assign(side=np.int8(0), stop_level=-1.0, priority=np.nan)
    assert simulate_portfolio({"COIN": bars}, {"COIN": decisions}).trades.empty


def with_bars(change):
    bars, _ = market()
    return {"bars": {"COIN": change(bars)}, "decisions": {"COIN": decisions_of(bars)}}


def finer_bars(minutes: int) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=24, freq=f"{minutes}min", tz="UTC")
    return pd.DataFrame({name: np.full(24, 100.0) for name in ("open", "high", "low", "close", "volume")}, index=index)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bars": {}}, "bars is empty; accepted: frames by symbol"),
        ({"bars": [1]}, "bars is list; accepted: frames by symbol"),
        ({"decisions": {}}, "decisions has no 'COIN'"),
        ({"decisions": {"COIN": None, "GONE": None}}, "decisions has 'GONE', of which there are no bars"),
        (with_bars(put("low", 3, np.nan)), r"bars\['COIN'\].low is nan in row 3 at 2024-01-01T03:00:00\+00:00"),
        (with_bars(lambda b: b.tz_localize(None)), r"bars\['COIN'\] index has no time zone"),
        (with_bars(lambda b: b.iloc[::-1]), r"bars\['COIN'\] row 1 at 2024-01-01T04:00:00\+00:00 is before the row before it"),
        ({"markets": {"COIN": {"tick": 1}}}, r"markets\['COIN'\] is a dict; accepted: MarketRules"),
        ({"funding": {"COIN": 0.1}}, r"funding\['COIN'\] is a float"),
        ({"funding": {"COIN": pd.Series([np.nan], index=market()[0].index[:1])}}, r"funding\['COIN'\] is nan in row 0"),
        ({"funding": {"COIN": pd.Series([0.1, 0.1])}}, r"funding\['COIN'\] index is a RangeIndex"),
        ({"finer": {"COIN": finer_bars(120)}}, r"finer\['COIN'\] has a bar every 7200000 ms and bars every 3600000 ms"),
        ({"finer": {"COIN": finer_bars(25)}}, r"finer\['COIN'\] has a bar every 1500000 ms"),
        ({"finer": {"COIN": finer_bars(15).tz_localize(None)}}, r"finer\['COIN'\] index has no time zone"),
    ],
)
def test_bad_portfolios(arguments, message):
    bars, _ = market()
    with pytest.raises(BadInput, match=message):
        simulate_portfolio(**{"bars": {"COIN": bars}, "decisions": {"COIN": decisions_of(bars)}} | arguments)


def test_volatility_needs_one_length_of_bars():
    bars, _ = market()
    both = {"COIN": bars, "SLOW": bars.iloc[::2]}
    decisions = {symbol: decisions_of(frame) for symbol, frame in both.items()}
    with pytest.raises(BadInput, match=r"bars have steps of \[3600000, 7200000\] ms"):
        simulate_portfolio(both, decisions, EngineParameters(sizing="volatility"))
    with pytest.raises(BadInput, match="bars_per_year None is not accepted with sizing 'volatility'"):
        start(EngineParameters(sizing="volatility"))


def test_input_is_left_as_it_was():
    bars, entries = market()
    before = bars.copy(), entries.copy()
    simulate(bars, entries)
    pd.testing.assert_frame_equal(bars, before[0])
    pd.testing.assert_series_equal(entries, before[1])


def test_resolution_of_the_index_does_not_matter():
    bars, entries = market()
    entries.iloc[0] = True
    hashes = {
        simulate(bars.set_axis(bars.index.as_unit(unit)), entries.set_axis(bars.index.as_unit(unit))).trades_sha256
        for unit in ("s", "ms", "us", "ns")
    }
    assert len(hashes) == 1


def test_importing_is_cheap():
    code = (
        "import sys, cryptai_pipelines.backtest, cryptai_pipelines.backtest.report, cryptai_pipelines.backtest.picture, "
        "cryptai_pipelines.strategy.signals; "
        "print(sorted({'numba', 'plotly', 'matplotlib', 'talib', 'dagster'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_page_has_every_engine_parameter_as_the_code_tells_it():
    page = (Path(__file__).parents[2] / "docs" / "backtest.md").read_text()
    rows = [f"| `{one.name}` | {one.default} | {one.accepted} | {one.meaning} |" for one in told_parameters()]
    assert "\n".join(rows) in page and len(rows) == len(fields(EngineParameters))
    properties = parameters_schema()["properties"]
    for one in fields(EngineParameters):
        if "default" in properties[one.name]:
            assert type(properties[one.name]["default"]).__name__ == one.type
            assert getattr(EngineParameters(**{one.name: properties[one.name]["default"]}), one.name) == one.default
