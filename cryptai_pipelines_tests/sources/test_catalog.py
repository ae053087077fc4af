"""Opening a source by name: accepted names, accepted addresses, and what loading the room costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.sources.catalog import EXCHANGES, VENUES, open_source
from cryptai_pipelines.sources.ccxt_client import _url
from cryptai_pipelines.sources.venue_address import venue_address
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import json_answer


def _open(exchange: str = "binance", url: str = "http://127.0.0.1:1", timeout_s: float = 5.0):
    return open_source(exchange, base_urls={exchange: url}, request_timeout_s=timeout_s, clock=FixedClock(0))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_name_opens_a_source_of_that_name(exchange: str) -> None:
    assert _open(exchange).name == exchange


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_venue_is_called_where_it_is_unless_told_otherwise(exchange: str) -> None:
    there = open_source(exchange, base_urls={}, request_timeout_s=5.0, clock=FixedClock(0))
    assert there.client.address.api_url == VENUES[exchange].base_url + VENUES[exchange].api_path
    elsewhere = _open(exchange, "http://127.0.0.1:1/prefix")
    assert elsewhere.client.address.api_url == "http://127.0.0.1:1/prefix" + VENUES[exchange].api_path


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_ccxt_itself_calls_the_same_addresses_by_default(exchange: str) -> None:
    """The root that a client is pointed at is the one it has, and what messages and proofs say was called is what it calls."""
    import ccxt

    venue = VENUES[exchange]
    root = venue.base_url + venue.api_path
    fresh, placed = (getattr(ccxt, venue.wire.ccxt_id)({"enableRateLimit": False}) for _ in range(2))
    venue.wire.place(placed, root)
    for question in (venue.server_time, venue.listings(str), venue.prices):
        called: list[str] = []
        for client in (fresh, placed):
            client.fetch = lambda url, *_args, called=called, **_options: called.append(url) or {}
            getattr(client, question.endpoint.method)(dict(question.parameters))
        assert called == [_url(root, question.endpoint.path, question.parameters)] * 2


def test_an_unknown_exchange_is_named_with_the_accepted_ones() -> None:
    with pytest.raises(BadInput, match="^exchange 'mtgox' is not known; accepted: binance kraken coinbase bybit okx kucoin "):
        _open("mtgox")


@pytest.mark.parametrize(
    "url", ["", "api.binance.com", "ftp://api.binance.com", "http://", "http://host:port", "http://host:99999", "http://h/?a=1",
            "http://[::1", "file:///etc/passwd"],
)  # fmt: skip
def test_an_address_that_cannot_be_called_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="expected http"):
        _open(url=url)


def test_a_refused_address_does_not_show_its_password() -> None:
    with pytest.raises(BadInput) as caught:
        _open(url="ftp://user:s3cret@host")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(timeout_s: float) -> None:
    with pytest.raises(BadInput, match="timeout"):
        _open(timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("url", "api_url", "credentials"),
    [
        ("https://api.binance.com", "https://api.binance.com/api/v3", None),
        ("http://h:80/prefix/", "http://h:80/prefix/api/v3", None),
        ("http://u:p%40ss@[::1]:9", "http://[::1]:9/api/v3", ("u", "p@ss")),
        ("https://token@h", "https://h/api/v3", ("token", "")),
    ],
)
def test_an_address_is_taken_apart(url: str, api_url: str, credentials: tuple[str, str] | None) -> None:
    assert venue_address("binance", url, "/api/v3") == ("binance", api_url, credentials)


def test_sources_of_one_address_share_their_limits_and_others_do_not() -> None:
    assert _open(url="http://127.0.0.1:1").client.limits is _open(url="http://127.0.0.1:1/").client.limits
    assert _open(url="http://127.0.0.1:1").client.limits is not _open(url="http://127.0.0.1:2").client.limits


def test_the_real_ccxt_client_sends_the_request_without_a_key() -> None:
    with fakes.serving(lambda _: json_answer({"serverTime": 9})) as server:
        source = _open(url=server.url)
        assert source.server_time() == 9
        client, _ = source.client._client()
    import ccxt

    assert type(client) is ccxt.binance
    assert not any(name.startswith("x-mbx") for name in server.requests[0].headers)


def test_opening_a_source_loads_no_client() -> None:
    program = """
import sys
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.sources.catalog import open_source
open_source("binance", base_urls={}, request_timeout_s=5.0, clock=FixedClock(0))
print(sorted({"ccxt", "requests", "urllib3"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
