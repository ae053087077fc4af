"""What each symbol had to do with the result of a portfolio: what it brought day by day, how that went along with the others,
and the market of all of them. The totals are in `metrics`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.backtest.trade_statistics import entry_volumes
from cryptai_pipelines.backtest.valuation import equity_at_closes
from cryptai_pipelines.market.bars import ts_index

SYMBOL_COLUMNS = ("trades", "profit", "share", "buy_and_hold_return", "correlation")
_FEWEST_DAYS = 30


def equal_weight(closes: Mapping[str, pd.Series]) -> pd.Series:
    """The same amount put into each symbol at its first close and held: float64 by day, 1 at the beginning.

    closes: of each symbol a close a day, float64, indexed by day, not empty. What is meant for a symbol lies idle until its
    first close, and counts with its last one after that: nobody knows beforehand that there will be no other.
    """
    days = pd.DatetimeIndex(sorted(set().union(*(series.index for series in closes.values()))), name="day")
    parts = [(series / series.iloc[0]).reindex(days).ffill().fillna(1.0) for series in closes.values()]
    return pd.Series(np.mean([part.to_numpy() for part in parts], axis=0), index=days, name="equal_weight")


def profit_by_symbol(trades: pd.DataFrame, closes: Mapping[str, pd.Series], fee_rate: float) -> pd.DataFrame:
    """Profit to date of each symbol at the end of each day, positions at the market price: float64, a row per day on which any
    symbol has a close, a column per symbol of `closes` in their order. The columns add up to the profit of the portfolio.

    trades: of all symbols with `symbol` and the columns of `valuation.equity_at_closes`. closes: as in `equal_weight`.
    fee_rate: that of the exits.
    """
    days = equal_weight(closes).index
    columns = {}
    for symbol, series in closes.items():
        own = trades[trades["symbol"] == symbol]
        known = series.reindex(days).ffill()
        # Before its first close a symbol has no trade; any price will do there.
        columns[symbol] = equity_at_closes(own, known.fillna(series.iloc[0]), 0.0, fee_rate)
    return pd.DataFrame(columns, index=days)


def correlations(profits: pd.DataFrame) -> pd.DataFrame:
    """Pearson correlation of what the symbols brought per day, of `profit_by_symbol`: float64, symbols by symbols; NaN for one
    that brought the same every day, and everywhere below 30 days."""
    if len(profits) < _FEWEST_DAYS:
        return pd.DataFrame(math.nan, index=profits.columns, columns=profits.columns)
    return profits.diff().fillna(profits.iloc[:1]).corr()


def symbol_table(trades: pd.DataFrame, closes: Mapping[str, pd.Series], profits: pd.DataFrame) -> pd.DataFrame:
    """`SYMBOL_COLUMNS` of each symbol, float64, the best first, equal ones by name.

    trades: closed ones. profit: open positions included; share: of the profit of all, NaN where that is not above 0;
    buy_and_hold_return: from first to last close; correlation: the mean of those with the other symbols, NaN without any.
    """
    last = profits.iloc[-1]
    together = correlations(profits).to_numpy(copy=True)
    np.fill_diagonal(together, math.nan)
    known = np.isfinite(together)
    mean = np.divide(np.nansum(together, axis=1), known.sum(axis=1), out=np.full(len(last), math.nan), where=known.any(axis=1))
    table = pd.DataFrame(
        {
            "trades": trades.groupby("symbol").size().reindex(last.index, fill_value=0).astype("float64"),
            "profit": last,
            "share": last / last.sum() if last.sum() > 0 else math.nan,
            "buy_and_hold_return": [closes[symbol].iloc[-1] / closes[symbol].iloc[0] - 1 for symbol in last.index],
            "correlation": mean,
        }
    ).rename_axis("symbol")
    return table.sort_index().sort_values("profit", ascending=False, kind="stable")


def with_entry_volumes(trades: pd.DataFrame, markets: Mapping[str, BarArrays]) -> pd.DataFrame:
    """The trades with `entry_volume` (`trade_statistics`), as far as the bars of their symbols tell it."""
    volumes = pd.Series(0.0, index=trades.index)
    for symbol, arrays in markets.items():
        own = (trades["symbol"] == symbol).to_numpy()
        bars = pd.DataFrame({"volume": arrays.volume, "close": arrays.close}, index=ts_index(arrays.ts))
        volumes[own] = entry_volumes(trades[own], bars)
    return trades.assign(entry_volume=volumes)
