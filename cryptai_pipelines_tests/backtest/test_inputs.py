"""Bad input is named: the argument, the row, the value. And importing the room stays cheap."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import simulate
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
