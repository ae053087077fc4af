"""The asset `backtest_review` and the sensor that renews it, on a real instance: its checks say what the stored reviews say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from psycopg2.extras import Json

from cryptai_pipelines.backtest.review import RULES
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.review_results import review_page, review_results
from cryptai_pipelines.orchestration.sensors import ALL_SENSORS
from cryptai_pipelines.storage import backtests
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for

STRATEGY = "trend_rsi_macd"
BITCOIN, ETHER = Series("BTC-USDT", Timeframe.H1), Series("ETH-USDT", Timeframe.H1)
SENSORS = {sensor.name: sensor for sensor in ALL_SENSORS}


def finding(code: str, *, holds: bool, severity: str = "warn", value: float | None = 1.0) -> dict[str, object]:
    return {
        "code": code,
        "severity": severity,
        "holds": holds,
        "value": value,
        "threshold": 2.0,
        "sentence": f"what {code} says.",
    }


def all_findings(**changed: dict[str, object]) -> list[dict[str, object]]:
    found = {rule.__name__: finding(rule.__name__, holds=False) for rule in RULES}
    return [{**one, **changed.get(code, {})} for code, one in found.items()]


def put(database: Database, series: Series, findings: list[dict[str, object]], kind: str = "scheduled", of: str = "") -> None:
    config = {"kind": kind, "of": of}
    header = backtests.BacktestHeader(STRATEGY, series, config, 0, 3_600_000, 2, 0, 0, {}, "0" * 64, "1", 1)
    with database.transaction() as cursor:
        identity = backtests.save_backtest(cursor, header)
        backtests.save_review(cursor, identity, {"answer": "no edge"}, findings)


@pytest.fixture
def defs(database: Database, tmp_path: Path) -> Iterator[dg.Definitions]:
    yield definitions_for(database, settings_for("http://127.0.0.1:9", tmp_path, symbols="BTC-USDT,ETH-USDT"))


def checks(result: object) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}  # type: ignore[attr-defined]


def test_each_rule_is_a_check_that_says_what_the_stored_reviews_say(database, instance, defs):
    ruined = {"holds": True, "severity": "error"}
    put(database, BITCOIN, all_findings(few_trades={"holds": True}, ruin=ruined))
    put(database, ETHER, all_findings(few_trades={"holds": True}, in_sample={"value": None}))
    put(database, Series("BTC-USDT", Timeframe.D1), all_findings(no_costs={"holds": True}), kind="trial")
    told = checks(run_job(defs, "review_backtests", instance))
    assert set(told) == {f"review_{rule.__name__}" for rule in RULES} and len(told) >= 15
    failed = {name: (one.severity.value, one.metadata["findings"].value) for name, one in told.items() if not one.passed}
    assert failed == {
        "review_few_trades": ("WARN", "- BTC-USDT 1h: what few_trades says.\n- ETH-USDT 1h: what few_trades says."),
        "review_ruin": ("ERROR", "- BTC-USDT 1h: what ruin says."),
    }
    assert told["review_in_sample"].metadata["judged"].value == 1
    assert told["review_ruin"].description == "BTC-USDT 1h: what ruin says."
    assert told["review_no_costs"].description.splitlines() == [f"{one}: what no_costs says." for one in (BITCOIN, ETHER)]


def test_the_latest_result_counts_where_parameters_were_changed(database, instance, defs):
    put(database, BITCOIN, all_findings(ruin={"holds": True}))
    header = backtests.BacktestHeader(STRATEGY, BITCOIN, {"kind": "scheduled"}, 0, 1, 2, 0, 0, {}, "0" * 64, "1", 1)
    with database.transaction() as cursor:
        backtests.save_review(cursor, backtests.save_backtest(cursor, header), {}, all_findings())
    assert all(one.passed for one in checks(run_job(defs, "review_backtests", instance)).values())


def look(defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None) -> tuple[bool, str | None]:
    """Whether the sensor asks for a run, and its new cursor."""
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        definitions=defs,
        sensor_name="review_new_results",
        resources={"store": defs.resources["store"]},
    )
    tick = SENSORS["review_new_results"].evaluate_tick(context)
    return bool(tick.run_requests), tick.cursor


def test_the_sensor_asks_for_a_run_when_a_review_changed_and_only_then(database, instance, defs):
    assert look(defs, instance, None) == (False, None)
    put(database, BITCOIN, all_findings())
    asked, cursor = look(defs, instance, None)
    assert asked and cursor
    assert look(defs, instance, cursor) == (False, cursor)
    put(database, BITCOIN, all_findings(), kind="trial")
    assert look(defs, instance, cursor) == (False, cursor)
    put(database, BITCOIN, all_findings(ruin={"holds": True}))
    asked, changed = look(defs, instance, cursor)
    assert asked and changed != cursor


def test_what_a_review_says_is_no_alert(database, instance, defs):
    put(database, BITCOIN, all_findings(ruin={"holds": True, "severity": "error"}))
    assert not checks(run_job(defs, "review_backtests", instance))["review_ruin"].passed
    context = dg.build_sensor_context(
        instance=instance, definitions=defs, sensor_name="failed_check", resources={"store": defs.resources["store"]}
    )
    assert SENSORS["failed_check"].evaluate_tick(context).skip_message == "0 new, 0 still firing, 0 recovered"


def test_a_page_names_the_severe_ones_first_and_nothing_reviewed_says_so():
    findings = [finding("few_trades", holds=True), finding("ruin", holds=True, severity="error"), finding("odd", holds=False)]
    assert review_page({BITCOIN: findings}).splitlines()[-1] == "| BTC-USDT 1h | 2 | **ruin**, few_trades |"
    assert review_page({}) == "nothing was reviewed"
    nothing = review_results("backtest_review", {})
    assert {(one.passed, one.metadata["series"].value, one.description) for one in nothing} == {
        (False, 0, "Nothing was reviewed.")
    }


def test_the_sensor_sees_that_parameters_went_back_to_earlier_ones(database, instance, defs):
    """The review that is shown is then another one, though none was written anew."""
    put(database, BITCOIN, all_findings(ruin={"holds": True}), of="earlier")
    _, earlier = look(defs, instance, None)
    put(database, BITCOIN, all_findings(), of="later")
    _, later = look(defs, instance, earlier)
    put(database, BITCOIN, all_findings(ruin={"holds": True}), of="earlier")
    asked, again = look(defs, instance, later)
    assert asked and earlier == again != later


def test_what_is_not_scheduled_or_not_reviewed_yet_is_not_shown(database):
    put(database, BITCOIN, all_findings())
    put(database, ETHER, all_findings())
    with database.transaction() as cursor:
        cursor.execute("UPDATE backtest_results SET review = %s WHERE symbol = 'ETH-USDT'", (Json(None),))
    assert set(backtests.scheduled_reviews(database, STRATEGY, [BITCOIN, ETHER])) == {BITCOIN}
    assert backtests.scheduled_reviews(database, STRATEGY, [ETHER]) == {}
    assert backtests.scheduled_reviews(database, "another", [BITCOIN]) == {}
    assert backtests.reviews_digest(database, STRATEGY, [ETHER]) is None
