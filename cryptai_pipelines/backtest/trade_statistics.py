"""Metrics of the trades of a backtest, from their frame. Tables that group trades are in `tables`; the totals that the engine
carries from bar to bar are read in `metrics`.

A trades frame has the columns of `records.trades_frame`; where it has not all of them, trades are long without `side` (1 long,
-1 short), and what needs `funding` (received, negative when paid), `slippage_cost`, `max_adverse` or `max_favourable` (how far
the price went against and for the position, as shares of the entry price) is NaN. It may have `symbol`, `tainted` (bool) and
`entry_volume` (what was traded in the bar of the entry, in the quote currency). Positions that are still open (`is_open`) are
no trades.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.return_metrics import DAYS_PER_YEAR, LEAST_DAYS, LEAST_RETURNS
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadInput

CAPACITY_SHARE = 0.01
"""The share of what is traded in the bar of an entry that it may take before its price cannot be had any more."""

TRADE_METRICS = (
    "trade_count",
    "trades_per_year",
    "long_count",
    "short_count",
    "long_share",
    "short_share",
    "long_profit",
    "short_profit",
    "long_return",
    "short_return",
    "win_rate",
    "long_win_rate",
    "short_win_rate",
    "gross_profit",
    "gross_loss",
    "average_win",
    "average_loss",
    "average_win_pct",
    "average_loss_pct",
    "median_trade_pct",
    "largest_win",
    "largest_loss",
    "best_trade",
    "worst_trade",
    "payoff",
    "profit_factor",
    "expectancy",
    "expectancy_pct",
    "expectancy_ratio",
    "sqn",
    "kelly",
    "trade_sharpe",
    "win_streak",
    "loss_streak",
    "average_trade_hours",
    "median_trade_hours",
    "longest_trade_hours",
    "average_win_hours",
    "median_win_hours",
    "average_loss_hours",
    "median_loss_hours",
    "average_mae",
    "worst_mae",
    "average_mfe",
    "best_mfe",
    "average_end_trade_drawdown",
    "max_end_trade_drawdown",
    "max_intratrade_drawdown",
    "fees_paid",
    "funding",
    "slippage_cost",
    "ambiguous_count",
    "ambiguous_share",
    "tainted_count",
    "tainted_share",
    "capacity",
)

_NEEDED = ("entry_ts", "entry_price", "exit_ts", "exit_price", "quantity", "fees", "pnl", "return_pct", "ambiguous")


def closed_trades(trades: pd.DataFrame) -> pd.DataFrame:
    """The closed ones in order of exit (of entry among equals), with `side`. `BadInput` names a column that is not there, or
    the row of a profit that is not finite."""
    absent = [name for name in _NEEDED if name not in trades]
    if absent:
        raise BadInput(f"trades have no column {absent[0]!r}; needed: {' '.join(_NEEDED)}")
    closed = trades[~trades["is_open"].to_numpy(dtype=bool)] if "is_open" in trades else trades
    wrong = np.flatnonzero(~np.isfinite(closed["pnl"].to_numpy(dtype="float64")))
    if len(wrong):
        raise BadInput(f"trade {wrong[0]} has the profit {closed['pnl'].iloc[wrong[0]]}; accepted: finite")
    side = np.sign(closed["side"].to_numpy(dtype="float64")) if "side" in closed else np.ones(len(closed))
    return closed.assign(side=side.astype("int8")).sort_values(["exit_ts", "entry_ts"], kind="stable").reset_index(drop=True)


def trade_statistics(trades: pd.DataFrame, initial_capital: float, span_days: float) -> dict[str, float]:
    """All `TRADE_METRICS`. span_days: from the first to the last time of the backtest, for what is scaled to a year."""
    closed = closed_trades(trades)
    pnl, share = closed["pnl"].to_numpy(dtype="float64"), closed["return_pct"].to_numpy(dtype="float64")
    years = span_days / DAYS_PER_YEAR
    per_year = len(pnl) / years if span_days >= LEAST_DAYS else math.nan
    return {
        "trade_count": float(len(pnl)),
        "trades_per_year": per_year,
        **_sides(closed, initial_capital),
        **profit_statistics(pnl),
        **_shares(pnl, share, per_year),
        "win_streak": float(longest_run(pnl > 0)),
        "loss_streak": float(longest_run(pnl < 0)),
        **_durations(closed, pnl),
        **_excursions(closed, pnl, initial_capital),
        **_costs(closed),
        "capacity": capacity(closed, initial_capital),
    }


def profit_statistics(pnl: np.ndarray) -> dict[str, float]:
    """What follows from the profits alone, in the quote currency; NaN where there is nothing to divide by."""
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    gain, loss = float(wins.sum()), float(losses.sum())
    win_rate, average_win, average_loss = ratio(len(wins), len(pnl)), ratio(gain, len(wins)), ratio(loss, len(losses))
    payoff, expectancy = average_win / -average_loss, ratio(gain + loss, len(pnl))
    moves = len(pnl) > 1 and pnl.min() < pnl.max()
    return {
        "win_rate": win_rate,
        "gross_profit": gain,
        "gross_loss": loss,
        "average_win": average_win,
        "average_loss": average_loss,
        "largest_win": float(wins.max()) if len(wins) else math.nan,
        "largest_loss": float(losses.min()) if len(losses) else math.nan,
        "payoff": payoff,
        "profit_factor": profit_factor(gain, loss),
        "expectancy": expectancy,
        "expectancy_ratio": expectancy / -average_loss,
        "sqn": math.sqrt(len(pnl)) * float(np.mean(pnl) / np.std(pnl, ddof=1)) if moves else math.nan,
        "kelly": win_rate - (1 - win_rate) / payoff,
    }


def profit_factor(gain: float, loss: float) -> float:
    """Gross profit over gross loss (at most 0): infinite without a loss, NaN without either."""
    return gain / -loss if loss < 0 else (math.inf if gain > 0 else math.nan)


def longest_run(holds: np.ndarray) -> int:
    """The longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], holds, [False])).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def ratio(numerator: float, denominator: float) -> float:
    """NaN when divided by 0."""
    return float(numerator / denominator) if denominator else math.nan


