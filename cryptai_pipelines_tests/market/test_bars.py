"""Wire columns and bars frames keep rows, types and times."""

from __future__ import annotations

import numpy as np
import pytest

from cryptai_pipelines.market.bars import (
    BAR_COLUMNS,
    WIRE_DTYPES,
    Columns,
    bars_frame,
    concat_columns,
    empty_columns,
    index_ms,
    row_count,
    take_rows,
    ts_index,
)


def rows(*ts: int) -> Columns:
    return {name: np.array(ts, dtype=dtype) for name, dtype in WIRE_DTYPES.items()}


def test_rows_are_joined_in_order_with_their_types() -> None:
    joined = concat_columns([rows(3, 1), empty_columns(), rows(2)])
    assert {name: str(values.dtype) for name, values in joined.items()} == WIRE_DTYPES
    assert joined["ts"].tolist() == [3, 1, 2] and row_count(joined) == 3
    assert row_count(concat_columns([])) == row_count(empty_columns()) == 0


def test_rows_are_taken_by_mask_and_by_position() -> None:
    assert take_rows(rows(5, 6, 7), np.array([True, False, True]))["ts"].tolist() == [5, 7]
    assert take_rows(rows(5, 6, 7), np.array([2, 0]))["volume"].tolist() == [7.0, 5.0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_survive_the_index_at_any_resolution(unit: str) -> None:
    ts = np.array([-1_000, 0, 1_709_164_800_000])
    index = ts_index(ts)
    assert str(index.dtype) == "datetime64[ms, UTC]" and index.name == "ts"
    assert index_ms(index.as_unit(unit)).tolist() == ts.tolist()


def test_a_bars_frame_is_float64_on_its_open_times() -> None:
    frame = bars_frame(rows(0, 60_000))
    assert list(frame.columns) == list(BAR_COLUMNS) and set(frame.dtypes) == {np.dtype("float64")}
    assert index_ms(frame.index).tolist() == [0, 60_000]
