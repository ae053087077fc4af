"""Equity and exposure told from trades and closes alone. It knows nothing of the engine, so that the two can be checked on each
other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms


def equity_at_closes(trades: pd.DataFrame, closes: pd.Series, initial_capital: float, fee_rate: float) -> pd.Series:
    """Equity at the close of each bar of `closes` (index UTC open times, ascending): float64, same index.

    trades: of one symbol, one position at a time, in order of exit, all from the start of the history on; columns entry_ts,
    exit_ts, entry_price, exit_price, quantity, fees, pnl, is_open and, unless all are long, side. Parts of a position that were
    closed apart are rows with the same entry. fee_rate: that of the exits.

    A closed trade counts with its pnl from the close of its exit bar on; one that is held counts at the market price less the
    fee of its entry, and `is_open` is held to the end whatever its exit columns say. Funding shows when the trade is closed.
    """
    ts = index_ms(closes.index)
    closed = trades[~trades["is_open"]]
    realised = np.concatenate(([0.0], np.cumsum(closed["pnl"].to_numpy(dtype="float64"))))
    equity = initial_capital + realised[np.searchsorted(_ms(closed["exit_ts"]), ts, side="right")]
    for part in _parts(trades):
        _add_held(equity, ts, closes.to_numpy(dtype="float64"), part, fee_rate)
    return pd.Series(equity, index=closes.index)


def exposure_at_closes(trades: pd.DataFrame, closes: pd.Series, equity: np.ndarray) -> pd.DataFrame:
    """What is held at the close of each bar of `closes`, as shares of `equity` (float64, one value per bar): columns gross and
    net, float64, NaN where equity is not above 0. trades: as in `equity_at_closes`."""
    ts, held = index_ms(closes.index), np.zeros(len(closes))
    for part in _parts(trades):
        inside, rows = _held(ts, part)
        held[inside] += (_sides(part) * part["quantity"].to_numpy(dtype="float64"))[rows]
    net = held * closes.to_numpy(dtype="float64") / np.where(equity > 0, equity, np.nan)
    return pd.DataFrame({"gross": np.abs(net), "net": net}, index=closes.index)


def _parts(trades: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The trades as rows of which each begins when the one before it is over: the first parts of all positions, the second
    parts, and so on."""
    part = trades.groupby("entry_ts").cumcount().to_numpy()
    return (trades[part == number] for number in range(part.max() + 1 if len(part) else 0))


def _held(ts: np.ndarray, trades: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """At which times one of the trades, which follow one another, is held, and there the row of which."""
    exits = np.where(trades["is_open"].to_numpy(dtype=bool), np.iinfo(np.int64).max, _ms(trades["exit_ts"]))
    last = np.searchsorted(_ms(trades["entry_ts"]), ts, side="right") - 1
    held = (last >= 0) & (ts < exits[last])
    return held, last[held]


def _add_held(equity: np.ndarray, ts: np.ndarray, closes: np.ndarray, trades: pd.DataFrame, fee_rate: float) -> None:
    """Add what trades that follow one another are worth while they are held."""
    held, rows = _held(ts, trades)
    names = ("entry_price", "exit_price", "quantity", "fees")
    paid, got, quantity, fees = (trades[name].to_numpy(dtype="float64")[rows] for name in names)
    equity[held] += _sides(trades)[rows] * quantity * (closes[held] - paid) - (fees - fee_rate * quantity * got)


def _sides(trades: pd.DataFrame) -> np.ndarray:
    return trades["side"].to_numpy(dtype="float64") if "side" in trades.columns else np.ones(len(trades))


def _ms(times: pd.Series) -> np.ndarray:
    return index_ms(pd.DatetimeIndex(times))
