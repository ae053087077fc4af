"""`raw_ohlcv` and `market_data` against plain dictionaries, under batches in any order, with repeats and restatements."""

from __future__ import annotations

import numpy as np
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import BAR_COLUMNS, WIRE_DTYPES, take_rows
from cryptai_pipelines.storage import market_data, raw
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.storage.bars_examples import HOUR, START, bar_rows, fresh_series, opens, wire_rows

# One database serves all examples of a property; each example has a series of its own.
_EXAMPLES = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

# A bar is (position on the grid, which of a few sets of values, whether some of them are NaN).
_BARS = st.tuples(st.integers(0, 12), st.integers(0, 2), st.booleans())
_BATCHES = st.lists(st.lists(_BARS, max_size=14), min_size=1, max_size=6)


def _batch(bars: list[tuple[int, int, bool]], nan_columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    parts = [wire_rows(np.array([START + HOUR * place]), seed) for place, seed, _ in bars]
    rows = {name: np.concatenate([np.empty(0, dtype), *(part[name] for part in parts)]) for name, dtype in WIRE_DTYPES.items()}
    for name in nan_columns:
        rows[name][[unknown for _, _, unknown in bars]] = np.nan
    return rows


def _values(rows: dict[str, np.ndarray], position: int, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(repr(float(rows[name][position])) for name in names)


@_EXAMPLES
@given(batches=_BATCHES)
def test_raw_keeps_every_restatement_and_nothing_else(database_per_module: Database, batches: list) -> None:
    series, model, names = fresh_series(), {}, tuple(name for name in WIRE_DTYPES if name != "ts")
    for number, bars in enumerate(batches):
        rows = _batch(bars, ("open", "taker_buy_quote"))
        with database_per_module.transaction() as cursor:
            change = raw.append(cursor, "binance", series, rows, fetch_id=number, known_at_ms=START + number)
        touched, expected = {int(ts): position for position, ts in enumerate(rows["ts"])}, [0, 0, []]
        for ts, position in touched.items():
            values, history = _values(rows, position, names), model.setdefault(ts, [])
            if not history or history[-1][0] != values:
                history.append((values, number))
                expected[min(len(history) - 1, 1)] += 1
                expected[2].append(ts)
        changed = expected.pop()
        assert [change.new, change.restated] == expected
        assert (change.first_ts, change.last_ts) == ((min(changed), max(changed)) if changed else (None, None))

    current = raw.read_current(database_per_module, "binance", series, 0, START + 100 * HOUR)
    stored = {int(ts): (_values(current, i, names), int(current["fetch_id"][i])) for i, ts in enumerate(current["ts"])}
    assert stored == {ts: history[-1] for ts, history in model.items()}
    assert {int(ts): int(revision) for ts, revision in zip(current["ts"], current["revision"], strict=True)} == {
        ts: len(history) - 1 for ts, history in model.items()
    }
    assert list(current["known_at"]) == [START + model[int(ts)][-1][1] for ts in current["ts"]]
    assert list(current["ts"]) == sorted(model)
    history = database_per_module.rows("SELECT count(*) FROM raw_ohlcv WHERE symbol = %s", (series.symbol,))
    assert history == [(sum(map(len, model.values())),)]


@_EXAMPLES
@given(batches=_BATCHES, removed=st.sets(st.integers(0, 12)))
def test_market_data_is_the_last_value_of_each_bar(database_per_module: Database, batches: list, removed: set[int]) -> None:
    series, model = fresh_series(), {}
    for bars in batches:
        wire = _batch(bars, ("taker_buy_quote", "quote_volume"))
        rows = {name: wire[name] for name in ("ts", *BAR_COLUMNS)}
        with database_per_module.transaction() as cursor:
            change = market_data.upsert(cursor, series, rows, "binance", "rest")
        latest = {int(ts): _values(rows, i, BAR_COLUMNS) for i, ts in enumerate(rows["ts"])}
        new, changed = set(latest) - set(model), {ts for ts in latest if ts in model and model[ts] != latest[ts]}
        assert (change.new, change.restated) == (len(new), len(changed))
        assert change.first_ts == min(new | changed, default=None) and change.last_ts == max(new | changed, default=None)
        model |= latest
    gone = np.array([START + HOUR * place for place in removed], dtype="int64")
    with database_per_module.transaction() as cursor:
        assert market_data.remove(cursor, series, gone) == len(set(map(int, gone)) & set(model))
    model = {ts: values for ts, values in model.items() if ts not in set(map(int, gone))}
    frame = market_data.read(database_per_module, series)
    rows = {name: frame[name].to_numpy() for name in BAR_COLUMNS}
    assert [(ts, _values(rows, i, BAR_COLUMNS)) for i, ts in enumerate(frame.index.asi8)] == sorted(model.items())
    assert str(frame.index.dtype) == "datetime64[ms, UTC]"
    span = market_data.span(database_per_module, series)
    assert span == ((min(model), max(model)) if model else None)


@pytest.mark.parametrize("statement", ["UPDATE raw_ohlcv SET open = 1", "DELETE FROM raw_ohlcv", "TRUNCATE raw_ohlcv"])
def test_raw_rows_cannot_be_changed_or_removed(database_per_module: Database, statement: str) -> None:
    with database_per_module.transaction() as cursor:
        raw.append(cursor, "binance", fresh_series(), wire_rows(opens(2)), 1, START)
    with pytest.raises(psycopg2.errors.RestrictViolation, match="append-only"), database_per_module.transaction() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 0.0])
