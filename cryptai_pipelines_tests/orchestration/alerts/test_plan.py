"""Which messages are sent when: one for one reason, never more than the limit, and in the end everything is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.orchestration.alerts.delivery import GROUP_INTERVAL_MS, HOUR_MS, plan
from cryptai_pipelines.orchestration.alerts.messages import HELD_BACK, MOST_IN_SUMMARY
from cryptai_pipelines.storage.alerts import Alert, Pending

NOW = 1_775_000_000_000


def pending(number, group_key="g", events=("firing",), cause="failed_sync", severity="error"):
    recovered = NOW if "recovered" in events else None
    alert = Alert(
        number,
        f"f{number}",
        cause,
        group_key,
        severity,
        f"binance S{number}-USDT 1h",
        "timed out",
        "http://ui/x",
        {},
        NOW,
        NOW,
        recovered,
    )
    return Pending(alert, events, NOW)


def test_series_with_one_reason_are_one_message_that_names_them():
    [message] = plan([pending(n) for n in range(3)], [], 20, NOW)
    assert message.title == "CryptAI: error: syncs fail: 3 of binance" and message.kind == "failure"
    assert all(f"S{n}-USDT 1h, since 2026-" in message.body for n in range(3)) and "http://ui/x" in message.body
    assert len(message.told) == 3


def test_one_series_is_named_in_the_title_and_a_recovery_says_until_when():
    first, second = plan([pending(1, "a"), pending(2, "b", ("recovered",))], [], 20, NOW)
    assert first.title == "CryptAI: error: sync fails: binance S1-USDT 1h"
    assert second.title.startswith("CryptAI: recovered: sync fails") and " until 2026-" in second.body
    assert second.kind == "success"


def test_what_began_and_ended_untold_is_one_message():
    [message] = plan([pending(1, events=("firing", "recovered"))], [], 20, NOW)
    assert message.event == "recovered" and message.told[0].events == ("firing", "recovered")


def test_what_joins_a_group_waits_for_others_to_join():
    sent = [(NOW - GROUP_INTERVAL_MS + 1, "g", "firing")]
    assert plan([pending(1)], sent, 20, NOW) == []
    assert plan([pending(1)], sent, 20, NOW + 1) and plan([pending(1, events=("recovered",))], sent, 20, NOW)


def test_the_last_message_of_the_limit_says_how_many_are_held_back():
    messages = plan([pending(n, f"g{n}") for n in range(100)], [], 5, NOW)
    assert len(messages) == 5
    assert messages[-1].title == "CryptAI: 96 alerts held back by the limit of 5 messages an hour"
    assert len(messages[-1].told) == MOST_IN_SUMMARY and "and 56 more, which follow" in messages[-1].body
    assert plan([pending(1)], [(NOW, f"g{n}", "firing") for n in range(5)], 5, NOW) == []


@given(
    limit=st.integers(1, 6),
    arrivals=st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abcdefgh"), st.booleans()), max_size=150),
)
def test_the_limit_holds_in_every_hour_and_everything_is_told_once(limit, arrivals):
    """Minutes of simulated passes, alerts arriving in any of the first forty."""
    waiting, sent, told = {}, [], []
    for minute in range(1200):
        now = NOW + minute * 60_000
        for number, (at, group, over) in enumerate(arrivals):
            if at == minute:
                waiting[number] = pending(number, group, ("firing", "recovered") if over else ("firing",))
        hour = [one for one in sent if one[0] > now - HOUR_MS]
        messages = plan(list(waiting.values()), hour, limit, now)
        assert len(hour) + len(messages) <= limit
        for message in messages:
            sent.append((now, message.group_key, message.event))
            for one in message.told:
                told.append(one.alert.id)
                del waiting[one.alert.id]
        if minute > 40 and not waiting:
            break
    assert not waiting and sorted(told) == list(range(len(arrivals)))
    assert all(event == HELD_BACK or limit > 1 for _, _, event in sent)
