"""Alerts in words, and which of them share a message. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.storage.alerts import Pending

FIRING, RECOVERED = "firing", "recovered"
# Chat services cut or refuse what is longer than a few thousand characters.
_MOST_LINES = 20
_LONGEST_LINE = 300
HELD_BACK = "held back"
MOST_IN_SUMMARY = 40

_NAMES = {
    "stale_series": ("series is stale", "series are stale"),
    "failed_sync": ("sync fails", "syncs fail"),
    "failed_check": ("check finding", "check findings"),
    "restated_file": ("archive file is not as it was", "archive files are not as they were"),
    "failed_run": ("run failed", "runs failed"),
}


class Message(NamedTuple):
    """One message to one receiver. `told`: what it delivers. `kind`: `failure`, `warning`, `success` or `info`, as Apprise
    names them."""

    group_key: str
    event: str
    kind: str
    title: str
    body: str
    told: tuple[Pending, ...]


def group(pending: Sequence[Pending]) -> list[Message]:
    """One message for each group of alerts and each of what befell them, in the order of the oldest in it. An alert that began
    and ended before the receiver could be told of either is one line of a recovery."""
    groups: dict[tuple[str, str], list[Pending]] = {}
    for one in pending:
        event = RECOVERED if RECOVERED in one.events else FIRING
        groups.setdefault((one.alert.group_key, event), []).append(one)
    return [_message(key, event, ones) for (key, event), ones in groups.items()]


def summary(pending: Sequence[Pending], limit: int, free_ms: int) -> Message:
    """The last message that the limit allows: how many alerts it holds back, and a line for each of the first 40, which are
    told by this. `free_ms`: when (epoch ms) the limit allows the next message."""
    shown = tuple(pending[:MOST_IN_SUMMARY])
    count = "1 alert" if len(pending) == 1 else f"{len(pending)} alerts"
    title = f"CryptAI: {count} held back by the limit of {limit} messages an hour"
    lines = [f"- {'recovered: ' if RECOVERED in one.events else ''}{_line(one)}" for one in shown]
    if len(pending) > len(shown):
        lines.append(f"- and {len(pending) - len(shown)} more, which follow")
    lines.append(f"The next message can follow at {format_time(free_ms)}; `cryptai alerts` lists everything.")
    return Message(HELD_BACK, HELD_BACK, "warning", title, "\n".join(lines), shown)


def _message(group_key: str, event: str, ones: Sequence[Pending]) -> Message:
    first = ones[0].alert
    name = _NAMES.get(first.cause, (first.cause, first.cause))[len(ones) > 1]
    what = first.subject if len(ones) == 1 else f"{len(ones)} of {_common(ones)}"
    state = "recovered" if event == RECOVERED else first.severity
    lines = [f"{'' if len(ones) == 1 else '- '}{_line(one)}" for one in ones[:_MOST_LINES]]
    if len(ones) > _MOST_LINES:
        lines.append(f"- and {len(ones) - _MOST_LINES} more; `cryptai alerts` lists them")
    if first.link:
        lines.append(first.link)
    worst = "failure" if any(one.alert.severity == "error" for one in ones) else "warning"
    kind = "success" if event == RECOVERED else worst
    return Message(group_key, event, kind, f"CryptAI: {state}: {name}: {what}", "\n".join(lines), tuple(ones))


def _common(ones: Sequence[Pending]) -> str:
    """What the subjects of a group begin with: a venue, a check."""
    return ones[0].alert.subject.split()[0]


def _line(one: Pending) -> str:
    alert = one.alert
    until = f" until {format_time(alert.recovered_ms)}" if alert.recovered_ms is not None else ""
    text = f"{alert.subject}, since {format_time(alert.since_ms)}{until}: {alert.summary}"
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 3] + "..."


def trial_message(ui_url: str) -> Message:
    """A message that tells of nothing but that messages arrive."""
    return Message("test", "test", "info", "CryptAI: test", f"Alerts of CryptAI pipelines reach you here.\n{ui_url}", ())
