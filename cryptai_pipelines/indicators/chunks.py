"""Indicators of a series, computed chunk by chunk, so that every way of bringing a series up to date gives the same bits.

A recursive mean depends on where it was started, and a running sum on where its rounding began. A stored value is therefore
*defined* on a grid: the open times of a series are cut into chunks of `CHUNK_BARS`, and the values of a chunk are computed
from its own bars preceded by exactly `spec.warmup` existing bars, or by all there are. Which indicators exist is not said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.filling import fill_by
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import Timeframe

# Shorter chunks repeat more warm-up (3,000 bars for the slowest mean); longer ones are more to read and compute per new bar.
CHUNK_BARS = 8_192


def chunk_start(ts_ms: int, timeframe: Timeframe) -> int:
    """Epoch milliseconds of the first open time of the chunk that covers `ts_ms`."""
    return ts_ms - (ts_ms - timeframe.anchor_ms) % (CHUNK_BARS * timeframe.ms)


def warmup_bars(specs: Sequence[IndicatorSpec]) -> int:
    """How many existing bars before `chunk_start` the frame given to `compute` must hold, when the series has as many."""
    return max((spec.warmup for spec in specs), default=0)


def output_columns(specs: Sequence[IndicatorSpec]) -> list[str]:
    """Columns of `compute(..., specs, ...)`, in order."""
    return [output for spec in specs for output in spec.outputs]


def compute(bars: pd.DataFrame, specs: Sequence[IndicatorSpec], timeframe: Timeframe, start_ms: int) -> pd.DataFrame:
    """Indicators of every bar with `ts >= start_ms`: the same index as those bars, the float64 columns of `output_columns`.

    `bars`: a bars frame that holds every existing bar from `chunk_start(start_ms, timeframe)` on, and before it the last
    `warmup_bars(specs)` existing ones, or all when the series has fewer. More before that changes nothing; fewer give other
    values, which cannot be seen from here. A bar that is added or restated at `ts` changes no value before `ts`: computing
    again with `start_ms = ts` renews all that it touches.

    NaN only where TA-Lib has no value, at the beginning of the series. Other values are within 1e-9 of those of one TA-Lib
    call on the whole history: averages, bands, ATR and MACD relative to the price, RSI and stochastic on their scale of 100,
    CCI relative to max(100, |CCI|), with these limits:
    - RSI inside a run of more than `warmup.LULL_BARS` equal closes is 0, TA-Lib's value for a series that never moved.
    - CCI divides by the mean deviation of its window: where that is below 1e-6 of the price both are mostly rounding.
    - TA-Lib's running sums keep the rounding of the largest price they ever held. After a price 1e6 times the present one it
      is the whole-history call that is off, until its end; a chunk is rid of it after at most `CHUNK_BARS` + `warmup` bars.

    ValueError: an index that is not ascending and unique, a missing input column, an input that is not finite.
    """
    ts = _open_times(bars)
    inputs = _input_arrays(bars, specs)
    first = int(np.searchsorted(ts, start_ms))
    slices = list(_chunk_slices(ts, timeframe, first))
    base = max(0, slices[0][0] - warmup_bars(specs)) if slices else first
    names = output_columns(specs)
    block = np.empty((len(names), len(ts) - base))
    row = 0
    for spec in specs:
        columns = {name: inputs[name][base:] for name in spec.inputs}
        _fill(spec, columns, block[row : row + len(spec.outputs)], [(begin - base, end - base) for begin, end in slices])
        row += len(spec.outputs)
    return pd.DataFrame(block[:, first - base :].T, index=bars.index[first:], columns=names, copy=False)


def _fill(spec: IndicatorSpec, inputs: dict[str, np.ndarray], rows: np.ndarray, slices: Sequence[tuple[int, int]]) -> None:
    """Write the outputs of one indicator over the chunks `slices` into `rows`, one each; before the first chunk anything."""
    # From the last chunk to the first: where a chunk's warm-up was written, the chunk before it writes its own values.
    pieces = [(max(0, begin - spec.warmup), end) for begin, end in reversed(slices)]
    try:
        (spec.fill or fill_by(spec.compute))(inputs, list(rows), pieces)
    except ValueError as error:
        raise ValueError(f"indicator {spec.name!r}: {error}") from error


def _chunk_slices(ts: np.ndarray, timeframe: Timeframe, first: int) -> Iterator[tuple[int, int]]:
    """Positions `begin, end` of every chunk that has bars, from the chunk of position `first` on."""
    if first == len(ts):
        return
    span = CHUNK_BARS * timeframe.ms
    edges = np.arange(chunk_start(int(ts[first]), timeframe), int(ts[-1]) + span + 1, span, dtype=np.int64)
    positions = np.searchsorted(ts, edges).tolist()
    for begin, end in zip(positions[:-1], positions[1:], strict=True):
        if end > begin:
            yield begin, end


def _open_times(bars: pd.DataFrame) -> np.ndarray:
    if not isinstance(bars.index, pd.DatetimeIndex):
        raise ValueError(f"bars are indexed by {type(bars.index).__name__}, not by open times (DatetimeIndex)")
    ts = index_ms(bars.index)
    ascending = ts[1:] > ts[:-1]
    if not ascending.all():
        at = int(np.argmin(ascending))
        raise ValueError(f"bars are not ascending and unique: {bars.index[at + 1]} follows {bars.index[at]}")
    return ts


def _input_arrays(bars: pd.DataFrame, specs: Sequence[IndicatorSpec]) -> dict[str, np.ndarray]:
    arrays = {}
    for name in dict.fromkeys(column for spec in specs for column in spec.inputs):
        if name not in bars.columns:
            raise ValueError(f"bars have no column {name!r}; present: {', '.join(map(str, bars.columns))}")
        values = np.ascontiguousarray(bars[name].to_numpy(dtype="float64"))
        # A finite sum proves every term finite at a fraction of the cost; one that is not finite proves nothing.
        with np.errstate(over="ignore", invalid="ignore"):
            total = values.sum()
        if not np.isfinite(total) and not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values)))
            raise ValueError(f"bars hold {name}={values[at]} at {bars.index[at]}; validated bars are finite")
        arrays[name] = values
    return arrays
