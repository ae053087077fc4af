"""From where a derived asset of a series must be brought up to date, and in which blocks of time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from cryptai_pipelines.indicators.chunks import CHUNK_BARS, chunk_start
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import state
from cryptai_pipelines.storage.database import Database

# 65,536 bars: enough to forget the cost of a statement, little enough to forget the memory (about 10 MB a block).
CHUNKS_PER_BLOCK = 8


def stale_from(database: Database, asset: str, series: Series, upstream: str, version: str) -> int | None:
    """Open time (epoch ms) from which `asset` no longer matches `upstream`; None when it is up to date or there is no input.

    Another `version` (code and parameters) makes everything stale.
    """
    source = state.read_state(database, upstream, series)
    if source is None or source.first_ts is None:
        return None
    own = state.read_state(database, asset, series)
    if own is None or own.code_version != version:
        return source.first_ts
    changed = state.changed_since(database, upstream, series, own.input_revision)
    return None if changed is None else changed.start_ms


def blocks(start_ms: int, end_ms: int, timeframe: Timeframe) -> Iterator[Interval]:
    """`[start_ms, end_ms)` cut at every `CHUNKS_PER_BLOCK`-th boundary of the canonical chunks."""
    length = CHUNKS_PER_BLOCK * CHUNK_BARS * timeframe.ms
    while start_ms < end_ms:
        boundary = min(end_ms, chunk_start(start_ms, timeframe) + length)
        yield Interval(start_ms, boundary)
        start_ms = boundary


def made_from(code_version: str, parameters: Mapping[str, object]) -> str:
    """Code version and parameters in one short text: rows made from another one are stale."""
    canonical = json.dumps(parameters, sort_keys=True, default=str, separators=(",", ":"))
    return f"{code_version}:{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"
