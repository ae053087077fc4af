"""Answers that venues other than Binance really gave, served again byte for byte and read by the real client of each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.catalog import VENUES
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import FakeTime, Request, http_answer, json_answer
from cryptai_pipelines_tests.sources.venue_servers import Model, server_of

MINUTE, DAY = Timeframe.M1.ms, Timeframe.D1.ms


@pytest.fixture(scope="module")
def payloads(real_data: Path) -> Path:
    return real_data / "payloads"


def _read(venue: str, body: bytes, slug: str, timeframe: Timeframe, span: tuple[int, int], pairs: bytes = b"") -> list[Page]:
    """Pages of `span` from a server whose every answer about candles is `body`; `pairs` replaces its listing."""
    listing = server_of(venue, Model(MINUTE, [], span[1]))

    def respond(request: Request) -> Any:
        if listing.is_candles(request.path):
            return http_answer(body)
        return http_answer(pairs) if pairs else listing(request)

    with fakes.serving(respond) as wire:
        clock = FixedClock(span[1])
        source = open_ccxt(VENUES[venue], wire.url, 5.0, clock, timer=FakeTime().timer())
        return list(source.bars(slug, timeframe, *span))


def _assert_fields(page: Page, rows: list[list[Any]], positions: dict[str, int]) -> None:
    for name, position in positions.items():
        assert np.array_equal(page.rows[name], [float(row[position]) for row in rows]), name


def test_krakens_721_minutes(payloads: Path) -> None:
    """Recorded with the pair's listing; the last row is the minute that was forming, and minutes without trades are flat."""
    body = (payloads / "kraken" / "nautilus_http_ohlc.json").read_bytes()
    pairs = (payloads / "kraken" / "nautilus_http_asset_pairs.json").read_bytes()
    rows = json.loads(body)["result"]["XBTUSDT"]
    first, last = rows[0][0] * 1000, rows[-1][0] * 1000
    assert len(rows) == 721
    (page,) = _read("kraken", body, "BTC-USDT", Timeframe.M1, (first - 30 * DAY, last + MINUTE), pairs)
    assert page.asked == (first, last + MINUTE)
    assert page.sha256 == hashlib.sha256(body).hexdigest()
    assert page.rows["ts"].tolist() == [row[0] * 1000 for row in rows]
    _assert_fields(page, rows, {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 6, "trades": 7})
    assert (page.rows["trades"] == 0).any()


def test_krakens_listing_of_the_pair(payloads: Path) -> None:
    pairs = (payloads / "kraken" / "nautilus_http_asset_pairs.json").read_bytes()
    with fakes.serving(lambda _: http_answer(pairs)) as wire:
        source = open_ccxt(VENUES["kraken"], wire.url, 5.0, FixedClock(0), timer=FakeTime().timer())
        (listing,) = source.symbols()
    assert (listing.symbol, listing.venue_symbol, listing.base, listing.status) == ("BTC-USDT", "XBTUSDT", "BTC", "online")
    assert (listing.tick_size, listing.lot_size, listing.min_notional) == (0.1, 1e-8, 0.5)


def test_krakens_ten_days(payloads: Path) -> None:
    body = (payloads / "kraken" / "ohlc_XXBTZUSD_1440_2026-08.json").read_bytes()
    rows = json.loads(body)["result"]["XXBTZUSD"]
    span = rows[0][0] * 1000, rows[-1][0] * 1000 + DAY
    (page,) = _read("kraken", body, "BTC-USD", Timeframe.D1, span)
    assert page.asked == span
    _assert_fields(page, rows, {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 6, "trades": 7})


def test_coinbases_ten_days_newest_first(payloads: Path) -> None:
    body = (payloads / "coinbase" / "exchange_candles_BTC-USD_86400_2026-08.json").read_bytes()
    rows = json.loads(body)[::-1]
    span = rows[0][0] * 1000, rows[-1][0] * 1000 + DAY
    (page,) = _read("coinbase", body, "BTC-USD", Timeframe.D1, span)
    assert page.asked == span
    assert page.rows["ts"].tolist() == list(range(*span, DAY))
    _assert_fields(page, rows, {"low": 1, "high": 2, "open": 3, "close": 4, "volume": 5})
    assert (page.rows["low"] <= page.rows["open"]).all() and (page.rows["open"] <= page.rows["high"]).all()


