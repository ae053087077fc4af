"""`cryptai alerts`: what is wrong and who was told, and whether the receivers take a message; never a secret."""

from __future__ import annotations

from cryptai_pipelines.storage import alerts as store
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.alerts.conftest import SECRET, inbox  # noqa: F401


def fired(url: str) -> None:
    cause = {
        "fingerprint": "f",
        "cause": "failed_sync",
        "group_key": "g",
        "severity": "error",
        "subject": "binance BTC-USDT 1h",
        "summary": "timed out",
        "since_ms": 1_774_742_400_000,
        "link": "http://ui/x",
        "details": {"run_id": "r"},
    }
    with Database(url).transaction() as cursor:
        store.fire(cursor, [cause], ["json#gone"], 1_774_742_500_000)


def test_alerts_are_listed_with_what_waits_for_whom(invoke, url):
    nothing = invoke("alerts", CRYPTAI_DATABASE_URL=url)
    assert nothing.code == 0 and "nothing is wrong" in nothing.out and "CRYPTAI_ALERT_URLS is empty" in nothing.out
    fired(url)
    told = invoke("alerts", "--json", CRYPTAI_DATABASE_URL=url, CRYPTAI_ALERT_URLS=f"json://{SECRET}").object
    assert told["firing"] == 1 and told["alerts"][0]["since"] == "2026-03-29T00:00:00Z"
    assert [(one["configured"], one["pending"]) for one in told["receivers"]] == [(True, 0), (False, 1)]
    shown = invoke("alerts", CRYPTAI_DATABASE_URL=url, CRYPTAI_ALERT_URLS=f"json://me:{SECRET}@127.0.0.1:9/{SECRET}")
    assert " (json://127.0.0.1:9): 0 waiting" in shown.out and SECRET not in shown.out
    assert "ERROR  failed_sync  binance BTC-USDT 1h, since 2026-03-29T00:00:00Z: timed out" in shown.out
    assert SECRET not in str(told)


def test_the_test_tells_of_each_receiver(invoke, inbox):  # noqa: F811
    good = invoke("alerts", "test", "--json", CRYPTAI_ALERT_URLS=inbox.url)
    assert good.code == 0 and good.object["receivers"][0]["delivered"] and inbox.titles == ["CryptAI: test"]
    address = f"json://{inbox.url.partition('@')[2].partition('/')[0]}"
    assert good.object["receivers"][0]["address"] == address
    inbox.mode = "fail"
    bad = invoke("alerts", "test", "--json", CRYPTAI_ALERT_URLS=f"{inbox.url},nosuch://{SECRET}")
    assert bad.code == 1 and [one["delivered"] for one in bad.object["receivers"]] == [False, False]
    assert f"({address}): the receiver answered" in bad.err
    assert "HTTP 503" in bad.object["error"] and "does not know this URL" in bad.err
    assert SECRET not in bad.out + bad.err


def test_without_receivers_the_test_says_what_to_set(invoke):
    refused = invoke("alerts", "test")
    assert refused.code == 2 and "CRYPTAI_ALERT_URLS is empty" in refused.err
