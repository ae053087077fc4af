"""The coinbase source against the second market of the replay venue, over a socket, under every fault that can be injected."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import Columns, concat_columns, ts_index
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.recorded import RecordedVenue, open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.errors import Permanent, SourceError
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.venues.coinbase import COINBASE
from cryptai_pipelines_tests.fakes import FakeTime

HOUR = Timeframe.H1.ms
START = parse_time("2021-01-04T00:00:00Z")
COUNT = 1_300
NOW = START + COUNT * HOUR + 60_000
MISSING = {*range(290, 310), 311, 599, 600, 601, 1_000}


def recording() -> pd.DataFrame:
    kept = np.array([slot for slot in range(COUNT) if slot not in MISSING])
    random = np.random.default_rng(3)
    price = np.round(40_000 * np.exp(np.cumsum(random.normal(0, 0.01, len(kept)))), 2)
    bars = {"open": price, "high": price + 12.5, "low": price - 7.25, "close": price + 3}
    bars["volume"] = random.integers(1, 900, len(kept)) / 8
    return pd.DataFrame({"ts": ts_index(START + kept * HOUR), **bars})


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> RecordedVenue:
    folder = tmp_path_factory.mktemp("recordings")
    for exchange, symbol in (("binance", "BTCUSDT"), ("coinbase", "BTCUSD")):
        (folder / exchange).mkdir()
        recording().to_parquet(folder / exchange / f"{symbol}_1h.parquet", index=False)
    return open_recorded(folder, FixedClock(NOW))


@pytest.fixture
def url(venue: RecordedVenue) -> Iterator[str]:
    with running(venue) as base_url:
        yield base_url


def open_at(url: str, request_timeout_s: float = 20.0) -> BarSource:
    """The product's source; its pauses take no time."""
    retry = RetryPolicy(total_s=60.0)
    return open_ccxt(COINBASE, url, request_timeout_s, FixedClock(NOW), retry=retry, timer=FakeTime().timer())


def fetch(source: BarSource, timeframe: Timeframe, start: int, end: int, symbol: str = "BTC-USD") -> Columns:
    found = list(source.bars(symbol, timeframe, start, end))
    assert [page.asked.start_ms for page in found] == [start, *[page.asked.end_ms for page in found][:-1]]
    assert found[-1].asked.end_ms == end
    return concat_columns([page.rows for page in found])


def test_the_whole_recording_comes_back_in_pages_of_300(url: str) -> None:
    frame = recording()
    found = fetch(open_at(url), Timeframe.H1, START - 900 * HOUR, START + COUNT * HOUR)
    assert found["ts"].tolist() == [int(ts) for ts in pd.DatetimeIndex(frame["ts"]).as_unit("ms").asi8]
    for name in ("open", "high", "low", "close", "volume"):
        assert found[name].tolist() == frame[name].tolist()
    assert not found["quote_volume"].any() and not found["trades"].any()


def test_the_venue_introduces_itself(url: str) -> None:
    source = open_at(url)
    assert source.server_time() == NOW and not source.is_simulated()
    (listing,) = source.symbols()
    assert (listing.symbol, listing.venue_symbol, listing.status, listing.simulated) == ("BTC-USD", "BTC-USD", "online", False)
    (price,) = source.last_prices()
    assert (price.symbol, price.price) == ("BTC-USD", recording()["close"].iloc[-1])
    with pytest.raises(Permanent, match="NOPE-USD"):
        list(source.bars("NOPE-USD", Timeframe.H1, START, NOW))


def test_four_hours_are_resampled_and_equal_what_the_venue_would_resample(url: str, venue: RecordedVenue) -> None:
    found = fetch(open_at(url), Timeframe.H4, START, START + 1_200 * HOUR)
    frame = recording().set_index("ts")
    whole = frame.resample("4h").agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    whole = whole.dropna().iloc[
        : np.searchsorted(pd.DatetimeIndex(whole.dropna().index).as_unit("ms").asi8, START + 1_200 * HOUR)
    ]
    assert found["ts"].tolist() == pd.DatetimeIndex(whole.index).as_unit("ms").asi8.tolist()
    assert found["high"].tolist() == whole["high"].tolist() and found["close"].tolist() == whole["close"].tolist()


def test_the_simulated_second_market_is_labelled_and_near(tmp_path: Path) -> None:
    market = open_simulated(9, 3, FixedClock(NOW))
    with running(market) as base_url:
        source = open_at(base_url)
        assert source.is_simulated() and all(listing.simulated for listing in source.symbols())
        assert len(source.last_prices()) == 3
        found = fetch(source, Timeframe.M15, START, START + 400 * Timeframe.M15.ms, "ETH-USD")
    assert found["ts"].tolist() == Timeframe.M15.opens(START, START + 400 * Timeframe.M15.ms).tolist()


REFUSALS = {"firewall", "restricted_location", "not_found", "bad_symbol", "bad_interval", "redirect_loop"}
SILENCES = {"banned", "rate_limited_without_hint", "rate_limited_huge"}


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_fault_on_every_fifth_request_alters_no_bar(kind: str, venue: RecordedVenue) -> None:
    """Either exactly the recorded bars, or an error of ours: never others."""
    fault = dataclasses.replace(FAULTS[kind], delay_s=min(FAULTS[kind].delay_s, 2.0))

    def every_fifth(path: str, query: str, number: int) -> Fault | None:
        return fault if number % 5 == 3 else None

    timed = math.isinf(FAULTS[kind].delay_s) or fault.hang or fault.drip_s > 0
    frame = recording()
    with running(venue, faults=every_fifth) as base_url:
        try:
            found = fetch(open_at(base_url, 0.4 if timed else 20.0), Timeframe.H1, START, START + COUNT * HOUR)
        except SourceError as error:
            assert kind in REFUSALS | SILENCES, error
            return
    assert found["ts"].tolist() == pd.DatetimeIndex(frame["ts"]).as_unit("ms").asi8.tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert found[name].tolist() == frame[name].tolist(), name
