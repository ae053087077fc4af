"""`python -m ... send_process`: hand messages to Apprise, one after another, in a process of its own, which can be ended when a
receiver hangs.

On stdin one JSON object `{"url", "kind", "title", "body"}` per line; on stdout, as each is done, one `{"ok", "error"}`. URLs
hold secrets: they come by stdin and are in no answer.
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


def _sent(message: dict[str, str]) -> dict[str, Any]:
    import apprise

    told: list[str] = []
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [_Keep(told)], False
    logger.setLevel(logging.WARNING)
    sender = apprise.Apprise()
    if not sender.add(message["url"]):
        return {"ok": False, "error": "Apprise does not know this URL; see its list of services for how it is written"}
    taken = sender.notify(body=message["body"], title=message["title"], notify_type=message["kind"], body_format="text")
    return {"ok": bool(taken), "error": None if taken else _reason(told)}


class _Keep(logging.Handler):
    """Keeps the warnings of Apprise, which may hold parts of a URL and are not passed on."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage())


def _reason(told: list[str]) -> str:
    """Of what Apprise said, only what cannot hold a secret: a status, or that there was no connection."""
    text = " ".join(told)
    status = re.search(r"error[= ](\d{3})\b", text)
    if status:
        return f"the receiver answered with HTTP {status[1]}"
    return "the receiver could not be reached" if "onnection" in text else "the receiver did not take the message"


if __name__ == "__main__":
    main()
