"""The UDF source against the replay venue over a socket: its bars come back whole; and against servers that lie or break."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cryptai_pipelines
from cryptai_pipelines.market.bars import OHLCV, Columns, bars_frame, concat_columns, index_ms
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.resampling import resample
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.replay.faults import FAULTS
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.sources import tradingview_udf
from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.tradingview_udf import open_udf
from cryptai_pipelines.sources.udf_rows import history
from cryptai_pipelines_tests.fakes import FakeTime, Request, cut_after, hang_after, http_answer, json_answer, serving

SAMPLE = Path(cryptai_pipelines.__file__).parent / "sample"
HOUR, DAY, WEEK = Timeframe.H1.ms, Timeframe.D1.ms, Timeframe.W1.ms
NOW_MS = 1_704_067_200_000 + 600_000
# The last span of the recording: outages of 2018, 2021 and off-grid bars lie before and in between.
SPAN = Interval(1_517_900_000_000, 1_519_000_000_000)


@pytest.fixture(scope="module")
def recorded() -> Columns:
    frame = pd.read_parquet(SAMPLE / "binance" / "BTCUSDT_1h.parquet")
    columns = {name: frame[name].to_numpy() for name in OHLCV}
    return {"ts": pd.DatetimeIndex(frame["ts"]).as_unit("ms").asi8, **columns}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(open_recorded(SAMPLE, FixedClock(NOW_MS))) as base_url:
        yield f"{base_url}/udf"


def _open(url: str, **options: Any) -> BarSource:
    policy = RetryPolicy(**{"total_s": 100.0, **options.pop("policy", {})})
    timeout_s = options.pop("timeout_s", 5.0)
    return open_udf("udf:test", url, timeout_s, FixedClock(NOW_MS), retry=policy, timer=FakeTime().timer())


def _fetch(source: BarSource, timeframe: Timeframe, within: Interval, symbol: str = "BTC-USDT") -> Columns:
    found = list(source.bars(symbol, timeframe, *within))
    assert [page.asked.start_ms for page in found] == [within.start_ms, *[page.asked.end_ms for page in found][:-1]]
    assert found[-1].asked.end_ms == within.end_ms
    for page in found:
        assert ((page.rows["ts"] >= page.asked.start_ms) & (page.rows["ts"] < page.asked.end_ms)).all()
        assert len(page.sha256) == 64 and "/history?" in page.url
    return concat_columns([page.rows for page in found])


def test_the_whole_recording_comes_back(url: str, recorded: Columns) -> None:
    found = _fetch(_open(url), Timeframe.H1, Interval(0, NOW_MS))
    known = recorded["ts"] + HOUR <= NOW_MS
    closed = found["ts"] + HOUR <= NOW_MS
    assert np.array_equal(found["ts"][closed], recorded["ts"][known])
    for name in OHLCV:
        assert np.array_equal(found[name][closed], recorded[name][known])
    assert not any(found[name].any() for name in ("close_ts", "quote_volume", "trades", "taker_buy_base"))


def test_an_outage_and_off_grid_bars_come_as_they_are(url: str, recorded: Columns) -> None:
    found = _fetch(_open(url), Timeframe.H1, SPAN)
    inside = (recorded["ts"] >= SPAN.start_ms) & (recorded["ts"] < SPAN.end_ms)
    assert np.array_equal(found["ts"], recorded["ts"][inside])
    assert (found["ts"] % HOUR != 0).sum() == 43


@pytest.mark.parametrize(
    "span", [(0, 1_400_000_000_000), (NOW_MS + HOUR, NOW_MS + 9 * HOUR), (1_518_060_000_000, 1_518_100_000_000)]
)
def test_an_empty_span_is_one_proven_empty_page(url: str, span: tuple[int, int]) -> None:
    assert len(_fetch(_open(url), Timeframe.H1, Interval(*span))["ts"]) == 0


def test_weeks_are_made_of_days_from_monday(url: str, recorded: Columns) -> None:
    start, end = 1_514_900_000_000, 1_519_000_000_000
    found = _fetch(_open(url), Timeframe.W1, Interval(start, end))
    days = resample(bars_frame(recorded), Timeframe.H1, Timeframe.D1)
    weeks = resample(days, Timeframe.D1, Timeframe.W1)
    inside = (index_ms(weeks.index) >= start) & (index_ms(weeks.index) < end)
    assert np.array_equal(found["ts"], index_ms(weeks.index)[inside])
    assert {pd.Timestamp(ts, unit="ms").day_name() for ts in found["ts"]} == {"Monday"}
    for name in OHLCV:
        assert np.allclose(found[name], weeks[name].to_numpy()[inside], rtol=1e-12)


def test_weeks_in_any_steps_are_the_weeks_at_once(url: str) -> None:
    source, start = _open(url), 1_514_900_000_000
    cuts = [start, start + 3 * DAY, start + 4 * WEEK, start + 4 * WEEK + HOUR, start + 20 * WEEK]
    steps = [_fetch(source, Timeframe.W1, Interval(*pair)) for pair in zip(cuts, cuts[1:], strict=False)]
    at_once = _fetch(source, Timeframe.W1, Interval(cuts[0], cuts[-1]))
    for name, values in concat_columns(steps).items():
        assert np.array_equal(values, at_once[name]), name


@pytest.mark.parametrize("timeframe", [t for t in TIMEFRAMES if t is not Timeframe.W1])
def test_a_simulated_market_equals_what_the_binance_client_gets(
    timeframe: Timeframe, open_at: Callable[..., BarSource]
) -> None:
    with running(open_simulated(7, 2, FixedClock(NOW_MS))) as base_url:
        udf, venue = _open(f"{base_url}/udf"), open_at(base_url)
        symbol = venue.symbols()[0].symbol
        assert udf.is_simulated() and udf.server_time() == NOW_MS // 1000 * 1000
        assert [listing.symbol for listing in udf.symbols()] == [listing.symbol for listing in venue.symbols()]
        until = timeframe.floor(NOW_MS)
        within = Interval(until - 1500 * timeframe.ms, until)
        theirs = concat_columns([page.rows for page in venue.bars(symbol, timeframe, *within)])
        found = _fetch(udf, timeframe, within, symbol)
        for name in ("ts", *OHLCV):
            assert np.array_equal(found[name], theirs[name]), name


@pytest.mark.parametrize("kind", sorted(set(FAULTS) - {"hang", "hang_in_body", "drip", "slow"}))
def test_a_fault_at_the_first_answers_is_an_error_or_overcome(kind: str, recorded: Columns) -> None:
    """Every fault of the replay venue at the first history request: the bars come whole, or the error says so."""
    hit: list[str] = []

    def plan(path: str, query: str, number: int) -> Any:
        if path == "/udf/history" and not hit:
            hit.append(query)
            return FAULTS[kind]
        return None

    with running(open_recorded(SAMPLE, FixedClock(NOW_MS)), faults=plan) as base_url:
        source = _open(f"{base_url}/udf")
        try:
            found = _fetch(source, Timeframe.H1, SPAN)
        except SourceError as error:
            assert "udf:test" in str(error) and "\n" not in str(error)
            assert isinstance(error, Permanent | RateLimited), kind
        else:
            inside = (recorded["ts"] >= SPAN.start_ms) & (recorded["ts"] < SPAN.end_ms)
            assert np.array_equal(found["ts"], recorded["ts"][inside])
    assert hit


def test_names_and_urls_that_cannot_be_are_refused() -> None:
    for name in ("udf:", "udf:A B", "binance", "udf:" + "x" * 41):
        with pytest.raises(BadInput):
            open_udf(name, "http://127.0.0.1:1", 1.0, FixedClock(0))
    with pytest.raises(BadInput) as refused:
        open_udf("udf:x", "ftp://me:hunter2@host", 1.0, FixedClock(0))
    assert "hunter2" not in str(refused.value)


def test_an_unknown_symbol_is_named(url: str) -> None:
    with pytest.raises(Permanent, match="NOPE-USDT"):
        list(_open(url).bars("NOPE-USDT", Timeframe.H1, 0, NOW_MS))


# A server that a test scripts.

BARS = [1_700_002_800 + 3600 * n for n in range(48)]


@dataclasses.dataclass
class UdfServer:
    """Answers as the protocol has it, from hourly bars; `most` is the most it gives; the rest is how it differs from others."""

    times: list[int] = dataclasses.field(default_factory=lambda: list(BARS))
    most: int = 10_000
    ignores_countback: bool = False
    names_next: bool = True
    resolutions: tuple[str, ...] = ("60",)
    symbols: tuple[str, ...] = ("BTCUSDT",)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, request: Request) -> bytes:
        asked = request.parameters
        if request.path == "/config":
            return json_answer({"supported_resolutions": list(self.resolutions), **self.config})
        if request.path == "/symbols":
            known = asked["symbol"] in self.symbols
            return json_answer({"name": asked["symbol"]} if known else {"s": "error", "errmsg": "unknown_symbol"})
        if request.path == "/search":
            return json_answer([{"symbol": name, "full_name": name} for name in self.symbols])
        if request.path == "/history":
            return json_answer(self.history(int(asked["from"]), int(asked["to"]), int(asked["countback"])))
        return json_answer({}, 404)

    def history(self, start: int, end: int, countback: int) -> dict[str, Any]:
        before = [t for t in self.times if t < end]
        found = [t for t in before if t >= start] if self.ignores_countback else before[-countback:]
        found = found[-self.most :]
        if not found:
            return {"s": "no_data", **({"nextTime": before[-1]} if before and self.names_next else {})}
        prices = {key: [float(t % 997 + 1) for t in found] for key in "ohlcv"}
        return {"s": "ok", "t": found, **prices}


DIFFERENT = {
    "as the protocol has it": {},
    "without countback": {"ignores_countback": True},
    "without countback and nextTime": {"ignores_countback": True, "names_next": False},
    "seven bars at most": {"most": 7},
    "one bar at most": {"most": 1, "ignores_countback": True},
    "with holes": {"times": BARS[:3] + BARS[20:21] + BARS[40:]},
}


@pytest.mark.parametrize("differs", DIFFERENT.values(), ids=DIFFERENT)
def test_servers_of_every_habit_give_every_bar_once(differs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tradingview_udf, "PAGE_BARS", 10)
    server = UdfServer(**differs)
    with serving(server) as running_server:
        found = _fetch(_open(running_server.url), Timeframe.H1, Interval((BARS[0] - 86400) * 1000, (BARS[-1] + 40_000) * 1000))
    assert (found["ts"] // 1000).tolist() == server.times


@pytest.mark.parametrize("lost", [1, 3, 7])
@pytest.mark.parametrize("at_the_front", [True, False])
def test_bars_that_an_answer_lacks_are_asked_for_again(lost: int, at_the_front: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answers of a page lack bars at one end of it: nothing is lost."""
    monkeypatch.setattr(tradingview_udf, "PAGE_BARS", 10)

    class Lossy(UdfServer):
        def history(self, start: int, end: int, countback: int) -> dict[str, Any]:
            told = super().history(start, end, countback)
            if countback < 10 or told["s"] != "ok":
                return told
            kept = slice(lost, None) if at_the_front else slice(None, -lost)
            return {name: value[kept] if isinstance(value, list) else value for name, value in told.items()}

    server = Lossy()
    with serving(server) as running_server:
        found = _fetch(_open(running_server.url), Timeframe.H1, Interval(BARS[0] * 1000, (BARS[-1] + 40_000) * 1000))
    assert (found["ts"] // 1000).tolist() == server.times


def test_a_symbol_is_found_by_search_under_the_name_of_the_server() -> None:
    server = UdfServer(symbols=("BINANCE:BTCUSDT",), config={"supports_search": True})
    with serving(server) as running_server:
        source = _open(running_server.url)
        assert len(_fetch(source, Timeframe.H1, Interval(BARS[0] * 1000, BARS[5] * 1000))["ts"]) == 5
        assert [(one.symbol, one.venue_symbol) for one in source.symbols()] == [("BTC-USDT", "BINANCE:BTCUSDT")]
        assert source.server_time() == NOW_MS
    assert {request.parameters["symbol"] for request in running_server.requests if request.path == "/history"} == {
        "BINANCE:BTCUSDT"
    }


def test_a_timeframe_that_is_not_offered_is_named() -> None:
    with serving(UdfServer(resolutions=("1", "5"))) as server, pytest.raises(Permanent, match="no bars of 1h; it offers: 1 5"):
        list(_open(server.url).bars("BTC-USDT", Timeframe.H1, 0, NOW_MS))


def test_a_server_that_has_nothing_at_all_is_not_believed() -> None:
    with serving(UdfServer(times=[])) as server, pytest.raises(Malformed, match="not believed"):
        list(_open(server.url).bars("BTC-USDT", Timeframe.H1, 0, NOW_MS))


def test_pages_that_change_their_mind_are_a_contradiction() -> None:
    """A server that shows a bar when asked for one and none when asked for the page."""

    class TwoFaced(UdfServer):
        def history(self, start: int, end: int, countback: int) -> dict[str, Any]:
            return super().history(start, end, countback) if countback == 1 else {"s": "no_data"}

    with serving(TwoFaced()) as server, pytest.raises(Malformed, match="although the venue has a bar"):
        list(_open(server.url).bars("BTC-USDT", Timeframe.H1, BARS[0] * 1000, (BARS[-1] + 3600) * 1000))


T0, T1 = BARS[0], BARS[1]
WITHIN = Interval(T0 * 1000, (T1 + 3600) * 1000)


def _ok(**changes: Any) -> dict[str, Any]:
    return {"s": "ok", "t": [T0, T1], "o": [1, 2], "h": [1, 2], "l": [1, 2], "c": [1, 2], "v": [1, 2], **changes}


BROKEN: dict[str, Any] = {
    "null": None,
    "list": [],
    "text": "ok",
    "no status": {"t": []},
    "another status": _ok(s="fine"),
    "ok without times": {"s": "ok"},
    "short close": _ok(c=[1]),
    "long volume": _ok(v=[1, 2, 3]),
    "open is no list": _ok(o=7),
    "no close": {name: value for name, value in _ok().items() if name != "c"},
    "times as text": _ok(t=[str(T0), str(T1)]),
    "times as floats": _ok(t=[float(T0), float(T1)]),
    "times in ms": _ok(t=[T0 * 1000, T1 * 1000]),
    "negative time": _ok(t=[-1, T1]),
    "huge time": _ok(t=[T0, 10**30]),
    "true as a time": _ok(t=[True, T1]),
    "newest first": _ok(t=[T1, T0]),
    "two of one time": _ok(t=[T0, T0]),
    "beyond what was asked": _ok(t=[T0, T1 + 7200]),
    "no_data with bars": _ok(s="no_data"),
    "no_data that names a bar inside": {"s": "no_data", "nextTime": T0},
    "nextTime in ms": {"s": "no_data", "nextTime": (T0 - 3600) * 1000},
    "nextTime as text": {"s": "no_data", "nextTime": str(T0 - 3600)},
}


@pytest.mark.parametrize("parsed", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_malformed(parsed: Any) -> None:
    with pytest.raises(Malformed):
        history(parsed, WITHIN)


_NUMBERS = st.integers(T0 - 7200, T1 + 7200) | st.integers() | st.floats() | st.none() | st.text(max_size=3) | st.booleans()
_LISTS = st.lists(_NUMBERS, max_size=3) | _NUMBERS


@given(st.dictionaries(st.sampled_from(["s", "t", "o", "h", "l", "c", "v", "nextTime", "errmsg"]), _LISTS), st.booleans())
def test_any_answer_is_read_or_refused(parsed: dict[str, Any], ok: bool) -> None:
    """Whatever comes, it is rows inside what was asked or an error of this room."""
    try:
        found = history({**parsed, "s": "ok"} if ok else parsed, WITHIN)
    except SourceError:
        return
    ts = found.rows["ts"]
    assert (np.diff(ts) > 0).all() and ((ts >= WITHIN.start_ms) & (ts < WITHIN.end_ms)).all()
    assert {len(values) for values in found.rows.values()} == {len(ts)}


def test_a_value_that_cannot_be_read_is_nan_and_what_is_left_out_is_told() -> None:
    rows = history(_ok(o=["1", None], h=[1.5, 10**400], v=[True, 2]), WITHIN).rows
    assert np.isnan(rows["open"]).all() and rows["high"].tolist() == [1.5, np.inf]
    assert np.isnan(rows["volume"][0]) and rows["volume"][1] == 2
    bare = history({"s": "ok", "t": [T0, T1], "c": [1, 2]}, WITHIN).rows
    assert np.isnan([bare["open"], bare["high"], bare["low"]]).all() and bare["close"].tolist() == [1, 2]
    assert not bare["volume"].any()


def test_what_the_protocol_allows_beyond_the_span_is_left_out() -> None:
    early = _ok(t=[T0 - 3600, T0])
    assert history(early, WITHIN).rows["ts"].tolist() == [T0 * 1000]
    assert history(_ok(), Interval(T0 * 1000, T1 * 1000)).rows["ts"].tolist() == [T0 * 1000]
    again = _ok(t=[T0, T0], o=[1, 1], h=[1, 1], l=[1, 1], c=[1, 1], v=[3, 3])
    assert history(again, WITHIN).rows["volume"].tolist() == [3]
    assert history({"s": "no_data", "nextTime": T1 + 86400}, WITHIN).next_ms is None


def test_recorded_answers_of_a_real_server_are_read(real_data: Path) -> None:
    told = json.loads((real_data / "payloads" / "tradingview" / "udf_recorded_demo_feed.json").read_text())
    rows = history(told["history_ok"]["response"], Interval(1_487_289_600_000, 1_488_499_199_000)).rows
    assert len(rows["ts"]) == 9 and (rows["ts"] % DAY == 0).all() and rows["close"][0] == 135.72
    found = history(told["history_no_data_with_next_time"]["response"], Interval(1_554_076_800_000, 1_556_668_800_000))
    assert (len(found.rows["ts"]), found.next_ms) == (0, 1_522_108_800_000)
    empty = history(told["history_no_data_empty_arrays"]["response"], Interval(323_395_200_000, 325_987_200_000))
    assert (len(empty.rows["ts"]), empty.next_ms) == (0, None)
    with pytest.raises(Transient, match="Invalid Resolution"):
        history(told["history_error"]["response"], Interval(0, 1000))


ANSWERS: dict[str, tuple[Any, type[SourceError], int]] = {
    "html": (http_answer(b"<html>", Content_Type="text/html"), Malformed, 2),
    "NaN": (http_answer(b'{"s":"ok","t":[],"c":[NaN]}'), Malformed, 2),
    "deep": (http_answer(b"[" * 100_000), Malformed, 2),
    "gzip garbage": (http_answer(b"\x1f\x8bxx", Content_Encoding="gzip"), Malformed, 2),
    "cut": (cut_after(json_answer({"s": "ok"}), 83), Transient, 3),
    "silence": (hang_after(json_answer({"s": "ok"}), 60), Transient, 3),
    "500": (json_answer({}, 500), Transient, 3),
    "403": (json_answer({}, 403), Permanent, 1),
    "302": (json_answer({}, 302, Location="http://127.0.0.1:1/"), Permanent, 1),
    "429": (json_answer({}, 429, Retry_After="300"), RateLimited, 1),
    "error": (json_answer({"s": "error", "errmsg": "backend\nis down"}), Transient, 3),
}


@pytest.mark.parametrize(("answer", "error", "tries"), ANSWERS.values(), ids=ANSWERS)
def test_every_way_to_break_has_its_error_and_its_number_of_tries(answer: Any, error: type[SourceError], tries: int) -> None:
    good = UdfServer()
    with serving(lambda request: answer if request.path == "/history" else good(request)) as server:
        source = _open(server.url, timeout_s=0.2, policy={"tries": 3})
        with pytest.raises(error) as raised:
            list(source.bars("BTC-USDT", Timeframe.H1, BARS[0] * 1000, (BARS[-1] + 3600) * 1000))
    assert "\n" not in str(raised.value) and server.url in str(raised.value)
    assert server.paths().count("/history") == tries


def test_credentials_reach_the_server_and_no_message() -> None:
    with serving(lambda request: json_answer({}, 403)) as server:
        source = _open(server.url.replace("http://", "http://me:hunter2@"))
        with pytest.raises(Permanent) as raised:
            source.server_time()
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert "hunter2" not in str(raised.value)
