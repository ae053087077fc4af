"""`cryptai gaps` and `cryptai quality` on a store with planted gaps and findings, on an empty one, and with bad arguments."""

from __future__ import annotations

import re

import pytest

from cryptai_pipelines.cli.results import stored_series
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import gap_fills
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.gap_fills import Attempt
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store, without

HOUR = Timeframe.H1.ms
BTC, ETH = (Series(f"{base}-USDT", Timeframe.H1) for base in ("BTC", "ETH"))
ROWS = hourly(900)
START = int(ROWS["ts"][0])


@pytest.fixture
def filled_store(database: Database) -> str:
    """BTC and ETH that both miss five hours; BTC misses one more, has a run without volume and a row in quarantine."""
    bad = {name: values.copy() for name, values in ROWS.items()}
    bad["volume"][200:206] = bad["quote_volume"][200:206] = bad["taker_buy_base"][200:206] = 0
    bad["close"][700] = -1
    store(database, BTC, without(bad, [*range(300, 305), 500]))
    store(database, ETH, without(hourly(900, 1), range(300, 305)))
    gap = Interval(START + 500 * HOUR, START + 501 * HOUR)
    with database.transaction() as cursor:
        gap_fills.record_attempt(cursor, BTC, Attempt("binance", gap, START, 0))
        gap_fills.record_attempt(cursor, BTC, Attempt("kraken", gap, START, 0, "unknown symbol"))
    return database.url


def test_an_empty_store_is_one_clear_line(invoke: Invoke, url: str) -> None:
    for command in (["gaps"], ["quality"], ["quality", "--assess"]):
        ended = invoke(*command, CRYPTAI_DATABASE_URL=url)
        assert (ended.code, ended.out) == (0, "nothing is stored yet; `cryptai sync` fetches bars\n")
    assert invoke("gaps", "--json", CRYPTAI_DATABASE_URL=url).object == {"series": 0, "gaps": [], "missing_bars": 0}
    assert invoke("quality", "--json", "--assess", CRYPTAI_DATABASE_URL=url).object["series"] == []


def test_gaps_are_told_with_who_was_asked_and_classed_once_assessed(invoke: Invoke, filled_store: str) -> None:
    told = invoke("gaps", "--json", CRYPTAI_DATABASE_URL=filled_store).object
    assert (told["series"], told["missing_bars"]) == (2, 12)
    assert {gap["class"] for gap in told["gaps"]} == {None}
    assert "not assessed" in invoke("gaps", CRYPTAI_DATABASE_URL=filled_store).out
    assert invoke("quality", "--assess", CRYPTAI_DATABASE_URL=filled_store).code == 0
    told = invoke("gaps", "BTC-USDT", "--json", CRYPTAI_DATABASE_URL=filled_store).object
    first, second, third = told["gaps"]
    assert first["start"] == format_time(START + 300 * HOUR) and first["end"] == format_time(START + 305 * HOUR)
    assert (first["bars"], first["class"], first["filled"], first["tried"]) == (5, "venue_outage", False, [])
    assert second["tried"] == [
        {"source": "binance", "bars": 0, "error": None},
        {"source": "kraken", "bars": 0, "error": "unknown symbol"},
    ]
    assert third["class"] == "refused_bars"
    printed = invoke("gaps", CRYPTAI_DATABASE_URL=filled_store).out
    assert "venue_outage" in printed and "kraken: unknown symbol" in printed
    assert printed.splitlines()[-1] == "4 gaps, 12 bars missing in 2 series"


def test_quality_tells_months_findings_quarantine_outages_and_syncs(invoke: Invoke, filled_store: str) -> None:
    ended = invoke("quality", "--assess", "--json", CRYPTAI_DATABASE_URL=filled_store)
    told = ended.object
    assert "BTC-USDT 1h data_quality: 100 %" in ended.err
    assert told["rows_changed"] > 0 and told["outages"][0]["symbols"] == ["BTC-USDT", "ETH-USDT"]
    btc, eth = told["series"]
    assert (btc["expected"], btc["received"], btc["in_outage"], btc["unlisted"]) == (900, 893, 5, 0)
    assert btc["completeness"] == 893 / 895 and eth["completeness"] == 1.0
    assert [month["month"] for month in btc["months"]] == ["2020-09", "2020-10"]
    assert sum(month["received"] for month in btc["months"]) == 893
    assert btc["quarantined"] == {"not_positive": 1}
    assert btc["gaps"] == {"venue_outage": 1, "unknown": 1, "refused_bars": 1}
    (run,) = btc["findings"]["zero_volume_run"]
    assert (run["bars"], run["start"], run["severity"]) == (6, format_time(START + 200 * HOUR), "info")
    assert btc["syncs"][0]["status"] == "COMPLETED" and btc["syncs"][0]["rows_new"] == 894
    again = invoke("quality", "--assess", "--json", CRYPTAI_DATABASE_URL=filled_store).object
    assert again["rows_changed"] == 0 and again["series"] == told["series"]
    shown = invoke("quality", "BTC-USDT", "-t", "1h", CRYPTAI_DATABASE_URL=filled_store).out
    for part in ("6 bars in a row without volume", "99.777 %", "bars in quarantine, not_positive: 1", "outage of binance"):
        assert part in shown
    assert "gaps, venue_outage: 1, bars missing in them: 5" in shown and "COMPLETED" in shown
    assert "ETH-USDT 1h" not in shown