def entry_notionals(closed: pd.DataFrame) -> np.ndarray:
    """What each trade put into the market at its entry, in the quote currency."""
    return (closed["quantity"] * closed["entry_price"]).to_numpy(dtype="float64")


def equity_before(closed: pd.DataFrame, initial_capital: float) -> np.ndarray:
    """The start capital and the profits realised before each entry (a trade whose exit is in the bar of the entry has been
    before it); trades as of `closed_trades`."""
    realised = np.concatenate(([0.0], np.cumsum(closed["pnl"].to_numpy(dtype="float64"))))
    exits, entries = (index_ms(pd.DatetimeIndex(closed[name])) for name in ("exit_ts", "entry_ts"))
    return initial_capital + realised[np.searchsorted(exits, entries, side="left")]


def capacity(closed: pd.DataFrame, initial_capital: float) -> float:
    """The equity up to which 95 % of the entries would have taken at most `CAPACITY_SHARE` of what was traded in their bar:
    that share over the 95 % quantile of (notional / equity / entry_volume). NaN without trades or without `entry_volume`."""
    if not len(closed) or "entry_volume" not in closed:
        return math.nan
    volume = closed["entry_volume"].to_numpy(dtype="float64")
    shares = entry_notionals(closed) / equity_before(closed, initial_capital)
    taken = np.divide(shares, volume, out=np.full(len(shares), np.inf), where=volume > 0)
    largest = float(np.quantile(taken, 0.95, method="higher"))
    return CAPACITY_SHARE / largest if largest > 0 else math.nan


def entry_volumes(trades: pd.DataFrame, bars: pd.DataFrame) -> np.ndarray:
    """Traded in the bar of each entry, in the quote currency: `quote_volume` where the bars have it, else volume x close; 0
    where there is no such bar. bars: one symbol's, indexed by UTC open time. For the column `entry_volume`."""
    quote = (bars["volume"] * bars["close"]).to_numpy(dtype="float64")
    if "quote_volume" in bars:
        reported = bars["quote_volume"].to_numpy(dtype="float64")
        quote = np.where(np.isnan(reported), quote, reported)
    return pd.Series(quote, index=bars.index).reindex(pd.DatetimeIndex(trades["entry_ts"])).fillna(0.0).to_numpy()


