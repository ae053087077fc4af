"""Values of kline rows: exact where the venue wrote a number, NaN for that one field where it did not."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import WIRE_DTYPES
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.kline_rows import UNREADABLE_INTEGER, kline_columns

FIELDS = list(WIRE_DTYPES)
FLOATS = [name for name, dtype in WIRE_DTYPES.items() if dtype != "int64"]
EVER = Interval(0, 2**62)


def _row(ts: int = 1000, **changed: Any) -> list[Any]:
    row = dict(zip(FIELDS, [ts, "1.5", "2.5", "0.5", "2.0", "7.25", ts + 999, "14.0", 3, "1.0", "2.0", "0"], strict=True))
    return list((row | changed).values())


def _texts(values: tuple[Any, ...]) -> dict[str, str]:
    return {name: f"{value:.8f}" for name, value in zip(FLOATS, values, strict=False)}


_decimals = st.decimals(min_value=0, max_value=10**12, places=8, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(*[_decimals] * len(FLOATS), st.integers(0, 2**40), st.integers(0, 2**40)), min_size=1, max_size=30))
def test_every_field_of_every_row_is_the_number_that_was_written(values: list[tuple[Any, ...]]) -> None:
    rows = [_row(1000 * i, close_ts=row[-2], trades=row[-1], **_texts(row)) for i, row in enumerate(values)]
    columns = kline_columns(json.loads(json.dumps(rows)), EVER)
    assert {name: str(column.dtype) for name, column in columns.items()} == WIRE_DTYPES
    for i, row in enumerate(values):
        assert columns["close_ts"][i] == row[-2]
        assert columns["trades"][i] == row[-1]
        for name, value in zip(FLOATS, row, strict=False):
            # An independent oracle: the nearest float of the exact decimal.
            assert columns[name][i] == np.dtype(WIRE_DTYPES[name]).type(float(value))


UNREADABLE = ["abc", "", " 1.5", "1.5 ", "1_000", "1,5", "1.2.3", "0x10", "٣", "nan", "NaN", "Infinity", "-", ".", "1e", None]
UNREADABLE += [True, False, [], ["1.5"], {}, {"a": 1}]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", UNREADABLE, ids=repr)
def test_a_value_that_is_no_number_is_nan_in_its_field_alone(name: str, value: Any) -> None:
    columns = kline_columns([_row(1000), _row(2000, **{name: value}), _row(3000)], EVER)
    clean = kline_columns([_row(1000), _row(2000), _row(3000)], EVER)
    for other in FIELDS:
        spoiled = np.array([False, other == name, False])
        assert np.array_equal(columns[other][~spoiled], clean[other][~spoiled])
        assert np.isnan(columns[other][spoiled]).all()


@pytest.mark.parametrize("name", ["close_ts", "trades"])
@pytest.mark.parametrize("value", ["abc", "3", None, True, 3.0, 2**63, -(2**70), [], {}], ids=repr)
def test_an_integer_that_cannot_be_read_is_minus_one_in_its_field_alone(name: str, value: Any) -> None:
    columns = kline_columns([_row(1000), _row(2000, **{name: value})], EVER)
    assert columns[name].tolist() == [_row(1000)[FIELDS.index(name)], UNREADABLE_INTEGER]
    assert columns["close"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("-1.5", -1.5), ("+1.5", 1.5), ("0", 0.0), ("1e400", math.inf), ("-1e400", -math.inf), ("1E-3", 0.001), (1.5, 1.5),
     (2, 2.0), ("1" * 400, math.inf), (10**400, math.inf), ("0.1", 0.1)],
)  # fmt: skip
def test_what_is_a_number_stays_that_number_however_absurd(value: Any, expected: float) -> None:
    assert kline_columns([_row(1000), _row(2000, close=value)], EVER)["close"][1] == expected


def test_off_grid_open_times_are_data() -> None:
    assert kline_columns([_row(1001), _row(1017)], EVER)["ts"].tolist() == [1001, 1017]


def test_no_rows_are_no_rows_of_the_right_types() -> None:
    columns = kline_columns([], EVER)
    assert {name: (len(column), str(column.dtype)) for name, column in columns.items()} == {
        name: (0, dtype) for name, dtype in WIRE_DTYPES.items()
    }


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=13) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=30,
)


@given(_json | st.lists(st.lists(_json, min_size=12, max_size=12), max_size=3))
@settings(max_examples=50)
def test_any_json_gives_columns_or_malformed(parsed: Any) -> None:
    try:
        columns = kline_columns(parsed, EVER)
    except Malformed as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(parsed, list)
        assert {len(column) for column in columns.values()} == {len({row[0] for row in parsed})}
