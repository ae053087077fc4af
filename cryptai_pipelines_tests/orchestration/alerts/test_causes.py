"""What is wrong, worked out from data alone: what is new, what goes on, what is over, and what is one thing and not many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.orchestration.alerts.cause import Cause, error_class, reconcile
from cryptai_pipelines.orchestration.alerts.data_causes import file_causes, stale_causes, sync_causes, venue_now
from cryptai_pipelines.orchestration.alerts.findings import (
    is_about_sync,
    merge_findings,
    read_findings,
    show_findings,
    timeframes_between,
)
from cryptai_pipelines.storage.health import DoubtedFile, FailedSync, LastBar

UI = "http://127.0.0.1:3000/"
NOW = parse_time("2026-03-29T12:00:00Z")
BTC, ETH = Series("BTC-USDT", Timeframe.H1), Series("ETH-USDT", Timeframe.H1)


def cause(fingerprint, explained=False):
    return Cause(fingerprint, "failed_sync", "g", "error", "s", "t", 0, "l", explained=explained)


@given(st.sets(st.integers(0, 9)), st.dictionaries(st.integers(0, 9), st.booleans()))
def test_reconciling_is_set_arithmetic(firing, now):
    changes = reconcile([str(n) for n in sorted(firing)], [cause(str(n), explained) for n, explained in now.items()])
    assert {one.fingerprint for one in changes.new} == {
        str(n) for n, explained in now.items() if not explained and n not in firing
    }
    assert {one.fingerprint for one in changes.still} == {str(n) for n in now if n in firing}
    assert set(changes.recovered) == {str(n) for n in firing if n not in now}


def last_bar(series, closed_ms):
    """A series whose newest bar closed at `closed_ms` and that was settled up to there when it closed."""
    return LastBar("binance", series, closed_ms - series.timeframe.ms, closed_ms, closed_ms + 20_000)


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_series_is_stale_after_one_and_a_half_timeframes_and_its_graces(timeframe):
    series, grace = Series("BTC-USDT", timeframe), 10_000
    limit = 3 * max(timeframe.ms, 300_000) // 2 + grace + 300_000
    assert stale_causes([last_bar(series, NOW - limit)], NOW, grace, UI) == []
    [found] = stale_causes([last_bar(series, NOW - limit - 1)], NOW, grace, UI)
    assert found.since_ms == NOW - limit - 1 and found.subject == f"binance {series}" and not found.explained
    assert found.link == f"http://127.0.0.1:3000/assets/validated_bars?view=partitions&partition=BTC-USDT%7C{timeframe.code}"
    assert stale_causes([last_bar(series, NOW - limit - 1)], NOW, grace, UI, {series})[0].explained


def test_a_series_that_is_being_brought_up_to_date_starts_no_alert():
    old = LastBar("binance", BTC, NOW - 9 * BTC.timeframe.ms, NOW - BTC.timeframe.ms, NOW - 60_000)
    assert [one.explained for one in stale_causes([old], NOW, 10_000, UI)] == [True]
    assert [one.explained for one in stale_causes([old], NOW + 60_000, 10_000, UI)] == [False]


def test_a_replay_of_the_past_is_judged_by_its_own_clock():
    then = parse_time("2019-06-01T00:00:00Z")
    fresh = [LastBar("binance", BTC, then - BTC.timeframe.ms, then, NOW - 60_000)]
    assert venue_now(fresh, NOW, 10_000) == {"binance": then + 60_000}
    assert stale_causes(fresh, NOW, 10_000, UI) == []
    assert stale_causes(fresh, NOW + 3 * BTC.timeframe.ms, 10_000, UI), "and stale when nothing more comes"


def test_our_own_clock_counts_for_a_venue_of_today_however_long_it_is_silent():
    silent = [
        LastBar(
            "binance", Series("BTC-USDT", Timeframe.W1), NOW - 30 * 86_400_000, NOW - 23 * 86_400_000, NOW - 22 * 86_400_000
        )
    ]
    assert venue_now(silent, NOW, 10_000) == {"binance": NOW}


@pytest.mark.parametrize(
    "errors",
    [
        [
            "binance did not answer within 30 s at http://127.0.0.1:1/api/v3/klines?symbol=BTCUSDT",
            "binance: Connection refused",
        ],
        ["HTTP 503 from binance", "binance: read timed out (12.0 s)", "[Errno 104] Connection reset by peer"],
        ["binance: symbol BTCUSDT is not listed", "binance: symbol 1000SATSUSDT is not listed"],
        ["HTTP 451 for 'BTC-USDT': restricted", "HTTP 451 for 'ETH-USDT': restricted"],
    ],
)
def test_errors_with_one_reason_are_one_class(errors):
    assert len({error_class(error) for error in errors}) == 1


def test_errors_with_other_reasons_are_other_classes():
    told = ["binance: timed out", "binance: symbol BTCUSDT is not listed", "HTTP 451: restricted", "not JSON"]
    assert len({error_class(error) for error in told}) == 4


def test_syncs_and_files_are_told_by_series_and_grouped_by_reason():
    syncs = [FailedSync("binance", one, "FAILED", f"timed out for {one}", 1, None) for one in (BTC, ETH)]
    causes = sync_causes(syncs, UI)
    assert len({one.fingerprint for one in causes}) == 2 and len({one.group_key for one in causes}) == 1
    files = [
        DoubtedFile("binance_archive", f"{n}.zip", BTC, status, None, 5)
        for n, status in enumerate(["quarantined", "restated", "restated"])
    ]
    told = file_causes(files, UI)
    assert [one.severity for one in told] == ["error", "warning", "warning"]
    assert len({one.fingerprint for one in told}) == 3 and len({one.group_key for one in told}) == 2


SHOWN = """- BTC-USDT 1h failed at raw_ohlcv: timed out
- ETH-USDT 1d: 3 of 9 bars are missing
- column close is missing
- and 4 more"""


def test_findings_are_read_by_series():
    found = read_findings(SHOWN, passed=False)
    assert found == {
        "BTC-USDT 1h": "failed at raw_ohlcv: timed out",
        "ETH-USDT 1d": "3 of 9 bars are missing",
        "": "column close is missing",
    }
    assert read_findings("none", passed=True) == {} and read_findings("none", passed=False) == {"": "failed"}
    assert is_about_sync(found["BTC-USDT 1h"]) and not is_about_sync(found["ETH-USDT 1d"])
    assert not is_about_sync("failed at technical_indicators: out of memory")
    assert read_findings("- BTC-USDT 1h: not known, it failed at raw_ohlcv", passed=False) == {}, "nobody looked"
    assert read_findings("- BTC-USDT 1h failed at raw_ohlcv: x\n- and 150 more", passed=False).keys() == {"BTC-USDT 1h"}


@pytest.mark.parametrize("count", [0, 1, 50, 51, 400])
def test_whatever_is_shown_no_series_with_a_finding_seems_to_have_recovered(count: int) -> None:
    failed = [f"A{n}-USDT 1h: 3 of 9 bars are missing" for n in range(count)]
    unknown = [f"B{n}-USDT 1h: not known, it failed at raw_ohlcv" for n in range(count)]
    shown = show_findings([*failed, *unknown])
    assert read_findings(shown, passed=False).keys() == ({f"A{n}-USDT 1h" for n in range(count)} or {""})
    assert len(shown.splitlines()) <= 51
    synced = read_findings(show_findings([f"A{n}-USDT 1h failed at raw_ohlcv: timed out" for n in range(count)]), passed=False)
    assert count == 0 or len(synced) == count and all(map(is_about_sync, synced.values()))


def test_a_finding_stays_open_until_its_timeframe_is_looked_at_again():
    open_findings = merge_findings({}, read_findings(SHOWN, passed=False), None)
    hourly = merge_findings(open_findings, {}, timeframes_between("AAA-USDT|1m", "ZZZ-USDT|1h"))
    assert hourly == {"ETH-USDT 1d": "3 of 9 bars are missing"}
    assert merge_findings(hourly, {}, timeframes_between("AAA-USDT|1m", "ZZZ-USDT|1d")) == {}
    assert merge_findings(hourly, {}, None) == {}
