"""`python -m ... send_process`: hand messages to Apprise, one after another, in a process of its own, which can be ended when a
receiver hangs.

On stdin one JSON object `{"url", "kind", "title", "body", "patience_s"}` per line; on stdout, as each is done, one
`{"ok", "error"}`. URLs hold secrets: they come by stdin and are in no answer.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any


def main() -> None:
    """Send what comes in until stdin ends, or until a message is not taken: what follows it would not be taken either."""
    for line in sys.stdin:
        answer = _sent(json.loads(line))
        print(json.dumps(answer), flush=True)
        if not answer["ok"]:
            return


def _sent(message: dict[str, Any]) -> dict[str, Any]:
    import apprise

    told: list[logging.LogRecord] = []
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [_Keep(told)], False
    logger.setLevel(logging.DEBUG)
    receiver = apprise.Apprise.instantiate(message["url"])
    if receiver is None:
        return {"ok": False, "error": "Apprise does not know this URL; see its list of services for how it is written"}
    _be_patient(receiver, message["patience_s"])
    sender = apprise.Apprise()
    sender.add(receiver)
    taken = sender.notify(body=message["body"], title=message["title"], notify_type=message["kind"], body_format="text")
    return {"ok": bool(taken), "error": None if taken else _reason(told)}


def _be_patient(receiver: Any, patience_s: float) -> None:
    """Let it take `patience_s` to answer. Apprise gives most services 4 s and then tells the same as when nobody is there; what
    the URL sets with `rto` and `cto` stays."""
    for name in ("socket_connect_timeout", "socket_read_timeout"):
        if getattr(receiver, name) == getattr(type(receiver), name):
            setattr(receiver, name, patience_s)


class _Keep(logging.Handler):
    """Keeps what Apprise logs, which may hold parts of a URL and is not passed on."""

    def __init__(self, told: list[logging.LogRecord]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record)


def _reason(told: list[logging.LogRecord]) -> str:
    """Of what Apprise said, only what cannot hold a secret: a status, that no answer came, or that there was no connection."""
    warnings = " ".join(one.getMessage() for one in told if one.levelno >= logging.WARNING)
    status = re.search(r"error[= ](\d{3})\b", warnings)
    if status:
        return f"the receiver answered with HTTP {status[1]}"
    # Other lines of this level hold what was sent, which may say anything.
    sockets = " ".join(one.getMessage() for one in told if one.getMessage().startswith("Socket Exception"))
    if re.search(r"[Rr]ead (operation )?timed out", sockets):
        return "the receiver did not answer in time"
    return "the receiver could not be reached" if "onnection" in warnings else "the receiver did not take the message"


if __name__ == "__main__":
    main()
