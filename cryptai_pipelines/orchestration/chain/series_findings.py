"""The series rules asked of one stored series, block by block, and their findings kept in `data_quality` under `rule:<name>`.
Only what may have changed since the last time is looked at again. The rules live in `quality.series_rules`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns, index_ms, take_rows
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import TIMEFRAMES
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress, ignore_progress
from cryptai_pipelines.quality.market_signs import complete_aggregates
from cryptai_pipelines.quality.series_rules import CONTEXT, LONGEST_START, STORED_RULES, scan
from cryptai_pipelines.quality.series_view import SeriesFinding, View
from cryptai_pipelines.storage import market_data, quality_log, raw, series_sources, state
from cryptai_pipelines.storage.database import Cursor, Database, run_transaction
from cryptai_pipelines.storage.quality_log import Finding

ASSET = "data_quality"
PREFIX = "rule:"
BARS_PER_BLOCK = 50_000
# A block of long bars is checked against the short ones in it, of which there may be many more.
_FINER_PER_BLOCK = 400_000
_VALIDATED = "validated_bars"
_CODE = "1"
# The year 9999, which Postgres and Python both can say.
_END_OF_TIME_MS = 253_370_764_800_000


@dataclass(frozen=True)
class _Inputs:
    """What the findings of a series are made from: the shorter series of the symbol it is held against and another venue's
    bars of it (None without one), the listed tick, and the revisions of the bars."""

    finer: Series | None
    other: str | None
    tick_size: float | None
    revision: int
    finer_revision: int

    def version(self) -> str:
        """Another one means that everything has to be looked at again."""
        rules = [(rule.name, rule.context, sorted(rule.limits.items())) for rule in STORED_RULES]
        told = [_CODE, rules, self.finer and self.finer.key, self.other, self.tick_size]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def bring_up_to_date(
    database: Database,
    venue: str,
    series: Series,
    tick_size: float | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
) -> int:
    """Ask every series rule of what changed in the validated bars since the last time; how many findings were added, changed or
    removed. The findings are those that the whole series at once would give."""
    inputs = _inputs(database, venue, series, tick_size)
    whole = market_data.span(database, series)
    since = None if whole is None else _since(database, series, inputs, whole)
    if whole is None or since is None:
        return 0
    start = _restart(database, series, since)
    within = Interval(start, whole.end_ms + series.timeframe.ms)
    found = scan(_blocks(database, venue, series, inputs, within, on_progress), STORED_RULES)
    return run_transaction(database, lambda cursor: _write(cursor, series, start, found, inputs, whole))


def _write(cursor: Cursor, series: Series, start: int, found: Sequence[SeriesFinding], inputs: _Inputs, whole: Interval) -> int:
    """Make `found` all findings from `start` on, and remember what they were made from; how many changed."""
    by_rule: dict[str, list[Finding]] = {rule.name: [] for rule in STORED_RULES}
    for one in found:
        by_rule[one.rule].append(_stored(one))
    after = Interval(start, _END_OF_TIME_MS)
    changed = [
        quality_log.replace_findings(cursor, series, PREFIX + name, after, findings) for name, findings in by_rule.items()
    ]
    state.write_state(
        cursor,
        ASSET,
        series,
        input_revision=inputs.revision,
        code_version=inputs.version(),
        last_ts=whole.end_ms,
        state=str(inputs.finer_revision).encode(),
    )
    return sum(changed)


def _inputs(database: Database, venue: str, series: Series, tick_size: float | None) -> _Inputs:
    revisions = state.read_revisions(database, _VALIDATED, series.symbol)
    shorter = [one for one in TIMEFRAMES if one.ms < series.timeframe.ms and series.timeframe.ms % one.ms == 0]
    finer = next((Series(series.symbol, one) for one in reversed(shorter) if one.code in revisions), None)
    others = [one.source for one in series_sources.read_sources(database, series) if _is_another_venue(one.source, venue)]
    return _Inputs(
        finer,
        others[0] if others else None,
        tick_size,
        revisions.get(series.timeframe.code, 0),
        0 if finer is None else revisions[finer.timeframe.code],
    )


def _is_another_venue(source: str, venue: str) -> bool:
    """A file or a chart server may well hold this venue's own bars, and its archive does."""
    return ":" not in source and source.removesuffix("_archive") != venue


