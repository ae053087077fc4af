"""A history that is judged while it is being received becomes the history that is judged afterwards, row by row, whatever the
pages hold and wherever they end; what cannot be judged on the way is left and told."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import dagster as dg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import Columns, take_rows
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import judged_ahead, receive, validated_bars
from cryptai_pipelines.orchestration.chain.judged_ahead import Ahead
from cryptai_pipelines.orchestration.chain.judged_ahead import judged_ahead as judging
from cryptai_pipelines.orchestration.chain.outcome import Outcome, Progress
from cryptai_pipelines.orchestration.chain.receive import Stored, receive_pages
from cryptai_pipelines.orchestration.partitions import rectangle_tags
from cryptai_pipelines.quality.schemas import BatchRejected
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.sources.errors import Transient
from cryptai_pipelines.storage import market_data, raw, state, sync_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import LeaseLost, SeriesLease, take_series
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, without
from cryptai_pipelines_tests.storage.bars_examples import HOUR, fresh_series

BARS = 120
_FAULTS = ("off grid", "negative", "not a number", "wrong close", "close beyond all time")


@pytest.fixture(autouse=True, scope="module")
def _small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receive, "ROWS_PER_COMMIT", 10)
        patch.setattr(judged_ahead, "ROWS_TOGETHER", 20)
        yield


@dataclass(frozen=True)
class Part:
    """What one source gives, in its order. `in_pieces`: about single gaps."""

    source: str
    origin: str
    pages: Iterable[Page]
    in_pieces: bool = False


def page_of(rows: Columns, start: int, end: int) -> Page:
    return Page(rows, Interval(start, end), "test:", "0" * 64, end + 5_000)


def pages_of(rows: Columns, cuts: Sequence[int], end: int) -> list[Page]:
    """Pages that tile the time from the epoch to `end`; each begins at one of `cuts`."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < end}), end]
    ts = rows["ts"]
    return [page_of(take_rows(rows, (ts >= start) & (ts < stop)), start, stop) for start, stop in pairwise(edges)]


@st.composite
def venue_pages(draw: st.DrawFn) -> list[Page]:
    """A venue's history with faults and gaps, in pages that end on a bar or within one."""
    whole = hourly(BARS, seed=draw(st.integers(0, 3)))
    first, end = int(whole["ts"][0]), int(whole["ts"][-1]) + HOUR
    rows = without(whole, sorted(draw(st.sets(st.integers(0, BARS - 1), max_size=30))))
    faults = st.dictionaries(st.integers(0, len(rows["ts"]) - 1), st.sampled_from(_FAULTS), max_size=4)
    for row, fault in draw(faults).items():
        plant(rows, row, fault, draw(st.integers(1, HOUR - 1)))
    behind_a_bar = st.sampled_from(rows["ts"].tolist()).map(lambda ts: ts + 1)
    on_the_grid = st.integers(0, BARS).map(lambda bar: first + bar * HOUR)
    return pages_of(rows, draw(st.lists(behind_a_bar | on_the_grid, min_size=4, max_size=25)), end)


@st.composite
def histories(draw: st.DrawFn) -> list[Part]:
    """Such pages as they are, with one given twice or restated, or from two sources, the first of which may have a hole that
    the second is asked for before it goes on."""
    pages = draw(venue_pages())
    kind = draw(st.sampled_from(("plain", "plain", "repeated", "restated", "hole", "two sources")))
    at = draw(st.integers(0, len(pages) - 1))
    later, last = sorted((draw(st.integers(at, len(pages))), draw(st.integers(at, len(pages)))))
    match kind:
        case "plain":
            return [Part("binance", "rest", pages)]
        case "repeated" | "restated":
            again = pages[at]
            other = {**again.rows, "volume": again.rows["volume"] + (kind == "restated")}
            return [Part("binance", "rest", [*pages[: later + 1], replace(again, rows=other), *pages[later + 1 :]])]
        case "hole":
            hole = Part("binance", "rest", pages[at:later], in_pieces=True)
            tail = Part("binance", "rest", pages[last:])
            return [Part("binance_archive", "archive", [*pages[:at], *pages[later:last]]), hole, tail]
    return [Part("binance_archive", "archive", pages[:at]), Part("binance", "rest", pages[at:])]


