"""Trend and structure of the higher timeframe as they were known at the close of each lower bar, carried from bar to bar. The
structure of the series itself is in `market_structure`, both together in `structure_readings`.

A higher bar is made of the lower bars of its interval that a source has given, however few; filled ones never make one up, and
an interval without any has no bar. It counts from the first given lower bar on that closes at the end of the interval or later:
the last bar of the interval, and where that is missing the next one there is. Until then nothing of it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.market_structure import StructureState, begin, carry_on
from cryptai_pipelines.indicators.structure_kernel import STATE_DTYPE
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe

STANDING = ("higher_trend", "higher_bias", "higher_swing_high", "higher_swing_low")
HIGHER_EVENTS = ("higher_bos", "higher_choch")
HIGHER_OUTPUTS = ("higher_trend", "higher_bias", "higher_bos", "higher_choch", "higher_swing_high", "higher_swing_low")

FAST, SLOW = 50, 200
TREND_BARS = 2 * SLOW
"""Higher bars that have to be known before the trend is. An average that began with the first `SLOW` of them then still holds
13 % of that beginning, (199/201)^200: too much for a value, little for whether it rises and which one is higher."""

_FORMING = ("ts", "high", "low", "close")
_DTYPE = np.dtype(
    [
        ("seen", "i8"),
        ("fast", "f8"),
        ("slow", "f8"),
        ("trend", "f8"),
        ("ts", "i8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
    ]
)
_NONE_FORMING = -1


@dataclass(frozen=True, eq=False)
class HigherState:
    """Where the higher timeframe stands: its structure, and a record of its averages and of the bar that is forming."""

    structure: StructureState
    record: bytes

    def to_bytes(self) -> bytes:
        """The state as bytes; equal states give equal bytes."""
        return self.record + self.structure.to_bytes()

    @staticmethod
    def from_bytes(data: bytes) -> HigherState:
        """The state that `to_bytes` wrote; `BadInput` for bytes of another size."""
        if len(data) < _DTYPE.itemsize:
            raise BadInput(f"state of a higher timeframe of {len(data)} bytes was not written by these rules")
        return HigherState(StructureState.from_bytes(data[_DTYPE.itemsize :]), data[: _DTYPE.itemsize])


def begin_higher(length: int) -> HigherState:
    """The state before any bar; `length` as for `market_structure.begin`."""
    record = np.zeros((), _DTYPE)
    record["trend"], record["ts"] = np.nan, _NONE_FORMING
    return HigherState(begin(length), record.tobytes())


def carry_higher(
    state: HigherState, columns: dict[str, np.ndarray], timeframe: Timeframe, higher: Timeframe
) -> tuple[np.ndarray, HigherState]:
    """What is known of `higher` at the close of each given lower bar, and the state after them.

    columns: `ts` (int64 epoch ms, ascending, after the bars that made `state`), `high`, `low`, `close` (float64, finite) of the
    lower bars that a source has given. Result: float64, one row per name of `HIGHER_OUTPUTS`; in the first column what was
    known before the first of the bars, then one column per bar:

    - higher_trend: 1 where the EMA of 50 higher closes is above that of 200 and both rose with the last of them, -1 where it is
      below and both fell, 0 otherwise, NaN while fewer than `TREND_BARS` higher bars are known. The averages are TA-Lib's: the
      first value is the mean of the first closes.
    - higher_bias, higher_swing_high, higher_swing_low: as `bias`, `swing_high` and `swing_low` of the higher bars.
    - higher_bos, higher_choch: the event of a higher bar at the first lower bar that knows of it, 0 elsewhere. Where two higher
      bars become known at once, the later one's event stands if it has one.
    """
    before = np.frombuffer(state.record, _DTYPE)[0]
    closed, known_at, forming = _higher_bars(before, columns, timeframe, higher)
    bars = pd.DataFrame({name: closed[name] for name in _FORMING[1:]}, index=ts_index(closed["ts"]))
    told, structure = carry_on(state.structure, bars, higher)
    trend, record = _trend(before, closed["close"])
    for name in _FORMING:
        record[name] = forming[name]
    stood = np.frombuffer(state.structure.record, STATE_DTYPE)[0]
    standing = {
        "higher_trend": (before["trend"], trend),
        "higher_bias": (stood["bias"], told["bias"]),
        "higher_swing_high": (stood["high"], told["swing_high"]),
        "higher_swing_low": (stood["low"], told["swing_low"]),
    }
    known = np.searchsorted(known_at, np.arange(-1, len(columns["ts"])), side="right")
    out = np.zeros((len(HIGHER_OUTPUTS), len(known)))
    for name, (earlier, later) in standing.items():
        out[HIGHER_OUTPUTS.index(name)] = np.concatenate(([earlier], later))[known]
    for name in HIGHER_EVENTS:
        events = told[name.removeprefix("higher_")].to_numpy()
        happened = np.flatnonzero(events)
        # Of two values for one place numpy keeps the last.
        out[HIGHER_OUTPUTS.index(name), 1 + known_at[happened]] = events[happened]
    return out, HigherState(structure, record.tobytes())


def _higher_bars(
    before: np.void, columns: dict[str, np.ndarray], timeframe: Timeframe, higher: Timeframe
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, float]]:
    """The higher bars that became complete, the positions of the lower bars that know them first, and the bar left forming."""
    begun = before["ts"] != _NONE_FORMING
    # What has formed so far stands for the lower bars it is made of.
    ts, high, low, close = (np.concatenate(([before[name]], columns[name])) if begun else columns[name] for name in _FORMING)
    opens = ts - (ts - higher.anchor_ms) % higher.ms
    if not len(ts):
        return {name: columns[name] for name in _FORMING}, np.empty(0, "int64"), {name: before[name] for name in _FORMING}
    starts = np.flatnonzero(np.concatenate(([True], opens[1:] != opens[:-1])))
    last = np.concatenate((starts[1:], [len(ts)])) - 1
    in_time = ts[last] + timeframe.ms >= opens[last] + higher.ms
    bars = {"ts": opens[starts], "high": np.maximum.reduceat(high, starts), "low": np.minimum.reduceat(low, starts)}
    bars["close"] = close[last]
    complete = len(starts) - (not in_time[-1])
    known_at = np.where(in_time, last, last + 1)[:complete] - begun
    nothing = {"ts": _NONE_FORMING, "high": 0.0, "low": 0.0, "close": 0.0}
    forming = nothing if in_time[-1] else {name: values[-1] for name, values in bars.items()}
    return {name: values[:complete] for name, values in bars.items()}, known_at, forming


def _trend(before: np.void, closes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The trend after each of `closes`, and the record with the averages after the last."""
    seen, record = int(before["seen"]), np.array([before], _DTYPE)
    fast, slow = (_averages(seen, float(before[name]), closes, period) for name, period in (("fast", FAST), ("slow", SLOW)))
    up = (fast > slow)[1:] & (np.diff(fast) > 0) & (np.diff(slow) > 0)
    down = (fast < slow)[1:] & (np.diff(fast) < 0) & (np.diff(slow) < 0)
    trend = up.astype("float64") - down
    trend[: max(0, TREND_BARS - 1 - seen)] = np.nan
    # Counted no further than it matters: records that tell the same are the same.
    record["seen"] = min(seen + len(closes), TREND_BARS)
    record["fast"], record["slow"], record["trend"] = fast[-1], slow[-1], np.append(before["trend"], trend)[-1]
    return trend, record


def _averages(seen: int, value: float, closes: np.ndarray, period: int) -> np.ndarray:
    """The exponential average before the first and after each of `closes`, of which `seen` came before. While those are fewer
    than `period`, their sum stands in its place."""
    values, weight = [value], 2.0 / (period + 1)
    for number, close in enumerate(closes.tolist(), start=seen + 1):
        if number < period:
            value += close
        elif number == period:
            value = (value + close) / period
        else:
            value = (close - value) * weight + value
        values.append(value)
    return np.array(values)
