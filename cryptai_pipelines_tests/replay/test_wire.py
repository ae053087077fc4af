"""Numbers on the wire read back as what was recorded, to the last bit."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.venue import UNIT
from cryptai_pipelines.replay.wire import decimal_text, kline_rows

PRICES = {"open": 1, "high": 2, "low": 3, "close": 4}
FIELDS = PRICES | {"volume": 5, "quote_volume": 7, "taker_buy_base": 9, "taker_buy_quote": 10}

# What a venue can have sent: at most 8 decimals, and no more digits than a double keeps apart.
sent = st.integers(0, 10**15).flatmap(lambda digits: st.integers(0, 8).map(lambda places: Decimal(digits).scaleb(-places)))


@given(rows=st.lists(st.lists(sent, min_size=8, max_size=8), min_size=1, max_size=6))
def test_recorded_decimals_come_back_as_they_were_sent(rows: list[list[Decimal]]) -> None:
    columns = {name: np.array([float(row[n]) for row in rows]) for n, name in enumerate(FIELDS)}
    columns["ts"] = np.arange(len(rows), dtype=np.int64) * Timeframe.M1.ms
    answered = json.loads(kline_rows(columns, Timeframe.M1))
    for row, wire in zip(rows, answered, strict=True):
        assert [wire[position] for position in FIELDS.values()] == [f"{value:.8f}" for value in row]


@given(units=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6))
def test_fixed_point_is_written_exactly(units: list[int]) -> None:
    columns = {name: np.array(units, dtype=np.int64) for name in FIELDS}
    columns["ts"] = np.arange(len(units), dtype=np.int64) * Timeframe.M1.ms
    for row, value in zip(json.loads(kline_rows(columns, Timeframe.M1)), units, strict=True):
        for position in FIELDS.values():
            whole, _, part = row[position].partition(".")
            assert int(whole) * UNIT + int(part) == value and len(part) == 8
        assert row[8] == 0 and row[11] == "0" and len(row) == 12


@given(value=st.integers(-(10**17), 10**17))
def test_a_signed_fixed_point_number_is_its_decimal(value: int) -> None:
    assert Decimal(decimal_text(value)) == Decimal(value).scaleb(-8)


def test_no_rows_are_an_empty_array() -> None:
    assert kline_rows({"ts": np.empty(0, np.int64), **{name: np.empty(0) for name in FIELDS}}, Timeframe.W1) == b"[]"
