"""The series rules on recorded files: every known defect is found and counted exactly, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.quality.series_rules import SERIES_RULES
from cryptai_pipelines_tests.quality.recorded import (
    ALONE,
    REFUSED,
    WITNESSED,
    bars_of,
    counted,
    found_alone,
    found_beside,
    refused,
)


@pytest.mark.parametrize("name", ALONE)
def test_a_recorded_file_has_the_findings_it_is_known_for(real_data: Path, name: str) -> None:
    assert counted(found_alone(real_data, name)) == ALONE[name]


@pytest.mark.parametrize("name", ALONE)
def test_no_row_of_a_recorded_file_is_refused_but_the_bad_ones(real_data: Path, name: str) -> None:
    assert refused(real_data, name) == REFUSED.get(name, {})


@pytest.mark.parametrize(("name", "witness"), WITNESSED)
def test_a_recorded_file_beside_another(real_data: Path, name: str, witness: str) -> None:
    assert counted(found_beside(real_data, name, witness)) == WITNESSED[name, witness]


def test_most_recorded_files_are_clean_by_each_rule() -> None:
    """A rule that finds something everywhere says nothing; only the jump of a price happens in most markets."""
    for rule in SERIES_RULES:
        loud = [name for name, found in ALONE.items() if rule.name in found]
        assert len(loud) <= (len(ALONE) * 2 // 3 if rule.name == "price_jump" else len(ALONE) // 3), rule.name


def first(found, rule: str):
    return next(one for one in found if one.rule == rule)


def test_defects_are_found_where_they_are_known_to_be(real_data: Path) -> None:
    cdd = found_alone(real_data, "binance_cdd/BTCUSDT_1h")
    assert first(cdd, "first_bar").start_ms == parse_time("2017-08-17T04:00Z")
    assert counted(cdd)["duplicate_run"] == (2_649, 2_649)
    gemini = found_alone(real_data, "gemini/BTCUSD_1h")
    assert first(gemini, "first_bar").worst == float("-inf")
    low = [one for one in found_alone(real_data, "bitfinex_derived/BTCUSD_1h") if one.rule == "wick"]
    assert parse_time("2013-04-16T04:00Z") in {one.start_ms for one in low}
    off_grid = first(found_alone(real_data, "binance_vision_2025/BTCUSDT_1h"), "shifted_grid")
    assert (off_grid.count, off_grid.worst) == (43, 28 * 60 + 14)
    assert off_grid.start_ms == parse_time("2018-02-09T09:28:14Z")
    copied = found_beside(real_data, "mislabelled/BITFINEX_BTCUSD_1h", "coinbase/BTCUSD_1h")
    assert sum(one.count for one in copied) == 17_583 - 29  # all bars but those without volume and short runs beside them
    restated = found_beside(real_data, "binance_2021h1/BTCUSDT_1h", "binance_2021h1/BTCUSDT_5m")
    assert [one.start_ms for one in restated] == [parse_time("2021-04-22T02:00Z"), parse_time("2021-04-23T01:00Z")]


def test_the_repeated_block_in_a_recorded_file_is_one(real_data: Path) -> None:
    """Five hours of 2017-11-12 repeat the five before them; held against the file itself, row by row."""
    found = first(found_alone(real_data, "coinbase/BTCUSD_1h"), "stale_page")
    bars = bars_of(real_data, "coinbase/BTCUSD_1h")
    row = int(bars["ts"].searchsorted(found.start_ms))
    assert (found.count, found.worst) == (5, 5.0)
    for name in ("open", "high", "low", "close", "volume"):
        assert bars[name][row : row + 5].tolist() == bars[name][row - 5 : row].tolist()
        assert bars[name][row + 5] != bars[name][row]
