"""From where a derived asset of a series must be brought up to date, and in which blocks of time.

Each asset looks at the assets it is made of, at what these have reached, at what changed in them, and at what they were made
from. So a change of a bar, of code or of a parameter reaches everything below it, in whatever order and subset the assets are
brought up to date. Of several inputs every one counts its own changes; an asset reaches as far as all of them do, and what one
of them is late with is told by its own changes when it comes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cryptai_pipelines.indicators.chunks import CHUNK_BARS, chunk_start
from cryptai_pipelines.market.intervals import Interval, merged
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import market_data, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database

# 65,536 bars: enough to forget the cost of a statement, little enough to forget the memory (about 10 MB a block).
CHUNKS_PER_BLOCK = 8


@dataclass(frozen=True)
class Stale:
    """What is to be done for one series. `start_ms` to `end_ms` (exclusive): from the first bar that no longer matches the
    input to the end of the series. `changes`: what changed in the input, ascending and apart; all of it when the asset is made
    anew. `source`: the input's state that the result will be made from; of several the first one's, with the rows that all
    have. `own`: the asset's state before. `version`: what it will be made from. `further_revisions`: those of the inputs after
    the first."""

    asset: str
    series: Series
    start_ms: int
    end_ms: int
    changes: tuple[Interval, ...]
    source: state.SeriesState
    own: state.SeriesState | None
    version: str
    further_revisions: tuple[int, ...] = ()

    @property
    def anew(self) -> bool:
        """Is the asset made by other code, from other parameters or from another kind of input than before, or never yet?"""
        return self.own is None or self.own.code_version != self.version

    @property
    def continues(self) -> bool:
        """Do only bars follow that the asset has not seen, and is everything before them up to date?"""
        return not self.anew and self.own.last_ts is not None and self.start_ms > self.own.last_ts


def find_stale(
    database: Database,
    asset: str,
    input_asset: str,
    series: Series,
    made_of: str,
    further_inputs: Sequence[str] = (),
    *,
    besides: Sequence[Interval] = (),
) -> Stale | None:
    """What of `asset` no longer matches `input_asset` and the `further_inputs`; None when nothing, or when one of them is not
    there yet.

    `made_of`: the asset's own code version and parameters (`made_from`); those of the inputs are added here. `besides`: what of
    the rows that were made has to be made again, although these inputs have not changed there.
    """
    inputs = [state.read_state(database, name, series) for name in (input_asset, *further_inputs)]
    if any(one is None or one.first_ts is None or one.last_ts is None for one in inputs):
        return None
    source = replace(inputs[0], first_ts=max(one.first_ts for one in inputs), last_ts=min(one.last_ts for one in inputs))
    if source.first_ts > source.last_ts:
        return None
    own, further, length = state.read_state(database, asset, series), inputs[1:], series.timeframe.ms
    version = _version(made_of, inputs)
    revisions = tuple(one.revision for one in further)
    if own is None or own.code_version != version:
        whole = Interval(source.first_ts, source.last_ts + length)
        return Stale(asset, series, *whole, (whole,), source, own, version, revisions)
    changes = merged((*_changes(database, inputs, own), *besides))
    if not changes:
        return None
    end = max(source.last_ts + length, changes[-1].end_ms)
    return Stale(asset, series, changes[0].start_ms, end, tuple(changes), source, own, version, revisions)


def made_otherwise(
    database: Database, asset: str, input_asset: str, series: Series, made_of: str, further_inputs: Sequence[str] = ()
) -> bool:
    """Is what is stored of `asset` of other code, parameters or kinds of input than `find_stale` would have it? Not when there
    is nothing; what is only behind its inputs is not either."""
    own = state.read_state(database, asset, series)
    inputs = [state.read_state(database, name, series) for name in (input_asset, *further_inputs)]
    return own is not None and own.code_version != _version(made_of, [one for one in inputs if one is not None])


def _version(made_of: str, inputs: Sequence[state.SeriesState]) -> str:
    names = ["input", *(one.asset for one in inputs[1:])]
    return made_from(made_of, {name: one.code_version for name, one in zip(names, inputs, strict=False)})


def _changes(database: Database, inputs: Sequence[state.SeriesState], own: state.SeriesState) -> list[Interval]:
    """What changed in the inputs since `own` was made from them, ascending and apart. What only some of them have reached is
    left out: the others will tell of it, too, unless `own` has it from before."""
    seen = (own.input_revision, *own.further_revisions)[: len(inputs)]
    found = [
        change
        for one, revision in zip(inputs, seen, strict=True)
        for change in state.changes_since(database, one.asset, one.series, revision)
    ]
    last = [one.last_ts for one in inputs]
    if min(last) == max(last):
        return merged(found)
    end = max(min(last), own.last_ts) + own.series.timeframe.ms
    return merged(Interval(change.start_ms, min(change.end_ms, end)) for change in found)


def reached(source: Cursor | Database, stale: Stale, warmup_bars: int | None) -> list[Interval]:
    """What of a per-bar asset the changes of its input can touch, ascending and apart, when the values of a canonical chunk are
    made of the chunk and of the `warmup_bars` existing bars before it; None: of all bars before it."""
    spans = []
    for change in stale.changes:
        end = reach_end(source, stale.series, change, warmup_bars) if change.end_ms < stale.end_ms else None
        spans.append(Interval(change.start_ms, stale.end_ms if end is None else min(end, stale.end_ms)))
    return merged(spans)


def reach_end(source: Cursor | Database, series: Series, change: Interval, warmup_bars: int | None) -> int | None:
    """Where the last chunk ends that a change of the bars in `change` can touch; None when that is the end of the series.

    A chunk's warm-up reaches back to the change when fewer than `warmup_bars` existing bars lie between them. Bars that
    appeared or went are counted right by this: those in between that did not change are the same before and after.
    """
    if warmup_bars is None:
        return None
    last = change.end_ms - series.timeframe.ms
    if warmup_bars > 0:
        after = market_data.window_end(source, series, change.end_ms, warmup_bars)
        if after is None:
            return None
        last = after
    return chunk_start(last, series.timeframe) + CHUNK_BARS * series.timeframe.ms


def told_reach(warmup_bars: int | None) -> bytes:
    """How far a changed bar reaches in a per-bar asset, as its state keeps it."""
    return json.dumps(warmup_bars).encode()


def stored_reach(own: state.SeriesState | None) -> int | None:
    """The `warmup_bars` that the stored rows of a per-bar asset were made with; None for all bars before, or when it is not
    known."""
    return None if own is None or own.state is None else json.loads(own.state)


def remember(cursor: Cursor, stale: Stale, own_state: bytes | None = None, *, spans: Sequence[Interval] | None = None) -> None:
    """Call the asset up to date. All of `spans`, or else of the time from `start_ms` on, counts as changed, whatever of it an
    interrupted run had written before."""
    length = stale.series.timeframe.ms
    for start, end in spans or [Interval(stale.start_ms, stale.end_ms)]:
        change = Change(new=1, first_ts=start, last_ts=max(start, end - length))
        state.record_change(cursor, stale.asset, stale.series, change)
    state.write_state(
        cursor,
        stale.asset,
        stale.series,
        input_revision=stale.source.revision,
        code_version=stale.version,
        first_ts=stale.source.first_ts,
        last_ts=stale.source.last_ts,
        state=own_state,
        further_revisions=stale.further_revisions,
    )


def begin_anew(cursor: Cursor, stale: Stale) -> None:
    """Call the asset unfinished, in the transaction that writes the first rows of another version: until the last of them is
    there no version can claim the series, not even the former one when a run was interrupted and what it was asked for is taken
    back."""
    if stale.own is not None and stale.anew:
        state.write_state(cursor, stale.asset, stale.series, first_ts=stale.own.first_ts, last_ts=stale.own.last_ts)


def blocks(start_ms: int, end_ms: int, timeframe: Timeframe, chunks: int = CHUNKS_PER_BLOCK) -> Iterator[Interval]:
    """`[start_ms, end_ms)` cut at every boundary of `chunks` canonical chunks, counted from the one that `start_ms` lies in."""
    length = chunks * CHUNK_BARS * timeframe.ms
    while start_ms < end_ms:
        boundary = min(end_ms, chunk_start(start_ms, timeframe) + length)
        yield Interval(start_ms, boundary)
        start_ms = boundary


def made_from(code_version: str, parameters: Mapping[str, object]) -> str:
    """Code version and parameters in one short text: rows made from another one are stale."""
    canonical = json.dumps(parameters, sort_keys=True, default=str, separators=(",", ":"))
    return f"{code_version}:{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"
