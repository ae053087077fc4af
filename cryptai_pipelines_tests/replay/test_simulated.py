"""The simulated market: timeframes agree exactly, any window is reached the same way, and every run gives the same bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.replay.simulated import LISTED_MS, SimulatedVenue, open_simulated
from cryptai_pipelines.replay.venue import UNIT, VENUE_COLUMNS, Window

NOW = parse_time("2026-06-20T10:05:17Z")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT", "SIM0030USDT")
SUMMED = ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")


@cache
def market(seed: int = 11) -> SimulatedVenue:
    return open_simulated(seed, 40, FixedClock(NOW))


def window(symbol: str, timeframe: Timeframe, start: int, end: int, now: int = NOW, seed: int = 11) -> Columns:
    """All bars opening in [start, end)."""
    return market(seed).bars(symbol, timeframe, Window(start, end - 1, 10**6), now)


def aggregate(bars: Columns, rows: slice) -> dict[str, int]:
    """One bar of several, in Python integers."""
    part = {name: [int(value) for value in values[rows]] for name, values in bars.items()}
    whole = {"ts": part["ts"][0], "open": part["open"][0], "close": part["close"][-1]}
    whole |= {"high": max(part["high"]), "low": min(part["low"])}
    return whole | {name: sum(part[name]) for name in SUMMED}


def digest(columns: Columns) -> str:
    content = b"".join(name.encode() + columns[name].astype("<i8").tobytes() for name in VENUE_COLUMNS)
    return hashlib.sha256(content).hexdigest()


@given(
    symbol=st.sampled_from(SYMBOLS),
    pair=st.sampled_from([(s, t) for s in TIMEFRAMES for t in TIMEFRAMES if s.ms < t.ms]),
    at=st.integers(LISTED_MS, NOW - Timeframe.W1.ms),
)
@settings(max_examples=60)
def test_a_bar_is_the_aggregate_of_any_shorter_bars_in_it(symbol: str, pair: tuple[Timeframe, Timeframe], at: int) -> None:
    shorter, longer = pair
    opened = longer.floor(at)
    whole = window(symbol, longer, opened, opened + longer.ms)
    parts = window(symbol, shorter, opened, opened + longer.ms)
    assert len(whole["ts"]) == 1 and len(parts["ts"]) == longer.ms // shorter.ms
    assert {name: int(values[0]) for name, values in whole.items()} == aggregate(parts, slice(None))


@given(
    symbol=st.sampled_from(SYMBOLS),
    timeframe=st.sampled_from(TIMEFRAMES),
    at=st.integers(LISTED_MS, NOW - 1),
    cuts=st.lists(st.integers(0, 400), min_size=1, max_size=4),
)
@settings(max_examples=40)
def test_pages_of_any_size_join_to_the_whole(symbol: str, timeframe: Timeframe, at: int, cuts: list[int]) -> None:
    start = timeframe.ceil(at)
    ends = [start + timeframe.ms * edge for edge in [0, *sorted(cuts), 400]]
    whole = window(symbol, timeframe, start, ends[-1])
    pages = [window(symbol, timeframe, left, right) for left, right in zip(ends, ends[1:], strict=False)]
    for name in VENUE_COLUMNS:
        assert np.array_equal(np.concatenate([page[name] for page in pages]), whole[name])


@given(symbol=st.sampled_from(SYMBOLS), timeframe=st.sampled_from(TIMEFRAMES), now=st.integers(LISTED_MS, NOW))
@settings(max_examples=60)
def test_the_forming_bar_is_the_sum_of_what_the_minutes_show(symbol: str, timeframe: Timeframe, now: int) -> None:
    forming = market().bars(symbol, timeframe, Window(None, None, 1), now)
    opened = timeframe.floor(now)
    minutes = window(symbol, Timeframe.M1, opened, now + 1, now)
    assert {name: int(values[0]) for name, values in forming.items()} == aggregate(minutes, slice(None))
    final = window(symbol, timeframe, opened, opened + 1, now + timeframe.ms)
    assert forming["volume"][0] < final["volume"][0]
    assert final["low"][0] <= forming["low"][0] and forming["high"][0] <= final["high"][0]


@given(symbol=st.sampled_from(SYMBOLS), timeframe=st.sampled_from(TIMEFRAMES), at=st.integers(LISTED_MS, NOW))
@settings(max_examples=60)
def test_bars_are_orderly(symbol: str, timeframe: Timeframe, at: int) -> None:
    bars = market().bars(symbol, timeframe, Window(at, None, 500), at + 501 * timeframe.ms)
    instrument = market().instruments[symbol]
    assert np.array_equal(bars["ts"], timeframe.opens(at, at + 500 * timeframe.ms)[: len(bars["ts"])])
    assert (bars["low"] > 0).all()
    assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
    assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
    assert np.array_equal(bars["open"][1:], bars["close"][:-1])
    for name in ("open", "high", "low", "close"):
        assert (bars[name] % (UNIT // 10**instrument.tick_places) == 0).all()
    assert (bars["volume"] % (UNIT // 10**instrument.lot_places) == 0).all()
    assert (bars["trades"] > 0).all() and (bars["taker_buy_base"] > 0).all()
    assert (bars["taker_buy_base"] < bars["volume"]).all() and (bars["taker_buy_quote"] < bars["quote_volume"]).all()


@given(symbol=st.sampled_from(SYMBOLS), timeframe=st.sampled_from(TIMEFRAMES), at=st.integers(LISTED_MS, NOW))
@settings(max_examples=60)
def test_the_mean_price_lies_within_the_bar(symbol: str, timeframe: Timeframe, at: int) -> None:
    bars = market().bars(symbol, timeframe, Window(at, None, 100), at + 101 * timeframe.ms)
    for row in range(len(bars["ts"])):
        low, high = int(bars["low"][row]), int(bars["high"][row])
        for base, quote in (("volume", "quote_volume"), ("taker_buy_base", "taker_buy_quote")):
            assert low * int(bars[base][row]) <= int(bars[quote][row]) * UNIT <= high * int(bars[base][row])


def test_the_same_bytes_for_ever() -> None:
    start = parse_time("2024-02-26")
    found = {t.code: digest(window("ETHUSDT", t, start, start + 50 * t.ms)) for t in TIMEFRAMES}
    assert found == GOLDEN


def test_another_process_gives_the_same_bytes() -> None:
    code = (
        "from cryptai_pipelines_tests.replay.test_simulated import digest, window, parse_time, Timeframe\n"
        "start = parse_time('2021-05-19')\n"
        "print(digest(window('BTCUSDT', Timeframe.M1, start, start + 700 * 60_000)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    start = parse_time("2021-05-19")
    assert run.stdout.strip() == digest(window("BTCUSDT", Timeframe.M1, start, start + 700 * 60_000))


def test_a_symbol_does_not_depend_on_how_many_there_are() -> None:
    few = open_simulated(11, 2, FixedClock(NOW)).bars("ETHUSDT", Timeframe.H1, Window(None, None, 200), NOW)
    assert digest(few) == digest(market().bars("ETHUSDT", Timeframe.H1, Window(None, None, 200), NOW))


def test_seeds_and_symbols_differ() -> None:
    start = parse_time("2024-01-01")
    found = {
        digest(window(symbol, Timeframe.H1, start, start + 100 * Timeframe.H1.ms, seed=seed))
        for symbol in ("BTCUSDT", "ETHUSDT")
        for seed in (1, 2, 3)
    }
    assert len(found) == 6


def test_nothing_before_the_listing_and_nothing_after_now() -> None:
    first = market().bars("BTCUSDT", Timeframe.D1, Window(0, None, 3), NOW)
    assert first["ts"].tolist() == [LISTED_MS + n * Timeframe.D1.ms for n in range(3)]
    assert len(window("BTCUSDT", Timeframe.M1, 0, LISTED_MS)["ts"]) == 0
    assert len(market().bars("BTCUSDT", Timeframe.M1, Window(None, None, 5), LISTED_MS - 1)["ts"]) == 0
    assert len(market().bars("BTCUSDT", Timeframe.W1, Window(None, None, 5), LISTED_MS)["ts"]) == 1


def test_volatility_comes_in_clusters_and_regimes() -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "ADAUSDT"):
        hours = window(symbol, Timeframe.H1, parse_time("2018-01-01"), parse_time("2025-12-29"))
        returns = np.diff(np.log(hours["close"] / UNIT))
        size = np.abs(returns - returns.mean())
        assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.15
        assert np.corrcoef(size[24:], size[:-24])[0, 1] > 0.03
        assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.15
        excess = ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2 - 3
        assert excess > 2
        quarters = np.array([part.std() for part in np.array_split(returns, 32)])
        assert quarters.max() > 2 * quarters.min()
        annual = returns.std() * np.sqrt(Timeframe.H1.bars_per_year)
        assert 0.2 < annual < 2.0
        assert np.corrcoef(np.log(hours["volume"][1:]), np.log(size + 1e-6))[0, 1] > 0.2


@pytest.mark.parametrize("count", [0, -1, 10_001])
def test_a_number_of_symbols_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(BadInput, match=str(count)):
        open_simulated(1, count, FixedClock(NOW))


def test_symbols_are_distinct_and_split_as_listed() -> None:
    many = open_simulated(5, 10_000, FixedClock(NOW)).instruments
    assert len(many) == 10_000
    assert all(instrument.base + instrument.quote == symbol for symbol, instrument in many.items())


# SHA-256 of 50 ETHUSDT bars of seed 11 from 2024-02-26. A change here changes every simulated market ever shown.
GOLDEN = {
    "1m": "8a6f75fade30cb683298f06b0fdbba21087fe5062daf781521d810fd3bfe3132",
    "5m": "1b19048e54655d290bd2e2340b4211c56b09dcbbd2575d3c272f6ad17bde16fb",
    "15m": "bd129fa07b777f2cba759c8e88b0ace226580010f935108660415b40d127af71",
    "30m": "62db32abe2e95177cb8ae859965f92c5ca378642f80c33796c2ef919825595c4",
    "1h": "776efe326f558ca149b2f78601c32589c37e19b44e84941d604776428eab0c8f",
    "4h": "d7537292d15112281f5b0cbbe7dc7281bce2099e5ad63e7a89aec73146b0506b",
    "1d": "b91a0b6f846da1413ceaa7e5593ac0e1b3b733bb1b964b3b087ed3d9ad768a27",
    "1w": "d75648003b889878a10d271d4d82c38ef1b846c1f9799b2c19f3bffab70e6acb",
}
