"""Checked bars and orders as arrays: of one symbol, and of several laid one after the other for the kernel. Checking is done in
`inputs`, the arithmetic in `kernel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.backtest.kernel import MarketArrays

ORDER_COLUMNS = ("stop_level", "target_level", "limit_price", "volatility", "priority")


@dataclass(frozen=True)
class BarArrays:
    """Checked bars and orders of one symbol, all of one length but where it is said.

    ts: int64, ms. Prices float64. tradable: bool. entries: bool, or int8 with 1 for a long and -1 for a short. volume: float64;
    None: without limit, as far as fills go. leave: int8 flags of `kernel` that order to close a position; None: never.
    orders: float64, a row of `ORDER_COLUMNS` per row with an entry; None: none has levels.
    finer_starts: int64, (n, 2), where in `finer` (float64; rows open, high, low) the finer bars of a row are; None: there are
    none. funding_ts, funding_rate: int64 and float64 of one length, ascending; None: none.
    """

    ts: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    tradable: np.ndarray
    entries: np.ndarray
    volume: np.ndarray | None = None
    leave: np.ndarray | None = None
    orders: np.ndarray | None = None
    finer_starts: np.ndarray | None = None
    finer: np.ndarray | None = None
    funding_ts: np.ndarray | None = None
    funding_rate: np.ndarray | None = None

    @property
    def sides(self) -> np.ndarray:
        """`entries` as int8."""
        return self.entries.view(np.int8) if self.entries.dtype == bool else self.entries

    def rows(self, begin: int, end: int) -> BarArrays:
        """Rows `begin` to `end` (exclusive). Finer bars and funding stay whole: rows and times point into them."""
        columns = dict(vars(self))
        for name in _PER_ROW:
            if columns[name] is not None:
                columns[name] = columns[name][begin:end]
        if self.orders is not None:
            before, until = (int(np.count_nonzero(self.entries[:row])) for row in (begin, end))
            columns["orders"] = self.orders[before:until]
        return BarArrays(**columns)


_PER_ROW = ("ts", "open", "high", "low", "close", "tradable", "entries", "volume", "leave", "finer_starts")


def laid_out(symbols: Sequence[BarArrays]) -> MarketArrays:
    """The arrays of all symbols, in order, as the kernel reads them. Of one symbol nothing is copied."""
    columns = {name: _joined([getattr(bars, name) for bars in symbols]) for name in ("ts", "open", "high", "low", "close")}
    sides = [bars.sides for bars in symbols]
    finer_starts, finer = _finer(symbols)
    funding = [np.zeros(0, np.int64) if bars.funding_ts is None else bars.funding_ts for bars in symbols]
    rates = [np.zeros(0) if bars.funding_rate is None else bars.funding_rate for bars in symbols]
    arrays = MarketArrays(
        clock=common_clock(symbols),
        starts=_starts([len(bars.ts) for bars in symbols]),
        **columns,
        volume=_joined([np.full(len(bars.ts), np.inf) if bars.volume is None else bars.volume for bars in symbols]),
        tradable=_joined([bars.tradable for bars in symbols]),
        sides=_joined(sides),
        leave=_given([bars.leave for bars in symbols], [len(bars.ts) for bars in symbols], np.zeros(1, np.int8)),
        order_starts=_starts([np.count_nonzero(side) for side in sides]),
        orders=_given([bars.orders for bars in symbols], [np.count_nonzero(side) for side in sides], _NO_LEVELS),
        finer_starts=finer_starts,
        finer=finer,
        funding_starts=_starts([len(times) for times in funding]),
        funding_ts=_joined(funding),
        funding_rate=_joined(rates),
    )
    return MarketArrays(*(_read_only(array) for array in arrays))


def joined(parts: Sequence[BarArrays]) -> BarArrays:
    """Consecutive parts of one symbol, at least one, as one. Each has its own finer bars, and all the same funding, as `rows`
    leaves it."""
    laid = laid_out(parts)
    columns = {name: getattr(laid, name) for name in ("ts", "open", "high", "low", "close", "volume", "tradable")}
    return BarArrays(
        **columns,
        entries=laid.sides,
        leave=laid.leave if len(laid.leave) else None,
        orders=laid.orders if len(laid.orders) else None,
        finer_starts=laid.finer_starts if len(laid.finer_starts) else None,
        finer=laid.finer if len(laid.finer_starts) else None,
        funding_ts=parts[0].funding_ts,
        funding_rate=parts[0].funding_rate,
    )


def common_clock(symbols: Sequence[BarArrays]) -> np.ndarray:
    """Every time at which a symbol has a bar, ascending, int64 ms."""
    first = symbols[0].ts
    if all(np.array_equal(bars.ts, first) for bars in symbols[1:]):
        return first
    return np.unique(np.concatenate([bars.ts for bars in symbols]))


_NO_LEVELS = np.array([[np.nan, np.nan, np.nan, np.nan, 0.0]])


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _starts(lengths: list[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)


def _given(parts: list[np.ndarray | None], lengths: list[int], otherwise: np.ndarray) -> np.ndarray:
    """The parts joined, `otherwise` repeated for each that is None; empty when all are."""
    if all(part is None for part in parts):
        return otherwise[:0]
    pairs = zip(parts, lengths, strict=True)
    return _joined([np.repeat(otherwise, length, axis=0) if part is None else part for part, length in pairs])


def _finer(symbols: Sequence[BarArrays]) -> tuple[np.ndarray, np.ndarray]:
    if all(bars.finer is None for bars in symbols):
        return np.zeros((0, 2), np.int64), np.zeros((3, 0))
    starts, parts, before = [], [], 0
    for bars in symbols:
        if bars.finer is None:
            starts.append(np.zeros((len(bars.ts), 2), np.int64))
        else:
            starts.append(bars.finer_starts + before)
            parts.append(bars.finer)
            before += bars.finer.shape[1]
    return np.concatenate(starts), np.ascontiguousarray(np.concatenate(parts, axis=1))


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
