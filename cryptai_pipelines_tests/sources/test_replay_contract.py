"""The source against the replay venue, over a socket: recorded bars come back whole, under every fault it can inject."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cryptai_pipelines
from cryptai_pipelines.market.bars import Columns, concat_columns
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.timeframe import Timeframe, parse_timeframe
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.recorded import RecordedVenue, open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.sources.errors import Permanent, RateLimited, SourceError
from cryptai_pipelines.sources.source import BarSource

SAMPLE = Path(cryptai_pipelines.__file__).parent / "sample"
HOUR = Timeframe.H1.ms
NOW_MS = 1_704_067_200_000 + 600_000


@pytest.fixture(scope="module")
def recorded() -> pd.DataFrame:
    return pd.read_parquet(SAMPLE / "binance" / "BTCUSDT_1h.parquet")


@pytest.fixture(scope="module")
def opens(recorded: pd.DataFrame) -> np.ndarray:
    """Recorded open times up to the venue's now, epoch milliseconds."""
    ts = recorded["ts"] if "ts" in recorded.columns else recorded.index
    found = pd.DatetimeIndex(pd.to_datetime(ts, unit="ms", utc=True)).as_unit("ms").asi8
    return found[found <= NOW_MS]


@pytest.fixture(scope="module")
def venue() -> RecordedVenue:
    return open_recorded(SAMPLE, FixedClock(NOW_MS))


@pytest.fixture
def url(venue: RecordedVenue) -> Iterator[str]:
    with running(venue) as base_url:
        yield base_url


def _fetch(source: BarSource, start_ms: int, end_ms: int) -> Columns:
    found = list(source.bars("BTC-USDT", Timeframe.H1, start_ms, end_ms))
    assert [page.asked.start_ms for page in found] == [start_ms, *[page.asked.end_ms for page in found][:-1]]
    assert found[-1].asked.end_ms == end_ms
    return concat_columns([page.rows for page in found])


def test_the_whole_recording_comes_back(url: str, opens: np.ndarray, recorded: pd.DataFrame, open_at) -> None:
    columns = _fetch(open_at(url), 0, NOW_MS)
    assert np.array_equal(columns["ts"], opens)
    closed = opens + HOUR <= NOW_MS
    for name in ("open", "high", "low", "close", "volume"):
        assert np.allclose(columns[name][closed], recorded[name].to_numpy()[: len(opens)][closed], rtol=0, atol=5e-9)


def test_the_venue_introduces_itself(url: str, open_at) -> None:
    source = open_at(url)
    assert source.server_time() == NOW_MS
    assert [(listing.symbol, listing.simulated) for listing in source.symbols()] == [("BTC-USDT", False)]
    with pytest.raises(Permanent, match="NOPEUSDT"):
        list(source.bars("NOPE-USDT", Timeframe.H1, 0, NOW_MS))


BEFORE_THE_LISTING = (1_500_000_000_000, 1_500_003_600_000)
AFTER_NOW = (NOW_MS + HOUR, NOW_MS + 9 * HOUR)


@pytest.mark.parametrize("span", [BEFORE_THE_LISTING, AFTER_NOW], ids=["before the listing", "after now"])
def test_spans_without_bars_are_proven_empty(span: tuple[int, int], url: str, open_at) -> None:
    assert len(_fetch(open_at(url), *span)["ts"]) == 0


REFUSALS = {"firewall", "restricted_location", "not_found", "bad_symbol", "bad_interval", "redirect_loop"}
SILENCES = {"banned", "rate_limited_without_hint", "rate_limited_huge"}
# A row with another open time is a row of the venue's like any other; it is judged where bars are validated.
PLAUSIBLE = {"off_grid"}


@pytest.mark.parametrize("kind", sorted(FAULTS.keys() - PLAUSIBLE))
def test_a_fault_on_every_third_request_alters_no_bar(kind: str, venue: RecordedVenue, opens: np.ndarray, open_at) -> None:
    """Either exactly the recorded bars, or an error of ours: never fewer bars, never others."""
    fault = dataclasses.replace(FAULTS[kind], delay_s=min(FAULTS[kind].delay_s, 5.0))

    def every_third(path: str, query: str, number: int) -> Fault | None:
        return fault if number % 3 == 2 else None

    start, end = int(opens[3000]), int(opens[5500])
    # Only where the fault is one of time may time decide; elsewhere a busy machine must not shift which request it hits.
    timed = math.isinf(fault.delay_s) or fault.delay_s > 0 or fault.drip_s > 0 or fault.hang
    with running(venue, faults=every_third) as base_url:
        try:
            columns = _fetch(open_at(base_url, 0.4 if timed else 20.0, total_s=60.0), start, end)
        except SourceError as error:
            assert kind in REFUSALS | SILENCES, error
            assert isinstance(error, RateLimited) is (kind in SILENCES)
        else:
            assert np.array_equal(columns["ts"], opens[(opens >= start) & (opens < end)])


@pytest.mark.parametrize("code", ["1m", "1h", "1d", "1w"])
def test_a_simulated_venue_is_read_and_labelled(code: str, open_at) -> None:
    timeframe = parse_timeframe(code)
    clock = FixedClock(NOW_MS)
    with running(open_simulated(7, 2, clock)) as base_url:
        source = open_at(base_url)
        listed = source.symbols()
        end = timeframe.floor(NOW_MS)
        found = list(source.bars(listed[0].symbol, timeframe, end - 30 * timeframe.ms, end))
    assert all(listing.simulated for listing in listed)
    columns = concat_columns([page.rows for page in found])
    assert columns["ts"].tolist() == timeframe.opens(end - 30 * timeframe.ms, end).tolist()
    assert (columns["close_ts"] == columns["ts"] + timeframe.ms - 1).all()
    assert (columns["low"] <= columns["high"]).all()
