"""A strategy asked and its answer checked: what goes in is sound and aligned, what comes out is what was agreed, and whatever
the strategy raises is one clear error."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import OHLCV, index_ms
from cryptai_pipelines.market.errors import BadArgument, CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.filling import refuse_interpolated
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS, FLAGS, LEVELS, NUMBERS, complete
from cryptai_pipelines.strategy.inputs import indicator_columns
from cryptai_pipelines.strategy.parameters import check_parameters
from cryptai_pipelines.strategy.protocol import Inputs, Strategy

_ALIKE = 0.85


class StrategyFailed(CryptaiError):
    """A strategy raised, or gave what no strategy may give. The message names it, the series and the last bar."""


def decide_checked(strategy: Strategy, inputs: Inputs, parameters: Any, *, series: str = "the bars") -> pd.DataFrame:
    """The rows of `strategy`: one per bar, its own columns and every decision column (`decisions.complete`).

    Rows of indicators, structure and scores that are absent are unknown (NaN) to the strategy. `series` is how messages call
    what the bars are of. `BadArgument` names what is wrong with the frames or the parameters. `StrategyFailed`: the strategy
    raised (the cause is chained), or its rows are not one per bar, have no `side`, a side that is none of -1, 0 and 1, or a
    column of another dtype than its kind has, one that it does not declare and that is all but called like one of the
    decision, or an order that cannot be made, such as a stop below 0.
    """
    check_parameters(parameters)
    _check_bars(inputs.bars, inputs.timeframe)
    aligned = _aligned(strategy, inputs, parameters)
    try:
        rows = strategy.decide(aligned, parameters)
    except (Exception, SystemExit) as error:  # whatever ends a strategy is its own fault, and does not end us
        raise _failed(strategy, inputs, series, told_raised(error, strategy.decide)) from error
    wrong = _wrong(strategy, rows, inputs.bars.index)
    if wrong is not None:
        raise _failed(strategy, inputs, series, wrong)
    return complete(rows)


def told_raised(error: BaseException, called: object) -> str:
    """What was raised, and in which line of the file of the function `called`, as far as that can be told."""
    file = getattr(getattr(called, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f" ({file}, line {lines[-1]})" if lines else ""
    return f"raises {type(error).__name__}: {' '.join(str(error).split())}{where}"


def _failed(strategy: Strategy, inputs: Inputs, series: str, what: str) -> StrategyFailed:
    index = inputs.bars.index
    last = index[-1].isoformat() if len(index) else "none"
    return StrategyFailed(f"strategy {strategy.name!r} on {series}, {len(index)} bars, the last {last}: {what}")


def _check_bars(bars: pd.DataFrame, timeframe: Timeframe) -> None:
    _require_columns("bars", bars, (*OHLCV, "is_filled"))
    refuse_interpolated(bars)
    opens = _open_times("bars", bars.index)
    off_grid = ~timeframe.on_grid(opens)
    if off_grid.any():
        row = int(np.argmax(off_grid))
        raise BadArgument(f"bars row {row} at {bars.index[row]} is not on the grid of {timeframe.code}")
    for name in OHLCV:
        finite = np.isfinite(bars[name].to_numpy(dtype="float64"))
        if not finite.all():
            row = int(np.argmin(finite))
            raise BadArgument(
                f"bars.{name} is {bars[name].iloc[row]} in row {row} at {bars.index[row]}; accepted: a finite number"
            )


def _aligned(strategy: Strategy, inputs: Inputs, parameters: Any) -> Inputs:
    """`inputs` with all frames on the index of the bars, as copies that the strategy may do with as it likes."""
    index = inputs.bars.index
    needed = list(indicator_columns(strategy, parameters))
    _require_columns("indicators", inputs.indicators, needed)
    length = strategy.structure(parameters)
    if length is not None and inputs.structure is None:
        raise BadArgument(f"structure is None; strategy {strategy.name!r} reads market structure of swing length {length}")
    frames = {"indicators": inputs.indicators[needed], "structure": inputs.structure, "scores": inputs.scores}
    on_index = {name: _reindexed(name, frame, index) for name, frame in frames.items()}
    return Inputs(inputs.bars.copy(deep=False), timeframe=inputs.timeframe, **on_index)


def _reindexed(name: str, frame: pd.DataFrame | None, index: pd.DatetimeIndex) -> pd.DataFrame | None:
    if frame is None:
        return None
    if frame.index.equals(index):
        return frame.copy(deep=False)
    _open_times(name, frame.index)
    return frame.reindex(index)


def _open_times(name: str, index: pd.Index) -> np.ndarray:
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC":
        raise BadArgument(f"{name} are not indexed by open times in UTC")
    opens = index_ms(index)
    backward = np.diff(opens) <= 0
    if backward.any():
        row = int(np.argmax(backward)) + 1
        raise BadArgument(f"{name} row {row} at {index[row]} does not come after the row before; accepted: ascending, unique")
    return opens


def _require_columns(name: str, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise BadArgument(f"{name} have no column {missing[0]!r}; needed: {', '.join(needed)}")


def _wrong(strategy: Strategy, rows: object, index: pd.DatetimeIndex) -> str | None:
    """What is wrong with the rows, if anything."""
    if not isinstance(rows, pd.DataFrame):
        return f"gives a {type(rows).__name__}; accepted: a DataFrame with one row per bar"
    if len(rows) != len(index):
        return f"gives {len(rows)} rows; accepted: one per bar, {len(index)}"
    if not rows.index.equals(index):
        return "gives rows of another index; accepted: that of inputs.bars"
    absent = [name for name in ("side", *(column.name for column in strategy.columns)) if name not in rows.columns]
    if absent:
        return f"gives no column {absent[0]!r}; present: {', '.join(map(str, rows.columns)) or 'none'}"
    wrongs = (_misspelt(strategy, name) or _wrong_column(strategy, rows, name) for name in rows.columns)
    return next((wrong for wrong in wrongs if wrong is not None), None) or _wrong_order(rows)


def _misspelt(strategy: Strategy, name: object) -> str | None:
    """A column that nobody would read is most likely meant to be one that the engine reads."""
    told = str(name)
    if told in (*DECISION_COLUMNS, "entry") or told in {column.name for column in strategy.columns}:
        return None
    near = get_close_matches(told.lower(), DECISION_COLUMNS, n=1, cutoff=_ALIKE)
    # volatility_20 is a name of its own.
    if not near or told.startswith(f"{near[0]}_") or told.endswith(f"_{near[0]}"):
        return None
    return f"gives a column {told!r}; is {near[0]!r} meant? accepted: that, or a column declared in `columns`"


def _wrong_order(rows: pd.DataFrame) -> str | None:
    """What the engine could not do where a side is asked for."""
    asked = rows["side"].to_numpy() != 0
    for name in (one for one in NUMBERS if one in rows.columns):
        values = rows[name].to_numpy()
        if name in LEVELS:
            bad, accepted = values <= 0, "a price above 0, or NaN"
        elif name == "volatility":
            bad, accepted = values < 0, "a number of at least 0, or NaN"
        else:
            bad, accepted = np.isnan(values), "a number"
        if (bad & asked).any():
            row = int(np.argmax(bad & asked))
            return f"gives {name} {values[row]} in row {row} at {rows.index[row]}; accepted: {accepted}"
    return None


def _wrong_column(strategy: Strategy, rows: pd.DataFrame, name: str) -> str | None:
    column = rows[name]
    dtype = str(column.dtype)
    if name == "side":
        return _wrong_side(column)
    if name in FLAGS or name == "entry":
        return None if dtype == "bool" else f"gives {name} as {dtype}; accepted: bool"
    verdicts = {one.name for one in strategy.columns if one.kind in ("gate", "evidence")}
    if name in verdicts or str(name).endswith("_gate"):
        return (
            None if dtype in ("bool", "boolean") else f"gives {name} as {dtype}; accepted: bool, or boolean with NA for unknown"
        )
    if dtype != "float64":
        return f"gives {name} as {dtype}; accepted: float64 (verdicts in columns called *_gate)"
    values = column.to_numpy()
    scored = str(name).endswith("_score") and bool((np.abs(values) > 1).any())
    endless = name in NUMBERS and bool(np.isinf(values).any())
    if scored or endless:
        row = int(np.argmax(np.abs(values) > 1 if scored else np.isinf(values)))
        accepted = "a score in [-1, 1], or NaN" if scored else "a finite number, or NaN"
        return f"gives {name} {values[row]} in row {row} at {rows.index[row]}; accepted: {accepted}"
    return None


def _wrong_side(column: pd.Series) -> str | None:
    if column.dtype.kind not in "iu":
        return f"gives side as {column.dtype}; accepted: whole numbers, 1 long, -1 short, 0 nothing"
    known = column.isin((-1, 0, 1)).to_numpy()
    if not known.all():
        row = int(np.argmin(known))
        return f"gives side {column.iloc[row]} in row {row} at {column.index[row]}; accepted: 1 long, -1 short, 0 nothing"
    return None
