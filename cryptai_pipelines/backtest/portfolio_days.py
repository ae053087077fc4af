"""The result of a portfolio by days: rows as they are stored, and the metrics that are told of daily values. What each symbol
had to do with it is in `symbol_shares`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import performance_rows
from cryptai_pipelines.backtest.portfolio import BookResult
from cryptai_pipelines.backtest.return_metrics import DAYS_PER_YEAR, return_metrics, span_of


def marked(trades: pd.DataFrame) -> pd.DataFrame:
    """The trades of a book with `is_open`: was the position open at the end, and only closed to be counted?"""
    return trades.assign(is_open=(trades["exit_reason"] == "end").to_numpy(dtype=bool))


def day_rows(
    book: BookResult, initial_capital: float, benchmark: pd.Series, periods_per_year: float = DAYS_PER_YEAR
) -> pd.DataFrame:
    """`daily.performance_rows` and float64 columns benchmark, gross_exposure and net_exposure, a row per day with a bar.

    A position that is open at the end counts at the market price. benchmark: values by day. Exposure: at the last close of the
    day, as a share of equity.
    """
    equity = book.ledger["cash"] + book.ledger["held"]
    rows = performance_rows(equity, marked(book.trades), initial_capital, periods_per_year=periods_per_year)
    held = book.exposure.groupby(book.exposure.index.floor("D")).last()
    return rows.assign(
        benchmark=benchmark.reindex(rows.index), gross_exposure=held["gross"].to_numpy(), net_exposure=held["net"].to_numpy()
    )


def daily_metrics(book: BookResult, initial_capital: float, periods_per_year: float = DAYS_PER_YEAR) -> dict[str, float]:
    """The metrics of a book with those of returns over daily values, as a scheduled backtest has them. periods_per_year: how
    many such values a year has (`Timeframe.values_per_year`)."""
    values = book.equity.groupby(book.equity.index.floor("D")).last().to_numpy()
    of_days = return_metrics(np.maximum(values, 0.0), initial_capital, periods_per_year, span_of(book.equity.index))
    return {**book.metrics, **of_days, "periods_per_year": float(periods_per_year)}
