"""vectorbt's trades of the same bars and entries. What it does otherwise is listed in `HABITS` and checked by `parity`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.parity import PEER_COLUMNS, Habits, Terms
from cryptai_pipelines.backtest.parity_exits import ENTRY_BAR, LEFT_OPEN, STOP_FIRST

NAME = "vectorbt"
HABITS = Habits((LEFT_OPEN, ENTRY_BAR, STOP_FIRST))


def trades(bars: pd.DataFrame, entries: pd.Series, terms: Terms) -> pd.DataFrame:
    """Trades by `PEER_COLUMNS`, of `Portfolio.from_signals` with entries at the next open and levels from the price of entry.
    `ImportError` when vectorbt is not installed."""
    records = portfolio(bars.tz_localize(None), entries.tz_localize(None), terms).trades.records
    closed = records["status"].to_numpy() == 1
    columns = {
        "entry_ts": bars.index[records["entry_idx"].to_numpy()],
        "exit_ts": pd.Series(bars.index[records["exit_idx"].to_numpy()]).where(closed),
        "entry_price": records["entry_price"].to_numpy(),
        "exit_price": np.where(closed, records["exit_price"], np.nan),
        "quantity": records["size"].to_numpy(),
        "pnl": np.where(closed, records["pnl"], np.nan),
    }
    return pd.DataFrame(columns, columns=list(PEER_COLUMNS))


def portfolio(bars: pd.DataFrame, entries: pd.Series, terms: Terms, freq: str | None = None):  # noqa: ANN201 - vectorbt's own
    """vectorbt's portfolio. Bars and entries are indexed without a time zone: with one vectorbt turns the index into Python
    objects several times over, which takes ten times as long. `freq` is needed for its yearly metrics alone."""
    import vectorbt as vbt

    return vbt.Portfolio.from_signals(
        bars["close"],
        entries=entries.shift(1, fill_value=False),
        exits=False,
        open=bars["open"],
        high=bars["high"],
        low=bars["low"],
        price=bars["open"],
        sl_stop=terms.stop_loss,
        tp_stop=terms.take_profit,
        stop_entry_price="price",
        fees=terms.fee_rate,
        init_cash=terms.initial_capital,
        size=terms.size,
        size_type="percent",
        freq=freq,
    )
