"""The finer validated bars of a series' symbol as a backtest reads them, and whether those that a stored result was told apart
by have changed. What they tell is the affair of `backtest.drill_down`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.drill_down import ASKED_DTYPE, ReadFiner
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe, parse_timeframe
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.bar_history import known_span, read_known_parts
from cryptai_pipelines.storage import ambiguous_bars, market_data, state
from cryptai_pipelines.storage.database import Database


def finer_than(timeframe: Timeframe) -> tuple[Timeframe, ...]:
    """The timeframes whose bars make up those of `timeframe`, the shortest first."""
    return tuple(one for one in TIMEFRAMES if one.ms < timeframe.ms and timeframe.ms % one.ms == 0)


def finer_revisions(database: Database, series: Series) -> tuple[int, ...]:
    """The revision of the validated bars of each of `finer_than`, 0 where there are none."""
    if not finer_than(series.timeframe):
        return ()
    known = state.read_revisions(database, validated_bars.ASSET, series.symbol)
    return tuple(known.get(one.code, 0) for one in finer_than(series.timeframe))


def finer_readers(
    database: Database, series: Series, revisions: Sequence[int], known_at_ms: int | None = None
) -> dict[Timeframe, ReadFiner]:
    """How the finer bars within bars of `series` are read, by timeframe, where any are stored by `finer_revisions`; with
    `known_at_ms` as they were known at that moment."""
    readers: dict[Timeframe, ReadFiner] = {}
    for timeframe, revision in zip(finer_than(series.timeframe), revisions, strict=True):
        finer = Series(series.symbol, timeframe)
        if revision == 0:
            continue
        if known_at_ms is None:
            readers[timeframe] = partial(market_data.read_parts, database, finer, length_ms=series.timeframe.ms)
        elif (span := known_span(database, finer, known_at_ms)) is not None:
            # A filled bar tells nothing, no more than a missing one: none is needed.
            known = {"length_ms": series.timeframe.ms, "known_at_ms": known_at_ms}
            readers[timeframe] = partial(read_known_parts, database, finer, span, **known)
    return readers


def retold(
    database: Database, series: Series, backtest_id: int, seen: Sequence[int], revisions: Sequence[int]
) -> list[Interval]:
    """The bars of a result of which finer bars were asked and of which some have changed between the revisions `seen` (of
    `finer_revisions`, in part or none for an older result) and `revisions`; a series that appeared has changed as a whole."""
    before = dict(zip(finer_than(series.timeframe), seen, strict=False))
    moved = {
        one.code: before.get(one, 0)
        for one, revision in zip(finer_than(series.timeframe), revisions, strict=True)
        if revision != before.get(one, 0)
    }
    return ambiguous_bars.changed_within(database, backtest_id, series, validated_bars.ASSET, moved) if moved else []


def asked_frame(asked: np.ndarray) -> pd.DataFrame:
    """`ASKED_DTYPE` records as they are stored."""
    codes = {one.ms: one.code for one in TIMEFRAMES}
    told = np.array([codes.get(length) for length in asked["finer_ms"].tolist()], dtype=object)
    return pd.DataFrame({"ts": asked["ts"], "finer_timeframe": pd.Series(told, dtype=object), "ambiguous": asked["ambiguous"]})


def asked_records(frame: pd.DataFrame) -> np.ndarray:
    """The inverse of `asked_frame`."""
    asked = np.zeros(len(frame), dtype=ASKED_DTYPE)
    asked["ts"], asked["ambiguous"] = frame["ts"], frame["ambiguous"]
    asked["finer_ms"] = [0 if code is None else parse_timeframe(code).ms for code in frame["finer_timeframe"]]
    return asked
