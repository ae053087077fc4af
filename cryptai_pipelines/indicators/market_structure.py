"""Market structure as it was known at the close of each bar: swing pivots, breaks of structure, changes of character,
fair-value gaps, the order of highs and lows. The rules are in `structure_kernel`.

A reading is never rewritten. A pivot is one of its bar only from the bar on that confirms it, and shows in the readings from
there; a break is told by the bar whose close broke the level. Structure has no warm-up that would do, because a level may stand
for years: it is carried on from the state after the last bar, and any number of steps gives the bits of one. Bars that no
source has given are passed over; their readings repeat how things stood.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.structure_kernel import EVENTS, OUTPUTS, STATE_DTYPE, compiled
from cryptai_pipelines.market.bars import index_ms, ts_index
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe

LENGTH = 5
"""Bars after a pivot that confirm it, unless asked otherwise."""

_LONGEST = 1_000
_FEWEST = 2
_HEADER = struct.Struct("<qqq")
_NO_BAR = -(2**63)


@dataclass(frozen=True, eq=False)
class StructureState:
    """Where structure stands after the last bar: the record of the rules, and the last bars that they will look back to (open
    time, high, low; as many as `length` and at least two, fewer at the beginning). `last_ts`: of the last bar, filled or
    not."""

    length: int
    record: bytes
    ts: np.ndarray
    high: np.ndarray
    low: np.ndarray
    last_ts: int | None = None

    def to_bytes(self) -> bytes:
        """The state as bytes; equal states give equal bytes."""
        last_ts = _NO_BAR if self.last_ts is None else self.last_ts
        looked_back_to = b"".join(values.tobytes() for values in (self.ts, self.high, self.low))
        return _HEADER.pack(self.length, len(self.ts), last_ts) + self.record + looked_back_to

    @staticmethod
    def from_bytes(data: bytes) -> StructureState:
        """The state that `to_bytes` wrote; `BadInput` for bytes of another size. Who keeps them says what version they are."""
        if len(data) < _HEADER.size + STATE_DTYPE.itemsize:
            raise BadInput(f"structure state of {len(data)} bytes was not written by these rules")
        length, known, last_ts = _HEADER.unpack_from(data)
        if len(data) != _HEADER.size + STATE_DTYPE.itemsize + 3 * 8 * known:
            raise BadInput(f"structure state of {len(data)} bytes does not hold the {known} bars that it names")
        bars = _HEADER.size + STATE_DTYPE.itemsize
        ts, high, low = (np.frombuffer(data, kind, known, bars + 8 * known * at) for at, kind in enumerate(("i8", "f8", "f8")))
        return StructureState(length, data[_HEADER.size : bars], ts, high, low, None if last_ts == _NO_BAR else last_ts)


def begin(length: int = LENGTH) -> StructureState:
    """The state before any bar. `length`: bars after a pivot that confirm it, 1 to 1,000; `BadInput` otherwise."""
    if not 1 <= length <= _LONGEST:
        raise BadInput(f"swing length {length} is not accepted; accepted: 1 to {_LONGEST}")
    record = np.zeros(1, STATE_DTYPE)
    for name in ("high", "low", "above_top", "above_bottom", "below_top", "below_bottom"):
        record[name] = np.nan
    for name in ("high_ts", "low_ts", "high_confirmed_at", "low_confirmed_at"):
        record[name] = -1
    return StructureState(length, record.tobytes(), np.empty(0, "int64"), np.empty(0), np.empty(0))


def carry_on(state: StructureState, bars: pd.DataFrame, timeframe: Timeframe) -> tuple[pd.DataFrame, StructureState]:
    """The readings of `bars`, which follow those that made `state`, and the state after them.

    bars: a bars frame (index `ts` UTC, ascending and unique; high, low, close float64 and finite; is_filled bool, absent when
    no bar is). Readings: the same index, float64, what is known at the close of each bar:

    - swing_high, swing_high_ts (epoch ms: the open of its bar), swing_high_confirmed_at (epoch ms: the close of the bar that
      confirmed it), swing_high_order: the last confirmed pivot high; order 1 a higher high, -1 a lower one, 0 an equal or the
      first. swing_low and its three likewise, 1 being a higher low. Prices and times are NaN before the first.
    - leg: 1 after a pivot low, -1 after a pivot high, 0 before either.
    - bias: 1 up, -1 down, 0 before the first break.
    - bos, choch: 1 or -1 at the bar whose close breaks a level, 0 elsewhere; broken_level: that level, else NaN.
    - fair_value_gap: 1 or -1 at the bar that leaves a gap below or above itself, 0 elsewhere; never over a missing bar.
    - gap_above, gap_below: the near edge of the last gap that was left on either side and is open, NaN without one.

    `BadInput` for bars that do not follow the state, are not ascending, or are not finite.
    """
    opens = index_ms(bars.index)
    columns = {name: np.ascontiguousarray(bars[name].to_numpy(dtype="float64")) for name in ("high", "low", "close")}
    _check(state, opens, columns)
    real = ~bars["is_filled"].to_numpy(dtype=bool) if "is_filled" in bars else np.ones(len(opens), dtype=bool)
    known = len(state.ts)
    ts = np.concatenate((state.ts, opens[real]))
    high, low = np.concatenate((state.high, columns["high"][real])), np.concatenate((state.low, columns["low"][real]))
    close = np.concatenate((np.full(known, np.nan), columns["close"][real]))
    record, out = np.frombuffer(bytearray(state.record), STATE_DTYPE), np.empty((len(OUTPUTS), len(ts) - known + 1))
    compiled()(ts, high, low, close, known, state.length, timeframe.ms, record, out)
    last = slice(max(0, len(ts) - max(state.length, _FEWEST)), None)
    last_ts = int(opens[-1]) if len(opens) else state.last_ts
    after = StructureState(state.length, record.tobytes(), ts[last].copy(), high[last].copy(), low[last].copy(), last_ts)
    return _of_every_bar(out, real, bars.index), after


def _of_every_bar(out: np.ndarray, real: np.ndarray, index: pd.DatetimeIndex) -> pd.DataFrame:
    """The readings of the real bars, and where none was given those before without their events."""
    told = out[:, np.cumsum(real)]
    for name, nothing in EVENTS.items():
        told[OUTPUTS.index(name), ~real] = nothing
    return pd.DataFrame(told.T, index=index, columns=list(OUTPUTS), copy=False)


def readings(bars: pd.DataFrame, timeframe: Timeframe, length: int = LENGTH) -> pd.DataFrame:
    """`carry_on` from the first bar of a series on."""
    return carry_on(begin(length), bars, timeframe)[0]


def pivots(known: pd.DataFrame, timeframe: Timeframe) -> pd.DataFrame:
    """The confirmed swing pivots in `readings`, each once, in the order in which they were confirmed: `ts` (of its bar),
    `side` (1 high, -1 low), `price`, `order`, and `confirmed_at`, the close of the bar that confirmed it (both UTC).
    What had been confirmed before the first of the readings is not among them."""
    parts = []
    for side, name in ((1, "swing_high"), (-1, "swing_low")):
        stamps = known[f"{name}_ts"].to_numpy()
        fresh = 1 + np.flatnonzero((stamps[1:] != stamps[:-1]) & ~np.isnan(stamps[1:]))
        parts.append(
            pd.DataFrame(
                {
                    "ts": ts_index(stamps[fresh].astype("int64")),
                    "side": side,
                    "price": known[name].to_numpy()[fresh],
                    "order": known[f"{name}_order"].to_numpy()[fresh].astype("int64"),
                    "confirmed_at": ts_index(index_ms(known.index)[fresh] + timeframe.ms),
                }
            )
        )
    return pd.concat(parts).sort_values("confirmed_at", kind="stable").reset_index(drop=True)


def _check(state: StructureState, opens: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    before = [] if state.last_ts is None else [state.last_ts]
    backward = np.flatnonzero(np.diff(np.concatenate((before, opens))) <= 0)
    if len(backward):
        at = backward[0] + 1 - len(before)
        raise BadInput(f"bars are not ascending and unique, or do not follow those before them: {format_time(int(opens[at]))}")
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise BadInput(f"bars hold {name}={values[bad[0]]} at {format_time(int(opens[bad[0]]))}; validated bars are finite")
