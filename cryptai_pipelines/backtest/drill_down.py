"""Looking into finer bars only where a bar does not tell what came first in it, and what is told of such bars. Which finer bars
count is said in `finer_bars`, what they tell in `exits`; where they are read from is the caller's affair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.engine import Advance, EngineState, advance_together
from cryptai_pipelines.backtest.finer_bars import checked_finer, parts_of
from cryptai_pipelines.backtest.kernel import AMBIGUOUS
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe

ReadFiner = Callable[[np.ndarray], pd.DataFrame]
"""The finer bars that lie within the bars which open at the given times (int64 ms, ascending): a frame like bars, ascending."""

ASKED_DTYPE = np.dtype(
    [
        ("ts", "<i8"),  # open time of the bar
        ("finer_ms", "<i8"),  # length of the finer bars that were asked; 0: none of it are complete
        ("ambiguous", "?"),  # in either book, whatever finer bars said
    ]
)
"""A bar that does not tell by itself what came first in it. The other bars are the same with any finer bars, or none."""

NONE_ASKED = np.zeros(0, dtype=ASKED_DTYPE)

_BY = "told_apart_by_"
# What is read at once of the bars of one length: about 20 MB.
_ROWS_AT_ONCE = 200_000


def advance_with_finer(
    state: EngineState, bars: BarArrays, timeframe: Timeframe, finer: Mapping[Timeframe, ReadFiner]
) -> tuple[Advance, np.ndarray]:
    """`advance_together_with_finer` of the bars of a single symbol, with the bars of which finer ones were asked."""
    step, (asked,) = advance_together_with_finer(state, [bars], timeframe, [finer])
    return step, asked


def advance_together_with_finer(
    state: EngineState,
    symbols: Sequence[BarArrays],
    timeframe: Timeframe,
    finer: Sequence[Mapping[Timeframe, ReadFiner]],
    *,
    with_ledger: bool = False,
) -> tuple[Advance, list[np.ndarray]]:
    """`engine.advance_together` as if all finer bars stood behind the bars of each symbol, and of each the bars of which they
    were asked (`ASKED_DTYPE`, ascending). finer: by symbol how the bars of each shorter timeframe are read, which must divide
    `timeframe`.

    The bars are simulated, the finer ones of those that came out ambiguous are read, and they are simulated again from the
    same state, until no ambiguous bar is left that was not looked into: finer bars are asked of nothing else, so the result is
    that of all of them. A bar is looked into with the shortest timeframe of which it is complete.
    """
    parts, lengths = list(symbols), [len(bars.ts) for bars in symbols]
    looked = [np.zeros(length, dtype=bool) for length in lengths]
    finer_ms = [np.zeros(length, dtype=np.int64) for length in lengths]
    while True:
        step, told = advance_together(state, parts, with_ledger=with_ledger), False
        judged = np.split(step.judged, np.cumsum(lengths)[:-1])
        for place, bars in enumerate(parts):
            rows = np.flatnonzero((judged[place] == AMBIGUOUS) & ~looked[place])
            looked[place][rows] = True
            found, starts, own = _look_into(bars.ts[rows], timeframe, finer[place])
            if found.any():
                finer_ms[place][rows], told = found, True
                parts[place] = _with_parts(bars, rows, starts, own)
        if not told:
            return step, [_asked(bars.ts, *of) for bars, *of in zip(parts, judged, finer_ms, strict=True)]


def _look_into(
    opens: np.ndarray, timeframe: Timeframe, finer: Mapping[Timeframe, ReadFiner]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per bar the length in ms of the finer bars that tell of it (0: none do), where they begin and end in the rows, and the
    rows, both as of `parts_of`."""
    lengths, starts = np.zeros(len(opens), dtype=np.int64), np.zeros((len(opens), 2), dtype=np.int64)
    parts, before = [np.zeros((3, 0))], 0
    for shorter in sorted(finer, key=lambda one: one.ms):
        for rows in _at_once(np.flatnonzero(lengths == 0), timeframe.ms // shorter.ms):
            read = checked_finer(finer[shorter](opens[rows]), f"bars of {shorter.code}")
            own, found = parts_of(opens[rows], timeframe.ms, read, shorter.ms)
            tells = own[:, 1] > own[:, 0]
            lengths[rows[tells]] = shorter.ms
            starts[rows[tells]] = own[tells] + before
            parts.append(found)
            before += found.shape[1]
    return lengths, starts, np.concatenate(parts, axis=1)


def _at_once(rows: np.ndarray, parts: int) -> Iterator[np.ndarray]:
    most = max(1, _ROWS_AT_ONCE // parts)
    for begin in range(0, len(rows), most):
        yield rows[begin : begin + most]


def _with_parts(bars: BarArrays, rows: np.ndarray, starts: np.ndarray, parts: np.ndarray) -> BarArrays:
    """`bars` with finer ones behind some more of their rows."""
    before = np.zeros((3, 0)) if bars.finer is None else bars.finer
    all_starts = np.zeros((len(bars.ts), 2), dtype=np.int64) if bars.finer_starts is None else bars.finer_starts.copy()
    all_starts[rows] = starts + before.shape[1]
    return replace(bars, finer_starts=all_starts, finer=np.concatenate((before, parts), axis=1))


def _asked(ts: np.ndarray, judged: np.ndarray, finer_ms: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(judged)
    asked = np.zeros(len(rows), dtype=ASKED_DTYPE)
    asked["ts"], asked["finer_ms"], asked["ambiguous"] = ts[rows], finer_ms[rows], judged[rows] == AMBIGUOUS
    return asked


def ambiguity_counts(asked: np.ndarray) -> dict[str, int]:
    """Of `ASKED_DTYPE` records: `ambiguous_bars`, those that stay so in either book, `told_apart_bars`, and of these those by
    the bars of each timeframe that told any, such as `told_apart_by_1m`."""
    told = asked["finer_ms"][~asked["ambiguous"]]
    counts = {_BY + one.code: int(np.count_nonzero(told == one.ms)) for one in TIMEFRAMES}
    return {
        "ambiguous_bars": int(np.count_nonzero(asked["ambiguous"])),
        "told_apart_bars": len(told),
        **{name: count for name, count in counts.items() if count},
    }


def told_ambiguity(metrics: Mapping[str, float | int | None]) -> str | None:
    """The `ambiguity_counts` among `metrics` in words; None when they are not there."""
    counts = counts_among(metrics)
    if not counts:
        return None
    by = [(name.removeprefix(_BY), count) for name, count in counts.items() if name.startswith(_BY)]
    told = ", ".join(f"{count:,} by {code} bars" for code, count in by)
    return f"ambiguous bars: {counts['ambiguous_bars']:,}, told apart by finer ones: {told or '0'}"


def counts_among(metrics: Mapping[str, float | int | None]) -> dict[str, int]:
    """The `ambiguity_counts` among `metrics`; none for a result from before they were counted."""
    names = ("ambiguous_bars", "told_apart_bars", *(_BY + one.code for one in TIMEFRAMES))
    return {name: int(metrics[name] or 0) for name in names if name in metrics}
