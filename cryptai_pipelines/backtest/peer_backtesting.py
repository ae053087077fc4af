"""backtesting.py's trades of the same bars and entries. What it does otherwise is listed in `HABITS` and checked by `parity`.

It is told the levels with the order, and here they are made of the open that will fill it, as ours are. A strategy could not
know that price; the order that both sides are compared on is the same. It buys whole units, so a comparison of other things
gives it capital beside which one unit is nothing.
"""

from __future__ import annotations

import warnings
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.parity import PEER_COLUMNS, REFUSED, Habits, Terms
from cryptai_pipelines.backtest.parity_exits import LEFT_OPEN, STOP_FIRST

NAME = "backtesting.py"
HABITS = Habits((LEFT_OPEN, STOP_FIRST, REFUSED), unit=1.0)


def trades(bars: pd.DataFrame, entries: pd.Series, terms: Terms) -> pd.DataFrame:
    """Trades by `PEER_COLUMNS`. `ImportError` when backtesting.py is not installed."""
    if not len(bars):
        return pd.DataFrame(columns=list(PEER_COLUMNS)).astype({"entry_ts": bars.index.dtype, "exit_ts": bars.index.dtype})
    done = run(bars, entries, terms)
    made = [*done["_strategy"].closed_trades, *done["_strategy"].trades]
    opens = bars.index
    closed = [one.exit_price is not None for one in made]
    columns = {
        # The first bar stands there twice.
        "entry_ts": opens[[one.entry_bar - 1 for one in made]],
        "exit_ts": pd.Series(opens[[(one.exit_bar or one.entry_bar) - 1 for one in made]]).where(closed),
        "entry_price": np.array([one.entry_price for one in made], dtype="float64"),
        "exit_price": np.array([one.exit_price if is_closed else np.nan for one, is_closed in zip(made, closed, strict=True)]),
        "quantity": np.array([one.size for one in made], dtype="float64"),
        "pnl": np.array([_pnl(one, terms) if is_closed else np.nan for one, is_closed in zip(made, closed, strict=True)]),
    }
    return pd.DataFrame(columns, columns=list(PEER_COLUMNS)).sort_values("entry_ts", ignore_index=True)


def _pnl(trade: Any, terms: Terms) -> float:
    """Its own profit, and the fees that its broker took from the cash beside it."""
    return trade.size * (trade.exit_price - trade.entry_price) - trade._commissions


def run(bars: pd.DataFrame, entries: pd.Series, terms: Terms) -> pd.Series:
    """Its statistics, with the strategy in `_strategy`. The first bar is put before itself: the peer asks a strategy for the
    first time at the second bar."""
    from backtesting import Backtest, Strategy

    twice = np.concatenate(([0], np.arange(len(bars))))
    names = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
    data = bars[list(names)].rename(columns=names).iloc[twice].reset_index(drop=True)
    data.index = bars.index.tz_localize(None).insert(0, bars.index[0].tz_localize(None) - pd.Timedelta("1ms"))
    asked = entries.to_numpy(dtype=bool)[twice] & (np.arange(len(twice)) > 0)
    opens, closes = data["Open"].to_numpy(), data["Close"].to_numpy()
    stops, targets = opens * (1.0 - terms.stop_loss), opens * (1.0 + terms.take_profit)

    class Asked(Strategy):
        def init(self) -> None:
            self.row = 0

        def next(self) -> None:
            self.row += 1
            following = self.row + 1
            if not asked[self.row] or self.position or following == len(asked):
                return
            # It takes no other bracket.
            if stops[following] < closes[self.row] < targets[following]:
                self.buy(size=min(terms.size, 1 - 1e-16), sl=stops[following], tp=targets[following])

    # It warns of orders that it cannot pay for, and draws a bar of progress.
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        return Backtest(data, Asked, cash=terms.initial_capital, commission=terms.fee_rate).run()
