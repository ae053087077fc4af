"""Pages of a timeframe that a venue does not serve, made of the pages of a finer one that it does. Knows no venue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns, bars_frame, concat_columns, index_ms, take_rows
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.resampling import resample
from cryptai_pipelines.market.timeframe import Timeframe


def base_of(target: Timeframe, native: Iterable[Timeframe]) -> Timeframe:
    """The longest of the `native` timeframes whose bars make up a bar of `target`; `target` itself when it is one of them."""
    native = tuple(native)
    parts = [each for each in native if target.ms % each.ms == 0 and (target.anchor_ms - each.anchor_ms) % each.ms == 0]
    return max(parts, key=lambda each: each.ms)


def span_of_parts(target: Timeframe, within: Interval) -> Interval:
    """The span whose finer bars make up the bars of `target` that open in `within`; where none does, the bar that covers it."""
    start, end = target.ceil(within.start_ms), target.ceil(within.end_ms)
    return Interval(start, end) if start < end or within.start_ms >= within.end_ms else Interval(start - target.ms, end)


def resampled_pages(finer: Iterable[Page], base: Timeframe, target: Timeframe, within: Interval) -> Iterator[Page]:
    """Pages of `target` that tile `within` as far as `finer`, the pages of `base` over `span_of_parts`, settles it.

    A bar is given once the whole of its time is settled; one without any finer bar does not exist. A page's proof is the
    SHA-256 over the hex digests, one after the other, of the payloads that its bars were made of; its URL is the first of them.
    """
    parts: list[Page] = []
    made_until: int | None = None
    asked_from = within.start_ms
    for page in finer:
        if made_until is None:
            made_until = target.ceil(page.asked.start_ms)
            asked_from = asked_from if made_until <= target.ceil(within.start_ms) else made_until
        parts.append(page)
        until = target.floor(page.asked.end_ms)
        if until <= made_until or asked_from >= within.end_ms:
            continue
        yield _page(parts, base, target, Interval(asked_from, min(until, within.end_ms)), until)
        asked_from = made_until = until
        parts = [page] if page.asked.end_ms > until else []


def _page(parts: list[Page], base: Timeframe, target: Timeframe, asked: Interval, until_ms: int) -> Page:
    rows = concat_columns([part.rows for part in parts])
    inside = (rows["ts"] >= target.ceil(asked.start_ms)) & (rows["ts"] < until_ms)
    proof = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    coarse = _resampled(take_rows(rows, np.flatnonzero(inside)), base, target)
    return Page(coarse, asked, parts[0].url, proof, max(part.fetched_at_ms for part in parts))


def _resampled(rows: Columns, base: Timeframe, target: Timeframe) -> Columns:
    """Wire rows of `target`. A venue that reports no count of trades reports 0 in each part, and so does the whole."""
    frame = resample(bars_frame(rows), base, target)
    found = {name: np.zeros(len(frame), dtype) for name, dtype in WIRE_DTYPES.items()}
    found["ts"] = index_ms(frame.index)
    for name in frame.columns:
        found[name] = frame[name].to_numpy().astype(WIRE_DTYPES[name])
    return found
