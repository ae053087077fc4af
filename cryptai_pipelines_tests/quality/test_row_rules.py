"""Every class of bad row is refused and says why; no good row is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryptai_pipelines.market.bars import BAR_COLUMNS, WIRE_DTYPES, Columns, concat_columns, empty_columns, take_rows
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.quality.row_rules import PRICES, ROW_RULES, good_bars, judge, unreported_to_nan
from cryptai_pipelines.quality.schemas import check_raw, check_validated
from cryptai_pipelines_tests.quality.samples import SAMPLE, closed_at, good_rows, recorded_rows

HOUR = Timeframe.H1.ms
I64 = np.iinfo(np.int64)
BASE = good_rows(20)
ROW = 7


def planted(**values: float) -> Columns:
    """`BASE` with other values in row `ROW`."""
    rows = {name: column.copy() for name, column in BASE.items()}
    for name, value in values.items():
        rows[name][ROW] = value
    return rows


def at(name: str) -> float:
    return BASE[name][ROW].item()


TS = int(at("ts"))
FAULTS: list[tuple[str, dict[str, float]]] = [
    *[("not_finite", {field: value}) for field in (*PRICES, "volume") for value in (np.nan, np.inf, -np.inf, float("1e400"))],
    *[("not_positive", {field: value}) for field in PRICES for value in (0.0, -0.0, -1.0, -1e300)],
    ("negative_volume", {"volume": -1e-12}),
    ("negative_volume", {"volume": -1e300}),
    ("price_order", {"high": at("low") * 0.99}),
    ("price_order", {"high": np.nextafter(max(at("open"), at("close")), 0)}),
    ("price_order", {"low": np.nextafter(min(at("open"), at("close")), np.inf)}),
    ("price_order", {"open": at("high") * 1.01}),
    ("price_order", {"open": at("low") * 0.99}),
    ("price_order", {"close": at("high") * 1.01}),
    ("price_order", {"close": at("low") * 0.99}),
    *[("time_unit", {"ts": value}) for value in (0, -1, -TS, I64.min, I64.max, TS // 1_000, TS * 1_000, TS * 1_000_000)],
    ("time_unit", {"ts": 1_230_768_000_000 - HOUR}),
    *[("off_grid", {"ts": TS + shift}) for shift in (1, -1, 1_000, 60_000, 28 * 60_000 + 14_000, HOUR // 2)],
    *[("not_closed", {"ts": closed_at(BASE) + ahead * HOUR}) for ahead in (0, 1, 24 * 365, 24 * 365 * 500)],
    *[("impossible_flow", {field: -1.0}) for field in ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")],
    *[("impossible_flow", {field: np.inf}) for field in ("quote_volume", "taker_buy_base", "taker_buy_quote")],
    *[("close_time", {"close_ts": TS + shift}) for shift in (HOUR, HOUR - 2, 0, 2 * HOUR - 1)],
    *[
        ("close_time", {"close_ts": (TS + HOUR - 1) * 1_000}),
        ("close_time", {"close_ts": I64.max}),
        ("close_time", {"close_ts": -1}),
    ],
]


@pytest.mark.parametrize(("rule", "values"), FAULTS, ids=str)
def test_a_planted_fault_is_refused_alone_with_its_values(rule: str, values: dict[str, float]) -> None:
    rows = planted(**values)
    verdict = judge(rows, Timeframe.H1, closed_at(BASE))
    assert verdict.bad.tolist() == [ROW]
    assert np.array_equal(verdict.good, np.arange(20) != ROW)
    assert verdict.rules == (rule,)
    for name in values:
        assert f"{name}={rows[name][ROW].item()!r}" in verdict.reasons[0]
    assert "\n" not in verdict.reasons[0]
    check_validated(good_bars(rows, verdict), Timeframe.H1)


STRANGE_BUT_TRUE: list[dict[str, float]] = [
    {},
    {"open": 1e3, "high": 1e4, "low": 999.0, "close": 9_999.0},
    {"open": 7.0, "high": 7.0, "low": 7.0, "close": 7.0, "volume": 0.0, "quote_volume": 0.0, "trades": 0},
    {"open": 5e-324, "high": 1e308, "low": 5e-324, "close": 1e-8},
    {"volume": 0.0},
    {"volume": -0.0},
    {"close_ts": 0},
    {"quote_volume": 0.0, "trades": 0, "taker_buy_base": 0.0, "taker_buy_quote": 0.0},
    {"quote_volume": np.nan, "taker_buy_base": np.nan, "taker_buy_quote": np.nan},
    {"unused": np.nan},
]


@pytest.mark.parametrize("values", STRANGE_BUT_TRUE, ids=str)
def test_what_may_have_happened_passes(values: dict[str, float]) -> None:
    rows = planted(**values)
    verdict = judge(rows, Timeframe.H1, closed_at(BASE))
    assert verdict.good.all() and not len(verdict.bad) and verdict.repeated == 0
    check_validated(good_bars(rows, verdict), Timeframe.H1)


def test_the_first_bar_of_the_epoch_of_trading_and_the_last_closed_bar_pass() -> None:
    rows = take_rows(BASE, np.array([0, 1]))
    rows["ts"][0], rows["close_ts"][:] = 1_230_768_000_000, 0
    assert judge(rows, Timeframe.H1, int(rows["ts"][1]) + HOUR).good.tolist() == [True, True]
    assert judge(rows, Timeframe.H1, int(rows["ts"][1]) + HOUR - 1).rules == ("not_closed",)


def test_a_row_is_filed_under_the_first_rule_and_names_the_others() -> None:
    verdict = judge(planted(ts=TS + 1, open=-1.0, volume=np.nan), Timeframe.H1, closed_at(BASE))
    assert verdict.rules == ("off_grid",)
    assert verdict.reasons[0].endswith("; also not_finite, not_positive, price_order")


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_good_rows_of_every_timeframe_pass(timeframe: Timeframe) -> None:
    rows = good_rows(500, timeframe)
    assert judge(rows, timeframe, closed_at(rows, timeframe)).good.all()
    shifted = {**rows, "ts": rows["ts"] + 1_000}
    assert set(judge(shifted, timeframe, closed_at(rows, timeframe) + timeframe.ms).rules) == {"off_grid"}


def test_a_week_that_opens_on_thursday_is_off_the_grid() -> None:
    rows = good_rows(5, Timeframe.W1)
    thursday = {**rows, "ts": rows["ts"] + 3 * Timeframe.D1.ms, "close_ts": np.zeros(5, "int64")}
    assert set(judge(thursday, Timeframe.W1, closed_at(rows, Timeframe.W1) + Timeframe.W1.ms).rules) == {"off_grid"}


def test_a_repetition_is_dropped_and_counted() -> None:
    rows = take_rows(BASE, np.array([0, 1, 1, 2, 1, 3]))
    verdict = judge(rows, Timeframe.H1, closed_at(BASE))
    assert verdict.good.tolist() == [True, True, False, True, False, True]
    assert len(verdict.bad) == 0 and verdict.repeated == 2


def test_the_first_of_many_repetitions_stands() -> None:
    order = np.random.default_rng(1).integers(0, 20, 500)
    verdict = judge(take_rows(BASE, order), Timeframe.H1, closed_at(BASE))
    assert np.flatnonzero(verdict.good).tolist() == sorted(np.unique(order, return_index=True)[1].tolist())


def test_repetitions_with_unreported_values_are_the_same() -> None:
    rows = take_rows(planted(quote_volume=np.nan), np.array([ROW, ROW]))
    assert judge(rows, Timeframe.H1, closed_at(BASE)).repeated == 1


@pytest.mark.parametrize("field", [name for name in WIRE_DTYPES if name not in ("ts", "close_ts", "unused")])
def test_contradicting_rows_are_all_refused(field: str) -> None:
    rows = take_rows(BASE, np.array([3, ROW, ROW, 9, ROW]))
    rows[field][2] += {"high": 1, "trades": 1}.get(field, -1e-6)
    verdict = judge(rows, Timeframe.H1, closed_at(BASE))
    if field == "low":
        assert verdict.good.tolist() == [True, False, False, True, False]
    assert verdict.bad.tolist() == [1, 2, 4] and set(verdict.rules) == {"conflicting_duplicate"}
    assert f"{field}={rows[field][2].item()!r}" in verdict.reasons[1]


def test_a_bad_row_does_not_take_the_good_one_with_its_open_time_along() -> None:
    rows = take_rows(BASE, np.array([2, 2]))
    rows["close"][0] = -5.0
    verdict = judge(rows, Timeframe.H1, closed_at(BASE))
    assert verdict.good.tolist() == [False, True] and verdict.rules == ("not_positive",)


@given(order=st.permutations(range(20)))
@settings(max_examples=20)
def test_order_does_not_matter_and_good_bars_ascend(order: list[int]) -> None:
    rows = take_rows(planted(low=-1.0), np.array(order))
    verdict = judge(rows, Timeframe.H1, closed_at(BASE))
    assert verdict.bad.tolist() == [order.index(ROW)]
    bars = good_bars(rows, verdict)
    assert bars.index.is_monotonic_increasing and len(bars) == 19
    check_validated(bars, Timeframe.H1)


wild = st.integers(0, 12).flatmap(
    lambda n: st.fixed_dictionaries(
        {name: hnp.arrays(dtype, n, elements=_elements(name, dtype)) for name, dtype in WIRE_DTYPES.items()}
    )
)


def _elements(name: str, dtype: str) -> st.SearchStrategy[float]:
    if name == "ts":
        return st.one_of(st.sampled_from(BASE["ts"].tolist()), st.integers(I64.min, I64.max))
    if dtype == "int64":
        return st.one_of(st.just(0), st.integers(I64.min, I64.max))
    width = 32 if dtype == "float32" else 64
    return st.one_of(st.sampled_from([1.0, 2.0, 0.0, -1.0]), st.floats(width=width))


def judged_one_by_one(rows: Columns, timeframe: Timeframe, not_after_ms: int) -> list[bool]:
    """Which rows are sound by themselves, by the plain reading of the rules."""
    sound = []
    for i in range(len(rows["ts"])):
        row = {name: values[i].item() for name, values in rows.items()}
        ts, o, h, low, c, v = (row[name] for name in ("ts", "open", "high", "low", "close", "volume"))
        fine = 1_230_768_000_000 <= ts and ts % timeframe.ms == 0 and ts + timeframe.ms <= not_after_ms
        fine = fine and all(np.isfinite(x) for x in (o, h, low, c, v)) and min(o, h, low, c) > 0 <= v
        fine = fine and low <= min(o, c) and max(o, c) <= h
        flows = [row[name] for name in ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")]
        fine = fine and not any(x < 0 or x == np.inf for x in flows)
        sound.append(fine and (row["close_ts"] == 0 or row["close_ts"] == ts + timeframe.ms - 1))
    return sound


@given(rows=wild)
@settings(max_examples=150)
def test_anything_is_judged_as_a_plain_reading_would(rows: Columns) -> None:
    limit = closed_at(BASE)
    verdict, sound = judge(rows, Timeframe.H1, limit), judged_one_by_one(rows, Timeframe.H1, limit)
    for i, fine in enumerate(sound):
        filed = dict(zip(verdict.bad.tolist(), verdict.rules, strict=True)).get(i)
        assert (filed in (None, "conflicting_duplicate")) == fine
    assert int(verdict.good.sum()) + len(verdict.bad) + verdict.repeated == len(sound)
    assert len(verdict.rules) == len(verdict.reasons) == len(verdict.bad)
    check_validated(good_bars(rows, verdict), Timeframe.H1)


def test_nothing_is_judged_as_nothing() -> None:
    verdict = judge(empty_columns(), Timeframe.H1, 0)
    assert len(verdict.good) == len(verdict.bad) == verdict.repeated == 0
    assert len(good_bars(empty_columns(), verdict)) == 0


def test_the_shipped_sample_loses_its_off_grid_bars_and_nothing_else() -> None:
    rows = recorded_rows(SAMPLE)
    verdict = judge(rows, Timeframe.H1, closed_at(rows))
    assert len(rows["ts"]) == 55_765 and len(verdict.bad) == 43 and verdict.repeated == 0
    assert set(verdict.rules) == {"off_grid"}
    assert verdict.reasons[0].endswith("ts=1518168494000 (2018-02-09T09:28:14.000Z)")
    bars = good_bars(rows, verdict)
    check_raw(rows)
    check_validated(bars, Timeframe.H1)
    assert len(bars) == 55_722 and not bars.isna().any().any()


CLEAN = [
    *[f"binance/BTCUSDT_{code}" for code in ("1m", "5m", "15m", "1h", "4h", "1d")],
    *[f"binance/{symbol}USDT_{code}" for symbol in ("ETH", "SOL") for code in ("1h", "4h", "1d")],
    "binance_2021h1/BTCUSDT_5m",
    "kraken/BTCUSD_1h",
    "bitstamp/BTCUSD_1h",
]


@pytest.mark.parametrize("name", CLEAN)
def test_no_bar_of_a_clean_recording_is_refused(real_data: Path, name: str) -> None:
    rows = recorded_rows(real_data / f"{name}.parquet")
    timeframe = Timeframe(name.rsplit("_", 1)[1])
    verdict = judge(rows, timeframe, closed_at(rows, timeframe))
    assert verdict.good.all(), verdict.reasons[:3]
    bars = good_bars(rows, verdict)
    check_validated(bars, timeframe)
    traded = bars["volume"] > 0
    assert bars.loc[traded, list(BAR_COLUMNS[5:])].isna().all().all() and not bars[~traded].isna().any().any()


def test_a_recording_with_a_zero_price_loses_that_bar(real_data: Path) -> None:
    rows = recorded_rows(real_data / "gemini" / "BTCUSD_1h.parquet")
    verdict = judge(rows, Timeframe.H1, closed_at(rows))
    assert verdict.bad.tolist() == [0] and verdict.rules == ("not_positive",)
    assert "open=0.0" in verdict.reasons[0] and "low=0.0" in verdict.reasons[0]


def test_two_collections_of_one_series_contradict_each_other(real_data: Path) -> None:
    rows = recorded_rows(real_data / "binance_cdd" / "BTCUSDT_1h.parquet")
    verdict = judge(rows, Timeframe.H1, closed_at(rows))
    ts, counts = np.unique(rows["ts"], return_counts=True)
    assert set(verdict.rules) <= {"conflicting_duplicate", "price_order", "off_grid"}
    assert np.isin(rows["ts"][verdict.bad], ts[counts > 1]).mean() > 0.9
    assert len(np.unique(rows["ts"][verdict.good])) == int(verdict.good.sum())


def test_what_a_venue_leaves_out_is_nan_and_a_true_zero_stays() -> None:
    silent = {"quote_volume": 0.0, "trades": 0, "taker_buy_base": 0.0, "taker_buy_quote": 0.0}
    rows = concat_columns(
        [
            take_rows(planted(**values), np.array([ROW]))
            for values in (
                silent,
                {**silent, "volume": 0.0},
                {"taker_buy_base": 0.0, "taker_buy_quote": 0.0},
                {"quote_volume": 0.0},
            )
        ]
    )
    told = unreported_to_nan(rows)
    missing = {name: np.isnan(told[name]).tolist() for name in BAR_COLUMNS if np.isnan(told[name]).any()}
    assert missing == {
        "quote_volume": [True, False, False, True],
        "trades": [True, False, False, False],
        "taker_buy_base": [True, False, False, False],
        "taker_buy_quote": [True, False, False, False],
    }
    assert told["taker_buy_base"][2] == 0.0 and told["trades"].dtype == np.float64
    assert rows["trades"].dtype == np.int64 and rows["quote_volume"][0] == 0.0


def test_rules_have_distinct_names_and_say_what_they_mean() -> None:
    names = [rule.name for rule in ROW_RULES]
    assert len(set(names)) == len(names) and all(rule.description and rule.fields for rule in ROW_RULES)
    assert {rule for rule, _ in FAULTS} | {"conflicting_duplicate"} == set(names)
