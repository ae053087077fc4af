"""From an alert to a receiver over a real socket: once when all is well, at least once when it fails, hangs or flaps, never a
storm, and without its secrets anywhere."""

from __future__ import annotations

import os

import pytest
from pydantic import SecretStr

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.orchestration.alerts.cause import Cause, reconcile
from cryptai_pipelines.orchestration.alerts.delivery import deliver, send
from cryptai_pipelines.orchestration.alerts.messages import trial_message
from cryptai_pipelines.orchestration.alerts.receivers import read_receivers
from cryptai_pipelines.storage import alerts as store
from cryptai_pipelines_tests.databases import *  # noqa: F403
from cryptai_pipelines_tests.orchestration.alerts.conftest import SECRET

START = parse_time("2026-03-29T00:00:00Z")
MINUTE = 60_000


def cause(number, group="failed_sync:binance:unreachable"):
    link = f"http://127.0.0.1:3000/assets/raw_ohlcv?partition=S{number}"
    return Cause(
        f"f{number}", "failed_sync", group, "error", f"binance S{number}-USDT 1h", "timed out", START, link, {"n": number}
    )


class Desk:
    """The sensors' work, on a clock that is set by hand."""

    def __init__(self, database, receivers, limit=20):
        self.database, self.receivers, self.limit, self.now = database, receivers, limit, START

    def causes(self, *causes):
        with self.database.transaction() as cursor:
            changes = reconcile(store.firing_fingerprints(cursor, "failed_sync"), causes)
            store.fire(cursor, [one._asdict() for one in changes.new], [one.name for one in self.receivers], self.now)
            store.keep_firing(cursor, [one._asdict() for one in changes.still], self.now)
            store.recover(cursor, changes.recovered, self.now)

    def deliver(self, minutes=1, deadline_s=20.0):
        self.now += minutes * MINUTE
        return deliver(self.database, self.receivers, self.limit, self.now, deadline_s)


@pytest.fixture
def desk(database, inbox):
    return Desk(database, [inbox.receiver])


def test_one_cause_is_told_once_and_its_recovery_once(desk, inbox):
    desk.causes(*(cause(n) for n in range(3)))
    for _ in range(3):
        desk.deliver()
        desk.causes(*(cause(n) for n in range(3)))
    assert inbox.titles == ["CryptAI: error: syncs fail: 3 of binance"]
    assert inbox.taken[0]["type"] == "failure"
    for told in ("S0-USDT 1h, since 2026-03-29T00:00:00Z: timed out", "S2-USDT 1h", "http://127.0.0.1:3000/assets/raw_ohlcv"):
        assert told in inbox.taken[0]["message"]
    desk.causes()
    for _ in range(3):
        desk.deliver()
    assert inbox.titles[1:] == ["CryptAI: recovered: syncs fail: 3 of binance"] and inbox.taken[1]["type"] == "success"
    assert "until 2026-03-29T00:03:00Z" in inbox.taken[1]["message"]
    desk.causes(cause(1))
    desk.deliver(10)
    assert len(inbox.taken) == 3, "what comes again is told again"


def test_a_failing_receiver_is_asked_ever_less_often_and_told_when_it_is_back(desk, inbox):
    inbox.mode = "fail"
    desk.causes(cause(1))
    for _ in range(30):
        desk.deliver()
    assert 4 <= inbox.asked <= 6, "after 1, 2, 4, 8 and 16 minutes or so, not 30 times"
    [told] = store.read_receivers(desk.database)
    assert told.pending == 1 and told.failures == inbox.asked and told.last_error == "the receiver answered with HTTP 503"
    inbox.mode = "ok"
    desk.deliver(61)
    assert len(inbox.taken) == 1 and store.read_receivers(desk.database)[0].failures == 0
    desk.deliver()
    assert len(inbox.taken) == 1


def test_a_hanging_receiver_is_given_up_and_holds_up_nobody(desk, inbox, database):
    inbox.mode = "hang"
    refused = read_receivers(SecretStr("json://127.0.0.1:9/"))[0]
    desk.receivers = [inbox.receiver, refused]
    desk.causes(cause(1))
    first, second = desk.deliver(deadline_s=3.0)
    assert first.error == "the receiver did not answer within 3 s" and second.error == "the receiver could not be reached"
    inbox.mode = "ok"
    desk.deliver(5)
    assert len(inbox.taken) == 1


def test_a_slow_receiver_is_waited_for(inbox):
    """Longer than the 4 s of Apprise."""
    inbox.after_s = 6.0
    assert list(send(inbox.receiver, [trial_message("http://ui")])) == [None]
    assert inbox.titles == ["CryptAI: test"]


def test_a_time_limit_of_the_url_stays_and_is_told_as_one(inbox):
    inbox.mode, inbox.url = "hang", f"{inbox.url}?rto=0.5"
    assert list(send(inbox.receiver, [trial_message("http://ui")])) == ["the receiver did not answer in time"]


def test_a_receiver_that_takes_a_message_and_does_not_say_so_gets_it_again(desk, inbox):
    inbox.mode = "lose"
    desk.causes(cause(1))
    desk.deliver()
    inbox.mode = "ok"
    desk.deliver(2)
    desk.deliver(10)
    assert len(inbox.taken) == 2 and inbox.titles[0] == inbox.titles[1]


