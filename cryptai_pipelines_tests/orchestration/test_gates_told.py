"""How often each gate let pass is told of every result: stored, in the report, on the terminal, beside the assets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.cli.results import print_backtest
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.metadata import outcome_metadata
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage import backtests, derived
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.signals import STRATEGIES
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, SERIES, START, venue_with, walk_bars

STRATEGY = "trend_rsi_macd"
GATES = STRATEGIES[STRATEGY].gates
RATIO = "always 1.875:1 before costs"


@pytest.fixture
def outcomes(database: Database, tmp_path: Path) -> dict:
    """Those of the whole chain by asset, with a fixed target of 15 % and a stop of 8 %."""
    with venue_with(walk_bars(3, {300}), tmp_path / "venue", FixedClock(START + BARS * HOUR + 60_000)) as url:
        chosen = settings_for(url, tmp_path)
        steps = chain_steps(database, open_venue(chosen), chosen, "test")
        [result] = walk([SERIES], steps, holding(database, "binance", chosen, "test"), 1)
    assert result.error is None, result.error
    return {outcome.asset: outcome for outcome in result.outcomes}


def stored_verdicts(database: Database, within: Interval) -> pd.DataFrame:
    keys = {"strategy": STRATEGY, "symbol": SERIES.symbol, "timeframe": SERIES.timeframe.code}
    return derived.read(database, "signals", keys, *within, columns=GATES)


def assert_counted(told: list[dict], rows: pd.DataFrame) -> None:
    assert [one["gate"] for one in told] == list(GATES)
    for one in told:
        verdicts = pd.array(rows[one["gate"]], dtype="boolean")
        passed, rejected = int(verdicts.sum()), int((~verdicts).sum())
        assert (one["passed"], one["rejected"], one["unknown"]) == (passed, rejected, len(rows) - passed - rejected)
        assert one["pass_rate"] == pytest.approx(passed / (passed + rejected))
        assert (RATIO in one["note"]) == (one["gate"] == "risk_reward_gate")


def test_the_scheduled_result_tells_of_all_its_signals(outcomes: dict, database: Database) -> None:
    identity, _ = backtests.read_backtest(database, STRATEGY, SERIES)
    assert_counted(backtests.read_gates(database, identity), stored_verdicts(database, Interval(0, START + BARS * HOUR)))
    for asset in ("signals", "performance_metrics"):
        shown = outcome_metadata(outcomes[asset], False)["gates"].value
        assert shown == outcomes["signals"].facts["gates"] and RATIO in shown and f"| `{GATES[0]}` |" in shown
    assert RATIO in Path(outcomes["performance_metrics"].facts["report"]).read_text()


def test_a_trial_tells_of_those_of_its_window(outcomes: dict, database: Database, tmp_path: Path, capsys) -> None:
    settings, window = settings_for("http://127.0.0.1:1", tmp_path), Interval(START + 600 * HOUR, START + 900 * HOUR)
    result = run_trial(database, settings, SERIES, chosen_trial(settings, STRATEGY, {}, window), "test", ignore_progress)
    assert_counted(result["gates"], stored_verdicts(database, window))
    page = Path(result["report"]).read_text()
    assert "<h2>Gates</h2>" in page and RATIO in page
    print_backtest(result)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("gate ")]
    assert len(lines) == len(GATES) and sum(RATIO in line for line in lines) == 1
    first = result["gates"][0]
    assert f"gate {first['gate']}: passes {first['pass_rate']:.1%} ({first['passed']:,} passed," in lines[0]


def test_levels_of_the_market_have_no_fixed_ratio(outcomes: dict, database: Database, tmp_path: Path) -> None:
    settings = settings_for("http://127.0.0.1:1", tmp_path)
    for mode, fixed in (("structure", False), ("fixed", True)):
        trial = chosen_trial(settings, "trend_structure", {"risk_mode": mode})
        result = run_trial(database, settings, SERIES, trial, "test", ignore_progress)
        assert any(RATIO in one["note"] for one in result["gates"]) == fixed
    held = run_trial(database, settings, SERIES, chosen_trial(settings, "buy_and_hold", {}), "test", ignore_progress)
    assert [(one["gate"], one["note"]) for one in held["gates"]] == [("data_quality_gate", "refuses nothing")]
