"""The archive over a socket: what is whole comes back to the last bar, what is not is a state and never a row."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.market.archive_file import ArchiveFile
from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns, concat_columns
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.sources.archive_layout import MARKETS
from cryptai_pipelines.sources.archive_rows import MAX_CSV_BYTES
from cryptai_pipelines.sources.binance_archive import BinanceArchive, check_restated, open_archive
from cryptai_pipelines.sources.catalog import VENUES
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.sources.errors import Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import FakeTime, Request, http_answer
from cryptai_pipelines_tests.sources.archive_shelf import HEADER, HTML, Shelf, checksum, rows, zipped

HOUR, DAY = Timeframe.H1.ms, Timeframe.D1.ms
NOW = parse_time("2024-05-20T10:00")
START = parse_time("2024-05-01")
SAMPLE = Path(__file__).resolve().parents[2] / "cryptai_pipelines" / "sample"
ROOT = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-"
MONTHS = "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-"

OpenArchive = Callable[..., BinanceArchive]


@pytest.fixture
def open_at(fake_time: FakeTime) -> OpenArchive:
    """Opens the archive at a URL, with pauses that take no time."""

    def open_it(url: str, now_ms: int = NOW, timeout_s: float = 5.0, **options) -> BinanceArchive:
        retry = RetryPolicy(total_s=100.0)
        return open_archive(url, timeout_s, FixedClock(now_ms), retry=retry, timer=fake_time.timer(), **options)

    return open_it


@dataclass
class Walk:
    """What one walk over the archive gave."""

    pages: list[Page] = field(default_factory=list)
    files: list[ArchiveFile] = field(default_factory=list)

    @property
    def rows(self) -> Columns:
        return concat_columns([page.rows for page in self.pages])

    @property
    def fates(self) -> dict[str, str]:
        return {
            file.path.partition(f"-{file.series.timeframe.code}-")[2].removesuffix(".zip"): file.status for file in self.files
        }


def walk(archive: BinanceArchive, start_ms: int, end_ms: int, timeframe: Timeframe = Timeframe.H1, **options) -> Walk:
    """All pages and fates, with what holds of every walk."""
    found = Walk()
    archive = replace(archive, on_file=found.files.append)
    found.pages += archive.bars("BTC-USDT", timeframe, start_ms, end_ms, **options)
    edges = [edge for page in found.pages for edge in page.asked]
    assert edges == sorted(edges) and all(start_ms <= edge <= end_ms for edge in edges)
    for page in found.pages:
        assert ((page.rows["ts"] >= page.asked.start_ms) & (page.rows["ts"] < page.asked.end_ms)).all()
        assert {name: str(values.dtype) for name, values in page.rows.items()} == WIRE_DTYPES
    return found


def shelf_of_days(count: int) -> Shelf:
    """Daily files of `count` days from `START` on."""
    shelf = Shelf()
    for day in range(count):
        first = START + day * DAY
        shelf.put_klines(f"{ROOT}2024-05-{day + 1:02d}.zip", rows(first, first + DAY, HOUR))
    return shelf


@pytest.mark.parametrize("market", ["spot", "um"])
def test_real_files_come_back_with_their_proof(market: str, real_data: Path, open_at: OpenArchive) -> None:
    folder = real_data / "payloads" / "data_binance_vision"
    local = "spot" if market == "spot" else "futures-um"
    content = (folder / f"{local}-klines-BTCUSDT-1h-2024-10-28.zip").read_bytes()
    shelf, day = Shelf(), parse_time("2024-10-28")
    path = f"data/{local.replace('-', '/')}/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-10-28.zip"
    shelf.put(path, content)
    with fakes.serving(shelf) as server:
        archive = open_at(server.url, day + 2 * DAY, market=market)
        found = walk(archive, day, day + DAY)
    (page,), (file,) = found.pages, found.files
    assert len(page.rows["ts"]) == file.row_count == 24
    assert page.sha256 == file.expected_sha256 == file.received_sha256 == hashlib.sha256(content).hexdigest()
    assert (page.url, page.asked, page.fetched_at_ms) == (f"{server.url}/{path}", (day, day + DAY), day + 2 * DAY)
    assert (file.source, file.path, file.status, file.period) == (archive.name, path, "loaded", (day, day + DAY))


def test_an_archive_is_named_after_the_venue_whose_bars_it_holds(open_at: OpenArchive) -> None:
    """By its name a reconciliation knows whose archive it is."""
    markets = {venue.name: venue.archive_market for venue in VENUES.values() if venue.archive_market}
    assert markets == {"binance": "spot", "binanceusdm": "um"} and tuple(markets.values()) == MARKETS
    for venue, market in markets.items():
        assert open_at("http://127.0.0.1:1", market=market).name == f"{venue}_archive"


def test_header_and_units_make_no_difference(open_at: OpenArchive) -> None:
    shelf, half = Shelf(), START + DAY // 2
    mixed = HEADER.encode() + rows(START, half, HOUR) + rows(half, START + DAY, HOUR, factor=1000)
    shelf.put_klines(f"{ROOT}2024-05-01.zip", mixed)
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url), START, START + DAY)
    assert found.rows["ts"].tolist() == list(range(START, START + DAY, HOUR))
    assert (found.rows["close_ts"] == found.rows["ts"] + HOUR - 1).all()


GOOD = zipped({"BTCUSDT-1h-2024-05-02.csv": rows(START + DAY, START + 2 * DAY, HOUR)})
RIGHT = http_answer(checksum(GOOD, "BTCUSDT-1h-2024-05-02.zip"))


def _with_checksum(content: bytes) -> tuple[bytes, bytes]:
    return http_answer(content), http_answer(checksum(content, "BTCUSDT-1h-2024-05-02.zip"))


SPOILT = {
    "wrong checksum": (http_answer(GOOD), http_answer(checksum(b"another", "BTCUSDT-1h-2024-05-02.zip")), "match"),
    "no checksum": (http_answer(GOOD), http_answer(b"", 404), "no checksum"),
    "checksum of another file": (http_answer(GOOD), http_answer(checksum(GOOD, "x.zip")), "x.zip"),
    "checksum is html": (http_answer(GOOD), http_answer(HTML), "64 hex digits"),
    "html": (http_answer(HTML), RIGHT, "match"),
    "html with its checksum": (*_with_checksum(HTML), "no zip"),
    "blank": (http_answer(b""), RIGHT, "match"),
    "truncated": (http_answer(GOOD[:-60]), RIGHT, "match"),
    "truncated with its checksum": (*_with_checksum(GOOD[:-60]), "zip"),
    "bomb": (*_with_checksum(zipped({"BTCUSDT-1h-2024-05-02.csv": bytes(MAX_CSV_BYTES + 1)})), "at most"),
    "two members": (*_with_checksum(zipped({"BTCUSDT-1h-2024-05-02.csv": b"1", "b.csv": b"2"})), "one file"),
    "path traversal": (*_with_checksum(zipped({"../../BTCUSDT-1h-2024-05-02.csv": b"1"})), "alone"),
    "rows of another day": (*_with_checksum(zipped({"BTCUSDT-1h-2024-05-02.csv": rows(START, START + DAY, HOUR)})), "outside"),
    "endless": (http_answer(GOOD, Content_Encoding="gzip"), RIGHT, "gzip"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_file_that_is_not_believed_is_asked_for_twice_and_stops_no_other(kind: str, open_at: OpenArchive) -> None:
    content, check, says = SPOILT[kind]
    shelf, path = shelf_of_days(3), f"{ROOT}2024-05-02.zip"
    shelf.answers[path], shelf.answers[f"{path}.CHECKSUM"] = content, check
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url), START, START + 3 * DAY)
    assert server.paths().count(f"/{path}") == 2
    assert found.fates == {"2024-05-01": "loaded", "2024-05-02": "quarantined", "2024-05-03": "loaded"}
    assert [page.asked for page in found.pages] == [(START, START + DAY), (START + 2 * DAY, START + 3 * DAY)]
    file = found.files[1]
    assert says in str(file.error) and file.row_count is None
    if kind == "wrong checksum":
        assert file.expected_sha256 == hashlib.sha256(b"another").hexdigest()
        assert file.received_sha256 == hashlib.sha256(GOOD).hexdigest()


def test_a_body_beyond_all_bounds_is_left_off(open_at: OpenArchive) -> None:
    with fakes.serving(shelf_of_days(1)) as server:
        archive = open_at(server.url)
        found = walk(replace(archive, client=replace(archive.client, max_bytes=200)), START, START + DAY)
    (file,) = found.files
    assert file.status == "quarantined" and "larger than 200 bytes" in str(file.error) and file.received_sha256 is None


def test_a_file_that_is_whole_at_the_second_look_is_loaded(open_at: OpenArchive) -> None:
    shelf, path = shelf_of_days(3), f"{ROOT}2024-05-02.zip"
    shelf.answers[path] = [http_answer(GOOD[:-60]), shelf.answers[path]]  # type: ignore[list-item]
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url), START, START + 3 * DAY)
    assert set(found.fates.values()) == {"loaded"} and len(found.rows["ts"]) == 72


WHOLE = http_answer(GOOD)
BREAKS = {
    "cut": fakes.cut_after(WHOLE, 500),
    "reset": fakes.reset_after(WHOLE, 500),
    "reset at once": fakes.reset_after(b"", 0),
    "hang": fakes.hang_after(WHOLE, 500),
    "drip": fakes.drip(WHOLE, 0.02, 300),
    "502": http_answer(HTML, 502),
    "503 slow down": http_answer(b"<Code>SlowDown</Code>", 503, Retry_After="7"),
    "429": http_answer(b"", 429),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_download_is_begun_again(kind: str, open_at: OpenArchive, fake_time: FakeTime) -> None:
    shelf, path = shelf_of_days(3), f"{ROOT}2024-05-02.zip"
    shelf.answers[path] = [BREAKS[kind], WHOLE]
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url, timeout_s=0.5), START, START + 3 * DAY)
    assert found.rows["ts"].tolist() == list(range(START, START + 3 * DAY, HOUR))
    assert server.paths().count(f"/{path}") == 2
    assert sum(fake_time.slept) >= {"503 slow down": 7, "429": 60}.get(kind, 0.25)


FAILURES = {
    "refused region": (http_answer(HTML, 451), Permanent),
    "moved": (http_answer(b"", 302, Location="http://127.0.0.1/x"), Permanent),
    "down": (http_answer(HTML, 500), Transient),
    "limited for long": (http_answer(b"", 429, Retry_After="5000"), RateLimited),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failing_archive_gives_what_came_before_and_then_its_error(kind: str, open_at: OpenArchive) -> None:
    shelf, path, found = shelf_of_days(5), f"{ROOT}2024-05-03.zip", Walk()
    shelf.answers[path], error = FAILURES[kind]
    with fakes.serving(shelf) as server:
        url = server.url.replace("//", "//me:hunter2@")
        with pytest.raises(error) as failed:
            for page in open_at(url, on_file=found.files.append).bars("BTC-USDT", Timeframe.H1, START, START + 5 * DAY):
                found.pages.append(page)
    assert [page.asked.start_ms for page in found.pages] == [START, START + DAY][: len(found.pages)]
    # Silence is for all threads, so it may keep files from being read that stand before the one that brought it.
    assert list(found.fates) == ["2024-05-01", "2024-05-02"] or kind == "limited for long"
    assert path in str(failed.value) or kind == "limited for long"
    assert "hunter2" not in str(failed.value) and "\n" not in str(failed.value)


def test_no_server_is_transient(open_at: OpenArchive) -> None:
    with fakes.serving(Shelf()) as server:
        pass
    with pytest.raises(Transient, match="refused"):
        walk(open_at(server.url), START, START + DAY)


def test_absent_days_are_holes_and_no_errors(open_at: OpenArchive) -> None:
    shelf = shelf_of_days(5)
    del shelf.answers[f"{ROOT}2024-05-02.zip"]
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url), START, START + 6 * DAY)
    assert found.fates == {f"2024-05-{day:02d}": "absent" if day in (2, 6) else "loaded" for day in range(1, 7)}
    assert [page.asked.start_ms for page in found.pages] == [START + day * DAY for day in (0, 2, 3, 4)]
    assert all(
        file.expected_sha256 is file.received_sha256 is file.error is None for file in found.files if file.status == "absent"
    )


def test_an_absent_month_is_read_from_its_days(open_at: OpenArchive) -> None:
    shelf, now = shelf_of_days(31), parse_time("2024-07-20")
    june = parse_time("2024-06-01")
    shelf.put_klines(f"{MONTHS}2024-06.zip", rows(june, june + 30 * DAY, HOUR))
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url, now), START, june + 30 * DAY)
    assert found.rows["ts"].tolist() == list(range(START, june + 30 * DAY, HOUR))
    assert found.fates["2024-05"] == "absent" and list(found.fates.values()).count("loaded") == 32
    assert [file.period.start_ms for file in found.files[1:]] == [START + day * DAY for day in range(32)]


def test_months_before_a_listing_cost_three_questions_each(open_at: OpenArchive) -> None:
    shelf, now = shelf_of_days(31), parse_time("2024-06-10")
    shelf.put_klines(f"{MONTHS}2024-05.zip", rows(START + 9 * DAY, START + 31 * DAY, HOUR))
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url, now), parse_time("2023-05-01"), START + 31 * DAY)
    assert len(server.requests) == 12 * 3 + 2
    assert [page.asked for page in found.pages] == [(START, START + 31 * DAY)]


def test_a_month_of_a_symbol_that_began_within_it_is_read_from_its_days(open_at: OpenArchive) -> None:
    shelf, now = shelf_of_days(31), parse_time("2024-06-10")
    for day in range(1, 20):
        del shelf.answers[f"{ROOT}2024-05-{day:02d}.zip"]
    with fakes.serving(shelf) as server:
        found = walk(open_at(server.url, now), START, START + 31 * DAY)
    assert found.rows["ts"].tolist() == list(range(START + 19 * DAY, START + 31 * DAY, HOUR))


def test_a_part_of_a_day_is_clipped(open_at: OpenArchive) -> None:
    with fakes.serving(shelf_of_days(3)) as server:
        found = walk(open_at(server.url), START + 5 * HOUR, START + 2 * DAY - HOUR)
    assert [page.asked for page in found.pages] == [(START + 5 * HOUR, START + DAY), (START + DAY, START + 2 * DAY - HOUR)]
    assert found.rows["ts"].tolist() == list(range(START + 5 * HOUR, START + 2 * DAY - HOUR, HOUR))
    assert [file.row_count for file in found.files] == [24, 24]


def test_what_is_not_published_is_not_asked_for(open_at: OpenArchive) -> None:
    with fakes.serving(shelf_of_days(10)) as server:
        found = walk(open_at(server.url), START, START + 30 * DAY, now_ms=START + 3 * DAY + HOUR)
        assert list(found.fates) == ["2024-05-01", "2024-05-02", "2024-05-03"]
        assert walk(open_at(server.url), START, START).files == []


@pytest.mark.parametrize("stop_after", [1, 2, 7])
def test_a_resumed_walk_skips_nothing_and_repeats_nothing(stop_after: int, open_at: OpenArchive) -> None:
    end, resumed, at = START + 10 * DAY - 3 * HOUR, [], START
    with fakes.serving(shelf_of_days(10)) as server:
        while at < end:
            walked = open_at(server.url).bars("BTC-USDT", Timeframe.H1, at, end)
            for _, page in zip(range(stop_after), walked, strict=False):
                resumed.append(page)
            walked.close()  # type: ignore[attr-defined]
            at = resumed[-1].asked.end_ms
    assert concat_columns([page.rows for page in resumed])["ts"].tolist() == list(range(START, end, HOUR))


@pytest.mark.parametrize("threads", [1, 4])
def test_only_a_few_files_are_fetched_ahead(threads: int, open_at: OpenArchive) -> None:
    shelf = shelf_of_days(19)
    arrived = threading.Semaphore(0)

    def respond(request: Request) -> bytes | fakes.Script:
        if not request.path.endswith(".CHECKSUM"):
            arrived.release()
        return shelf(request)

    with fakes.serving(respond) as server:
        walked = iter(open_at(server.url, threads=threads).bars("BTC-USDT", Timeframe.H1, START, START + 19 * DAY))
        for taken in range(1, 6):
            next(walked)
            # The one given out, and as many as there are threads; the next page is what lets another one begin.
            for _ in range(taken + threads - 1 if taken == 1 else 1):
                assert arrived.acquire(timeout=5)
            assert not arrived.acquire(timeout=0.05)
        walked.close()  # type: ignore[attr-defined]


def test_connections_are_kept_between_files_and_walks(open_at: OpenArchive) -> None:
    with fakes.serving(shelf_of_days(10)) as server:
        archive = open_at(server.url, threads=3)
        for _ in range(3):
            walk(archive, START, START + 10 * DAY)
    assert len(server.requests) == 60 and server.connections <= 3


def test_a_process_ends_although_a_file_hangs() -> None:
    """Ctrl-C leaves a walk early; the files that are still being fetched must not keep the process for their deadlines."""
    with fakes.serving(lambda _: fakes.hang_after(b"", 0)) as server:
        code = (
            "import threading; from cryptai_pipelines.market.clock import FixedClock;"
            "from cryptai_pipelines.market.timeframe import Timeframe;"
            "from cryptai_pipelines.sources.binance_archive import open_archive;"
            f"archive = open_archive({server.url!r}, 600.0, FixedClock({NOW}));"
            f"pages = archive.bars('BTC-USDT', Timeframe.H1, {START}, {START + DAY});"
            "threading.Thread(target=lambda: next(pages), daemon=True).start();"
            "print(input())"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not server.requests:
            assert process.poll() is None
            threading.Event().wait(0.02)
        assert process.communicate("left\n", timeout=60)[0] == "left\n" and process.returncode == 0


def test_a_replaced_file_is_named_and_its_new_bars_are_read(open_at: OpenArchive) -> None:
    shelf = shelf_of_days(4)
    with fakes.serving(shelf) as server:
        archive = open_at(server.url)
        before = walk(archive, START, START + 5 * DAY)
        assert check_restated(archive, before.files) == []
        path = f"{ROOT}2024-05-02.zip"
        shelf.put_klines(path, rows(START + DAY, START + 2 * DAY, HOUR).replace(b"1.50000000", b"9.50000000", 1))
        shelf.answers[f"{ROOT}2024-05-03.zip.CHECKSUM"] = http_answer(HTML)
        del shelf.answers[f"{ROOT}2024-05-04.zip.CHECKSUM"]
        server.requests.clear()
        (file,) = check_restated(archive, [*before.files, replace(before.files[0], source="file:mine")])
        assert sorted(server.paths()) == [f"/{ROOT}2024-05-{day:02d}.zip.CHECKSUM" for day in range(1, 5)]
        again = walk(archive, *file.period)
    assert (file.path, file.status, file.received_sha256) == (path, "restated", before.files[1].received_sha256)
    assert file.expected_sha256 == again.files[0].received_sha256 != file.received_sha256
    assert np.flatnonzero(again.rows["volume"] != before.pages[1].rows["volume"]).tolist() == [0]


@pytest.mark.parametrize("bad", [("BTCUSDT", 0, 1), ("BTC-USDT", 5, 4), ("BTC-USDT", -1, 4)])
def test_bad_input_is_refused_at_the_call(bad: tuple[str, int, int], open_at: OpenArchive) -> None:
    with pytest.raises(BadInput):
        open_at("http://127.0.0.1:9").bars(bad[0], Timeframe.H1, *bad[1:])
    for options in ({"threads": 0}, {"market": "cm"}, {"timeout_s": 0.0}):
        with pytest.raises(BadInput):
            open_at("http://127.0.0.1:9", **options)
    with pytest.raises(BadInput):
        open_at("ftp://x")


@pytest.mark.parametrize("timeframe", [Timeframe.M15, Timeframe.H1, Timeframe.D1])
def test_archive_and_rest_of_one_simulated_venue_agree(timeframe: Timeframe, open_at: OpenArchive, fake_time: FakeTime) -> None:
    """Whole months before and after the change of unit, and the days after them."""
    now, start = parse_time("2025-03-05T10:30"), parse_time("2024-11-01")
    with running(open_simulated(5, 2, FixedClock(now))) as url:
        found = walk(open_at(url, now), start, now, timeframe)
        assert open_at(url).is_simulated()
        rest = open_binance(url, 10.0, FixedClock(now), timer=fake_time.timer())
        expected = concat_columns([page.rows for page in rest.bars("BTC-USDT", timeframe, start, parse_time("2025-03-05"))])
    assert list(found.fates) == ["2024-11", "2024-12", "2025-01", "2025-02", *(f"2025-03-0{day}" for day in range(1, 5))]
    assert set(found.fates.values()) == {"loaded"}
    assert all(np.array_equal(found.rows[name], expected[name]) for name in WIRE_DTYPES)


def test_weeks_of_the_archive_are_those_of_rest_but_for_weeks_across_a_month_end(open_at: OpenArchive) -> None:
    now, start = parse_time("2025-03-05"), parse_time("2024-10-01")
    with running(open_simulated(5, 1, FixedClock(now))) as url:
        found = walk(open_at(url, now), start, now, Timeframe.W1)
        rest = concat_columns(
            [page.rows for page in open_binance(url, 10.0, FixedClock(now)).bars("BTC-USDT", Timeframe.W1, start, now)]
        )
    held = np.isin(rest["ts"], found.rows["ts"])
    assert len(found.rows["ts"]) == held.sum() and all(
        np.array_equal(found.rows[name], rest[name][held]) for name in WIRE_DTYPES
    )
    settled = np.zeros(len(held), bool)
    for page in found.pages:
        settled |= (rest["ts"] >= page.asked.start_ms) & (rest["ts"] < page.asked.end_ms)
    assert np.array_equal(settled, held)


def test_the_recorded_sample_comes_back_off_grid_bars_included(open_at: OpenArchive, fake_time: FakeTime) -> None:
    now, start = parse_time("2018-04-05"), parse_time("2017-08-01")
    with running(open_recorded(SAMPLE, FixedClock(now))) as url:
        archive = open_at(url, now)
        found = walk(archive, 0, now)
        assert not archive.is_simulated()
        rest = open_binance(url, 10.0, FixedClock(now), timer=fake_time.timer())
        expected = concat_columns([page.rows for page in rest.bars("BTC-USDT", Timeframe.H1, start, now)])
    assert (~Timeframe.H1.on_grid(found.rows["ts"])).sum() == 43
    assert all(np.array_equal(found.rows[name], expected[name]) for name in WIRE_DTYPES)


REFUSALS = {"firewall", "restricted_location", "banned", "rate_limited_without_hint"}
ON_THE_WAY = {"reset", "reset_in_body", "cut_in_body", "hang", "slow", "drip", "rate_limited", *REFUSALS} | {
    kind for kind, fault in FAULTS.items() if (fault.status or 0) >= 500
}


KINDS = (
    "html null blank wrong_type invalid_utf8 truncated_json error_with_200 server_error bad_gateway unavailable gateway_timeout"
    " firewall restricted_location rate_limited rate_limited_without_hint banned hang slow drip reset reset_in_body cut_in_body"
).split()
"""Those of the venue's faults that mean something for a file. What is particular to the API's JSON is left to its own tests."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_on_every_third_request_alters_no_bar(kind: str, open_at: OpenArchive) -> None:
    """A fault on the way costs no file; one in a file's content costs that file at most, and its fate is told."""
    fault = replace(FAULTS[kind], delay_s=min(FAULTS[kind].delay_s, 5.0), drip_bytes=64)
    timed = fault.delay_s > 0 or fault.drip_s > 0
    now, start = parse_time("2018-03-10"), parse_time("2018-03-01" if timed else "2018-01-15")

    def every_third(path: str, query: str, number: int) -> Fault | None:
        return fault if number % 3 == 2 else None

    venue, found, failure = open_recorded(SAMPLE, FixedClock(now)), Walk(), None
    with running(venue) as url:
        expected = {page.url.removeprefix(url): page for page in walk(open_at(url, now), start, now).pages}
    with running(venue, faults=every_third) as url:
        # One thread, so that a question that is put again is never the third one again.
        archive = open_at(url, now, 0.4 if timed else 20.0, threads=1, on_file=found.files.append)
        try:
            found.pages += archive.bars("BTC-USDT", Timeframe.H1, start, now)
        except SourceError as error:
            failure = error
    for page in found.pages if kind != "not_found" else ():
        true = expected[page.url.removeprefix(url)]
        assert page.sha256 == true.sha256 and page.asked == true.asked
        assert all(np.array_equal(page.rows[name], true.rows[name]) for name in WIRE_DTYPES)
    assert len(found.pages) == list(found.fates.values()).count("loaded")
    if kind == "not_found":
        # A file that is not there is no fault of an archive: the daily ones stand in for a monthly one.
        assert_part_of(found.pages, list(expected.values()))
        assert failure is None and set(found.fates.values()) <= {"loaded", "absent", "quarantined"}
        return
    assert (failure is None or kind in REFUSALS) and (failure is not None or len(found.files) == len(expected))
    assert set(found.fates.values()) <= ({"loaded"} if kind in ON_THE_WAY else {"loaded", "quarantined"})


def assert_part_of(pages: list[Page], expected: list[Page]) -> None:
    """Every row of `pages` is a row of `expected`, equal in every field."""
    every, some = (concat_columns([page.rows for page in given]) for given in (expected, pages))
    place = np.searchsorted(every["ts"], some["ts"])
    assert len(some["ts"]) and all(np.array_equal(every[name][place], some[name]) for name in WIRE_DTYPES)
