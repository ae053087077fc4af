"""Reading some columns or some rows of a table is reading all of it and leaving the rest out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import OHLCV, ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import backtests, derived, market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.storage.bars_examples import HOUR, START, bar_rows, fresh_series, opens

DAY = 24 * HOUR


def test_columns_of_bars_are_those_of_the_whole(database_per_module: Database) -> None:
    series = fresh_series()
    with database_per_module.transaction() as cursor:
        market_data.upsert(cursor, series, bar_rows(opens(30)), "binance", "rest")
    whole = market_data.read(database_per_module, series)
    for columns in (("close",), ("is_filled", "trades"), ("source", "open")):
        pd.testing.assert_frame_equal(market_data.read(database_per_module, series, columns=columns), whole[list(columns)])
    with pytest.raises(BadInput, match="no column 'close; --' to read"):
        market_data.read(database_per_module, series, columns=("close; --",))


def test_columns_of_derived_rows_are_those_of_the_whole(database_per_module: Database) -> None:
    series = fresh_series()
    keys = {"symbol": series.symbol, "timeframe": series.timeframe.code}
    frame = pd.DataFrame({"sma_20": [1.0, np.nan, 3.0], "macd": [4.0, 5.0, 6.0]}, index=ts_index(opens(3)))
    with database_per_module.transaction() as cursor:
        derived.upsert(cursor, "technical_indicators", keys, frame, code_version="1", coverage_revision=1)
    found = derived.read(database_per_module, "technical_indicators", keys, START + HOUR, columns=("macd", "sma_20"))
    pd.testing.assert_frame_equal(found, frame[["macd", "sma_20"]].iloc[1:])
    with pytest.raises(BadInput, match="is not accepted"):
        derived.read(database_per_module, "technical_indicators", keys, columns=("macd FROM symbols; --",))


def test_daily_closes_are_the_last_of_each_day_that_has_a_bar(database_per_module: Database) -> None:
    series = fresh_series()
    rng = np.random.default_rng(5)
    ts = START + HOUR * np.flatnonzero(rng.random(24 * 12) < 0.6)
    ts = ts[(ts - ts[0]) // DAY != 4]
    with database_per_module.transaction() as cursor:
        market_data.upsert(cursor, series, bar_rows(ts), "binance", "rest")
        market_data.upsert(cursor, fresh_series(), bar_rows(opens(100), seed=2), "binance", "rest")
    close = market_data.read(database_per_module, series)["close"]
    expected = close.groupby(close.index.floor("D")).last()
    found = market_data.read_daily_closes(database_per_module, series)
    assert found.index.asi8.tolist() == expected.index.asi8.tolist() and found.tolist() == expected.tolist()
    assert market_data.read_daily_closes(database_per_module, fresh_series()).empty


def test_parts_of_bars_are_those_of_the_whole(database_per_module: Database) -> None:
    finer = fresh_series(Timeframe.M15)
    rng = np.random.default_rng(8)
    ts = START + Timeframe.M15.ms * np.flatnonzero(rng.random(4 * 50) < 0.7)
    filled = rng.random(len(ts)) < 0.2
    with database_per_module.transaction() as cursor:
        market_data.upsert(cursor, finer, bar_rows(ts), "binance", "rest", filled)
    whole = market_data.read(database_per_module, finer, columns=(*OHLCV, "is_filled"))
    for chosen in ([3, 4, 20, 49], [], [700], range(50)):
        hours = START + HOUR * np.array(chosen, dtype="int64")
        found = market_data.read_parts(database_per_module, finer, hours, HOUR)
        inside = np.isin(whole.index.asi8 // HOUR * HOUR, hours)
        pd.testing.assert_frame_equal(found, whole[inside])


def test_days_are_counted_without_reading_them(database_per_module: Database) -> None:
    assert backtests.count_days(database_per_module, 2**40) == 0