def plant(rows: Columns, row: int, fault: str, by_ms: int) -> None:
    """Spoil one row; its open time stays before that of the next one."""
    match fault:
        case "off grid":
            rows["ts"][row] += by_ms
        case "negative":
            rows["low"][row] = -1.0
        case "not a number":
            rows["close"][row] = np.nan
        case "wrong close":
            rows["close_ts"][row] += by_ms
        case _:
            rows["close_ts"][row] = 2**62


def receive_all(database: Database, lease: SeriesLease, parts: Sequence[Part], on_stored=receive.ignore_stored) -> None:
    with database.transaction() as cursor:
        receive.register(cursor, lease, "binance", "rest")
    for part in parts:
        told = receive.ignore_stored if part.in_pieces else on_stored
        receive_pages(
            database, lease, part.source, part.origin, part.pages, run_id="test", in_pieces=part.in_pieces, on_stored=told
        )


def afterwards(database: Database, parts: Sequence[Part]) -> tuple[Series, Outcome]:
    series = fresh_series()
    with take_series(database, "binance", series, "test", 60) as lease:
        receive_all(database, lease, parts)
        return series, validated_bars.bring_up_to_date(database, lease)


def on_the_way(database: Database, parts: Sequence[Part]) -> tuple[Series, Outcome, Ahead]:
    series, ahead = fresh_series(), Ahead()
    with take_series(database, "binance", series, "test", 60) as lease:
        with judging(database, lease, ahead) as on_stored:
            receive_all(database, lease, parts, on_stored)
        return series, validated_bars.bring_up_to_date(database, lease, ahead.written), ahead


def everything(database: Database, series: Series) -> dict[str, list[tuple]]:
    """What is stored of a series' judged bars, apart from numbers that count transactions and the times of them, and of bad
    rows the last revision: who has looked in between has refused those before it, too."""
    own = {
        "market_data": "ARRAY['symbol']",
        "quarantine": "ARRAY['symbol', 'fetch_id', 'quarantined_at']",
        "data_quality": "ARRAY['symbol', 'detected_at']",
    }
    rows = "SELECT (to_jsonb(t) - {})::text FROM {} AS t WHERE symbol = %s{} ORDER BY 1"
    last = (
        " AND revision = (SELECT max(r.revision) FROM raw_ohlcv AS r"
        " WHERE (r.source, r.symbol, r.timeframe, r.ts) = (t.source, t.symbol, t.timeframe, t.ts))"
    )
    stored = {
        table: database.rows(rows.format(names, table, last if table == "quarantine" else ""), (series.symbol,))
        for table, names in own.items()
    }
    judged = "SELECT code_version, first_ts, last_ts, encode(state, 'hex') FROM series_state WHERE symbol = %s AND asset = %s"
    return stored | {"state": database.rows(judged, (series.symbol, "validated_bars"))}


def left_to_judge(database: Database, series: Series) -> bool:
    """Whether the asset would look at anything again."""
    return validated_bars._reach(database, series, state.read_state(database, "raw_ohlcv", series)) is not None


@given(histories())
def test_judging_on_the_way_stores_what_judging_afterwards_stores(database_per_module: Database, parts: list[Part]) -> None:
    series, outcome = afterwards(database_per_module, parts)
    other, found, _ = on_the_way(database_per_module, parts)
    assert not left_to_judge(database_per_module, other)
    assert everything(database_per_module, other) == everything(database_per_module, series)
    counts = [one.facts | {"rows": one.rows} for one in (outcome, found)]
    names = ("rows", "gaps", "missing_bars", "completeness")
    assert [counts[0][name] for name in names] == [counts[1][name] for name in names]


@given(venue_pages(), st.integers(0, 20))
def test_what_a_failing_source_gave_is_completed_by_the_next_sync(
    database_per_module: Database, pages: list[Page], stop: int
) -> None:
    """Whatever was judged when it failed."""

    def until_it_fails() -> Iterator[Page]:
        yield from pages[:stop]
        raise Transient("away")

    series, _ = afterwards(database_per_module, [Part("binance", "rest", pages)])
    other = fresh_series()
    with take_series(database_per_module, "binance", other, "test", 60) as lease:
        with pytest.raises(Transient), judging(database_per_module, lease, Ahead()) as on_stored:
            receive_all(database_per_module, lease, [Part("binance", "rest", until_it_fails())], on_stored)
        receive_all(database_per_module, lease, [Part("binance", "rest", pages)])
        validated_bars.bring_up_to_date(database_per_module, lease)
    assert everything(database_per_module, other) == everything(database_per_module, series)


