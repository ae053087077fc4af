"""A result is judged and shown again when anything becomes other that its verdict or its report tells of, and not otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cryptai_pipelines.backtest.parameters import MarketRules
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.orchestration import trial as single
from cryptai_pipelines.orchestration.chain import (
    backtest_results,
    market_structure,
    performance_metrics,
    signals,
    technical_indicators,
)
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.outcome import Outcome, ignore_progress
from cryptai_pipelines.storage import backtests, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import LeaseLost, take_series
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_finer_bars import BARS, H1, HOUR, M5, M15, NEAR, STRATEGY, TRIAL, World


class Reported:
    """A world whose results are measured, too, and the folder of the reports."""

    def __init__(self, database: Database, folder: Path, hours: int = BARS) -> None:
        self.database, self.folder, self.world = database, folder, World(database)
        self.world.store((H1, 0, hours))

    def run(self, trial: Trial = TRIAL) -> Outcome:
        with take_series(self.database, "binance", H1, "test", 60.0) as lease:
            technical_indicators.bring_up_to_date(self.database, lease, ())
            market_structure.bring_up_to_date(self.database, lease, 5)
            signals.bring_up_to_date(self.database, lease, STRATEGY, trial.rules)
            backtest_results.bring_up_to_date(self.database, lease, trial, run_id="test")
            return performance_metrics.bring_up_to_date(self.database, lease, trial, self.folder)

    def measure(self, trial: Trial) -> Outcome:
        with take_series(self.database, "binance", H1, "test", 60.0) as lease:
            return performance_metrics.bring_up_to_date(self.database, lease, trial, self.folder)

    def try_out(self, take_profit: float) -> dict:
        home = settings_for("http://127.0.0.1:1", self.folder)
        tried = Trial("trial", STRATEGY, TRIAL.rules, replace(NEAR, take_profit=take_profit))
        return single.run_trial(self.database, home, H1, tried, "test", ignore_progress)

    def verdict(self, trial: Trial = TRIAL) -> dict | None:
        return backtests.read_review(self.database, self.identity(trial))[0]

    def identity(self, trial: Trial = TRIAL) -> int:
        return backtests.read_backtest(self.database, STRATEGY.name, H1, trial.config)[0]

    def page(self) -> str:
        return performance_metrics.files_of(self.folder, H1, STRATEGY.name).report.read_text()


@pytest.fixture
def reported(database: Database, tmp_path: Path) -> Reported:
    found = Reported(database, tmp_path)
    assert found.run().facts["report_is_new"]
    return found


OTHERS = {
    "another parameter": replace(TRIAL, engine=replace(NEAR, max_positions=NEAR.max_positions + 1)),
    "another rule of the market": replace(TRIAL, market=MarketRules(min_notional=5.0)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_configuration_with_the_same_trades_is_judged_and_shown(reported: Reported, other: Trial) -> None:
    fingerprint, page = reported.world.result().trades_sha256, reported.page()
    told = reported.run(other)
    header = backtests.read_backtest(reported.database, STRATEGY.name, H1, other.config)[1]
    assert header.trades_sha256 == fingerprint, "the trades tell nothing of the change"
    assert told.facts["report_is_new"] and reported.page() != page
    assert reported.verdict(other)["trials"] >= 1
    assert len(backtests.scheduled_reviews(reported.database, STRATEGY.name, [H1])[H1]) > 20
    assert reported.run().facts["report_is_new"], "the former configuration is shown when it is the present one again"
    assert reported.verdict()["trials"] == reported.verdict(other)["trials"]


def test_nothing_new_is_neither_judged_nor_rendered(reported: Reported, monkeypatch) -> None:
    monkeypatch.setattr(performance_metrics, "assess", lambda *_: pytest.fail("nothing is new"))
    assert not reported.run().facts["report_is_new"]


def test_an_hour_without_a_closed_trade_is_not_rendered(database: Database, tmp_path: Path) -> None:
    reported = Reported(database, tmp_path, BARS - 2)
    held = replace(TRIAL, engine=replace(NEAR, take_profit=9.0, stop_loss=0.9, partial_take_profit=0.0))
    reported.run(held)
    days = backtests.read_daily(database, reported.identity(held))
    reported.world.store((H1, BARS - 2, 2))
    assert not reported.run(held).facts["report_is_new"]
    assert not backtests.read_daily(database, reported.identity(held)).equals(days), "the days are renewed all the same"


@pytest.mark.parametrize("version", ["METRICS_VERSION", "REVIEW_VERSION", "REPORT_VERSION"])
def test_other_code_judges_and_shows_again(reported: Reported, monkeypatch, version: str) -> None:
    monkeypatch.setattr(performance_metrics, version, 999)
    assert reported.run().facts["report_is_new"]
    assert not reported.run().facts["report_is_new"]


def test_bars_told_apart_by_others_are_shown_when_the_trades_stay_as_they_were(reported: Reported) -> None:
    world = reported.world
    world.store((M15, 0, BARS))
    reported.run()
    for hour in (world.asked()["ts"].to_numpy() - world.start) // HOUR:
        before = world.result()
        world.store((M5, int(hour), 1))
        told = reported.run()
        now, after = world.result().metrics.get("told_apart_by_5m", 0), world.result()
        if after.trades_sha256 == before.trades_sha256 and now > before.metrics.get("told_apart_by_5m", 0):
            break
    else:
        pytest.fail("no bar of 5 minutes said what those of 15 had said")
    assert told.facts["report_is_new"] and f"{now} by 5m" in reported.page()


def test_trials_made_later_count_from_the_next_run_on(reported: Reported) -> None:
    revision = state.read_state(reported.database, "performance_metrics", H1).revision
    assert reported.verdict()["trials"] == 1
    for take_profit in (0.02, 0.03, 0.04):
        reported.try_out(take_profit)
    told = reported.run()
    assert reported.verdict()["trials"] == 4 and told.facts["report_is_new"]
    assert told.written == 0 and told.revision == revision, "no row is another one"
    assert not reported.run().facts["report_is_new"]
    reported.try_out(0.02)
    assert not reported.run().facts["report_is_new"], "the same trial once more is none"


def test_a_trial_that_was_not_judged_has_no_verdict(reported: Reported, monkeypatch) -> None:
    identity = reported.try_out(0.02)["backtest_id"]
    assert backtests.read_review(reported.database, identity)[0] is not None
    reported.world.restate((H1, 50))
    with monkeypatch.context() as patch:
        patch.setattr(single, "assess", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            reported.try_out(0.02)
    assert backtests.read_review(reported.database, identity) == (None, [])
    assert backtests.read_gates(reported.database, identity) == []
    assert reported.try_out(0.02)["verdict"]["trials"] == 2


def test_who_lost_the_series_while_rendering_replaces_nothing(reported: Reported, monkeypatch) -> None:
    page, verdict = reported.page(), reported.verdict()
    reported.try_out(0.02)
    render = performance_metrics.render_files

    def overtaken(database: Database, *args: object) -> object:
        database.rows("UPDATE historical_data_range SET lease_token = lease_token + 1 WHERE timeframe = '1h' RETURNING 1")
        return render(database, *args)

    monkeypatch.setattr(performance_metrics, "render_files", overtaken)
    with pytest.raises(LeaseLost):
        reported.run()
    assert (reported.page(), reported.verdict()) == (page, verdict)


def test_the_metrics_alone_say_what_they_wait_for(reported: Reported) -> None:
    other = OTHERS["another rule of the market"]
    with pytest.raises(CryptaiError, match="BTC-USDT 1h is not of these .* market rules; materialize backtest_results first"):
        reported.measure(other)
    reported.run(other)
    assert reported.measure(other).rows > 0
    with pytest.raises(CryptaiError, match="materialize backtest_results first"):
        reported.measure(TRIAL)
