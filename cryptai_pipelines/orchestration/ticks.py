"""Which timeframes a tick of the schedule has to ask for. Pure: what was asked before, and what is lacking, come in as data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe

MINUTE_MS = 60_000
EVERY_MS = 5 * MINUTE_MS
# A tick is a little late or early; what failed in this hour is tried again in the next.
RETRY_MS = 55 * MINUTE_MS


class Asked(NamedTuple):
    """The last tick that asked for a timeframe (epoch ms), and whether its run failed."""

    tick_ms: int
    failed: bool = False


def due_timeframes(
    configured: Collection[Timeframe],
    tick_ms: int,
    grace_ms: int,
    asked: Mapping[Timeframe, Asked],
    lacking: Collection[Timeframe],
) -> list[Timeframe]:
    """The configured timeframes from the shortest to the longest one that is due; empty when none is.

    A timeframe is due when one of its bars has closed, `grace_ms` before this tick, since it was last asked for: so a tick
    that was missed, by minutes or by days, is made up for by the next. One that was asked for and is `lacking` something all
    the same (a series without coverage, or whose last sync did not complete), or whose run failed, is due again an hour later,
    however long its bars are.
    """
    shortest_first = [timeframe for timeframe in TIMEFRAMES if timeframe in configured]
    due = [timeframe for timeframe in shortest_first if _is_due(timeframe, tick_ms, grace_ms, asked.get(timeframe), lacking)]
    return shortest_first[: shortest_first.index(due[-1]) + 1] if due else []


def _is_due(timeframe: Timeframe, tick_ms: int, grace_ms: int, asked: Asked | None, lacking: Collection[Timeframe]) -> bool:
    if asked is None or timeframe.floor(tick_ms - grace_ms) > timeframe.floor(asked.tick_ms - grace_ms):
        return True
    return (asked.failed or timeframe in lacking) and tick_ms - asked.tick_ms >= RETRY_MS


def asked_with(timeframe: Timeframe) -> Sequence[Timeframe]:
    """The timeframes whose ticks ask for `timeframe`, too: itself and every longer one."""
    return TIMEFRAMES[TIMEFRAMES.index(timeframe) :]