def plain_pages(count: int = BARS, each: int = 10) -> list[Page]:
    rows = hourly(count)
    ends = [int(rows["ts"][at]) for at in range(each, count, each)]
    return pages_of(rows, ends, int(rows["ts"][-1]) + HOUR)


def test_all_of_a_plain_history_but_its_end_is_judged_on_the_way(database_per_module: Database) -> None:
    _, outcome, ahead = on_the_way(database_per_module, [Part("binance", "rest", plain_pages())])
    assert ahead.written.change.new == BARS == outcome.written == outcome.rows
    assert outcome.facts["changed_from_ms"] == int(hourly(1)["ts"][0])


def test_a_hole_that_is_asked_for_on_the_way_leaves_the_rest_to_the_asset(database_per_module: Database) -> None:
    pages = plain_pages()
    parts = [
        Part("binance_archive", "archive", [*pages[:4], *pages[5:8]]),
        Part("binance", "rest", pages[4:5], in_pieces=True),
        Part("binance", "rest", pages[8:]),
    ]
    series, _ = afterwards(database_per_module, parts)
    other, outcome, ahead = on_the_way(database_per_module, parts)
    assert everything(database_per_module, other) == everything(database_per_module, series)
    assert (ahead.written.change.new, outcome.written) == (70, BARS)


def test_an_answer_about_former_times_that_comes_last_is_left_to_the_asset(database_per_module: Database) -> None:
    pages = plain_pages()
    nothing = page_of(take_rows(pages[0].rows, np.empty(0, "int64")), 0, int(pages[0].rows["ts"][0]))
    parts = [Part("binance", "rest", [*pages[:-1], replace(pages[-1], rows=take_rows(pages[-1].rows, np.arange(5))), nothing])]
    series, _ = afterwards(database_per_module, parts)
    other, _, ahead = on_the_way(database_per_module, parts)
    assert everything(database_per_module, other) == everything(database_per_module, series)
    assert ahead.written.change.new == BARS - 10