@pytest.mark.parametrize("present", [False, True])
def test_no_bad_price_gets_into_market_data(database_per_module: Database, column: str, value: float, present: bool) -> None:
    series, rows = fresh_series(), bar_rows(opens(3))
    if present:
        # The merge path, beside the direct one.
        with database_per_module.transaction() as cursor:
            market_data.upsert(cursor, series, rows, "binance", "rest")
    bad = {name: values.copy() for name, values in rows.items()}
    bad[column][1] = value
    if column == "volume" and value == 0.0:
        with database_per_module.transaction() as cursor:
            market_data.upsert(cursor, series, bad, "binance", "rest")
        return
    refused = (psycopg2.errors.CheckViolation, psycopg2.errors.NotNullViolation)
    with pytest.raises(refused), database_per_module.transaction() as cursor:
        market_data.upsert(cursor, series, bad, "binance", "rest")
    assert len(market_data.read(database_per_module, series)) == (3 if present else 0)


@pytest.mark.parametrize(("column", "factor"), [("high", 0.5), ("low", 2.0)])
def test_no_bar_out_of_order_gets_into_market_data(database_per_module: Database, column: str, factor: float) -> None:
    rows = bar_rows(opens(3))
    rows[column] = rows[column] * factor
    with pytest.raises(psycopg2.errors.CheckViolation), database_per_module.transaction() as cursor:
        market_data.upsert(cursor, fresh_series(), rows, "binance", "rest")


def test_an_origin_that_is_not_listed_is_refused(database_per_module: Database) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation), database_per_module.transaction() as cursor:
        market_data.upsert(cursor, fresh_series(), bar_rows(opens(1)), "binance", "guess")


def test_a_second_write_of_the_same_rows_rewrites_none(database_per_module: Database) -> None:
    series, rows = fresh_series(), wire_rows(opens(500))
    bars = bar_rows(opens(500))
    for expected in (500, 0):
        with database_per_module.transaction() as cursor:
            assert raw.append(cursor, "binance", series, rows, 1, START).rows == expected
            assert market_data.upsert(cursor, series, bars, "binance", "rest").rows == expected
    versions = "SELECT count(DISTINCT xmin::text) FROM market_data WHERE symbol = %s"
    assert database_per_module.rows(versions, (series.symbol,)) == [(1,)]


def test_a_known_bar_among_new_ones_is_restated_in_the_same_write(database_per_module: Database) -> None:
    series = fresh_series()
    with database_per_module.transaction() as cursor:
        raw.append(cursor, "binance", series, wire_rows(opens(10)), 1, START)
    rows = wire_rows(opens(20))
    rows["close"][4] += 1.0
    with database_per_module.transaction() as cursor:
        change = raw.append(cursor, "binance", series, rows, np.arange(20), np.full(20, START + 5))
    assert (change.new, change.restated) == (10, 1)
    assert (change.first_ts, change.last_ts) == (START + 4 * HOUR, START + 19 * HOUR)
    current = raw.read_current(database_per_module, "binance", series, START, START + 20 * HOUR)
    assert current["revision"].tolist() == [0] * 4 + [1] + [0] * 15
    assert current["fetch_id"].tolist() == [1] * 4 + [4] + [1] * 5 + list(range(10, 20))
    assert {name: current[name].dtype.name for name in WIRE_DTYPES} == WIRE_DTYPES


def test_reads_are_half_open_and_windows_count_bars_not_time(database_per_module: Database) -> None:
    series = fresh_series()
    ts = np.delete(opens(12), [3, 4, 5])
    with database_per_module.transaction() as cursor:
        market_data.upsert(cursor, series, bar_rows(ts), "binance", "rest", is_filled=np.arange(9) == 2)
    frame = market_data.read(database_per_module, series, START + HOUR, START + 6 * HOUR)
    assert frame.index.asi8.tolist() == [START + HOUR, START + 2 * HOUR]
    assert frame["is_filled"].tolist() == [False, True] and frame["is_filled"].dtype == bool
    assert frame["source"].tolist() == ["binance", "binance"]
    window = lambda before, bars: (market_data.window_start(database_per_module, series, before, bars) - START) // HOUR  # noqa: E731
    assert [window(START + 8 * HOUR, bars) for bars in (0, 1, 2, 3, 5, 99)] == [8, 7, 6, 2, 0, 0]
    assert window(START, 5) == 0
    nothing = market_data.read(database_per_module, fresh_series())
    assert nothing.empty and nothing.dtypes["open"] == "float64" and nothing["is_filled"].dtype == bool
    assert market_data.span(database_per_module, fresh_series()) is None


def test_sources_and_series_do_not_meet(database_per_module: Database) -> None:
    first, second = fresh_series(), fresh_series()
    with database_per_module.transaction() as cursor:
        raw.append(cursor, "binance", first, wire_rows(opens(3)), 1, START)
        assert raw.append(cursor, "kraken", first, wire_rows(opens(3), seed=2), 1, START).new == 3
        assert raw.append(cursor, "binance", second, take_rows(wire_rows(opens(3)), np.array([2])), 1, START).new == 1
    assert len(raw.read_current(database_per_module, "kraken", first, 0, START + 9 * HOUR)["ts"]) == 3
