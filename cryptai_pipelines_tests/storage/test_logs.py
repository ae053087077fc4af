"""Listings, fetches, coverage, findings, quarantine and backtests: written again, nothing doubles; read, all comes back."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pandas as pd
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.storage import backtests, coverage, fetch_log, quality_log, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.quality_log import Finding
from cryptai_pipelines.storage.tables import DAY_COLUMNS
from cryptai_pipelines_tests.storage.bars_examples import HOUR, START, fresh_series, opens, wire_rows

_EXAMPLES = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_listings_are_kept_by_venue_and_symbol(database: Database) -> None:
    bitcoin = Listing("binance", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "TRADING", 0.01, 1e-5, 5.0, START, None, True)
    strange = Listing("binance", "QUOTE-USDT", "Б'\"%s\\", "QUOTE", "USDT", "BREAK")
    with database.transaction() as cursor:
        assert symbols.upsert_listings(cursor, [bitcoin, strange, bitcoin]).new == 2
        assert not symbols.upsert_listings(cursor, [bitcoin, strange])
        halted = dataclasses.replace(bitcoin, status="BREAK", delisted_at_ms=START + 1)
        assert symbols.upsert_listings(cursor, [halted]).restated == 1
        assert not symbols.upsert_listings(cursor, [])
    assert symbols.read_symbols(database) == [halted, strange]
    assert symbols.read_symbols(database, "kraken") == []


def test_each_page_has_its_proof_in_order(database_per_module: Database) -> None:
    series = fresh_series()
    proofs = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(5)]
    asked = [Interval(START, START + n * HOUR) for n in range(5)]
    pages = [Page(wire_rows(opens(n)), asked[n], f"http://x/{n}", proofs[n], START) for n in range(5)]
    with database_per_module.transaction() as cursor:
        ids = fetch_log.log_fetches(cursor, None, "binance", series, pages)
        one = fetch_log.log_fetch(cursor, 3, "binance", series, pages[2])
        assert len(fetch_log.log_fetches(cursor, None, "binance", series, [])) == 0
    logged = "SELECT id, url, row_count, sha256 FROM fetch_log WHERE symbol = %s ORDER BY id"
    rows = database_per_module.rows(logged, (series.symbol,))
    assert rows[:5] == [(i, page.url, n, page.sha256) for n, (i, page) in enumerate(zip(ids, pages, strict=True))]
    assert rows[5][:2] == (one, "http://x/2")
    with pytest.raises(psycopg2.errors.CheckViolation), database_per_module.transaction() as cursor:
        fetch_log.log_fetch(cursor, None, "binance", series, dataclasses.replace(pages[0], sha256="short"))


@_EXAMPLES
@given(steps=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), min_size=1, max_size=8))
def test_coverage_grows_only_where_it_touches(database_per_module: Database, steps: list) -> None:
    series, covered = fresh_series(), None
    for start, length in steps:
        settled = Interval(START + start * HOUR, START + (start + length) * HOUR)
        touches = covered is None or (settled.start_ms <= covered.end_ms and settled.end_ms >= covered.start_ms)
        if touches:
            covered = settled if covered is None else Interval(min(covered[0], settled[0]), max(covered[1], settled[1]))
            with database_per_module.transaction() as cursor:
                coverage.extend_coverage(cursor, "binance", series, settled)
        else:
            with pytest.raises(ValueError, match="does not touch"), database_per_module.transaction() as cursor:
                coverage.extend_coverage(cursor, "binance", series, settled)
        assert coverage.read_coverage(database_per_module, "binance", series).covered == covered


def test_coverage_tells_the_first_and_last_bar(database_per_module: Database) -> None:
    series = fresh_series()
    assert coverage.read_coverage(database_per_module, "binance", series) == coverage.Coverage()
    with database_per_module.transaction() as cursor:
        coverage.extend_coverage(cursor, "binance", series, Interval(START, START + 5 * HOUR), START + HOUR, START + 4 * HOUR)
        coverage.extend_coverage(cursor, "binance", series, Interval(START + 5 * HOUR, START + 9 * HOUR))
        now = coverage.extend_coverage(
            cursor, "binance", series, Interval(START + 9 * HOUR, START + 10 * HOUR), START + 9 * HOUR, START + 9 * HOUR
        )
    assert now == coverage.Coverage(Interval(START, START + 10 * HOUR), START + HOUR, START + 9 * HOUR)


_FINDINGS = st.dictionaries(st.integers(0, 9), st.tuples(st.integers(1, 3), st.sampled_from(["warn", "error"])))


@_EXAMPLES
@given(rounds=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10), _FINDINGS), min_size=1, max_size=5))
def test_findings_within_a_range_are_replaced(database_per_module: Database, rounds: list) -> None:
    series, model = fresh_series(), {}
    for start, length, given_findings in rounds:
        within = range(start, start + length)
        fresh = {place: value for place, value in given_findings.items() if place in within}
        findings = [
            Finding(Interval(START + place * HOUR, START + (place + hours) * HOUR), severity, hours, 0, hours, {"place": place})
            for place, (hours, severity) in fresh.items()
        ]
        before = {place: value for place, value in model.items() if place in within}
        model = {place: value for place, value in model.items() if place not in within} | fresh
        touched = {place for place in before | fresh if before.get(place) != fresh.get(place)}
        with database_per_module.transaction() as cursor:
            interval = Interval(START + start * HOUR, START + (start + length) * HOUR)
            assert quality_log.replace_findings(cursor, series, "gap", interval, findings) == len(touched)
    stored = quality_log.read_findings(database_per_module, series, "gap")
    assert [(item.period.start_ms, item.missing, item.severity, item.details) for item in stored] == [
        (START + place * HOUR, hours, severity, {"place": place}) for place, (hours, severity) in sorted(model.items())
    ]
    assert quality_log.read_findings(database_per_module, series, "completeness") == []


def test_findings_outside_their_range_are_refused(database_per_module: Database) -> None:
    late = Finding(Interval(START + HOUR, START + 2 * HOUR), "warn")
    with pytest.raises(BadInput, match="within"), database_per_module.transaction() as cursor:
        quality_log.replace_findings(cursor, fresh_series(), "gap", Interval(START, START + HOUR), [late])


def test_quarantine_keeps_the_first_verdict_and_every_rule(database_per_module: Database) -> None:
    series, rows = fresh_series(), wire_rows(opens(3))
    rows["high"][1] = np.nan
    bad = {
        **{name: values[[1, 1, 2]] for name, values in rows.items()},
        "revision": np.array([0, 0, 1], dtype="int16"),
        "fetch_id": np.array([4, 4, 5]),
        "rule": np.array(["not_finite", "order", "order"], dtype=object),
        "reason": np.array(["high is nan", "high < low", "ünïcode, long " + "x" * 300], dtype=object),
    }
    with database_per_module.transaction() as cursor:
        assert quality_log.quarantine_rows(cursor, "binance", series, bad, START) == 3
        assert quality_log.quarantine_rows(cursor, "binance", series, bad, START + 1) == 0
    stored = quality_log.read_quarantine(database_per_module, "binance", series)
    assert stored["rule"].tolist() == bad["rule"].tolist() and stored["reason"].tolist() == bad["reason"].tolist()
    assert stored["high"].isna().tolist() == [True, True, False]
    assert stored["quarantined_at"].nunique() == 1


def _header(series, **changes) -> backtests.BacktestHeader:  # noqa: ANN001, ANN003
    header = backtests.BacktestHeader(
        "plain", series, {"take_profit": 0.15, "nested": {"a": [1, 2]}}, START, START + 9 * HOUR, 10, 2, 0,
        {"sharpe": np.float64(1.25), "win_rate": np.nan, "trades": 2}, "ab" * 32, "1", 4, "run",
    )  # fmt: skip
    return dataclasses.replace(header, **changes)


def _trades(count: int, first: int = 0) -> pd.DataFrame:
    numbers = np.arange(first, first + count)
    frame = pd.DataFrame(
        {
            "entry_ts": ts_index(START + HOUR * 2 * numbers),
            "entry_price": 100.0 + numbers,
            "exit_ts": ts_index(START + HOUR * (2 * numbers + 1)),
            "exit_price": 101.0 + numbers,
            "exit_reason": "take_profit",
            "quantity": 0.5,
            "fees": 0.01,
            "pnl": 0.49,
            "return_pct": 0.0098,
            "ambiguous": numbers % 2 == 0,
        }
    )
    return frame


def test_a_backtest_is_saved_once_per_configuration(database_per_module: Database) -> None:
    series = fresh_series()
    with database_per_module.transaction() as cursor:
        first = backtests.save_backtest(cursor, _header(series))
        reordered = {"nested": {"a": [1, 2]}, "take_profit": 0.15}
        again = backtests.save_backtest(cursor, _header(series, config=reordered, bars=11))
        other = backtests.save_backtest(cursor, _header(series, config={"take_profit": 0.2}))
    assert first == again != other
    identity, stored = backtests.read_backtest(database_per_module, "plain", series, reordered)
    assert (identity, stored) == (first, _header(series, bars=11, metrics={"sharpe": 1.25, "win_rate": None, "trades": 2}))
    assert backtests.read_backtest(database_per_module, "plain", fresh_series()) is None


def test_trades_are_replaced_from_a_number_on(database_per_module: Database) -> None:
    series = fresh_series()
    with database_per_module.transaction() as cursor:
        identity = backtests.save_backtest(cursor, _header(series))
        assert backtests.replace_trades(cursor, identity, 0, _trades(5)) == 5
        open_trade = _trades(2, first=3)
        unknown = {"exit_ts": pd.NaT, "exit_price": np.nan, "exit_reason": None, "pnl": np.nan, "return_pct": np.nan}
        open_trade.loc[1, list(unknown)] = list(unknown.values())
        backtests.replace_trades(cursor, identity, 3, open_trade.assign(is_open=[False, True]))
    stored = backtests.read_trades(database_per_module, identity)
    assert stored.index.tolist() == [0, 1, 2, 3, 4]
    assert stored["is_open"].tolist() == [False] * 4 + [True]
    given = list(_trades(0).columns)
    pd.testing.assert_frame_equal(
        stored.iloc[:4][given].reset_index(drop=True), _trades(4), check_dtype=False, check_column_type=False
    )
    assert stored["side"].tolist() == [1] * 5 and stored["symbol"].isna().all()
    assert stored.loc[4, ["exit_ts", "exit_price", "exit_reason", "pnl"]].isna().all()
    with database_per_module.transaction() as cursor:
        backtests.replace_trades(cursor, identity, 1, _trades(0))
    assert backtests.read_trades(database_per_module, identity).index.tolist() == [0]


def test_days_are_replaced_from_the_first_one_asked_for(database_per_module: Database) -> None:
    series = fresh_series()
    days = pd.date_range("2024-02-27", periods=4, tz="UTC", name="day").as_unit("ms")
    daily = pd.DataFrame(np.arange(4.0 * len(DAY_COLUMNS)).reshape(4, -1), columns=list(DAY_COLUMNS), index=days)
    daily.iloc[0, 1] = np.nan
    with database_per_module.transaction() as cursor:
        identity = backtests.save_backtest(cursor, _header(series))
        first = int(daily.index.asi8[0])
        assert backtests.replace_daily(cursor, identity, first, daily).new == 4
        assert not backtests.replace_daily(cursor, identity, first, daily)
    stored = backtests.read_daily(database_per_module, identity)
    pd.testing.assert_frame_equal(stored, daily, check_freq=False)
    changed = daily.iloc[[1, 3]].copy()
    changed.iloc[1, 0] += 1
    with database_per_module.transaction() as cursor:
        assert backtests.replace_daily(cursor, identity, int(daily.index.asi8[1]), changed).restated == 1
    expected = pd.concat([daily.iloc[:1], changed])
    pd.testing.assert_frame_equal(backtests.read_daily(database_per_module, identity), expected, check_freq=False)


def test_what_a_backtest_lacks_is_named(database_per_module: Database) -> None:
    with pytest.raises(BadInput, match="trades have no column 'fees'"), database_per_module.transaction() as cursor:
        backtests.replace_trades(cursor, 1, 0, _trades(1).drop(columns="fees"))