def test_what_is_handed_over_is_what_the_store_has(database_per_module: Database) -> None:
    rows = hourly(30)
    rows["close_ts"][3], rows["quote_volume"][4] = 2**62, np.nan
    series, handed = fresh_series(), list[Stored]()
    with take_series(database_per_module, "binance", series, "test", 60) as lease:
        pages = pages_of(rows, [int(rows["ts"][12]) + 1], int(rows["ts"][-1]) + HOUR)
        receive_pages(database_per_module, lease, "binance", "rest", pages, run_id="test", on_stored=handed.append)
    stored = raw.read_current(database_per_module, "binance", series, 0, 2**62 // 10**6)
    assert [one.revision for one in handed] == [1, 2] and all(one.all_new for one in handed)
    for name, values in stored.items():
        given = np.concatenate([one.rows[name] for one in handed])
        assert given.dtype == values.dtype, name
        np.testing.assert_array_equal(given, values)


def test_one_batch_is_left_for_afterwards_without_a_thread(database_per_module: Database) -> None:
    before, ahead = threading.active_count(), Ahead()
    with take_series(database_per_module, "binance", fresh_series(), "test", 60) as lease:
        with judging(database_per_module, lease, ahead) as on_stored:
            receive_all(database_per_module, lease, [Part("binance", "rest", plain_pages(10))], on_stored)
            assert threading.active_count() == before
    assert ahead == Ahead()


def test_a_broken_batch_is_left_and_told_by_the_asset(database_per_module: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptai_pipelines.orchestration.chain import judged_part

    checked = []

    def refused(rows: Columns) -> None:
        checked.append(threading.current_thread().name)
        raise BatchRejected("broken as a whole")

    monkeypatch.setattr(judged_part, "check_raw", refused)
    series, ahead = fresh_series(), Ahead()
    with take_series(database_per_module, "binance", series, "test", 60) as lease:
        with judging(database_per_module, lease, ahead) as on_stored:
            receive_all(database_per_module, lease, [Part("binance", "rest", plain_pages())], on_stored)
        with pytest.raises(BatchRejected, match="broken as a whole"):
            validated_bars.bring_up_to_date(database_per_module, lease, ahead.written)
    assert [name.startswith("judge") for name in checked] == [True, False]
    assert sync_log.read_syncs(database_per_module, series)[0]["status"] == "PARTIAL"
    assert everything(database_per_module, series)["market_data"] == []


def test_a_defect_of_the_judge_is_logged_and_fails_no_fetch(
    database_per_module: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError("of the judge")

    monkeypatch.setattr(judged_ahead, "judge_part", defect)
    series, pages, ahead = fresh_series(), plain_pages(), Ahead()
    with take_series(database_per_module, "binance", series, "test", 60) as lease:
        with judging(database_per_module, lease, ahead) as on_stored:
            receive_all(database_per_module, lease, [Part("binance", "rest", pages)], on_stored)
        assert ahead == Ahead() and "of the judge" in caplog.text
        assert validated_bars.bring_up_to_date(database_per_module, lease, ahead.written).rows == BARS


def test_nothing_is_judged_any_more_for_a_holder_that_was_replaced(database_per_module: Database) -> None:
    series, pages = fresh_series(), plain_pages()

    def with_a_takeover(lease: SeriesLease) -> Iterator[Page]:
        yield from pages[:3]
        lease.connection.close()
        with take_series(database_per_module, "binance", series, "heir", 60):
            pass
        yield from pages[3:]

    with take_series(database_per_module, "binance", series, "former", 60) as lease:
        ahead = Ahead()
        with pytest.raises(LeaseLost), judging(database_per_module, lease, ahead) as on_stored:
            receive_all(database_per_module, lease, [Part("binance", "rest", with_a_takeover(lease))], on_stored)
    assert ahead.written.change.new == len(everything(database_per_module, series)["market_data"]) < BARS


def test_a_series_that_was_judged_before_is_left_to_the_asset(database_per_module: Database) -> None:
    pages, series, ahead = plain_pages(), fresh_series(), Ahead()
    with take_series(database_per_module, "binance", series, "test", 60) as lease:
        receive_all(database_per_module, lease, [Part("binance", "rest", pages[:3])])
        validated_bars.bring_up_to_date(database_per_module, lease)
        with judging(database_per_module, lease, ahead) as on_stored:
            receive_all(database_per_module, lease, [Part("binance", "rest", pages[3:])], on_stored)
    assert ahead == Ahead()


@pytest.mark.parametrize("short_by", [0, 1])
def test_the_progress_of_the_asset_counts_what_was_judged_on_the_way(database_per_module: Database, short_by: int) -> None:
    pages, told = plain_pages(), list[Progress]()
    last = replace(pages[-1], asked=Interval(pages[-1].asked.start_ms, pages[-1].asked.end_ms - short_by))
    series, ahead = fresh_series(), Ahead()
    with take_series(database_per_module, "binance", series, "test", 60) as lease:
        with judging(database_per_module, lease, ahead) as on_stored:
            receive_all(database_per_module, lease, [Part("binance", "rest", [*pages[:-1], last])], on_stored)
        validated_bars.bring_up_to_date(database_per_module, lease, ahead.written, on_progress=told.append)
    assert told[-1].done == told[-1].total
    assert told[-1].bars == len(everything(database_per_module, series)["market_data"]) == BARS - short_by


def test_nobody_judges_when_only_raw_bars_are_materialized(database, instance, tmp_path) -> None:
    now = parse_time("2017-02-25T10:05:00Z")
    with running(open_simulated(7, 1, FixedClock(now))) as url:
        defs = definitions_for(database, settings_for(url, tmp_path, symbols="BTC-USDT"))
        assert run_job(defs, "sync_symbols", instance).success
        tags = rectangle_tags(["BTC-USDT"], [Timeframe.H1])
        job = defs.resolve_job_def("bring_up_to_date")
        assert job.execute_in_process(
            instance=instance, tags=tags, asset_selection=[dg.AssetKey("raw_ohlcv")], raise_on_error=False
        ).success
    received = [row["rows_new"] for row in sync_log.read_syncs(database, Series("BTC-USDT", Timeframe.H1))]
    assert received[0] > 1_000 and market_data.span(database, Series("BTC-USDT", Timeframe.H1)) is None
