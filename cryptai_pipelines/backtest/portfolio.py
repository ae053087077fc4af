"""One backtest of many symbols on one capital, in one call. The form for one symbol and the issue's signature is `simulation`,
the resumable one `engine`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.engine import Advance, EngineState, advance_together, settle, start
from cryptai_pipelines.backtest.finer_bars import usual_step, with_finer_bars
from cryptai_pipelines.backtest.fingerprint import portfolio_sha256
from cryptai_pipelines.backtest.inputs import decision_arrays, funding_arrays, same_symbols
from cryptai_pipelines.backtest.kernel import LEDGER
from cryptai_pipelines.backtest.market_arrays import BarArrays, common_clock
from cryptai_pipelines.backtest.metrics import bars_per_year, summary
from cryptai_pipelines.backtest.parameters import NO_RULES, EngineParameters, MarketRules
from cryptai_pipelines.backtest.records import refused_counts, trades_frame
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.errors import BadArgument

_DAY_MS = 86_400_000
_FIRST_COLUMNS = ("symbol", "side", "entry_ts", "entry_price", "exit_ts", "exit_price", "exit_reason", "quantity", "fees")
_LAST_COLUMNS = ("funding", "slippage_cost", "pnl", "return_pct", "ambiguous", "max_adverse", "max_favourable")


@dataclass(frozen=True)
class BookResult:
    """One book of a portfolio backtest.

    trades: a row per exit, in order of exit; symbol, side and the columns of `records.trades_frame`. equity: float64 on the
    common clock (every time at which a symbol has a bar), at the closes; the last value is after the positions open there were
    closed. exposure: gross and net notional at the closes as shares of equity, float64; NaN where equity is not above 0.
    ledger: the columns of `kernel.LEDGER` at the closes, before the positions open at the end were closed. refused: entries
    that did not happen, by reason. metrics: the names of docs/metrics.md. trades_sha256: the fingerprint of the trades.
    """

    trades: pd.DataFrame
    equity: pd.Series
    exposure: pd.DataFrame
    ledger: pd.DataFrame
    refused: pd.Series
    metrics: dict[str, float]
    trades_sha256: str


@dataclass(frozen=True)
class PortfolioResult(BookResult):
    """The pessimistic book, in which an ambiguous bar counts as the stop; `optimistic`: the same backtest with such bars
    counted as the gain, equal when there is none."""

    optimistic: BookResult


def simulate_portfolio(
    bars: Mapping[str, pd.DataFrame],
    decisions: Mapping[str, pd.DataFrame],
    parameters: EngineParameters | None = None,
    markets: Mapping[str, MarketRules] | None = None,
    funding: Mapping[str, pd.Series] | None = None,
    finer: Mapping[str, pd.DataFrame] | None = None,
) -> PortfolioResult:
    """Simulate the decisions of all symbols on one capital. The rules are those of docs/backtest.md.

    bars: by symbol, frames as `simulate` takes them; the order of the symbols breaks ties of priority. decisions: by symbol,
    frames as in `inputs.decision_arrays`. markets: rules by symbol; without a symbol none hold. funding: rates by symbol,
    Series indexed by UTC time; a rate above 0 is paid by longs. finer: bars of a lower timeframe by symbol, which tell what
    came first in an ambiguous bar.

    Pure and deterministic: the same input gives the same bytes. `BadArgument`, a `ValueError`, names the argument and the row
    or value that is wrong.
    """
    symbols = _symbols(bars, decisions)
    arrays = [decision_arrays(bars[symbol], decisions[symbol], symbol) for symbol in symbols]
    arrays = _with_finer(_with_funding(arrays, symbols, funding), symbols, finer)
    if parameters is None:
        parameters = EngineParameters()
    if parameters.sizing == "volatility" and parameters.bars_per_year is None:
        parameters = replace(parameters, bars_per_year=_bars_per_year(arrays))
    run = advance_together(start(parameters, _rules(symbols, markets)), arrays, with_ledger=True)
    return result_of(run, dict(zip(symbols, arrays, strict=True)))


def result_of(run: Advance, markets: Mapping[str, BarArrays]) -> PortfolioResult:
    """What a run with its ledger came to, from the first bar to the last of each symbol; markets: the bars, in their order.
    What `simulate_portfolio` makes of frames, for whoever keeps no more than their arrays."""
    symbols, arrays = tuple(markets), list(markets.values())
    final, *last_trades = settle(run.state)
    books = (run.trades, run.equity, run.ledger), (run.optimistic_trades, run.optimistic_equity, run.optimistic_ledger)
    clock = common_clock(arrays)
    results = [
        _book(final, number, symbols, clock, np.concatenate((trades, last_trades[number])), equity, ledger)
        for number, (trades, equity, ledger) in enumerate(books)
    ]
    return PortfolioResult(**vars(results[0]), optimistic=results[1])


def _symbols(bars: Mapping[str, pd.DataFrame], decisions: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    if not isinstance(bars, Mapping) or not bars:
        raise BadArgument(
            f"bars is {'empty' if isinstance(bars, Mapping) else type(bars).__name__}; accepted: frames by symbol"
        )
    same_symbols(decisions, bars, "decisions", all_of_them=True)
    return tuple(bars)


def _rules(symbols: tuple[str, ...], markets: Mapping[str, MarketRules] | None) -> tuple[MarketRules, ...]:
    same_symbols(markets or {}, symbols, "markets")
    for symbol, rules in (markets or {}).items():
        if not isinstance(rules, MarketRules):
            raise BadArgument(f"markets[{symbol!r}] is a {type(rules).__name__}; accepted: MarketRules")
    return tuple((markets or {}).get(symbol, NO_RULES) for symbol in symbols)


def _with_funding(
    arrays: list[BarArrays], symbols: tuple[str, ...], funding: Mapping[str, pd.Series] | None
) -> list[BarArrays]:
    same_symbols(funding or {}, symbols, "funding")
    for place, symbol in enumerate(symbols):
        if symbol in (funding or {}):
            times, rates = funding_arrays(funding[symbol], symbol)
            arrays[place] = replace(arrays[place], funding_ts=times, funding_rate=rates)
    return arrays


def _with_finer(arrays: list[BarArrays], symbols: tuple[str, ...], finer: Mapping[str, pd.DataFrame] | None) -> list[BarArrays]:
    same_symbols(finer or {}, symbols, "finer")
    for place, symbol in enumerate(symbols):
        if symbol in (finer or {}):
            arrays[place] = with_finer_bars(arrays[place], finer[symbol], symbol)
    return arrays


def _bars_per_year(arrays: list[BarArrays]) -> float:
    """Bars in a 365-day year at the most usual step, which must be that of all symbols."""
    steps = {usual_step(part.ts) for part in arrays if len(part.ts) > 1}
    if len(steps) > 1:
        raise BadArgument(f"bars have steps of {sorted(steps)} ms; accepted: one length of bars, or give bars_per_year")
    return 365 * _DAY_MS / steps.pop() if steps else math.inf


def _book(
    final: EngineState,
    number: int,
    symbols: tuple[str, ...],
    clock: np.ndarray,
    trades: np.ndarray,
    equity: np.ndarray,
    ledger: np.ndarray,
) -> BookResult:
    index = ts_index(clock)
    metrics = summary(final, equity, bars_per_year(clock), optimistic=number == 1)
    if len(clock):
        equity = np.append(equity[:-1], final.books[number]["last_equity"])
    table = pd.DataFrame(ledger, index=index, columns=list(LEDGER))
    return BookResult(
        trades=_frame(trades, symbols),
        equity=pd.Series(equity, index=index, name="equity"),
        exposure=_exposure(table),
        ledger=table,
        refused=refused_counts(final.refused[number]),
        metrics=metrics,
        trades_sha256=portfolio_sha256(trades, symbols),
    )


def _frame(trades: np.ndarray, symbols: tuple[str, ...]) -> pd.DataFrame:
    frame = trades_frame(trades)
    frame["symbol"] = pd.Series([symbols[place] for place in trades["symbol"].tolist()], dtype="str")
    return frame[[*_FIRST_COLUMNS, *_LAST_COLUMNS]]


def _exposure(ledger: pd.DataFrame) -> pd.DataFrame:
    equity = ledger["cash"] + ledger["held"]
    return ledger[["gross", "net"]].div(equity.where(equity > 0), axis=0)