def _since(database: Database, series: Series, inputs: _Inputs, whole: Interval) -> int | None:
    """From where on findings may be other ones than those that are stored; None when nothing has changed."""
    own = state.read_state(database, ASSET, series)
    if own is None or own.state is None or own.code_version != inputs.version():
        return whole.start_ms
    changed = [state.changed_since(database, _VALIDATED, series, own.input_revision)]
    if inputs.finer is not None:
        changed.append(state.changed_since(database, _VALIDATED, inputs.finer, int(own.state)))
    starts = [series.timeframe.floor(span.start_ms) for span in changed if span is not None]
    return max(min(starts), whole.start_ms) if starts else None


def _restart(database: Database, series: Series, since: int) -> int:
    """Where to begin so that no run is cut: before any that is too short yet to be a finding, and not within a finding."""
    start = market_data.window_start(database, series, since, LONGEST_START, filled=False)
    while True:
        rows = database.rows(
            "SELECT min(period_start) FROM data_quality WHERE symbol = %s AND timeframe = %s AND starts_with(kind, %s)"
            " AND period_start < to_timestamp(%s / 1000.0) AND period_end >= to_timestamp(%s / 1000.0)",
            (series.symbol, series.timeframe.code, PREFIX, start, start),
        )
        if rows[0][0] is None:
            return start
        start = round(rows[0][0].timestamp() * 1000)


def _blocks(
    database: Database, venue: str, series: Series, inputs: _Inputs, within: Interval, on_progress: OnProgress
) -> Iterator[tuple[View, int]]:
    before_ms = market_data.window_start(database, series, within.start_ms, CONTEXT, filled=False)
    context = _read_bars(database, series, Interval(before_ms, within.start_ms))
    starts_series, seen = not len(context["ts"]), 0
    length = series.timeframe.ms * _bars_per_block(series, inputs.finer)
    for start in range(within.start_ms, within.end_ms, length):
        part = Interval(start, min(start + length, within.end_ms))
        bars = _read_bars(database, series, part)
        joined = {name: np.concatenate((context[name], bars[name])) for name in bars}
        fresh = len(context["ts"])
        if len(bars["ts"]):
            yield _view(database, venue, series, inputs, part, joined)._replace(starts_series=starts_series), fresh
            starts_series = False
        context = take_rows(joined, np.arange(max(0, len(joined["ts"]) - CONTEXT), len(joined["ts"])))
        seen += len(bars["ts"])
        on_progress(Progress(ASSET, series, part.end_ms - within.start_ms, within.end_ms - within.start_ms, seen))


def _bars_per_block(series: Series, finer: Series | None) -> int:
    most = BARS_PER_BLOCK if finer is None else _FINER_PER_BLOCK * finer.timeframe.ms // series.timeframe.ms
    return max(1, min(BARS_PER_BLOCK, most))


def _read_bars(database: Database, series: Series, part: Interval) -> Columns:
    """The bars of `part` that a source has given, and which one (`source`, object)."""
    frame = market_data.read(database, series, *part, columns=(*BAR_COLUMNS, "is_filled", "source"))
    frame = frame[~frame["is_filled"].to_numpy()]
    values = {name: frame[name].to_numpy("float64") for name in BAR_COLUMNS}
    return {"ts": index_ms(frame.index), **values, "source": frame["source"].astype(object).to_numpy()}


def _view(database: Database, venue: str, series: Series, inputs: _Inputs, part: Interval, bars: Columns) -> View:
    """`bars` with what may be held against them. Other bars cover `part`, which is all that is judged of them; a share of
    restated bars needs the receipts before it, too."""
    finer = other = None
    ts, source = bars["ts"], bars["source"]
    if inputs.finer is not None:
        finer = complete_aggregates(_read_bars(database, inputs.finer, part), inputs.finer.timeframe, series.timeframe)
    if inputs.other is not None:
        # A bar that was taken from the other venue is that venue's, and is no witness against itself.
        theirs = raw.read_current(database, inputs.other, series, *part)
        other = take_rows(theirs, ~np.isin(theirs["ts"], ts[source == inputs.other]))
    receipts = raw.read_receipts(database, venue, series, int(ts[0]), part.end_ms)
    receipts = take_rows(receipts, np.isin(receipts["ts"], ts[source == venue]))
    own = {name: values for name, values in bars.items() if name != "source"}
    return View(own, series.timeframe, False, finer, other, receipts, inputs.tick_size)


def _stored(found: SeriesFinding) -> Finding:
    worst = found.worst
    details: Mapping[str, Any] = {
        "bars": found.count,
        # JSON has no infinity.
        "worst": worst if worst is None or math.isfinite(worst) else str(worst),
        "reason": found.reason,
    }
    return Finding(Interval(found.start_ms, found.end_ms), found.severity, details=details)
