"""How much was traded in the bars in which the positions of a stored result were entered: what its capacity is told from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.trade_statistics import entry_volumes
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain.bar_history import read_bars
from cryptai_pipelines.storage import backtests
from cryptai_pipelines.storage.backtests import BacktestHeader
from cryptai_pipelines.storage.database import Database


def traded_at_entries(database: Database, identity: int, header: BacktestHeader, trades: pd.DataFrame) -> np.ndarray:
    """By trade, in the quote currency, float64; 0 where there is no such bar. By one query over the bars as they are, or, of a
    result on bars as known at a moment, by reading these again block by block."""
    known_at = header.config.get("known_at")
    if known_at is None or not len(trades):
        return backtests.read_entry_volumes(database, identity)
    first, last = (int(ts.timestamp() * 1000) for ts in (trades["entry_ts"].min(), trades["entry_ts"].max()))
    volumes = np.zeros(len(trades))
    for block in read_bars(database, header.series, Interval(first, last + header.series.timeframe.ms), int(known_at)):
        volumes += entry_volumes(trades, block)
    return volumes
