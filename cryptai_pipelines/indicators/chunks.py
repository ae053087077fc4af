"""Indicators of a series, computed chunk by chunk, so that every way of bringing a series up to date gives the same bits.

A recursive mean depends on where it was started, and a running sum on where its rounding began. A stored value is therefore
*defined* on a grid: the open times of a series are cut into chunks of `CHUNK_BARS`, and the values of a chunk are computed
from its own bars preceded by exactly `spec.warmup` existing bars, or by all there are. A carried indicator, such as a sum since
the first bar, goes on from its value at the bar before the chunk, too. Which indicators exist is not said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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


def carried_columns(specs: Sequence[IndicatorSpec]) -> list[str]:
    """The columns whose values at the bar before a chunk `compute` asks for."""
    return [output for spec in specs if spec.carry for output in spec.outputs]


def compute(
    bars: pd.DataFrame,
    specs: Sequence[IndicatorSpec],
    timeframe: Timeframe,
    start_ms: int,
    before: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Indicators of every bar with `ts >= start_ms`: the same index as those bars, the float64 columns of `output_columns`.

    `bars`: a bars frame that holds every existing bar from `chunk_start(start_ms, timeframe)` on, and before it the last
    `warmup_bars(specs)` existing ones, or all when the series has fewer. More before that changes nothing; fewer give other
    values, which cannot be seen from here. `before`: the values of `carried_columns(specs)` at the last existing bar before
    that chunk; not needed while the series begins in it, nor when nothing is carried. A bar that is added or restated at `ts`
    changes no value before `ts`: computing again with `start_ms = ts` renews all that it touches.

    NaN where fewer than `spec.settled` existing bars lie before the bar: there the value could differ by more than 1e-9 from
    that of an infinite past. The margin `spec.lull` is not part of this, so that a value close behind may still remember where
    the series began, when prices have stood still since; nor is what an indicator that is carried has added up, which depends
    on the first bar by what it is. NaN, too, where an indicator weighs by volume and nothing was traded.

    Other values are within 1e-9 of those of one TA-Lib call on the whole history: averages, bands, ATR and MACD relative to the
    price, RSI and stochastic on their scale of 100, CCI relative to max(100, |CCI|), with these limits:
    - RSI inside a run of more than `warmup.LULL_BARS` equal closes is 0, TA-Lib's value for a series that never moved.
    - CCI divides by the mean deviation of its window: where that is below 1e-6 of the price both are mostly rounding.
    - TA-Lib's running sums keep the rounding of the largest price they ever held. After a price 1e6 times the present one it
      is the whole-history call that is off, until its end; a chunk is rid of it after at most `CHUNK_BARS` + `warmup` bars.

    ValueError: an index that is not ascending and unique, a missing input column, an input that is not finite, nothing given
    that an indicator could go on from.
    """
    ts = _open_times(bars)
    inputs = _input_arrays(bars, specs)
    first = int(np.searchsorted(ts, start_ms))
    slices = list(_chunk_slices(ts, timeframe, start_ms)) if first < len(ts) else []
    base = max(0, slices[0][0] - warmup_bars(specs)) if slices else first
    names = output_columns(specs)
    block = np.empty((len(names), len(ts) - base))
    placed = [(begin - base, end - base) for begin, end in slices]
    row = 0
    for spec in specs:
        columns = {name: inputs[name][base:] for name in spec.inputs}
        rows = block[row : row + len(spec.outputs)]
        if spec.carry is None:
            _fill(spec, columns, rows, placed)
        else:
            _carry(spec, columns, rows, placed, before)
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
    # A chunk that has its whole warm-up before it lies behind these rows.
    rows[:, : spec.settled] = np.nan


def _carry(
    spec: IndicatorSpec,
    inputs: dict[str, np.ndarray],
    rows: np.ndarray,
    slices: Sequence[tuple[int, int]],
    given: Mapping[str, float] | None,
) -> None:
    """As `_fill`, of an indicator that goes on from the values `given`, and from chunk to chunk."""
    before = None
    if slices and slices[0][0] > 0:
        absent = [name for name in spec.outputs if given is None or name not in given]
        if absent:
            raise ValueError(
                f"indicator {spec.name!r} goes on from {absent[0]!r} of the bar before the chunk, which is not given"
            )
        before = np.array([given[name] for name in spec.outputs], dtype="float64")  # type: ignore[index]
    for begin, end in slices:
        head = max(0, begin - spec.warmup)
        columns = {name: values[head:end] for name, values in inputs.items()}
        for row, values in zip(rows, spec.carry(columns, begin - head, before), strict=True):  # type: ignore[misc]
            row[begin:end] = values
        before = rows[:, end - 1].copy()


def _chunk_slices(ts: np.ndarray, timeframe: Timeframe, start_ms: int) -> Iterator[tuple[int, int]]:
    """Positions `begin, end` of every chunk that has bars, from the chunk of `start_ms` on."""
    span = CHUNK_BARS * timeframe.ms
    # That chunk, and not the one of the first bar from then on: it is the one that `before` lies in front of.
    edges = np.arange(chunk_start(max(start_ms, int(ts[0])), timeframe), int(ts[-1]) + span + 1, span, dtype=np.int64)
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