def _sides(closed: pd.DataFrame, initial_capital: float) -> dict[str, float]:
    result: dict[str, float] = {}
    for name, sign in (("long", 1), ("short", -1)):
        pnl = closed["pnl"].to_numpy(dtype="float64")[closed["side"].to_numpy() == sign]
        result |= {
            f"{name}_count": float(len(pnl)),
            f"{name}_share": ratio(len(pnl), len(closed)),
            f"{name}_profit": float(pnl.sum()),
            f"{name}_return": float(pnl.sum()) / initial_capital,
            f"{name}_win_rate": ratio(int((pnl > 0).sum()), len(pnl)),
        }
    return result


def _shares(pnl: np.ndarray, share: np.ndarray, per_year: float) -> dict[str, float]:
    """From the returns of the trades on what was put into them."""
    known = len(share) > 0
    moves = len(share) >= LEAST_RETURNS and share.min() < share.max()
    return {
        "average_win_pct": _mean(share[pnl > 0]),
        "average_loss_pct": _mean(share[pnl < 0]),
        "median_trade_pct": float(np.median(share)) if known else math.nan,
        "best_trade": float(share.max()) if known else math.nan,
        "worst_trade": float(share.min()) if known else math.nan,
        "expectancy_pct": _mean(share),
        "trade_sharpe": float(np.mean(share) / np.std(share, ddof=1)) * math.sqrt(per_year) if moves else math.nan,
    }


def _durations(closed: pd.DataFrame, pnl: np.ndarray) -> dict[str, float]:
    hours = (closed["exit_ts"] - closed["entry_ts"]).dt.total_seconds().to_numpy(dtype="float64") / 3_600
    result: dict[str, float] = {"longest_trade_hours": float(hours.max()) if len(hours) else math.nan}
    for name, part in (("trade", hours), ("win", hours[pnl > 0]), ("loss", hours[pnl < 0])):
        result[f"average_{name}_hours"] = _mean(part)
        result[f"median_{name}_hours"] = float(np.median(part)) if len(part) else math.nan
    return result


def _excursions(closed: pd.DataFrame, pnl: np.ndarray, initial_capital: float) -> dict[str, float]:
    names = ("average_mae", "worst_mae", "average_mfe", "best_mfe", "average_end_trade_drawdown", "max_end_trade_drawdown")
    if not len(closed) or "max_adverse" not in closed or "max_favourable" not in closed:
        return dict.fromkeys((*names, "max_intratrade_drawdown"), math.nan)
    against = -np.abs(closed["max_adverse"].to_numpy(dtype="float64"))
    favour = np.abs(closed["max_favourable"].to_numpy(dtype="float64"))
    moved = closed["side"].to_numpy() * (closed["exit_price"] / closed["entry_price"] - 1).to_numpy(dtype="float64")
    given_back = np.minimum(moved - favour, 0.0)
    before = initial_capital + np.concatenate(([0.0], np.cumsum(pnl)[:-1]))
    notional = entry_notionals(closed)
    peaks = np.maximum(np.maximum.accumulate(before + favour * notional), initial_capital)
    return {
        "average_mae": _mean(against),
        "worst_mae": float(against.min()),
        "average_mfe": _mean(favour),
        "best_mfe": float(favour.max()),
        "average_end_trade_drawdown": _mean(given_back),
        "max_end_trade_drawdown": float(given_back.min()),
        "max_intratrade_drawdown": float(((before + against * notional) / peaks - 1).min()),
    }


def _costs(closed: pd.DataFrame) -> dict[str, float]:
    result = {
        name: float(closed[column].sum()) if column in closed else math.nan
        for name, column in (("fees_paid", "fees"), ("funding", "funding"), ("slippage_cost", "slippage_cost"))
    }
    for name in ("ambiguous", "tainted"):
        count = float(closed[name].sum()) if name in closed else math.nan
        result |= {f"{name}_count": count, f"{name}_share": ratio(count, len(closed))}
    return result


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else math.nan