@pytest.mark.parametrize("at", ["18-01-01 00-00-00", "19-01-07 10-00-00", "19-06-26 08-00-00"])
def test_bitfinexs_minutes(at: str, payloads: Path) -> None:
    body = (payloads / "bitfinex" / f"candles_1m_{at}.json").read_bytes()
    rows = json.loads(body)
    span = rows[0][0], rows[-1][0] + MINUTE
    (page,) = _read("bitfinex", body, "BTC-USDT", Timeframe.M1, span)
    assert page.rows["ts"].tolist() == [row[0] for row in rows]
    _assert_fields(page, rows, {"open": 1, "close": 2, "high": 3, "low": 4, "volume": 5})
    for name in ("open", "close"):
        assert (page.rows["low"] <= page.rows[name]).all() and (page.rows[name] <= page.rows["high"]).all()


def test_okxs_minutes(payloads: Path) -> None:
    body = (payloads / "nautilus" / "okx_test_data_http_get_candlesticks.json").read_bytes()
    rows = json.loads(body)["data"]
    span = int(rows[0][0]), int(rows[-1][0]) + MINUTE
    (page,) = _read("okx", body, "BTC-USDT", Timeframe.M1, span)
    _assert_fields(page, rows, {"ts": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "quote_volume": 7})


def test_bybits_made_up_minute_is_refused_for_its_seconds(payloads: Path) -> None:
    """The form is Bybit's, the open time is none: it was made for a test of somebody else, at 39 seconds past the minute."""
    body = (payloads / "nautilus" / "bybit_test_data_http_get_klines_linear.json").read_bytes()
    ts = int(json.loads(body)["result"]["list"][0][0])
    with pytest.raises(Malformed, match=f"open time {ts} is not one of the 1m grid"):
        _read("bybit", body, "BTC-USDT", Timeframe.M1, (ts // MINUTE * MINUTE, ts // MINUTE * MINUTE + MINUTE))
    on_grid = body.replace(str(ts).encode(), str(ts // MINUTE * MINUTE).encode())
    (page,) = _read("bybit", on_grid, "BTC-USDT", Timeframe.M1, (ts // MINUTE * MINUTE, ts // MINUTE * MINUTE + MINUTE))
    assert (page.rows["open"][0], page.rows["volume"][0], page.rows["quote_volume"][0]) == (27450.0, 123.45, 3_390_000.0)


def test_binances_prices_of_2020(payloads: Path) -> None:
    """All symbols in one call; those that the listing of that month does not know, or that do not trade, are left out."""
    import gzip

    prices = (payloads / "binance" / "ticker_price_2020-10.json").read_bytes()
    listing = gzip.decompress((payloads / "binance" / "exchangeInfo_2020-10-09.json.gz").read_bytes())
    entries = json.loads(listing)["symbols"]
    trading = {entry["symbol"] for entry in entries if entry["status"] == "TRADING"}
    expected = {each["symbol"]: float(each["price"]) for each in json.loads(prices) if each["symbol"] in trading}

    def respond(request: Request) -> bytes:
        return http_answer(prices if request.path.endswith("/ticker/price") else listing)

    with fakes.serving(respond) as wire:
        source = open_ccxt(VENUES["binance"], wire.url, 5.0, FixedClock(77), timer=FakeTime().timer())
        found = {price.symbol.replace("-", ""): price for price in source.last_prices()}
        assert wire.paths() == ["/api/v3/exchangeInfo", "/api/v3/ticker/price"]
    assert len(found) > 50
    assert {symbol: price.price for symbol, price in found.items()} == {s: p for s, p in expected.items() if s in found}
    assert {s for s in expected if s not in found and expected[s] > 0} == set()
    assert {price.fetched_at_ms for price in found.values()} == {77}


def test_a_price_that_cannot_be_read_is_left_out() -> None:
    info = {"symbols": [{"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": "TRADING"}]}
    for price in ("0", "abc", None, "-1", "NaN"):
        answers = [json_answer(info), json_answer([{"symbol": "BTCUSDT", "price": price}])]
        with fakes.serving(lambda _, answers=answers: answers.pop(0)) as wire:
            source = open_ccxt(VENUES["binance"], wire.url, 5.0, FixedClock(0), timer=FakeTime().timer())
            assert source.last_prices() == []
