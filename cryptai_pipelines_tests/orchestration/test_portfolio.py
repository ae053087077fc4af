"""A portfolio on stored bars: of one symbol it is the trial of that symbol, and nothing but what it is made of shows in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest.fingerprint import trades_sha256
from cryptai_pipelines.indicators import chunks
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import portfolio_inputs, staleness
from cryptai_pipelines.orchestration.chain.outcome import Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.portfolio import Portfolio, chosen_portfolio, run_portfolio
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.orchestration.universe import chosen_at, gone_symbols
from cryptai_pipelines.storage import backtests, portfolios, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy import higher_timeframe
from cryptai_pipelines_tests.cli.test_portfolio import DIPS
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, slots, store, without
from cryptai_pipelines_tests.orchestration.test_finer_bars import parts_of
from cryptai_pipelines_tests.quality.samples import good_rows

BARS = 3_000
HOUR = Timeframe.H1.ms
FIRST = int(hourly(1)["ts"][0])
NAMES = ("ADA-USDT", "BTC-USDT", "ETH-USDT")
SERIES = {name: Series(name, Timeframe.H1) for name in (*NAMES, "NEW-USDT")}
FINE = "BTC-USDT"
FAILING = '''
import pandas as pd

from cryptai_pipelines.strategy import as_strategy


@as_strategy()
def picky(inputs, parameters):
    """Long after a fall, and no reading of what costs more than 100 at first."""
    if inputs.bars["close"].iloc[0] > 100:
        raise RuntimeError(f"I do not like {inputs.bars['close'].iloc[0]:.0f}")
    fell = inputs.bars["close"].pct_change() < -0.02
    return pd.DataFrame({"side": fell.astype("int8"), "exit_long": inputs.bars["close"].pct_change() > 0.02})
'''


@pytest.fixture(scope="module")
def stored(postgres_server) -> Iterator[Database]:
    """A store of three series over the same time, one of them with a gap and with finer bars, and one that begins in the middle
    of it."""
    with fresh_database(postgres_server) as database:
        for seed, name in enumerate(NAMES, start=3):
            rows = hourly(BARS, seed)
            store(database, SERIES[name], without(rows, range(700, 712)) if name == "BTC-USDT" else rows)
        store(database, Series(FINE, Timeframe.M15), parts_of(hourly(BARS, 3 + NAMES.index(FINE)), Timeframe.M15, 1))
        store(database, SERIES["NEW-USDT"], slots(hourly(BARS, 9), range(1_600, BARS)))
        yield database


def chosen(home: Path, *names: str, window: Interval | None = None, threads: int = 4, **asked: object) -> tuple[Any, Portfolio]:
    settings = settings_for("http://127.0.0.1:1", home, fetch_threads=threads)
    strategy = asked.pop("strategy", settings.strategy)
    return settings, chosen_portfolio(settings, str(strategy), asked, [SERIES[name] for name in names], window)


def run(database: Database, home: Path, *names: str, **asked: Any) -> dict[str, Any]:
    settings, portfolio = chosen(home, *names, **asked)
    return run_portfolio(database, settings, portfolio, "test", ignore_progress)


@pytest.mark.parametrize("strategy", ["trend_rsi_macd", "donchian_trend", "macd_adx"])
@pytest.mark.parametrize("window", [None, Interval(FIRST + 333 * HOUR, FIRST + 2_777 * HOUR)], ids=["all", "window"])
@pytest.mark.parametrize("cut", [False, True], ids=["one block", "many blocks"])
def test_of_one_symbol_it_is_the_trial_of_that_symbol(
    stored: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, window: Interval | None, cut: bool
) -> None:
    if cut:
        for module in (chunks, staleness, higher_timeframe):
            monkeypatch.setattr(module, "CHUNK_BARS", 32)
    settings = settings_for("http://127.0.0.1:1", tmp_path)
    trial = chosen_trial(settings, strategy, {}, window)
    single = run_trial(stored, settings, SERIES["BTC-USDT"], trial, "test", ignore_progress)
    told = run(stored, tmp_path, "BTC-USDT", strategy=strategy, window=window)
    trades = portfolios.read_trades(stored, told["portfolio_id"]).reset_index(drop=True)
    assert single["trade_count"] > 4 and set(trades["symbol"]) == {"BTC-USDT"}
    assert trades_sha256(trades) == single["trades_sha256"]
    assert trades["is_open"].equals(backtests.read_trades(stored, single["backtest_id"]).reset_index(drop=True)["is_open"])
    assert told["config"]["engine"] == single["config"]["engine"] and told["gates"] == single["gates"]
    for name, value in single["metrics"].items():
        assert told["metrics"][name] == pytest.approx(value, rel=1e-9, nan_ok=True), name
    days, expected = portfolios.read_days(stored, told["portfolio_id"]), backtests.read_daily(stored, single["backtest_id"])
    pd.testing.assert_frame_equal(days[expected.columns], expected, rtol=1e-9)
    # But for what is only known of a portfolio, and how many trials there were by then.
    other = {"symbols_chosen_afterwards", "luck_of_trials", "short_sample", "too_large_for_the_market"}
    complaints, others = ({one["code"]: one["value"] for one in found["findings"]} for found in (told, single))
    assert {code: value for code, value in complaints.items() if code not in other} == pytest.approx(
        {code: value for code, value in others.items() if code not in other}, nan_ok=True
    )


def test_finer_bars_tell_of_a_portfolio_what_they_tell_of_a_trial(stored: Database, tmp_path: Path) -> None:
    (tmp_path / "dips.py").write_text(DIPS.format(first="pass"))
    asked = {"take_profit": 0.012, "stop_loss": 0.01}
    settings = settings_for("http://127.0.0.1:1", tmp_path)
    trial = chosen_trial(settings, str(tmp_path / "dips.py"), asked)
    single = run_trial(stored, settings, SERIES[FINE], trial, "test", ignore_progress)
    told = run(stored, tmp_path, FINE, strategy=tmp_path / "dips.py", **asked)
    assert single["metrics"]["told_apart_by_15m"] > 10
    for name in ("ambiguous_bars", "told_apart_bars", "told_apart_by_15m", "ambiguous_count", "optimistic_total_return"):
        assert told["metrics"][name] == single["metrics"][name], name
    assert trades_sha256(portfolios.read_trades(stored, told["portfolio_id"])) == single["trades_sha256"]
    others = run(stored, tmp_path, *NAMES, strategy=tmp_path / "dips.py", **asked)
    assert (
        others["metrics"]["told_apart_by_15m"] > 10
        and others["metrics"]["ambiguous_bars"] > single["metrics"]["ambiguous_bars"]
    )
    assert "told apart by finer ones" in Path(others["report"]).read_text()


def test_neither_the_order_of_names_nor_the_threads_show(stored: Database, tmp_path: Path) -> None:
    names = (*NAMES, "NEW-USDT")
    first = run(stored, tmp_path, *names, max_positions=2)
    assert first["trade_count"] > 20 and first["refused"]["max_positions"] > 0
    assert {name for name, told in first["by_symbol"].items() if told["trades"]} == set(names)
    for order, threads in ((names[::-1], 1), (names[2:] + names[:2], 3), ((*names, names[0]), 8)):
        again = run(stored, tmp_path, *order, max_positions=2, threads=threads)
        assert again == first
    assert run(stored, tmp_path, *names, max_positions=1)["trades_sha256"] != first["trades_sha256"]


def test_what_is_stored_is_what_is_told(stored: Database, tmp_path: Path) -> None:
    told = run(stored, tmp_path, *NAMES)
    identity, header = portfolios.read_portfolio(stored, told["config"])
    assert identity == told["portfolio_id"] and header.trades_sha256 == told["trades_sha256"]
    assert header.symbols == NAMES and header.bars == told["bars"] == 3 * BARS - 12
    trades, days = portfolios.read_trades(stored, identity), portfolios.read_days(stored, identity)
    assert len(trades) == told["trade_count"] and len(days) == len(np.unique(hourly(BARS)["ts"] // 86_400_000))
    profit = sum(one["profit"] for one in told["by_symbol"].values())
    assert days["total_value"].iloc[-1] - 10_000 == pytest.approx(profit)
    assert days["gross_exposure"].between(0, 1 + 1e-9).all() and (days["gross_exposure"] > 0).any()
    closes = [hourly(BARS, seed)["close"] for seed in (3, 4, 5)]
    ends = np.flatnonzero(np.diff(hourly(BARS)["ts"] // 86_400_000))[0], BARS - 1
    held = np.mean([close[ends[1]] / close[ends[0]] for close in closes])
    assert days["benchmark"].iloc[-1] == pytest.approx(held) and days["benchmark"].iloc[0] == 1
    page = Path(told["report"]).read_text()
    assert all(name in page for name in NAMES) and "Profit by symbol" in page and told["verdict"]["answer"] in page


def test_a_strategy_that_raises_on_a_symbol_fails_that_symbol_only(stored: Database, tmp_path: Path) -> None:
    """The others are what they are without it, but that its share of the capital lies idle."""
    (tmp_path / "picky.py").write_text(FAILING)
    path = str(tmp_path / "picky.py")
    opens = {name: hourly(BARS, seed)["close"][0] for seed, name in enumerate(NAMES, start=3)}
    bad = [name for name in NAMES if opens[name] > 100]
    good = [name for name in NAMES if opens[name] <= 100]
    assert bad and good, opens
    told = run(stored, tmp_path, *NAMES, strategy=path)
    assert list(told["failures"]) == bad and list(told["symbols"]) == list(NAMES) and set(told["by_symbol"]) == set(good)
    assert all("I do not like" in error and "RuntimeError" in error for error in told["failures"].values())
    alone = run(stored, tmp_path, *good, strategy=path, size=1 / 3)
    assert alone["trade_count"] > 20 and alone["trades_sha256"] == told["trades_sha256"] and not alone["failures"]
    page = Path(told["report"]).read_text()
    assert all(name in page for name in bad) and "I do not like" in page
    with pytest.raises(CryptaiError, match=f"'picky' on {bad[0]} 1h.*raises RuntimeError: I do not like"):
        run(stored, tmp_path, bad[0], strategy=path)


def test_each_market_keeps_to_its_own_rules(stored: Database, tmp_path: Path) -> None:
    """Those of the stored listing; what another market prescribes shows in it no more than what the capital does."""
    rules = {"BTC-USDT": 0.5, "ETH-USDT": 0.0}
    listings = [
        Listing("binance", name, name.replace("-", ""), *name.split("-"), "TRADING", lot_size=lot)
        for name, lot in rules.items()
    ]
    free = run(stored, tmp_path, *NAMES)
    try:
        with stored.transaction() as cursor:
            symbols.upsert_listings(cursor, listings)
        told = run(stored, tmp_path, *NAMES)
        trades = portfolios.read_trades(stored, told["portfolio_id"]).groupby("symbol")["quantity"]
        in_lots = trades.agg(lambda quantities: (quantities % 0.5 == 0).all())
        assert in_lots.to_dict() == {"ADA-USDT": False, "BTC-USDT": True, "ETH-USDT": False}
        assert told["config"]["markets"] == {"BTC-USDT": {"lot": 0.5}} and "markets" not in free["config"]
        assert told["market_rules"] == "those listed for 1 of 3 symbols" and free["market_rules"] == "none known"
        assert told["portfolio_id"] != free["portfolio_id"] and told["verdict"]["trials"] == free["verdict"]["trials"]
        assert free["config"] == {name: value for name, value in told["config"].items() if name != "markets"}
    finally:
        stored.rows("DELETE FROM symbols RETURNING 1")


def test_without_any_that_can_be_simulated_there_is_no_result(stored: Database, tmp_path: Path) -> None:
    early = Interval(FIRST - 100 * HOUR, FIRST - 50 * HOUR)
    with pytest.raises(BadInput, match="no bars of BTC-USDT 1h are stored between --start and --end"):
        run(stored, tmp_path, "BTC-USDT", window=early)
    with pytest.raises(CryptaiError, match="none of 2 symbols can be simulated: ADA-USDT: no bars .*; BTC-USDT: no bars"):
        run(stored, tmp_path, "BTC-USDT", "ADA-USDT", window=early)
    before_it_was_listed = Interval(FIRST, FIRST + 600 * HOUR)
    told = run(stored, tmp_path, "NEW-USDT", "ADA-USDT", window=before_it_was_listed)
    assert list(told["failures"]) == ["NEW-USDT"] and set(told["by_symbol"]) == {"ADA-USDT"}


def test_the_share_of_a_position_is_an_equal_one_unless_it_is_said(tmp_path: Path) -> None:
    for asked, size in (
        ({}, 1 / 3),
        ({"max_positions": 2}, 1 / 2),
        ({"max_positions": 8}, 1 / 3),
        ({"size": 0.9, "max_positions": 2}, 0.9),
        ({"sizing": "risk"}, 1.0),
        ({"sizing": "volatility"}, 1 / 3),
    ):
        assert chosen(tmp_path, *NAMES, **asked)[1].trial.engine.size == size, asked
    settings = settings_for("http://127.0.0.1:1", tmp_path, parameters={"size": 0.7})
    assert chosen_portfolio(settings, settings.strategy, {}, [SERIES[name] for name in NAMES]).trial.engine.size == 0.7
    with pytest.raises(BadInput, match="quoted in BTC USDT; accepted: one currency"):
        chosen_portfolio(settings, settings.strategy, {}, [SERIES["BTC-USDT"], Series("ETH-BTC", Timeframe.H1)])


def test_bars_that_change_while_they_are_read_are_read_again(database: Database, tmp_path: Path) -> None:
    rows = good_rows(400)
    store(database, SERIES["BTC-USDT"], rows)
    settings, portfolio = chosen(tmp_path, "BTC-USDT")
    changes = iter([0.5, 0.25])

    def restate(_: Progress) -> None:
        share = next(changes, None)
        if share is not None:
            changed = {name: values[200:201].copy() for name, values in rows.items()}
            changed["close"] = changed["low"] + share * (changed["high"] - changed["low"])
            store(database, SERIES["BTC-USDT"], changed, known_at_ms=int(rows["ts"][-1]) + 10 * HOUR + int(1_000 / share))

    inputs, failures = portfolio_inputs.read_together(database, portfolio.series, portfolio.trial, 1, restate)
    found = inputs[SERIES["BTC-USDT"]]
    low, high = rows["low"][200], rows["high"][200]
    assert not failures and found.arrays.close[200] == pytest.approx(low + 0.25 * (high - low))
    assert len(found.arrays.ts) == 400


def test_symbols_are_chosen_when_their_first_bar_came_unless_that_was_before_it(database: Database, tmp_path: Path) -> None:
    rows = good_rows(100)
    last, names = int(rows["ts"][-1]), ("AAA-USDT", "BBB-USDT", "CCC-USDT")
    one, two, live = (Series(name, Timeframe.H1) for name in names)
    store(database, one, rows, known_at_ms=last + 5 * HOUR)
    store(database, two, rows, known_at_ms=last + 9 * HOUR)
    within = Interval(int(rows["ts"][0]) - 24 * HOUR, last + HOUR)
    store(database, live, rows, within, known_at_ms=within.start_ms)
    first = int(rows["ts"][0])
    assert chosen_at(database, {one: first, two: first}) == last + 9 * HOUR
    assert chosen_at(database, {one: first, live: first}) == last + 5 * HOUR
    assert chosen_at(database, {live: first}) == within.start_ms
    assert chosen_at(database, {one: last + 6 * HOUR, live: first}) == within.start_ms
    assert chosen_at(database, {SERIES["NEW-USDT"]: 0}) is None
    listings = [
        Listing("binance", name, name.replace("-", ""), *name.split("-"), "TRADING", delisted_at_ms=gone)
        for name, gone in (("AAA-USDT", None), ("BBB-USDT", first + 1), ("DDD-USDT", first - 1), ("EEE-BTC", first + 1))
    ]
    listings.append(Listing("binance", "FFF-USDT", "FFFUSDT", "FFF", "USDT", "TRADING"))
    with database.transaction() as cursor:
        symbols.upsert_listings(cursor, listings)
        symbols.note_comings(cursor, "binance", listings[:-1])
    assert gone_symbols(database, "binance", [one, two], first) == (2, 1)
    assert gone_symbols(database, "binance", [one], first) == (2, 0)


def test_a_result_is_whole_or_not_there(stored: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens before the end of the transaction, an interruption among it, leaves the result that was there."""
    settings, portfolio = chosen(tmp_path, *NAMES, max_positions=3)
    before = run_portfolio(stored, settings, portfolio, "first", ignore_progress)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(portfolios, "save_review", interrupted)
        run_portfolio(stored, settings, replace(portfolio, series=portfolio.series), "second", ignore_progress)
    assert portfolios.read_portfolio(stored, portfolio.config)[1].run_id == "first"
    assert portfolios.read_review(stored, before["portfolio_id"])[0] == before["verdict"]
    with pytest.raises(KeyboardInterrupt):
        run_portfolio(stored, settings, portfolio, "third", interrupted)
    assert portfolios.read_portfolio(stored, portfolio.config)[1].run_id == "first"