def test_several_series_begin_with_an_overview(invoke: Invoke, filled_store: str) -> None:
    shown = invoke("quality", "--assess", CRYPTAI_DATABASE_URL=filled_store).out
    heads, btc, eth = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in _lines_of_first_table(shown)]
    assert heads == ["series", "bars", "complete", "missing", "quarantined", "findings", "last sync"]
    assert btc[:6] == ["BTC-USDT 1h", "893", "99.777 %", "7", "1", btc[5]] and eth[:5] == [
        "ETH-USDT 1h",
        "895",
        "100.000 %",
        "5",
        "0",
    ]
    assert re.fullmatch(r"COMPLETED, 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", btc[6])
    [told, _] = invoke("quality", "--json", CRYPTAI_DATABASE_URL=filled_store).object["series"]
    severities = [one["severity"] for findings in told["findings"].values() for one in findings]
    assert int(btc[5].split()[0]) == len(severities) and ("warning" in btc[5]) is ("warning" in severities)
    assert "last sync" not in invoke("quality", "BTC-USDT", CRYPTAI_DATABASE_URL=filled_store).out


def _lines_of_first_table(shown: str) -> list[str]:
    return [line for line in shown[: shown.index("└")].splitlines() if line[0] in "│┃"]


def test_completeness_is_one_number_wherever_it_is_told(invoke: Invoke, filled_store: str, database: Database) -> None:
    plain = stored_series(database, "binance", BTC)
    assert (plain["completeness"], plain["excused_bars"]) == (893 / 900, 0)
    [btc, eth] = invoke("quality", "--assess", "--json", CRYPTAI_DATABASE_URL=filled_store).object["series"]
    told = stored_series(database, "binance", BTC)
    assert (told["expected_bars"], told["excused_bars"], told["bars"], told["missing_bars"]) == (900, 5, 893, 7)
    assert told["completeness"] == btc["completeness"] == 893 / 895
    assert stored_series(database, "binance", ETH)["completeness"] == eth["completeness"] == 1.0


def test_what_is_not_known_is_named(invoke: Invoke, filled_store: str) -> None:
    ended = invoke("quality", "--exchange", "mtgox", CRYPTAI_DATABASE_URL=filled_store)
    assert ended.code == 2 and "exchange 'mtgox' is not known; accepted: binance" in ended.err
    for command in ("gaps", "quality"):
        assert "'7m' is not known" in invoke(command, "-t", "7m", CRYPTAI_DATABASE_URL=filled_store).err


def test_a_declared_outage_excuses_its_bars_until_it_is_withdrawn(invoke: Invoke, database: Database) -> None:
    """One symbol alone cannot show an outage; a person who knows of it can."""
    store(database, BTC, without(ROWS, range(300, 305)))
    url, began = database.url, format_time(START + 300 * HOUR)

    def months() -> tuple[int, int]:
        [series] = invoke("quality", "--assess", "--json", CRYPTAI_DATABASE_URL=url).object["series"]
        [gap] = invoke("gaps", "--json", CRYPTAI_DATABASE_URL=url).object["gaps"]
        return sum(month["in_outage"] for month in series["months"]), gap["class"]

    assert months() == (0, "unknown")
    assert "no outage of binance is known" in invoke("outages", CRYPTAI_DATABASE_URL=url).out
    span = [began, format_time(START + 305 * HOUR)]
    declared = invoke("outages", "declare", *span, "--source", "its status page", "--json", CRYPTAI_DATABASE_URL=url)
    assert declared.code == 0 and declared.object["declared"]["declared_by"] == "its status page"
    assert months() == (5, "venue_outage")
    [told] = invoke("outages", "--json", CRYPTAI_DATABASE_URL=url).object["outages"]
    assert (told["start"], told["end"], told["declared_by"]) == (*span, "its status page")
    assert invoke("outages", "--exchange", "kraken", "--json", CRYPTAI_DATABASE_URL=url).object["outages"] == []
    assert invoke("outages", "withdraw", began, CRYPTAI_DATABASE_URL=url).code == 0
    assert months() == (0, "unknown")


def test_only_a_past_outage_is_declared_and_only_a_declared_one_withdrawn(invoke: Invoke, filled_store: str) -> None:
    invoke("quality", "--assess", CRYPTAI_DATABASE_URL=filled_store)
    [found] = invoke("outages", "--json", CRYPTAI_DATABASE_URL=filled_store).object["outages"]
    assert found["declared_by"] is None and found["symbols"] == ["BTC-USDT", "ETH-USDT"]
    refused = {
        ("withdraw", found["start"]): "declared: none is declared",
        ("declare", "2021-01-02", "2021-01-01", "--source", "x"): "END '2021-01-01' is not after START '2021-01-02'",
        ("declare", "2021-01-02", "2999-01-01", "--source", "x"): "END '2999-01-01' is in the future",
        ("declare", "2021-01-02", "2021-01-03", "--source", " "): "--source is empty",
        ("declare", found["start"], "2021-01-03", "--source", "x"): "is known; accepted: another START",
        ("--exchange", "kraken", "withdraw", "2021-01-02"): "--exchange stands before withdraw; accepted: behind it",
        ("--json", "declare", "2021-01-02", "2021-01-03", "--source", "x"): "--json stands before declare",
        ("--exchange", "mtgox"): "exchange 'mtgox' is not known",
        ("declare", "yesterday", "2021-01-03", "--source", "x"): "START 'yesterday' is not an ISO 8601",
    }
    for arguments, words in refused.items():
        ended = invoke("outages", *arguments, CRYPTAI_DATABASE_URL=filled_store)
        assert ended.code == 2 and words in ended.err, ended.err
    assert invoke("outages", "--json", CRYPTAI_DATABASE_URL=filled_store).object["outages"] == [found]
    udf = invoke("outages", "--exchange", "udf:desk", "--json", CRYPTAI_DATABASE_URL=filled_store).object
    assert udf == {"venue": "udf:desk", "outages": []}
