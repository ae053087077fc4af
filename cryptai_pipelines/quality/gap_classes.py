"""Why bars are absent, as far as it can be known: the class of a gap and the evidence for it. Gaps are found in `gaps`, outages
in `outages`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.gaps import Gap

BEFORE_LISTING = "before_listing"
AFTER_DELISTING = "after_delisting"
REFUSED_BARS = "refused_bars"
FETCH_FAILURE = "fetch_failure"
VENUE_OUTAGE = "venue_outage"
NO_TRADE = "no_trade"
UNKNOWN = "unknown"

GAP_CLASSES: dict[str, str] = {
    BEFORE_LISTING: "the venue did not list the symbol yet",
    AFTER_DELISTING: "the venue had delisted the symbol",
    REFUSED_BARS: "bars were received, broke a row rule and are in quarantine",
    FETCH_FAILURE: "asking failed, or the file that should hold the bars is quarantined",
    VENUE_OUTAGE: "the venue gave no bars of several symbols at the same time, or is known to have stood still",
    NO_TRADE: "the venue leaves out bars without trades, and so few are traded around it that this is likely",
    UNKNOWN: "nothing is known that explains it",
}
"""Every class and what it means, in the order in which equal explanations are preferred."""

NEIGHBOURS = 200
"""How many open times on either side of a gap are its neighbourhood."""

_TRICKLE_TRADES = 5.0
_LEAST_LIKELY = 1e-4


class Neighbourhood(NamedTuple):
    """The open times around a gap: how many there are, how many of them have no bar either, and the median number of trades in
    those that have one (NaN when the venue does not report it)."""

    opens: int
    missing: int
    median_trades: float


class FailedSpan(NamedTuple):
    """A time for which asking failed, or whose file is quarantined; `what` is one line for a person."""

    start_ms: int
    end_ms: int
    what: str


@dataclass(frozen=True)
class Known:
    """What may explain the gaps of one series, in epoch ms.

    `listed_at_ms`, `delisted_at_ms`: as the venue says, None where it does not. `outages`: of the venue, in any order.
    `refused_ms`: open times of the slots whose bars are in quarantine (int64). `omits_empty`: does the venue leave out bars
    without trades? None when that is not known.
    """

    listed_at_ms: int | None = None
    delisted_at_ms: int | None = None
    failed: Sequence[FailedSpan] = ()
    outages: Sequence[Interval] = ()
    refused_ms: np.ndarray = field(default_factory=lambda: np.empty(0, "int64"))
    omits_empty: bool | None = None


class ClassedGap(NamedTuple):
    """A gap, its class, and one line of evidence."""

    gap: Gap
    gap_class: str
    evidence: str


def classify(gap: Gap, timeframe: Timeframe, known: Known, around: Neighbourhood | None = None) -> ClassedGap:
    """The class that explains the most bars of the gap, at least half of them; of two that explain as many, the first in
    `GAP_CLASSES`. `around` is needed for `no_trade` only."""
    explained = {
        BEFORE_LISTING: _before(gap, timeframe, known.listed_at_ms),
        AFTER_DELISTING: _after(gap, timeframe, known.delisted_at_ms),
        REFUSED_BARS: _refused(gap, known.refused_ms),
        FETCH_FAILURE: _whole_bars(gap, timeframe, [Interval(*span[:2]) for span in known.failed], touched=True),
        VENUE_OUTAGE: _whole_bars(gap, timeframe, known.outages),
        NO_TRADE: gap.missing if around is not None and _may_be_quiet(gap, known.omits_empty, around) else 0,
    }
    best = max(explained, key=lambda name: explained[name])
    if 2 * explained[best] < gap.missing:
        return ClassedGap(gap, UNKNOWN, _nothing_known(explained))
    return ClassedGap(gap, best, _evidence(best, gap, explained[best], known, around))


def neighbourhood(gap: Gap, ts_ms: np.ndarray, timeframe: Timeframe, trades: np.ndarray | None = None) -> Neighbourhood:
    """What stands around a gap. `ts_ms`: open times that have a bar (int64, ascending), at least `NEIGHBOURS` bar lengths to
    either side where the series has them; `trades` (float64) runs along with them."""
    reach = NEIGHBOURS * timeframe.ms
    if not len(ts_ms):
        return Neighbourhood(0, 0, math.nan)
    left, right = max(gap.start_ms - reach, int(ts_ms[0])), min(gap.end_ms + reach, int(ts_ms[-1]) + timeframe.ms)
    near = slice(*np.searchsorted(ts_ms, (left, right)))
    opens = timeframe.count(left, gap.start_ms) + timeframe.count(gap.end_ms, right)
    counted = np.empty(0) if trades is None else trades[near][~np.isnan(trades[near])]
    median = float(np.median(counted)) if len(counted) else math.nan
    return Neighbourhood(opens, max(0, opens - (near.stop - near.start)), median)


def excused_opens(opens: np.ndarray, timeframe: Timeframe, spans: Sequence[Interval]) -> np.ndarray:
    """Which of `opens` (int64, any order) are of bars that lie wholly in one of `spans`; boolean mask."""
    mask = np.zeros(len(opens), bool)
    for start, end in spans:
        mask |= (opens >= start) & (opens + timeframe.ms <= end)
    return mask


def unlisted_spans(listed_at_ms: int | None, delisted_at_ms: int | None, within: Interval) -> list[Interval]:
    """The parts of `within` before the listing and after the delisting."""
    spans = []
    if listed_at_ms is not None and listed_at_ms > within.start_ms:
        spans.append(Interval(within.start_ms, min(listed_at_ms, within.end_ms)))
    if delisted_at_ms is not None and delisted_at_ms < within.end_ms:
        spans.append(Interval(max(delisted_at_ms, within.start_ms), within.end_ms))
    return spans


def _before(gap: Gap, timeframe: Timeframe, listed_at_ms: int | None) -> int:
    """Bars that ended before the listing."""
    if listed_at_ms is None:
        return 0
    return timeframe.count(gap.start_ms, min(gap.end_ms, listed_at_ms - timeframe.ms + 1))


def _after(gap: Gap, timeframe: Timeframe, delisted_at_ms: int | None) -> int:
    """Bars that open at the delisting or later."""
    return 0 if delisted_at_ms is None else timeframe.count(max(gap.start_ms, delisted_at_ms), gap.end_ms)


def _refused(gap: Gap, refused_ms: np.ndarray) -> int:
    inside = refused_ms[(refused_ms >= gap.start_ms) & (refused_ms < gap.end_ms)]
    return len(np.unique(inside))


def _whole_bars(gap: Gap, timeframe: Timeframe, spans: Sequence[Interval], touched: bool = False) -> int:
    """Bars of the gap that lie wholly in one of the spans; with `touched` those that one of them touches."""
    near = [span for span in spans if span.start_ms < gap.end_ms and span.end_ms > gap.start_ms]
    if not near:
        return 0
    opens, slack = timeframe.opens(gap.start_ms, gap.end_ms), timeframe.ms - 1 if touched else 0
    return int(excused_opens(opens, timeframe, [Interval(start - slack, end + slack) for start, end in near]).sum())


def _may_be_quiet(gap: Gap, omits_empty: bool | None, around: Neighbourhood) -> bool:
    """Could all bars of the gap have been without a trade? Never at a venue that reports empty bars.

    The chance that a bar is absent is taken from the neighbourhood ((missing + 1) / (opens + 2), Laplace); as many in a row as
    the gap has must have a chance of 1e-4. Where the habit is not known, the neighbours must show a trickle of trades, too.
    """
    if omits_empty is False or around.opens == 0:
        return False
    trickle = around.median_trades <= _TRICKLE_TRADES
    if omits_empty is None and not trickle:
        return False
    chance = (around.missing + 1) / (around.opens + 2)
    return gap.missing * math.log(chance) >= math.log(_LEAST_LIKELY)


def _nothing_known(explained: dict[str, int]) -> str:
    parts = [f"{bars} by {name}" for name, bars in explained.items() if bars]
    return f"less than half is explained: {', '.join(parts)}" if parts else "the venue answered and gave no bars"


def _evidence(name: str, gap: Gap, bars: int, known: Known, around: Neighbourhood | None) -> str:
    share = f"{bars} of {gap.missing} bars"
    if name == BEFORE_LISTING:
        return f"{share} before the listing at {format_time(known.listed_at_ms or 0)}"
    if name == AFTER_DELISTING:
        return f"{share} after the delisting at {format_time(known.delisted_at_ms or 0)}"
    if name == REFUSED_BARS:
        return f"{share} are in quarantine"
    if name == FETCH_FAILURE:
        return f"{share}: {next(span.what for span in known.failed if _touches(span, gap))}"
    if name == VENUE_OUTAGE:
        outage = next(span for span in known.outages if _touches(span, gap))
        return f"{share} within the outage {format_time(outage[0])} to {format_time(outage[1])}"
    assert around is not None
    return f"{around.missing} of {around.opens} open times around it have no bar either"


def _touches(span: tuple, gap: Gap) -> bool:
    return span[0] < gap.end_ms and span[1] > gap.start_ms
