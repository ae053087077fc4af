"""A cause of an alert, and what changed between the causes that are known and those that hold now. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

UNREACHABLE = "unreachable"
KINDS = ("stale_series", "failed_sync", "failed_check", "restated_file", "failed_run")
_UNREACHABLE = re.compile(
    r"timed? ?out|time-?out|did not answer|no answer|unreachable|refused|reset|closed the connection|connection|deadline"
    r"|temporarily|name resolution|HTTP 5\d\d|\b50[0-4]\b",
    re.IGNORECASE,
)
_VARYING = re.compile(r"https?://\S+|'[^']*'|\"[^\"]*\"|\b[A-Z0-9]{1,20}[-/|]?[A-Z0-9]{2,20}(\|\w+)?\b|\d+")


class Cause(NamedTuple):
    """One thing that is wrong. `fingerprint`: the same for as long as it is the same thing. `cause`: one of `KINDS`.
    `group_key`: what goes into one message with it. `severity`: `error` or `warning`. `since_ms`: epoch milliseconds.
    `explained`: another alert tells of it already; it keeps its own alert firing and starts none."""

    fingerprint: str
    cause: str
    group_key: str
    severity: str
    subject: str
    summary: str
    since_ms: int
    link: str
    details: Mapping[str, Any] = {}
    explained: bool = False


class Changes(NamedTuple):
    """`new`: causes without an alert. `still`: causes of firing alerts. `recovered`: fingerprints of alerts whose cause is
    gone."""

    new: list[Cause]
    still: list[Cause]
    recovered: list[str]


def reconcile(firing: Sequence[str], causes: Sequence[Cause]) -> Changes:
    """What becomes of the alerts with the fingerprints `firing`, now that `causes` is all that is wrong. Of two causes with one
    fingerprint the first counts."""
    known, now = set(firing), {}
    for cause in causes:
        now.setdefault(cause.fingerprint, cause)
    return Changes(
        new=[cause for print_, cause in now.items() if print_ not in known and not cause.explained],
        still=[cause for print_, cause in now.items() if print_ in known],
        recovered=[print_ for print_ in firing if print_ not in now],
    )


def error_class(error: str) -> str:
    """What errors have in common that have one reason: `unreachable` for all the ways in which a venue can be down, and
    otherwise the message without the names, numbers and addresses in it."""
    if _UNREACHABLE.search(error):
        return UNREACHABLE
    return " ".join(_VARYING.sub("", error).lower().split())[:120] or "unknown"
