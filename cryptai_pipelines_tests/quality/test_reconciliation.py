"""Two tables of the same bars: what is found is what was planted, and what is known of the real files; who is believed follows
the table of rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import OHLCV, Columns, take_rows
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality import beliefs
from cryptai_pipelines.quality.beliefs import BELIEFS, ROLES, believe, believed_side, found_bars
from cryptai_pipelines.quality.reconciliation import (
    CROSS_VENUE,
    DISAGREEING,
    KINDS,
    LAST_DIGIT,
    OFF_GRID_OTHER,
    OFF_GRID_SOURCE,
    ONLY_OTHER,
    ONLY_SOURCE,
    PRICE,
    SAME_VENUE,
    VOLUME,
    Rule,
    agrees,
    compare,
    is_mislabelled,
    months,
    verdict,
)
from cryptai_pipelines_tests.quality.samples import good_rows, recorded_rows

H1 = Timeframe.H1
RESTATED = ["2020-12-21T13:00:00Z", "2021-01-11T08:00:00Z", "2021-04-23T01:00:00Z"]


def span_of(*tables: Columns) -> Interval:
    return Interval(max(int(t["ts"].min()) for t in tables), min(int(t["ts"].max()) for t in tables) + 1)


def changed(rows: Columns, at: int, column: str, factor: float) -> Columns:
    values = rows[column].copy()
    values[at] *= factor
    return {**rows, column: values}


def found(comparison) -> list[tuple[int, str]]:
    return list(zip(comparison.ts.tolist(), comparison.kind.tolist(), strict=True))


# The acceptance: what is known of the two copies of Binance's history.


@pytest.fixture(scope="module")
def copies(real_data: Path) -> tuple[Columns, Columns]:
    return (
        recorded_rows(real_data / "binance_vision_2025" / "BTCUSDT_1h.parquet"),
        recorded_rows(real_data / "binance" / "BTCUSDT_1h.parquet"),
    )


def test_the_archive_copy_against_the_api_copy(copies) -> None:
    archive, api = copies
    result = compare(archive, api, H1, SAME_VENUE, span_of(archive, api))
    at = {kind: [format_time(ts) for ts, one in found(result) if one == kind] for kind in KINDS}
    assert (result.compared, result.agreeing, result.disagreeing) == (55_721, 55_706, 15)
    assert len(at[OFF_GRID_SOURCE]) == 43 and at[OFF_GRID_OTHER] == []
    assert (at[OFF_GRID_SOURCE][0], at[OFF_GRID_SOURCE][-1]) == ("2018-02-09T09:28:14Z", "2018-02-11T03:28:14Z")
    assert at[ONLY_SOURCE] == ["2020-12-21T14:00:00Z"]
    assert at[PRICE] == RESTATED
    assert len(at[VOLUME]) + len(at[LAST_DIGIT]) == 12
    beyond = np.max([np.abs(result.differences[name]) for name in ("high", "low", "close")], axis=0) > 0.0005
    assert [format_time(ts) for ts in result.ts[beyond]] == RESTATED


def test_another_copy_of_2021_shows_the_same_restatements(copies, real_data: Path) -> None:
    third = recorded_rows(real_data / "binance_2021h1" / "BTCUSDT_1h.parquet")
    archive, api = copies
    result = compare(third, api, H1, SAME_VENUE, span_of(third, api))
    priced = [format_time(ts) for ts, kind in found(result) if kind == PRICE]
    assert [at for at in priced if at in RESTATED] == RESTATED
    # Two of three copies hold what the venue's API has restated since: the votes show it.
    ts = np.sort(result.ts[result.kind == PRICE])
    ts = ts[[format_time(one) in RESTATED for one in ts]]
    assert agrees(third, archive, ts, H1, SAME_VENUE).all()
    assert not agrees(third, api, ts, H1, SAME_VENUE).any()


def test_months_together_equal_the_whole(copies) -> None:
    archive, api = copies
    within = span_of(archive, api)
    whole = compare(archive, api, H1, SAME_VENUE, within)
    parts = [compare(archive, api, H1, SAME_VENUE, part) for _, part in months(within)]
    assert sum(part.compared for part in parts) == whole.compared
    assert [pair for part in parts for pair in found(part)] == found(whole)


def test_a_mislabelled_venue_is_suspicious_and_honest_ones_are_not(real_data: Path) -> None:
    def told(one: str, another: str) -> bool:
        tables = [recorded_rows(real_data / name) for name in (one, another)]
        result = compare(*tables, H1, CROSS_VENUE, span_of(*tables))
        assert ("mislabelled" in verdict(result, CROSS_VENUE, "one", "another")) == is_mislabelled(result, CROSS_VENUE)
        return is_mislabelled(result, CROSS_VENUE)

    assert told("mislabelled/BITFINEX_BTCUSD_1h.parquet", "coinbase/BTCUSD_1h.parquet")
    for pair in (("coinbase", "kraken"), ("gemini", "bitfinex_derived"), ("bitstamp", "coinbase")):
        assert not told(*(f"{venue}/BTCUSD_1h.parquet" for venue in pair))


def test_a_made_up_open_is_left_out(real_data: Path) -> None:
    other = recorded_rows(real_data / "coinbase" / "BTCUSD_1h.parquet")
    honest = {**other, "open": other["open"] * np.where(np.arange(len(other["ts"])) % 2, 1.001, 1.0)}
    within = span_of(other)
    assert compare(honest, other, H1, SAME_VENUE, within).disagreeing == len(other["ts"]) // 2
    without_open = Rule(columns=("high", "low", "close", "volume"))
    assert compare(honest, other, H1, without_open, within).disagreeing == 0


def test_repeated_open_times_are_counted_and_the_last_one_counts(real_data: Path) -> None:
    repeated = recorded_rows(real_data / "binance_cdd" / "BTCUSDT_1h.parquet")
    last = ~pd.Series(repeated["ts"]).duplicated(keep="last").to_numpy()
    result = compare(repeated, take_rows(repeated, last), H1, SAME_VENUE, span_of(repeated))
    assert result.repeated_source == 2_649 and result.repeated_other == 0
    assert result.compared == result.agreeing == int(last.sum())


# Planted differences.

PLANTED = st.lists(
    st.tuples(st.integers(0, 199), st.sampled_from(["price", "volume", "digit", "drop source", "drop other", "off grid"])),
    max_size=30,
    unique_by=lambda plant: plant[0],
)


@given(plants=PLANTED, seed=st.integers(0, 9))
def test_what_was_planted_is_found_and_nothing_else(plants, seed) -> None:
    source = good_rows(200, seed=seed)
    other = {name: values.copy() for name, values in source.items()}
    expected, dropped = [], {"drop source": [], "drop other": []}
    for at, kind in plants:
        ts = int(source["ts"][at])
        if kind == "off grid":
            other["ts"][at] += 1_694_000
            expected += [(ts, ONLY_SOURCE), (ts + 1_694_000, OFF_GRID_OTHER)]
        elif kind in dropped:
            dropped[kind].append(at)
            expected.append((ts, ONLY_OTHER if kind == "drop source" else ONLY_SOURCE))
        else:
            column, factor, name = {
                "price": ("high", 1.0006, PRICE),
                "volume": ("volume", 0.999, VOLUME),
                "digit": ("close", 1 + 1e-7, LAST_DIGIT),
            }[kind]
            other[column][at] *= factor
            expected.append((ts, name))
    keep = [np.setdiff1d(np.arange(200), dropped[side]) for side in ("drop source", "drop other")]
    order = np.random.default_rng(seed).permutation(len(keep[0]))
    within = Interval(int(source["ts"][0]), int(source["ts"][-1]) + H1.ms)
    result = compare(take_rows(source, keep[0][order]), take_rows(other, keep[1]), H1, SAME_VENUE, within)
    assert found(result) == sorted(expected)
    both = 200 - sum(kind in ("drop source", "drop other", "off grid") for _, kind in plants)
    assert result.compared == both and result.disagreeing == sum(kind in DISAGREEING for _, kind in expected)


def test_the_two_sides_mirror_each_other() -> None:
    source = good_rows(50)
    other = changed(changed(source, 5, "low", 0.9), 9, "volume", 2.0)
    other = take_rows(other, np.arange(3, 50))
    within = span_of(source)
    one, another = (compare(*pair, H1, SAME_VENUE, within) for pair in ((source, other), (other, source)))
    assert [ts for ts, _ in found(one)] == [ts for ts, _ in found(another)]
    assert one.count(ONLY_SOURCE) == another.count(ONLY_OTHER) == 3
    for name in OHLCV:
        np.testing.assert_array_equal(one.differences[name], -another.differences[name])


@pytest.mark.parametrize(
    ("one", "another", "agree"), [(np.nan, np.nan, True), (np.nan, 1.0, False), (0.0, 0.0, True), (0.0, 1.0, False)]
)
def test_no_number_equals_no_number_only(one, another, agree) -> None:
    source = good_rows(3)
    other = {name: values.copy() for name, values in source.items()}
    source["close"][1], other["close"][1] = one, another
    result = compare(source, other, H1, SAME_VENUE, span_of(source))
    assert found(result) == ([] if agree else [(int(source["ts"][1]), PRICE)])


@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
def test_the_threshold_of_prices_is_the_rules(column) -> None:
    source = good_rows(10)
    below, above = changed(source, 4, column, 1.0004), changed(source, 4, column, 1.0006)
    kinds = [compare(source, other, H1, SAME_VENUE, span_of(source)).kind.tolist() for other in (below, above)]
    assert kinds == [[LAST_DIGIT], [PRICE]]
    wide = Rule(price_tolerance=0.01)
    assert compare(source, above, H1, wide, span_of(source)).kind.tolist() == [LAST_DIGIT]


def test_within_a_band_volumes_and_small_differences_agree() -> None:
    source = good_rows(20)
    other = {
        **source,
        **{name: source[name] * 1.005 for name in ("open", "high", "low", "close")},
        "volume": source["volume"] * 9,
    }
    other = changed(other, 7, "close", 1.02)
    result = compare(source, other, H1, CROSS_VENUE, span_of(source))
    assert found(result) == [(int(source["ts"][7]), PRICE)] and not is_mislabelled(result, CROSS_VENUE)
    assert is_mislabelled(compare(source, source, H1, CROSS_VENUE, span_of(source)), CROSS_VENUE)
    assert not is_mislabelled(compare(source, source, H1, SAME_VENUE, span_of(source)), SAME_VENUE)


def test_bars_without_trade_are_no_evidence_of_a_wrong_name() -> None:
    source = {**good_rows(20), "volume": np.zeros(20)}
    assert not is_mislabelled(compare(source, source, H1, CROSS_VENUE, span_of(source)), CROSS_VENUE)


def test_a_bar_is_lacking_only_where_the_side_is_settled() -> None:
    source = good_rows(30)
    other = take_rows(source, np.arange(10, 20))
    ts = source["ts"]
    settled = Interval(int(ts[8]), int(ts[22]))
    result = compare(source, other, H1, SAME_VENUE, span_of(source), settled_other=[settled])
    assert found(result) == [(int(ts[at]), ONLY_SOURCE) for at in (8, 9, 20, 21)]


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"columns": ("close", "price")}, "'price'"),
        ({"columns": ("volume",)}, "at least one price"),
        ({"columns": ()}, "at least one price"),
        ({"price_tolerance": -1.0}, "price_tolerance -1.0"),
        ({"band": float("nan")}, "band nan"),
        ({"volume_tolerance": 1.0}, "volume_tolerance 1.0"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(given_, words) -> None:
    with pytest.raises(BadArgument, match=words):
        Rule(**given_)


@given(start=st.integers(0, 2_000_000), length=st.integers(0, 3_000))
def test_months_cover_the_span_once(start, length) -> None:
    within = Interval(start * H1.ms, (start + length) * H1.ms)
    parts = list(months(within))
    edges = [within.start_ms, *(part.end_ms for _, part in parts)]
    assert [part.start_ms for _, part in parts] == edges[:-1] and edges[-1] == within.end_ms
    for month_ms, part in parts:
        first, last = (pd.Timestamp(ts, unit="ms", tz="UTC") for ts in (part.start_ms, part.end_ms - 1))
        assert (first.year, first.month) == (last.year, last.month)
        assert pd.Timestamp(month_ms, unit="ms", tz="UTC") == first.floor("D").replace(day=1)


# Who is believed.


@pytest.mark.parametrize(
    ("kind", "roles", "votes", "side", "rule"),
    [
        (PRICE, ("api", "archive"), (0, 0), "source", "api over archive"),
        (PRICE, ("archive", "api"), (0, 0), "other", "api over archive"),
        (VOLUME, ("archive", "api"), (2, 1), "source", "majority"),
        (LAST_DIGIT, ("archive", "api"), (1, 1), "other", "api over archive"),
        (ONLY_SOURCE, ("archive", "api"), (0, 0), "source", "the one that has it"),
        (ONLY_OTHER, ("archive", "api"), (5, 0), "other", "the one that has it"),
        (OFF_GRID_SOURCE, ("api", "archive"), (5, 0), "neither", "off grid"),
        (PRICE, ("file", "archive"), (0, 0), "other", "venue over file"),
        (PRICE, ("venue", "api"), (0, 0), "other", "own venue"),
        (PRICE, ("file", "file"), (0, 0), "neither", "undecided"),
        (PRICE, ("file", "file"), (0, 1), "other", "majority"),
    ],
)
def test_who_is_believed(kind, roles, votes, side, rule) -> None:
    assert believe(kind, *roles, *votes) == (side, rule)


@given(st.sampled_from(KINDS), st.sampled_from(ROLES), st.sampled_from(ROLES), st.integers(0, 3), st.integers(0, 3))
def test_belief_does_not_depend_on_the_order_of_the_sides(kind, one, another, mine, theirs) -> None:
    mirrored = {
        ONLY_SOURCE: ONLY_OTHER,
        ONLY_OTHER: ONLY_SOURCE,
        OFF_GRID_SOURCE: OFF_GRID_OTHER,
        OFF_GRID_OTHER: OFF_GRID_SOURCE,
    }
    turned = {beliefs.SOURCE: beliefs.OTHER, beliefs.OTHER: beliefs.SOURCE, beliefs.NEITHER: beliefs.NEITHER}
    side, rule = believe(kind, one, another, mine, theirs)
    assert believe(mirrored.get(kind, kind), another, one, theirs, mine) == (turned[side], rule)
    assert rule in {belief.name for belief in BELIEFS}


def test_every_finding_is_told_with_its_values() -> None:
    source = good_rows(8)
    other = take_rows(changed(source, 2, "close", 1.5), np.array([0, 1, 2, 3, 4, 6, 7]))
    result = compare(source, other, H1, SAME_VENUE, span_of(source))
    bars = found_bars(result, source, other, ("archive", "api"))
    assert [(bar.ts_ms, bar.kind, bar.believed) for bar in bars] == [
        (int(source["ts"][2]), PRICE, "other"),
        (int(source["ts"][5]), ONLY_SOURCE, "source"),
    ]
    close = source["close"][2]
    assert bars[0].source["close"] == close and bars[0].other["close"] == close * 1.5
    assert bars[0].difference["close"] == pytest.approx(-1 / 3) and bars[0].difference["open"] == 0
    assert bars[1].other is None and bars[1].difference == {}
    assert believed_side(bars) == "mixed" and believed_side(bars[:1]) == "other" and believed_side([]) == "both"
