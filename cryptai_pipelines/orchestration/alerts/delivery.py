"""Getting messages to receivers: at least once, though receivers fail, hang and come back, and never more than the limit.

What is to be told waits in the outbox until the receiver took it. A receiver that failed is left alone for longer each time;
one that hangs is given up after a deadline, with the process that waits for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from cryptai_pipelines.orchestration.alerts.messages import Message, group, summary
from cryptai_pipelines.orchestration.alerts.receivers import Receiver
from cryptai_pipelines.storage import alerts as store
from cryptai_pipelines.storage.alerts import Pending
from cryptai_pipelines.storage.database import Database

HOUR_MS = 3_600_000
# Alerts that join a group soon after a message about it wait for each other.
GROUP_INTERVAL_MS = 300_000
DEADLINE_S = 20.0
_NO_ANSWER = "the sending process ended without an answer"


class Delivered(NamedTuple):
    """What a pass did for one receiver: messages sent, and why it ended early, if it did."""

    receiver: str
    sent: int
    error: str | None


def deliver(
    db: Database, receivers: Sequence[Receiver], limit: int, now_ms: int, deadline_s: float = DEADLINE_S
) -> list[Delivered]:
    """Tell each receiver what it was not told yet, `limit` messages an hour at the most; receivers beside each other, each for
    `deadline_s` at the most. Empty when another process is at it."""
    with store.delivering(db) as mine:
        if not mine or not receivers:
            return []
        store.queue_for_new(db, [receiver.name for receiver in receivers], now_ms)
        with ThreadPoolExecutor(max_workers=len(receivers)) as pool:
            return list(pool.map(lambda receiver: _deliver_to(db, receiver, limit, now_ms, deadline_s), receivers))


def plan(pending: Sequence[Pending], sent: Sequence[tuple[int, str, str]], limit: int, now_ms: int) -> list[Message]:
    """The messages to send now. `sent`: when, of which group and event, for each message of the last hour, the oldest first.

    The last message that the limit allows is a summary of everything that waits; after it nothing is sent until the hour of the
    oldest message is over. With a limit of 1 every message is such a summary.
    """
    recent = {(key, event) for at, key, event in sent if at > now_ms - GROUP_INTERVAL_MS}
    due = [message for message in group(pending) if (message.group_key, message.event) not in recent]
    free = limit - len(sent)
    if not due or free <= 0:
        return []
    if len(due) < free:
        return due
    alone = due[: free - 1]
    told = {id(one) for message in alone for one in message.told}
    waiting = [one for message in due for one in message.told if id(one) not in told]
    oldest = sent[0][0] if sent else now_ms
    return [*alone, summary(waiting, limit, oldest + HOUR_MS)]


def _deliver_to(db: Database, receiver: Receiver, limit: int, now_ms: int, deadline_s: float) -> Delivered:
    if store.is_paused(db, receiver.name, now_ms):
        return Delivered(receiver.name, 0, "it failed lately and is left alone for a while")
    pending = store.read_pending(db, receiver.name)
    messages = plan(pending, store.sent_since(db, receiver.name, now_ms - HOUR_MS), limit, now_ms)
    sent = 0
    for message, error in zip(messages, send(receiver, messages, deadline_s), strict=False):
        if error is not None:
            store.note_failure(db, receiver.name, error, now_ms)
            return Delivered(receiver.name, sent, error)
        store.note_sent(db, receiver.name, message.group_key, message.event, message.title, message.told, now_ms)
        sent += 1
    return Delivered(receiver.name, sent, None)


def send(receiver: Receiver, messages: Sequence[Message], deadline_s: float = DEADLINE_S) -> Iterator[str | None]:
    """For each message, as soon as it is known, None when the receiver took it and otherwise why not, which is the end. All
    together take `deadline_s` at the most."""
    if not messages:
        return
    command = [sys.executable, "-m", f"{__package__}.send_process"]
    deadline = time.monotonic() + deadline_s
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with ThreadPoolExecutor(max_workers=1) as waiting, subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            for message in messages:
                answer = waiting.submit(_ask, process, receiver, message, deadline_s)
                error = answer.result(timeout=max(0.0, deadline - time.monotonic()))
                yield error
                if error is not None:
                    return
        except TimeoutError:
            yield f"the receiver did not answer within {deadline_s:.0f} s"
        finally:
            # Whatever it still waits for; the thread that waits for it ends with it.
            process.kill()


def _ask(process: subprocess.Popen[str], receiver: Receiver, message: Message, patience_s: float) -> str | None:
    asked = {
        "url": receiver.url.get_secret_value(),
        "kind": message.kind,
        "title": message.title,
        "body": message.body,
        "patience_s": patience_s,
    }
    try:
        process.stdin.write(json.dumps(asked) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    except BrokenPipeError:
        return _NO_ANSWER
    line = process.stdout.readline()  # type: ignore[union-attr]
    return json.loads(line)["error"] if line else f"{_NO_ANSWER}, exit code {process.wait()}"
