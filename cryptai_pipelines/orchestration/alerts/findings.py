"""What a check found, series by series: as it is shown, and read back and kept over evaluations that each look at a part of the
grid. Pure.

A tick evaluates the checks for the timeframes that are due. A check that passes for 1h says nothing about a 1d series that
failed it in the night, so a finding stays open until its own timeframe was looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe

_LINE = re.compile(r"^- (?P<series>[A-Z0-9]+-[A-Z0-9]+ (?:1m|5m|15m|30m|1h|4h|1d|1w))\b:?\s*(?P<text>.*)$", re.MULTILINE)
_NOT_LOOKED_AT = re.compile(r"not known, it failed at \w+")
_NO_FINDING = re.compile(r"|none")
_MORE = re.compile(r"and \d+ more(: (?P<named>.+))?")
_BY_SYNC = re.compile(r"failed at (raw_ohlcv|validated_bars)\b")
WHOLE = ""
_SHOWN = 50


def show_findings(findings: Sequence[str]) -> str:
    """A list in markdown of the first 50; of the others the series, so that none of them seems to have recovered. A finding
    about a series begins with it (`BTC-USDT 1h: ...`)."""
    if not findings:
        return "none"
    lines = [f"- {finding}" for finding in findings[:_SHOWN]]
    hidden = [match for finding in findings[_SHOWN:] if (match := _LINE.match(f"- {finding}"))]
    named = dict.fromkeys(_named(match) for match in hidden if not _NOT_LOOKED_AT.match(match["text"]))
    if len(findings) > _SHOWN:
        lines.append(f"- and {len(findings) - _SHOWN} more" + (f": {', '.join(named)}" if named else ""))
    return "\n".join(lines)


def _named(finding: re.Match[str]) -> str:
    """The series of a finding that is not shown, and whether it only repeats that the series' sync failed."""
    by_sync = _BY_SYNC.match(finding["text"])
    return f"{finding['series']} {by_sync[0]}" if by_sync else finding["series"]


def read_findings(shown: str, passed: bool) -> dict[str, str]:
    """Findings by series, as the metadata of a check shows them (a list in markdown); what names no series is by `WHOLE`.
    That a series was not looked at, because it failed earlier, is none: the check `series_are_synced` says where and why."""
    found: dict[str, str] = {}
    for line in shown.splitlines():
        match, more = _LINE.match(line.strip()), _MORE.fullmatch(line.strip("- "))
        if more:
            for named in map(_LINE.match, (f"- {one}" for one in (more["named"] or "").split(", "))):
                if named:
                    found.setdefault(named["series"], named["text"] or "one of the findings that are not shown")
        elif match and _NOT_LOOKED_AT.match(match["text"]):
            continue
        elif match:
            found.setdefault(match["series"], match["text"])
        elif not _NO_FINDING.fullmatch(line.strip("- ")):
            found.setdefault(WHOLE, line.strip("- "))
    if passed:
        return {}
    return found if found or _LINE.search(shown) else {WHOLE: "failed"}


def merge_findings(
    open_findings: Mapping[str, str], found: Mapping[str, str], looked_at: Collection[Timeframe] | None
) -> dict[str, str]:
    """What is open after an evaluation for the timeframes `looked_at` (None: for everything) that gave `found`."""
    kept = {
        series: text
        for series, text in open_findings.items()
        if series != WHOLE and looked_at is not None and Timeframe(series.split()[1]) not in looked_at
    }
    return {**kept, **found}


def is_about_sync(finding: str) -> bool:
    """Whether a finding only repeats that the sync of its series failed."""
    return bool(_BY_SYNC.match(finding))


def timeframes_between(first: str, last: str) -> list[Timeframe]:
    """The timeframes from one partition key of the grid to another, both inclusive."""
    start, end = (TIMEFRAMES.index(Timeframe(key.split("|")[1])) for key in (first, last))
    return list(TIMEFRAMES[start : end + 1])
