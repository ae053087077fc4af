"""All that is read of market structure at a bar: that of the series itself (`market_structure`) and that of its higher
timeframe (`higher_structure`), as one frame and one carried state. No rule is here.

Everything is carried from the first bar of a series on: it has no warm-up, and any number of steps gives the bits of one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.higher_structure import HIGHER_EVENTS, HIGHER_OUTPUTS, HigherState, begin_higher, carry_higher
from cryptai_pipelines.indicators.market_structure import LENGTH, StructureState, begin, carry_on
from cryptai_pipelines.indicators.structure_kernel import OUTPUTS
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import HIGHER, Timeframe

READINGS = (*OUTPUTS, *HIGHER_OUTPUTS)
"""Columns of the readings, in order."""

_MAGIC = b"CryptAI readings"
STATE_VERSION = 1
_HEADER = struct.Struct("<16sI4sI")


@dataclass(frozen=True, eq=False)
class ReadingsState:
    """Where structure stands after the last bar of a series of `timeframe`: its own, and that of the higher timeframe (None for
    weeks, which have none). Never changed in place."""

    timeframe: Timeframe
    own: StructureState
    higher: HigherState | None

    def to_bytes(self) -> bytes:
        """A versioned serialisation; equal states give equal bytes."""
        own = self.own.to_bytes()
        higher = b"" if self.higher is None else self.higher.to_bytes()
        return _HEADER.pack(_MAGIC, STATE_VERSION, self.timeframe.code.encode(), len(own)) + own + higher

    @staticmethod
    def from_bytes(data: bytes, timeframe: Timeframe) -> ReadingsState:
        """The state that `to_bytes` wrote for `timeframe`; `BadInput` for anything else, or for another version."""
        if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
            raise BadInput(f"state of {len(data)} bytes is none of market structure")
        _, version, code, size = _HEADER.unpack_from(data)
        if version != STATE_VERSION:
            raise BadInput(f"state of market structure has version {version}, accepted: {STATE_VERSION}; compute it anew")
        if code.rstrip(b"\0") != timeframe.code.encode():
            raise BadInput(
                f"state of market structure is one of {code.rstrip(bytes(1)).decode()} bars, not of {timeframe.code}"
            )
        own, higher = data[_HEADER.size : _HEADER.size + size], data[_HEADER.size + size :]
        if (HIGHER[timeframe] is None) != (not higher):
            raise BadInput(f"state of market structure of {len(data)} bytes is cut or has too many")
        return ReadingsState(timeframe, StructureState.from_bytes(own), HigherState.from_bytes(higher) if higher else None)


def begin_readings(timeframe: Timeframe, length: int = LENGTH) -> ReadingsState:
    """The state before any bar of a series. `length`: bars after a pivot that confirm it, 1 to 1,000, on both timeframes;
    `BadInput` otherwise."""
    return ReadingsState(timeframe, begin(length), None if HIGHER[timeframe] is None else begin_higher(length))


def carry_readings(state: ReadingsState, bars: pd.DataFrame) -> tuple[pd.DataFrame, ReadingsState]:
    """The readings of `bars`, which follow those that made `state`, and the state after them.

    bars: a bars frame (index `ts` UTC, ascending and unique; high, low, close float64 and finite; is_filled bool, absent when
    no bar is). Readings: the same index, float64, the columns of `READINGS`: those of `market_structure.carry_on` and of
    `higher_structure.carry_higher` (NaN for weeks), as known at the close of each bar. Bars that no source has given are
    passed over: how things stood is repeated, and nothing happens at them. `BadInput` as for `carry_on`.
    """
    own, after = carry_on(state.own, bars, state.timeframe)
    told, higher = _higher(state, bars)
    data = np.column_stack((own.to_numpy(), told.T))
    return pd.DataFrame(data, index=bars.index, columns=list(READINGS), copy=False), ReadingsState(
        state.timeframe, after, higher
    )


def _higher(state: ReadingsState, bars: pd.DataFrame) -> tuple[np.ndarray, HigherState | None]:
    higher = HIGHER[state.timeframe]
    if higher is None or state.higher is None:
        return np.full((len(HIGHER_OUTPUTS), len(bars)), np.nan), None
    real = ~bars["is_filled"].to_numpy(dtype=bool) if "is_filled" in bars else np.ones(len(bars), dtype=bool)
    columns = {name: bars[name].to_numpy(dtype="float64")[real] for name in ("high", "low", "close")}
    told, after = carry_higher(state.higher, {"ts": index_ms(bars.index)[real], **columns}, state.timeframe, higher)
    of_every_bar = told[:, np.cumsum(real)]
    events = [HIGHER_OUTPUTS.index(name) for name in HIGHER_EVENTS]
    of_every_bar[events] = np.where(real, of_every_bar[events], 0.0)
    return of_every_bar, after


def structure_readings(bars: pd.DataFrame, timeframe: Timeframe, length: int = LENGTH) -> pd.DataFrame:
    """`carry_readings` from the first bar of a series on."""
    return carry_readings(begin_readings(timeframe, length), bars)[0]
