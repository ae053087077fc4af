"""Every series rule finds what is planted for it, where it is planted, and nothing in sound bars; cut into blocks anyhow, a
series has the findings of the whole."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import BAR_COLUMNS, OHLCV, Columns, take_rows
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.market_signs import complete_aggregates
from cryptai_pipelines.quality.price_signs import decimals
from cryptai_pipelines.quality.series_rules import CONTEXT, RECEIVED_RULES, SERIES_RULES, STORED_RULES, as_found, find, scan
from cryptai_pipelines.quality.series_view import SeriesFinding, View
from cryptai_pipelines_tests.quality.samples import good_rows

HOUR = Timeframe.H1.ms
BARS = 900
ROW = 700
RULES = {rule.name: rule for rule in SERIES_RULES}
PRICES = ("open", "high", "low", "close")


def receipts_of(bars: Columns) -> Columns:
    """Every bar received a little after its end, and never again."""
    last = {name: bars[name].copy() for name in ("high", "low", "volume")}
    first = {f"first_{name}": values.copy() for name, values in last.items()}
    ts = bars["ts"]
    return {"ts": ts, "known_at": ts + HOUR + 5_000, "revisions": np.zeros(len(ts), "int64"), **last, **first}


def sound() -> View:
    """Bars on a tick of 0.01 that nothing is wrong with, and companions that agree with them."""
    rows = good_rows(BARS)
    bars = {"ts": rows["ts"].copy(), **{name: rows[name].astype("float64") for name in BAR_COLUMNS}}
    for name in PRICES:
        bars[name] = np.round(bars[name], 2)
    bars["high"] = np.round(np.maximum.reduce([bars[name] for name in PRICES]) + 0.01, 2)
    bars["low"] = np.round(np.minimum.reduce([bars[name] for name in PRICES]) - 0.01, 2)
    other = {name: values * (1.001 if name in PRICES else 0.7) for name, values in bars.items() if name != "ts"}
    finer = {name: values.copy() for name, values in bars.items()}
    return View(bars, Timeframe.H1, True, finer, {"ts": bars["ts"].copy(), **other}, receipts_of(bars), 0.01)


def shifted(view: View, rows: slice, **values: float) -> None:
    """Set columns of the bars and of the finer bars alike, so that only the rule under test sees a difference."""
    for name, value in values.items():
        view.bars[name][rows] = value
        assert view.finer is not None
        view.finer[name][rows] = value


def scaled_from(view: View, row: int, factor: float) -> View:
    for columns in (view.bars, view.finer, view.other):
        for name in PRICES:
            columns[name][row:] = np.round(columns[name][row:] * factor, 2)
        for name in ("quote_volume", "taker_buy_quote"):
            columns[name][row:] *= factor
    return view


def without(view: View, rows: slice) -> View:
    keep = np.ones(BARS, bool)
    keep[rows] = False
    return view._replace(bars=take_rows(view.bars, keep))


def received(view: View, order: np.ndarray, **changes: object) -> View:
    """Rows as they came, before anything is known beside them."""
    return View({**take_rows(view.bars, order), **changes}, view.timeframe)  # type: ignore[arg-type]


def zero_volume_run(view: View) -> View:
    shifted(view, slice(ROW, ROW + 5), **dict.fromkeys(("volume", "quote_volume", "trades", "taker_buy_base"), 0.0))
    shifted(view, slice(ROW, ROW + 5), taker_buy_quote=0.0)
    return view


def flat_run(view: View) -> View:
    shifted(view, slice(ROW, ROW + 6), **dict.fromkeys(PRICES, float(view.bars["close"][ROW - 1])))
    return with_fitting_flows(view)


def with_fitting_flows(view: View) -> View:
    for columns in (view.bars, view.finer):
        columns["quote_volume"] = columns["volume"] * columns["close"]
        columns["taker_buy_quote"] = columns["quote_volume"] / 2
    return view


def price_jump(view: View) -> View:
    return scaled_from(view, ROW, 1.6)


def jump_across_gap(view: View) -> View:
    return without(scaled_from(view, ROW, 1.2), slice(ROW - 3, ROW))


def symbol_reuse(view: View) -> View:
    return without(scaled_from(view, ROW, 0.1), slice(ROW - 200, ROW))


def wick(view: View) -> View:
    shifted(view, slice(ROW, ROW + 1), low=0.01)
    view.other["low"][ROW] = 0.01
    return view


def first_bar(view: View) -> View:
    shifted(view, slice(0, 1), open=0.0, low=0.0)
    view.other["low"][0] = 0.0
    return view


def off_tick(view: View) -> View:
    shifted(view, slice(ROW, ROW + 3), **{name: view.bars[name][ROW : ROW + 3] + 0.005 for name in PRICES})  # type: ignore[arg-type]
    return view


def precision_change(view: View) -> View:
    shifted(view, slice(ROW, BARS), close=np.round(view.bars["close"][ROW:] + 0.0012, 4))  # type: ignore[arg-type]
    shifted(view, slice(ROW, BARS), high=np.maximum(view.bars["high"], view.bars["close"])[ROW:])  # type: ignore[arg-type]
    return view._replace(tick_size=None)


def volume_unit(view: View) -> View:
    shifted(view, slice(ROW, ROW + 1), quote_volume=float(view.bars["quote_volume"][ROW] * 100))
    return view


def taker_exceeds_volume(view: View) -> View:
    shifted(view, slice(ROW, ROW + 2), taker_buy_base=view.bars["volume"][ROW : ROW + 2] * 1.5)  # type: ignore[arg-type]
    return view


def trades_without_volume(view: View) -> View:
    shifted(view, slice(ROW, ROW + 1), volume=0.0, quote_volume=0.0, taker_buy_base=0.0, taker_buy_quote=0.0, trades=7.0)
    return view


def made_up_opens(view: View) -> View:
    for columns in (view.bars, view.finer):
        columns["open"][ROW - 300 : ROW] = columns["close"][ROW - 301 : ROW - 1]
        columns["high"] = np.maximum.reduce([columns[name] for name in PRICES])
        columns["low"] = np.minimum.reduce([columns[name] for name in PRICES])
    return view


def stale_page(view: View) -> View:
    for name in BAR_COLUMNS:
        view.bars[name][ROW : ROW + 40] = view.bars[name][ROW - 100 : ROW - 60]
        view.finer[name][ROW : ROW + 40] = view.bars[name][ROW : ROW + 40]
    return view._replace(other=None)


def mislabelled_venue(view: View) -> View:
    for name in ("high", "low", "close", "volume"):
        view.other[name][ROW : ROW + 50] = view.bars[name][ROW : ROW + 50]
    return view


def aggregate_mismatch(view: View) -> View:
    view.bars["volume"][ROW] *= 1.01
    view.bars["quote_volume"][ROW] *= 1.01
    return view


def cross_venue_band(view: View) -> View:
    view.other["high"][ROW : ROW + 2] *= 1.2
    return view


def future_bar(view: View) -> View:
    view.receipts["known_at"][ROW] -= HOUR // 2
    return view


def forming_bar(view: View) -> View:
    view.receipts["revisions"][ROW] = 1
    view.receipts["first_volume"][ROW] *= 0.4
    return view


def restatement_share(view: View) -> View:
    view.receipts["revisions"][ROW - 9 : ROW + 1] = 1
    return view


def unsorted(view: View) -> View:
    return received(view, np.array([*range(ROW), ROW + 1, ROW, ROW + 2]))


def duplicate_run(view: View) -> View:
    return received(view, np.array([*range(ROW), ROW - 1, ROW - 1, ROW]))


def mixed_time_unit(view: View) -> View:
    ts = view.bars["ts"][:ROW].copy()
    ts[-4:] *= 1_000
    return received(view, np.arange(ROW), ts=ts)


def shifted_grid(view: View) -> View:
    ts = view.bars["ts"][:ROW].copy()
    ts[-43:] += 28 * 60_000 + 14_000
    return received(view, np.arange(ROW), ts=ts)


# What is planted, and the first row, the number of bars, and the worst value of the one finding that must come of it.
PLANTED: dict[Callable[[View], View], tuple[int, int, float | None]] = {
    zero_volume_run: (ROW, 5, None),
    flat_run: (ROW, 6, None),
    price_jump: (ROW, 1, 47.0),
    jump_across_gap: (ROW, 1, float(np.log(1.2))),
    symbol_reuse: (ROW, 1, float(np.log(0.1))),
    wick: (ROW, 1, float(np.log(0.01 / 100))),
    first_bar: (0, 1, -np.inf),
    off_tick: (ROW, 3, 0.5),
    precision_change: (ROW, 1, 4.0),
    volume_unit: (ROW, 1, 99.0),
    taker_exceeds_volume: (ROW, 2, 0.5),
    trades_without_volume: (ROW, 1, 7.0),
    made_up_opens: (ROW - 300, 300, None),
    stale_page: (ROW, 40, 100.0),
    mislabelled_venue: (ROW, 50, None),
    aggregate_mismatch: (ROW, 1, 0.01),
    cross_venue_band: (ROW, 2, -float(np.log(1.2))),
    future_bar: (ROW, 1, 0.5),
    forming_bar: (ROW, 1, 1.5),
    restatement_share: (ROW, 191, 0.05),
    unsorted: (ROW, 1, 1.0),
    duplicate_run: (ROW - 1, 2, None),
    mixed_time_unit: (ROW - 4, 4, None),
    shifted_grid: (ROW - 43, 43, 1_694.0),
}
# What is wrong in more than one way by its nature.
ALSO = {
    "symbol_reuse": {"jump_across_gap"},
    "off_tick": {"precision_change"},
    "first_bar": {"wick"},
    "flat_run": {"cross_venue_band"},
}


def test_every_rule_has_a_planted_fault() -> None:
    assert [plant.__name__ for plant in PLANTED] == list(RULES)
    assert all(rule.severity in ("info", "warning", "error") for rule in SERIES_RULES)
    assert len(RULES) == len(SERIES_RULES)


def test_sound_bars_have_no_findings() -> None:
    assert find(sound()) == []
    assert find(received(sound(), np.arange(BARS))) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_where_it_is(plant: Callable[[View], View]) -> None:
    name = plant.__name__
    before = sound()
    view = plant(sound())
    found = [one for one in find(view) if one.rule == name]
    row, count, worst = PLANTED[plant]
    assert len(found) == 1, found
    assert found[0].count == count and found[0].severity == RULES[name].severity
    ts = int(before.bars["ts"][row])
    if name not in ("mixed_time_unit", "shifted_grid"):
        assert found[0].start_ms == ts
    if worst is None:
        assert found[0].worst is None
    else:
        assert found[0].worst == pytest.approx(worst, rel=0.25 if name in ("price_jump", "jump_across_gap", "wick") else 0.02)
    assert found[0].reason and "\n" not in found[0].reason and "{" not in found[0].reason


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_by_its_rule_alone(plant: Callable[[View], View]) -> None:
    found = {one.rule for one in find(plant(sound()))}
    assert found - ALSO.get(plant.__name__, set()) == {plant.__name__}


@pytest.mark.parametrize("rule", [rule for rule in SERIES_RULES if rule.needs], ids=lambda rule: rule.name)
def test_a_rule_without_what_it_needs_is_silent(rule) -> None:
    plant = next(plant for plant in PLANTED if plant.__name__ == rule.name)
    view = plant(sound())._replace(**dict.fromkeys(rule.needs))
    assert [one for one in find(view) if one.rule == rule.name] == []
    empty = {name: np.empty(0, "int64" if name == "ts" else "float64") for name in view.bars}
    if rule.needs != ("tick_size",):
        nothing = receipts_of(empty) if rule.needs == ("receipts",) else empty
        assert [one for one in find(view._replace(**dict.fromkeys(rule.needs, nothing))) if one.rule == rule.name] == []


@pytest.mark.parametrize("rule", SERIES_RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("bars", [0, 1, 2])
def test_hardly_any_bars_are_no_problem(rule, bars: int) -> None:
    whole = sound()
    rows = np.arange(bars)
    companions = [take_rows(one, rows) for one in (whole.finer, whole.other, whole.receipts)]
    assert find(View(take_rows(whole.bars, rows), Timeframe.H1, True, *companions, 0.01), [rule]) == []


def test_thresholds_are_parameters() -> None:
    view = zero_volume_run(sound())
    assert find(view, [RULES["zero_volume_run"]], {"zero_volume_run": {"at_least": 6}}) == []
    assert len(find(view, [RULES["zero_volume_run"]], {"zero_volume_run": {"at_least": 5}})) == 1


def test_bars_without_flows_are_judged_by_what_they_have() -> None:
    view = sound()
    bars = {name: view.bars[name] for name in ("ts", *OHLCV)}
    assert find(View(bars, Timeframe.H1, True)) == []
    silent = {**view.bars, **{name: np.full(BARS, np.nan) for name in BAR_COLUMNS[5:]}}
    assert find(View(silent, Timeframe.H1, True)) == []


def spoiled(seed: int) -> View:
    """Bars with many faults at random places."""
    view, random = sound(), np.random.default_rng(seed)
    for plant in (price_jump, wick, forming_bar, restatement_share, cross_venue_band, volume_unit, aggregate_mismatch):
        view = plant(view)
    for _ in range(6):
        start, length = int(random.integers(0, BARS)), int(random.integers(1, 60))
        rows = slice(start, start + length)
        for name in random.choice(BAR_COLUMNS, 3):
            view.bars[name][rows] = random.choice([0.0, 1.0, 50.0])
        view.receipts["revisions"][rows] = 1
        view.other["volume"][rows] = view.bars["volume"][rows]
    made_up_opens(view)
    view.bars["volume"][ROW - 300 : ROW - 200] = 3.0
    for name in OHLCV:
        view.bars[name][ROW + 20 : ROW + 90] = view.bars[name][ROW - 70 : ROW]
        view.other[name][300:400] = view.bars[name][300:400]
    keep = np.sort(random.choice(BARS, BARS - 40, replace=False))
    return view._replace(bars=take_rows(view.bars, keep))


@given(seed=st.integers(0, 10), cuts=st.lists(st.integers(1, BARS - 41), max_size=6))
@settings(max_examples=60)
def test_cut_into_blocks_a_series_has_the_findings_of_the_whole(seed: int, cuts: list[int]) -> None:
    view = spoiled(seed)
    whole = find(view, STORED_RULES)
    assert len({one.rule for one in whole}) > 8
    edges = [0, *sorted(set(cuts)), len(view.bars["ts"])]
    assert same(scan(blocks(view, edges), STORED_RULES), whole)


@given(seed=st.integers(0, 50), cuts=st.lists(st.integers(1, 199), max_size=6))
@settings(max_examples=60)
def test_rows_as_received_have_the_same_findings_one_by_one_whatever_the_cuts(seed: int, cuts: list[int]) -> None:
    random = np.random.default_rng(seed)
    ts = sound().bars["ts"][np.sort(random.integers(0, 150, 200))]
    ts[20:60] += 1_694_000 * random.integers(0, 3)
    ts[100:120] = random.permutation(ts[100:120])
    written = np.where(random.random(200) < 0.1, ts * 1_000, ts)
    whole = find(View({"ts": ts, "ts_written": written}, Timeframe.H1), RECEIVED_RULES)
    edges = [0, *sorted(set(cuts)), 200]
    parts = [slice(max(0, start - 1), end) for start, end in zip(edges[:-1], edges[1:], strict=True)]
    views = [View({"ts": ts[part], "ts_written": written[part]}, Timeframe.H1) for part in parts]
    found = list(as_found(((view, min(at, 1)) for at, view in enumerate(views)), RECEIVED_RULES))
    for rule in RECEIVED_RULES:
        assert [one for one in found if one.rule == rule.name] == [one for one in whole if one.rule == rule.name]
    assert len(found) == len(whole) and len({one.rule for one in whole}) >= 3


def test_a_unit_is_judged_by_the_numbers_as_they_came_and_told_by_their_times() -> None:
    ts = sound().bars["ts"][:10].copy()
    written = np.array([*ts[:4], *ts[4:7] * 1_000, *ts[7:] // 1_000])
    [found] = find(View({"ts": ts, "ts_written": written}, Timeframe.H1), RECEIVED_RULES)
    assert (found.rule, found.start_ms, found.end_ms, found.count) == ("mixed_time_unit", ts[4], ts[9] + HOUR, 6)


def blocks(view: View, edges: list[int]):
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        before = max(0, start - CONTEXT)
        first, last = view.bars["ts"][[start, end - 1]]
        companions = [take_rows(one, (one["ts"] >= first) & (one["ts"] <= last)) for one in (view.finer, view.other)]
        companions.append(take_rows(view.receipts, (view.receipts["ts"] <= last)))
        bars = take_rows(view.bars, np.arange(before, end))
        yield View(bars, view.timeframe, start == 0, *companions, view.tick_size), start - before


def same(found: list[SeriesFinding], expected: list[SeriesFinding]) -> bool:
    """first_bar looks at bars after the first: a first block of fewer than it needs may be silent."""
    late = {"first_bar"}
    return [one for one in found if one.rule not in late] == [one for one in expected if one.rule not in late]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.integers(0, 8))
def test_decimals_are_those_of_the_written_price(wholes: list[int], digits: int) -> None:
    prices = np.array([float(f"{whole / 10**digits:.{digits}f}") for whole in wholes])
    for price, found in zip(prices, decimals(prices), strict=True):
        assert found == max(0, -Decimal(repr(float(price))).normalize().as_tuple().exponent)


def test_aggregates_are_made_of_whole_bars_only() -> None:
    rows = good_rows(48, Timeframe.H1)
    start = int(Timeframe.H4.ceil(int(rows["ts"][0])))
    bars = {"ts": start + HOUR * np.arange(48), **{name: rows[name].astype("float64") for name in BAR_COLUMNS}}
    made = complete_aggregates(take_rows(bars, np.arange(48) != 5), Timeframe.H1, Timeframe.H4)
    assert made["ts"].tolist() == [start + 4 * HOUR * n for n in range(12) if n != 1]
    assert made["high"][1] == bars["high"][8:12].max() and made["volume"][1] == pytest.approx(bars["volume"][8:12].sum())
