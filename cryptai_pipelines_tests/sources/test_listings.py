"""Listings from exchangeInfo: what is kept, what is read from the filters, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import is_slug
from cryptai_pipelines.sources.binance_listings import listings, weight_limit
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import json_answer

FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "tickSize": "0.01000000"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001", "stepSize": "0.00001000"},
    {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True},
]
BTC = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": FILTERS}


def test_a_symbol_is_listed_with_its_steps(open_at) -> None:
    with fakes.serving(lambda _: json_answer({"symbols": [BTC]})) as server:
        found = open_at(server.url).symbols()
    assert found == [
        Listing("binance", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "TRADING", tick_size=0.01, lot_size=1e-5, min_notional=5.0)
    ]


@pytest.mark.parametrize(("header", "simulated"), [("true", True), ("1", True), ("0", False), ("false", False), ("", False)])
def test_a_venue_that_says_so_in_a_header_is_simulated(header: str, simulated: bool, open_at) -> None:
    with fakes.serving(lambda _: json_answer({"symbols": [BTC]}, x_cryptai_simulated=header)) as server:
        assert [listing.simulated for listing in open_at(server.url).symbols()] == [simulated]


def test_a_symbol_that_says_so_is_simulated_alone() -> None:
    eth = BTC | {"symbol": "ETHUSDT", "baseAsset": "ETH", "simulated": True}
    assert [listing.simulated for listing in listings({"symbols": [BTC, eth]}, "binance", False)] == [False, True]


def test_symbols_that_cannot_be_addressed_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    odd = [
        BTC | {"symbol": "币安人生USDT", "baseAsset": "币安人生"},
        BTC | {"symbol": "BTC'; DROP--USDT", "baseAsset": "BTC'; DROP--"},
        BTC | {"symbol": "BTCUSDT_PERP"},
    ]
    assert [listing.symbol for listing in listings({"symbols": [*odd, BTC]}, "binance", False)] == ["BTC-USDT"]
    assert "3 of 4 symbols" in caplog.text


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([{"filterType": "MIN_NOTIONAL", "minNotional": "10"}], (None, None, 10.0)),
        ([{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}], (None, None, None)),
        ([{"filterType": "PRICE_FILTER", "tickSize": "abc"}, {"filterType": "LOT_SIZE", "stepSize": None}], (None, None, None)),
        ([{"filterType": "PRICE_FILTER", "tickSize": "inf"}, {"filterType": "LOT_SIZE"}], (None, None, None)),
        ([None, "x", {"filterType": []}], (None, None, None)),
        (None, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_filters_that_say_nothing_give_none(filters: Any, expected: tuple[float | None, ...]) -> None:
    (found,) = listings({"symbols": [BTC | {"filters": filters}]}, "binance", False)
    assert (found.tick_size, found.lot_size, found.min_notional) == expected


PERPETUAL = {
    "symbol": "BTCUSDT",
    "pair": "BTCUSDT",
    "contractType": "PERPETUAL",
    "deliveryDate": 4_133_404_800_000,
    "onboardDate": 1_569_398_400_000,
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "marginAsset": "USDT",
    "filters": [*FILTERS[:2], {"filterType": "MIN_NOTIONAL", "notional": "100"}],
}


def test_of_contracts_only_the_perpetual_ones_are_listed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    quarterly = PERPETUAL | {"symbol": "BTCUSDT_240628", "contractType": "CURRENT_QUARTER", "deliveryDate": 1_719_561_600_000}
    others = [PERPETUAL | {"contractType": kind} for kind in ("NEXT_QUARTER", "PERPETUAL_DELIVERING", "perpetual", "", None)]
    (found,) = listings({"symbols": [quarterly, *others, PERPETUAL]}, "binanceusdm", False, "PERPETUAL")
    expected = Listing("binanceusdm", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "TRADING", 0.01, 1e-5, 100.0, 1_569_398_400_000)
    assert found == expected
    # What is not asked for is nothing that could not be read.
    assert "left out" not in caplog.text


def test_contracts_without_a_single_perpetual_one_are_malformed() -> None:
    with pytest.raises(Malformed, match="of the type PERPETUAL, and lists none"):
        listings({"symbols": [PERPETUAL | {"contractType": "CURRENT_QUARTER"}]}, "binanceusdm", False, "PERPETUAL")


@pytest.mark.parametrize(
    ("status", "delivered", "expected"),
    [
        ("TRADING", 4_133_404_800_000, None),
        ("SETTLING", 4_133_404_800_000, None),
        # Announced, and not over.
        ("TRADING", 1_719_561_600_000, None),
        ("SETTLING", 1_719_561_600_000, 1_719_561_600_000),
        ("CLOSE", 0, None),
        ("CLOSE", "soon", None),
    ],
)
def test_a_contract_has_an_end_once_it_is_over(status: str, delivered: Any, expected: int | None) -> None:
    entry = PERPETUAL | {"status": status, "deliveryDate": delivered}
    (found,) = listings({"symbols": [entry]}, "binanceusdm", False, "PERPETUAL")
    assert (found.status, found.delisted_at_ms) == (status, expected)


@pytest.mark.parametrize(
    "parsed",
    [[], {}, {"symbols": []}, {"symbols": None}, {"symbols": {}}, {"symbols": ["BTCUSDT"]}, {"symbols": [BTC, {}]},
     {"symbols": [BTC | {"status": None}]}, {"symbols": [BTC | {"baseAsset": 1}]}],
)  # fmt: skip
def test_what_is_no_exchange_info_is_malformed(parsed: Any) -> None:
    with pytest.raises(Malformed):
        listings(parsed, "binance", False)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}], 6000),
        ([{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 5, "limit": 6000}], 1200),
        ([{"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 9}], None),
        ([{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": "6000"}], None),
        ([{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 0}], None),
        ([None], None),
        (None, None),
    ],
)
def test_the_weight_limit_is_read_or_unknown(limits: Any, expected: int | None) -> None:
    assert weight_limit({"rateLimits": limits}) == expected


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from([*BTC, "symbols"]), children, max_size=5),
    max_leaves=20,
)


@given(_json | st.fixed_dictionaries({"symbols": st.lists(st.fixed_dictionaries({name: _json for name in BTC}))}))
@settings(max_examples=50)
def test_any_json_gives_listings_or_malformed(parsed: Any) -> None:
    try:
        found = listings(parsed, "binance", False)
    except Malformed:
        return
    assert all(is_slug(listing.symbol) for listing in found)


@pytest.mark.parametrize("body", [{"serverTime": "1"}, {"serverTime": 1.5}, {"serverTime": True}, {"serverTime": 0}, [1], {}])
def test_a_time_that_is_no_time_is_malformed(body: Any, open_at) -> None:
    with fakes.serving(lambda _: json_answer(body)) as server, pytest.raises(Malformed, match="serverTime"):
        open_at(server.url).server_time()
