"""What a strategy hands to the engine: a frame indexed like the bars, of which every row is known at the close of its bar. An
order made there is filled at the next existing bar's open at the earliest. How it is filled is the business of `backtest`."""

from __future__ import annotations

import numpy as np
import pandas as pd

FLAGS = ("exit_long", "exit_short")
LEVELS = ("stop_level", "target_level", "limit_price")
NUMBERS = (*LEVELS, "volatility", "priority")

DECISION_COLUMNS = ("side", *FLAGS, *NUMBERS)
"""The columns of a decisions frame, of which `side` is the only one that must be there:

- side, int8: 1 asks for a long, -1 for a short, 0 for nothing.
- exit_long, exit_short, bool: close such a position at the next open.
- stop_level, target_level, float64: prices for the position asked for; NaN for none beside the percentages of the engine,
  which takes the nearer of level and percentage.
- limit_price, float64: NaN for a market order at the next open, else a limit entry.
- volatility, float64: of the returns from bar to bar, for sizing by it; NaN for unknown.
- priority, float64: who goes first when capital is short; higher first.
"""


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` (with at least `side`) with every decision column, in their dtypes, behind its own: what is left out is nothing
    (False, NaN, priority 0). `entry`, bool, is whether a side is asked for."""
    count = len(rows)
    own = {name: rows[name] for name in rows.columns if name not in (*DECISION_COLUMNS, "entry")}
    side = rows["side"].to_numpy(dtype="int8")
    flags = {name: _given(rows, name, np.zeros(count, dtype=bool)) for name in FLAGS}
    numbers = {name: _given(rows, name, np.full(count, np.nan)) for name in NUMBERS if name != "priority"}
    priority = _given(rows, "priority", np.zeros(count))
    columns = {**own, "side": side, **flags, **numbers, "priority": priority, "entry": side != 0}
    return pd.DataFrame(columns, index=rows.index)


def own_columns(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The strategy's own columns of complete rows, beside the decision: those of numbers, and those of verdicts."""
    own = [name for name in rows.columns if name not in (*DECISION_COLUMNS, "entry")]
    flags = [name for name in own if str(rows[name].dtype) in ("bool", "boolean")]
    return [name for name in own if name not in flags], flags


def _given(rows: pd.DataFrame, name: str, otherwise: np.ndarray) -> np.ndarray:
    return rows[name].to_numpy(dtype=otherwise.dtype) if name in rows else otherwise
