"""Wrong rows: each kind against rows whose right form is known, and nothing else is touched."""

from __future__ import annotations

import json

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.content_faults import CONTENT_FAULTS, spoiled_content
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.replay.conftest import ask

MINUTE = 60_000
NOW = 1_700_000_000_000 // MINUTE * MINUTE
API = Api(open_simulated(2, 3, FixedClock(NOW)))
KLINES = ask(API, f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={NOW - 10 * MINUTE}&endTime={NOW - 1}").body
BEFORE = ask(
    API, f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={NOW - 20 * MINUTE}&endTime={NOW - 10 * MINUTE - 1}"
).body
TIME = ask(API, "/api/v3/time").body
INFO = ask(API, "/api/v3/exchangeInfo").body
TICKERS = ask(API, "/api/v3/ticker/24hr").body
ROWS = json.loads(KLINES)

OPENS = {
    "stale_page": [NOW + at * MINUTE for at in range(-20, -10)],
    "stale_tail": [NOW + at * MINUTE for at in range(-10, -3)],
    "short_page": [NOW + at * MINUTE for at in range(-10, -5)],
    "last_bar_only": [NOW - MINUTE],
    "overlapping_page": [NOW + at * MINUTE for at in range(-13, 0)],
    "out_of_order": [NOW + at * MINUTE for at in range(-1, -11, -1)],
    "duplicate_rows": [NOW + at * MINUTE for at in range(-10, 0) for _ in range(2)],
    "conflicting_rows": [NOW + at * MINUTE for at in (-10, -9, -8, -7, -6, -5, -5, -4, -3, -2, -1)],
    "microseconds": [1000 * (NOW + at * MINUTE) for at in range(-10, 0)],
    "off_grid": [NOW + at * MINUTE + 1234 * (at == -5) for at in range(-10, 0)],
    "future_bar": [*(NOW + at * MINUTE for at in range(-10, 0)), NOW + 999 * MINUTE],
}


@pytest.mark.parametrize("kind", OPENS)
def test_rows_are_misplaced_as_the_kind_says(kind: str) -> None:
    rows = json.loads(spoiled_content(kind, KLINES, BEFORE))
    assert [row[0] for row in rows] == OPENS[kind]
    true = {tuple(row[1:6]) for row in ROWS + json.loads(BEFORE)}
    assert {tuple(row[1:6]) for row in rows} <= true, "no price is made up"


@pytest.mark.parametrize(("kind", "fields"), [("eleven_fields", 11), ("thirteen_fields", 13)])
def test_rows_have_the_wrong_number_of_fields(kind: str, fields: int) -> None:
    rows = json.loads(spoiled_content(kind, KLINES, None))
    assert {len(row) for row in rows} == {fields}
    assert [row[:11] for row in rows] == [row[:11] for row in ROWS]


def test_two_rows_of_one_open_time_differ() -> None:
    rows = json.loads(spoiled_content("conflicting_rows", KLINES, None))
    same = [row for row in rows if row[0] == NOW - 5 * MINUTE]
    assert len(same) == 2 and same[0] != same[1]


def test_the_clock_is_wrong_by_ten_minutes() -> None:
    assert json.loads(spoiled_content("server_time_ahead", TIME, None)) == {"serverTime": NOW + 10 * MINUTE}
    assert json.loads(spoiled_content("server_time_behind", TIME, None)) == {"serverTime": NOW - 10 * MINUTE}


def test_symbols_vanish_and_are_reused() -> None:
    known = json.loads(INFO)["symbols"]
    assert json.loads(spoiled_content("symbol_vanishes", INFO, None))["symbols"] == known[1:]
    reused = json.loads(spoiled_content("symbol_reused", INFO, None))["symbols"]
    assert reused[0]["symbol"] == "BTCUSDT" and reused[0]["baseAsset"] == "OTHER" and reused[1:] == known[1:]


@pytest.mark.parametrize("kind", CONTENT_FAULTS)
def test_what_a_kind_does_not_concern_is_left_alone(kind: str) -> None:
    concerned = {"server_time_ahead": TIME, "server_time_behind": TIME, "symbol_vanishes": INFO, "symbol_reused": INFO}
    for body in (KLINES, TIME, INFO, TICKERS):
        if body is not concerned.get(kind, KLINES):
            assert spoiled_content(kind, body, None) == body
    assert spoiled_content("stale_page", KLINES, None) == KLINES
    empty = b"[]"
    assert spoiled_content(kind, empty, None) == empty
