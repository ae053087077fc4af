"""A batch that is not what it must be is refused as a whole, in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import BAR_COLUMNS, WIRE_DTYPES, bars_frame, empty_columns, index_ms, ts_index
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.schemas import (
    BatchRejected,
    check_raw,
    check_validated,
    raw_columns,
    raw_schema,
    validated_columns,
    validated_schema,
)
from cryptai_pipelines_tests.quality.samples import good_rows

GOOD = bars_frame(good_rows(50))


def refused(bars: pd.DataFrame) -> str:
    with pytest.raises(BatchRejected) as error:
        check_validated(bars, Timeframe.H1)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_good_batches_pass_and_empty_ones_too() -> None:
    check_raw(good_rows(10))
    check_raw(empty_columns())
    check_validated(GOOD, Timeframe.H1)
    check_validated(GOOD.iloc[:0], Timeframe.H1)
    check_validated(GOOD.assign(trades=np.nan), Timeframe.H1)


@pytest.mark.parametrize("name", WIRE_DTYPES)
def test_a_raw_batch_without_a_column_or_with_another_type_is_refused(name: str) -> None:
    rows = good_rows(5)
    with pytest.raises(BatchRejected, match=f"missing column {name}$"):
        check_raw({key: values for key, values in rows.items() if key != name})
    strings = np.array(["1", "abc", " 3", "NaN", ""], dtype=object)
    for wrong in (strings, np.ones(5, bool), np.ones(5, "int32"), np.ones(5, "float16"), np.full(5, None)):
        with pytest.raises(BatchRejected, match=f"{name}: dtype") as error:
            check_raw({**rows, name: wrong})
        assert "\n" not in str(error.value)


def test_integers_where_fractions_belong_are_refused_and_the_other_way_round() -> None:
    with pytest.raises(BatchRejected, match="volume: dtype.'float64'., got int64"):
        check_raw({**good_rows(5), "volume": np.arange(5)})
    with pytest.raises(BatchRejected, match="ts: dtype.'int64'., got float64"):
        check_raw({**good_rows(5), "ts": good_rows(5)["ts"].astype("float64")})


def test_every_fault_of_a_raw_batch_is_named_at_once() -> None:
    rows = good_rows(5)
    del rows["low"], rows["trades"]
    with pytest.raises(BatchRejected) as error:
        check_raw({**rows, "extra": rows["open"], "close": rows["ts"]})
    for part in ("missing column low", "missing column trades", "unknown column extra", "close: dtype"):
        assert part in str(error.value)


def test_columns_of_unequal_length_or_more_dimensions_are_refused() -> None:
    for wrong in (np.ones(4), np.ones((5, 1)), np.float64(1.0)):
        with pytest.raises(BatchRejected, match="equal length.*open"):
            check_raw({**good_rows(5), "open": wrong})


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
def test_a_price_out_of_range_never_leaves(column: str, value: float) -> None:
    bars = GOOD.copy()
    bars.loc[bars.index[31], column] = value
    message = refused(bars)
    assert column in message or "lowest" in message or "highest" in message
    assert str(bars.index[31]) in message


@pytest.mark.parametrize("column", BAR_COLUMNS[4:])
def test_an_amount_out_of_range_never_leaves(column: str) -> None:
    for value in (-1e-9, np.inf, -np.inf):
        bars = GOOD.copy()
        bars.loc[bars.index[3], column] = value
        assert f"{column}: not_negative_and_finite, got {value} at {bars.index[3]}" in refused(bars)


def test_a_missing_volume_never_leaves() -> None:
    bars = GOOD.copy()
    bars.loc[bars.index[3], "volume"] = np.nan
    assert "volume: not_nullable" in refused(bars)


@pytest.mark.parametrize("side", ["open", "close"])
@pytest.mark.parametrize(("column", "check"), [("low", "low_is_lowest"), ("high", "high_is_highest")])
def test_prices_out_of_order_never_leave(column: str, check: str, side: str) -> None:
    """By one bit, and against one of open and close only."""
    other = "close" if side == "open" else "open"
    outward = 0.0 if column == "low" else np.inf
    bars = GOOD.copy()
    row = bars.index[9]
    bars.loc[row, other] = 2 * GOOD.loc[row, "high"] if column == "low" else GOOD.loc[row, "low"] / 2
    bars.loc[row, ["low", "high"]] = [bars.loc[row, ["open", "close"]].min(), bars.loc[row, ["open", "close"]].max()]
    check_validated(bars, Timeframe.H1)
    bars.loc[row, side] = np.nextafter(bars.loc[row, column], outward)
    assert f"{check} at {row}" in refused(bars)


def test_times_must_be_utc_milliseconds_ascending_and_on_the_grid() -> None:
    assert "datetime64[ms, UTC]" in refused(GOOD.tz_localize(None))
    assert "datetime64[ms, UTC]" in refused(GOOD.tz_convert("Europe/Berlin"))
    assert "datetime64[ms, UTC]" in refused(GOOD.set_axis(GOOD.index.as_unit("ns")))
    assert "ascending_and_unique" in refused(GOOD.iloc[::-1])
    assert "ascending_and_unique" in refused(GOOD.iloc[[0, 1, 1, 2]])
    shifted = GOOD.set_axis(ts_index(index_ms(GOOD.index) + 1_000))
    assert f"not on the 1h grid at {shifted.index[0]}" in refused(shifted)
    assert "name" in refused(GOOD.rename_axis("time"))
    assert "int64" in refused(GOOD.reset_index(drop=True))


def test_columns_must_be_those_of_a_bar_and_float64() -> None:
    assert "missing column low" in refused(GOOD.drop(columns="low"))
    assert "unknown column spread" in refused(GOOD.assign(spread=1.0))
    assert "trades: dtype('float64'), got int64" in refused(GOOD.astype({"trades": "int64"}))
    assert "close: dtype" in refused(GOOD.astype({"close": object}))


def test_the_refusal_is_one_a_person_can_read() -> None:
    assert issubclass(BatchRejected, CryptaiError)


def test_the_catalogue_describes_every_column_of_the_schemas() -> None:
    assert [doc.name for doc in raw_columns()] == list(WIRE_DTYPES) == list(raw_schema().columns)
    assert [doc.name for doc in validated_columns()] == ["ts", *BAR_COLUMNS]
    assert list(validated_schema().columns) == list(BAR_COLUMNS)
    assert all(doc.type and doc.description for doc in (*raw_columns(), *validated_columns()))
    frame = GOOD.reset_index()
    assert {doc.name: doc.type for doc in validated_columns()} == {name: str(dtype) for name, dtype in frame.dtypes.items()}
