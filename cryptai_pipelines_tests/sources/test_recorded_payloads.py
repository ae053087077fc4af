"""Answers that Binance really gave, served again byte for byte and read by the real client."""

from __future__ import annotations

import gzip
import hashlib
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.market.bars import WIRE_DTYPES, concat_columns
from cryptai_pipelines.market.timeframe import Timeframe, parse_timeframe
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import http_answer
from cryptai_pipelines_tests.sources.conftest import FETCHED_AT_MS

KLINES = [
    "klines_BTCUSDT_1d_2016-01-01.json",
    "klines_BTCUSDT_1h_2024-01-01.json",
    "klines_BTCUSDT_4h_2018-01-01.json",
    "klines_ETHUSDT_15m_2026-04-27.json",
]


@pytest.fixture(scope="module")
def payloads(real_data: Path) -> Path:
    return real_data / "payloads" / "binance"


@pytest.mark.parametrize("name", KLINES)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_recorded_klines_are_read_to_the_last_field(name: str, compressed: bool, payloads: Path, open_at) -> None:
    body = (payloads / name).read_bytes()
    rows = json.loads(body, parse_float=Decimal)
    _, venue_symbol, code, _ = name.split("_")
    timeframe = parse_timeframe(code)
    span = rows[0][0], rows[-1][0] + timeframe.ms
    answer = http_answer(gzip.compress(body), Content_Encoding="gzip") if compressed else http_answer(body)
    with fakes.serving(lambda _: answer) as server:
        (page,) = open_at(server.url).bars(f"{venue_symbol[:3]}-{venue_symbol[3:]}", timeframe, *span)
    assert page.asked == span
    assert page.sha256 == hashlib.sha256(body).hexdigest()
    assert page.fetched_at_ms == FETCHED_AT_MS
    assert page.url == (
        f"{server.url}/api/v3/klines?symbol={venue_symbol}&interval={code}&startTime={span[0]}&endTime={span[1] - 1}&limit=1000"
    )
    assert page.url.endswith("&".join(f"{key}={value}" for key, value in server.requests[0].parameters.items()))
    for position, (field, dtype) in enumerate(WIRE_DTYPES.items()):
        expected = np.array([float(row[position]) if "float" in dtype else row[position] for row in rows], dtype=dtype)
        assert page.rows[field].dtype == dtype
        assert np.array_equal(page.rows[field], expected)


def test_recorded_klines_walked_in_pages_are_the_whole(payloads: Path, open_at) -> None:
    rows = json.loads((payloads / "klines_BTCUSDT_1h_2024-01-01.json").read_bytes())
    span = rows[0][0] - 90 * Timeframe.H1.ms, rows[-1][0] + 90 * Timeframe.H1.ms
    with fakes.serving(fakes.KlineVenue(rows, page_cap=113)) as server:
        found = list(open_at(server.url).bars("BTC-USDT", Timeframe.H1, *span))
    assert concat_columns([page.rows for page in found])["ts"].tolist() == [row[0] for row in rows]
    assert found[0].asked.start_ms == span[0]
    assert found[-1].asked.end_ms == span[1]


def test_recorded_exchange_info_lists_every_symbol(payloads: Path, open_at, caplog: pytest.LogCaptureFixture) -> None:
    body = gzip.decompress((payloads / "exchangeInfo_2020-10-09.json.gz").read_bytes())
    entries = {entry["symbol"]: entry for entry in json.loads(body)["symbols"]}
    with fakes.serving(lambda _: http_answer(body)) as server:
        found = open_at(server.url).symbols()
    assert [listing.venue_symbol for listing in found] == list(entries)
    assert len({listing.symbol for listing in found}) == len(entries)
    for listing in found:
        entry = entries[listing.venue_symbol]
        filters = {each["filterType"]: each for each in entry["filters"]}
        assert listing.symbol == f"{entry['baseAsset']}-{entry['quoteAsset']}"
        assert listing.status == entry["status"]
        assert listing.tick_size == float(filters["PRICE_FILTER"]["tickSize"])
        assert listing.lot_size == float(filters["LOT_SIZE"]["stepSize"])
        assert listing.min_notional == float(filters["MIN_NOTIONAL"]["minNotional"])
        assert not listing.simulated