def test_a_flapping_receiver_loses_nothing_in_a_bounded_number_of_messages(desk, inbox):
    """Six causes come and go while the receiver is away every second time."""
    for step in range(6):
        inbox.mode = "fail" if step % 2 == 0 else "ok"
        desk.causes(cause(step, f"g{step}"))
        desk.deliver(4)
    inbox.mode = "ok"
    desk.causes()
    desk.deliver(61)
    desk.deliver(61)
    told = "\n".join(f"{one['title']}\n{one['message']}" for one in inbox.taken)
    assert all(f"S{n}-USDT" in told for n in range(6)) and told.count("recovered: sync fails") == 6
    assert len(inbox.taken) <= 12
    assert store.read_receivers(desk.database)[0].pending == 0


def test_a_storm_is_a_bounded_number_of_messages_that_name_what_they_hold_back(desk, inbox):
    desk.limit = 4
    desk.causes(*(cause(n, f"g{n}") for n in range(60)))
    for _ in range(5):
        desk.deliver()
    assert len(inbox.taken) == 4 and inbox.titles[-1] == "CryptAI: 57 alerts held back by the limit of 4 messages an hour"
    desk.deliver(60)
    desk.deliver(60)
    told = "\n".join(one["message"] for one in inbox.taken)
    assert all(f"S{n}-USDT" in told for n in range(60)) and len(inbox.taken) <= 12


def test_a_receiver_that_is_added_later_is_told_what_still_fires(desk, inbox):
    receivers, desk.receivers = desk.receivers, []
    desk.causes(cause(1), cause(2))
    assert desk.deliver() == []
    desk.causes(cause(2))
    desk.receivers = receivers
    desk.deliver()
    assert inbox.titles == ["CryptAI: error: sync fails: binance S2-USDT 1h"]


def test_only_one_process_delivers_at_a_time(desk, inbox):
    desk.causes(cause(1))
    with store.delivering(desk.database) as mine:
        assert mine and desk.deliver() == []
    assert desk.deliver()[0].sent == 1


def test_the_secrets_of_a_receiver_are_nowhere(desk, inbox, capfd, caplog):
    caplog.set_level(0)
    for mode in ("fail", "ok", "lose"):
        inbox.mode = mode
        desk.causes(cause(mode, mode))
        told = desk.deliver(70)
        assert SECRET not in repr(told) and SECRET not in repr(inbox.receiver)
    tables = [name for (name,) in desk.database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    for table in tables:
        assert SECRET not in repr(desk.database.rows(f"SELECT t::text FROM {table} AS t"))
    assert SECRET not in caplog.text and SECRET not in "".join(capfd.readouterr())
    assert any(name.startswith("json#") for (name,) in desk.database.rows("SELECT receiver FROM alert_receivers"))


def test_a_url_that_apprise_does_not_know_is_told_without_it():
    [receiver] = read_receivers(SecretStr(f"nosuchservice://{SECRET}"))
    [error] = send(receiver, [trial_message("http://ui")])
    assert "Apprise does not know this URL" in error and SECRET not in error


def test_no_process_is_left_behind_by_a_receiver_that_hangs(inbox):
    import psutil

    inbox.mode = "hang"
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    [error] = send(inbox.receiver, [trial_message("http://ui")], deadline_s=2.0)
    after = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    assert "did not answer" in error and after <= before


@pytest.mark.parametrize(
    ("text", "schemes"),
    [
        ("", []),
        (" , ", []),
        ("json://a", ["json"]),
        ("json://a,slack://T/B/C", ["json", "slack"]),
        ("mailto://u:p@h?to=a@x,b@y, tgram://1:2/3\njson://a", ["mailto", "tgram", "json"]),
        ("json://a, json://a", ["json"]),
        ("not a url", ["unknown"]),
    ],
)
def test_urls_are_separated_by_commas_that_another_url_follows(text, schemes):
    assert [one.name.partition("#")[0] for one in read_receivers(SecretStr(text))] == schemes
    assert read_receivers(None) == []


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"json://me:{SECRET}@127.0.0.1:8080/{SECRET}?key={SECRET}", "json://127.0.0.1:8080"),
        (f"jsons://Hooks.example.org/{SECRET}", "jsons://hooks.example.org"),
        (f"mailtos://user:{SECRET}@mail.example.org?to=me@example.org&cc=b@c", "mailtos://mail.example.org"),
        (f"form://[::1]:80/{SECRET}", "form://[::1]:80"),
        (f"json://localhost/{SECRET}", "json://localhost"),
        (f"json://{SECRET}", None),
        (f"json://{SECRET}/a", None),
        (f"slack://{SECRET}.a/B/C", None),
        (f"discord://1:2@{SECRET}.b", None),
        ("json://me:t0p/s3cret@a.example.org", None),
        ("json://me:12?s3cret@a.example.org", None),
        ("json://me:12#s3cret@a.example.org", None),
        ("json://me:t0p@s3cret/x@a.example.org", None),
        ("json://a.example.org:t0ps3cret", None),
        ("json://a_b.example.org", None),
        ("json://", None),
        ("not a url", None),
        ("json://[::1", None),
    ],
)
def test_the_address_of_a_receiver_is_shown_where_it_holds_no_secret(url, address):
    [receiver] = read_receivers(SecretStr(url))
    assert receiver.address == address
    assert receiver.shown == (f"{receiver.name} ({address})" if address else receiver.name)
    assert SECRET not in receiver.shown
