"""One backtest of many series on one capital, on stored bars: read, decided, simulated, logged as a trial and published. Of a
single series it is `trial`; what is read is told in `chain.portfolio_inputs`, what is concluded in `portfolio_assessment`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.drill_down import ReadFiner, advance_together_with_finer, ambiguity_counts
from cryptai_pipelines.backtest.engine import start
from cryptai_pipelines.backtest.parameters import NO_RULES, MarketRules
from cryptai_pipelines.backtest.portfolio import PortfolioResult, result_of
from cryptai_pipelines.backtest.portfolio_days import daily_metrics, day_rows, marked
from cryptai_pipelines.backtest.records import refused_entries
from cryptai_pipelines.backtest.symbol_shares import equal_weight, profit_by_symbol, symbol_table, with_entry_volumes
from cryptai_pipelines.market.clock import format_moment, format_time
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain import backtest_results
from cryptai_pipelines.orchestration.chain.backtest_results import Trial, engine_for
from cryptai_pipelines.orchestration.chain.finer_bars import finer_readers, finer_revisions
from cryptai_pipelines.orchestration.chain.market_rules import market_rules
from cryptai_pipelines.orchestration.chain.outcome import OnProgress
from cryptai_pipelines.orchestration.chain.portfolio_inputs import SeriesInputs, gates_together, read_together
from cryptai_pipelines.orchestration.chain.publish import fees_of_config
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial, own_parameters
from cryptai_pipelines.orchestration.chain.walk import one_line
from cryptai_pipelines.orchestration.portfolio_assessment import Evidence, assess_portfolio, read_faults_together
from cryptai_pipelines.orchestration.portfolio_page import publish_portfolio, rules_of_portfolio
from cryptai_pipelines.orchestration.universe import chosen_at
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import portfolios, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.frame_columns import finite
from cryptai_pipelines.strategy.signals import is_of_file

_FAILURES_TOLD = 5


@dataclass(frozen=True)
class Portfolio:
    """What is tested: a trial of kind `portfolio`, and the series that it is made on, by symbol, of one timeframe. `markets`:
    the rules of each market, which nobody chooses but the venue."""

    trial: Trial
    series: tuple[Series, ...]
    markets: Mapping[Series, MarketRules] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """Plain data for the row; its hash is the portfolio's identity."""
        chosen = {"timeframe": self.series[0].timeframe.code, "symbols": [one.symbol for one in self.series]}
        markets = {one.symbol: rules.told for one, rules in self.markets.items() if rules.told}
        return {**self.trial.config, **chosen, **({"markets": markets} if markets else {})}


@dataclass(frozen=True)
class Simulated:
    """A result with what is told of it. `ambiguity`: of `drill_down.ambiguity_counts`. `trades`: with `is_open`. `days`: of
    `portfolio_days`. `closes`: of each symbol one a day. `profits`, `by_symbol`: of `symbol_shares`."""

    result: PortfolioResult
    ambiguity: Mapping[str, int]
    trades: pd.DataFrame
    days: pd.DataFrame
    closes: Mapping[str, pd.Series]
    profits: pd.DataFrame
    by_symbol: pd.DataFrame


def chosen_portfolio(
    settings: Settings,
    strategy_name: str,
    asked: Mapping[str, Any],
    series: Sequence[Series],
    window: Interval | None = None,
    known_at_ms: int | None = None,
) -> Portfolio:
    """A person's portfolio; parameters as in `chosen_trial`, the order of the series does not matter. `BadInput` for series
    that are not quoted in one currency.

    Where nobody says of which `size` a position is, it is an equal share: of as many as may be open at once, or of all. Sized
    by risk it is what the risk allows.
    """
    quotes = sorted({one.symbol.partition("-")[2] for one in series})
    if len(quotes) > 1:
        raise BadInput(f"the symbols are quoted in {' '.join(quotes)}; accepted: one currency, which the capital is in")
    chosen = tuple(sorted(set(series)))
    trial = replace(chosen_trial(settings, strategy_name, asked, window, known_at_ms), kind="portfolio")
    told = {**own_parameters(settings, trial.strategy), **trial.strategy.exits(trial.rules), **asked}
    if "size" not in told and trial.engine.sizing != "risk":
        parts = min(trial.engine.max_positions or len(chosen), len(chosen))
        trial = replace(trial, engine=replace(trial.engine, size=1 / parts))
    return Portfolio(trial, chosen)


def run_portfolio(
    database: Database, settings: Settings, portfolio: Portfolio, run_id: str, on_progress: OnProgress
) -> dict[str, Any]:
    """Simulate, store and publish; the stored result as plain data, with the report's path. All that is stored is one
    transaction. A series that fails is left out and told in `failures`.

    The error of the series when there is none but failed ones: its own of a single one, else a `CryptaiError` of all.
    """
    trial, series = portfolio.trial, portfolio.series
    rules = {one: market_rules(database, settings.exchange, one.symbol) for one in series}
    portfolio = replace(portfolio, markets=rules)
    inputs, failures = read_together(database, series, trial, settings.fetch_threads, on_progress)
    if not inputs:
        raise _all_failed(failures)
    readers = [finer_readers(database, one, finer_revisions(database, one), trial.known_at_ms) for one in inputs]
    simulated = simulate_series(inputs, portfolio, readers)
    header = _header(portfolio, simulated, inputs, {one.symbol: one_line(error) for one, error in failures.items()}, run_id)
    first_bars = {one: int(found.arrays.ts[0]) for one, found in inputs.items()}
    chosen = chosen_at(database, first_bars)
    with database.transaction() as cursor:
        identity = portfolios.save_portfolio(cursor, header, simulated.trades, simulated.days)
        spans = {one: Interval(start, header.last_ts + one.timeframe.ms) for one, start in first_bars.items()}
        filled, gaps = read_faults_together(cursor, spans)
        evidence = Evidence(
            header.timeframe,
            gates_together(inputs),
            filled,
            gaps,
            None if chosen is None else pd.Timestamp(chosen, unit="ms", tz="UTC"),
            header.metrics,
            is_of_file(header.strategy),
        )
        sharpes = portfolios.trial_sharpes(cursor, header.strategy, header.timeframe, header.symbols)
        trades = with_entry_volumes(simulated.trades, {one.symbol: found.arrays for one, found in inputs.items()})
        assessment = assess_portfolio(simulated.days, trades, trial.engine.initial_capital, evidence, sharpes, trial.rules)
        portfolios.save_review(cursor, identity, *assessment.told)
    report = publish_portfolio(database, settings, identity, header, portfolio, simulated, assessment)
    told = stored_result(database, settings.exchange, identity, header)
    return {**told, "all_metrics": finite(assessment.full), "report": str(report)}


def simulate_series(
    inputs: Mapping[Series, SeriesInputs], portfolio: Portfolio, finer: Sequence[Mapping[Timeframe, ReadFiner]]
) -> Simulated:
    """The simulation of what was read, in the order of the symbols; finer: of each, as `drill_down` takes them."""
    engine = engine_for(portfolio.trial, next(iter(inputs)))
    rules = [portfolio.markets.get(one, NO_RULES) for one in inputs]
    markets = {one.symbol: found.arrays for one, found in inputs.items()}
    length, begin = portfolio.series[0].timeframe, start(engine, rules)
    run, asked = advance_together_with_finer(begin, list(markets.values()), length, finer, with_ledger=True)
    result = result_of(run, markets)
    trades, closes = marked(result.trades), {one.symbol: found.closes for one, found in inputs.items()}
    days = day_rows(result, engine.initial_capital, equal_weight(closes), length.values_per_year)
    profits = profit_by_symbol(trades, closes, engine.fee_rate)
    return Simulated(
        result,
        ambiguity_counts(np.concatenate(asked)),
        trades,
        days,
        closes,
        profits,
        symbol_table(trades[~trades["is_open"]], closes, profits),
    )


def stored_result(database: Database, venue: str, identity: int, header: portfolios.PortfolioHeader) -> dict[str, Any]:
    """A result as plain data, for whoever shows it."""
    known_at = header.config.get("known_at")
    verdict, findings, gates = portfolios.read_review(database, identity)
    return {
        "portfolio_id": identity,
        "strategy": header.strategy,
        "timeframe": header.timeframe.code,
        "symbols": list(header.symbols),
        "failures": dict(header.failures),
        "simulated": any(symbols.is_simulated(database, venue, symbol) for symbol in header.symbols),
        "first_bar": format_time(header.first_ts),
        "last_bar": format_time(header.last_ts),
        "bars": header.bars,
        "trade_count": header.trade_count,
        "ambiguous_count": header.ambiguous_count,
        "refused": dict(header.refused),
        "by_symbol": dict(header.by_symbol),
        "trades_sha256": header.trades_sha256,
        "as_of": None if known_at is None else format_moment(int(known_at)),
        "config": dict(header.config),
        "fees": fees_of_config(venue, header.config),
        "market_rules": rules_of_portfolio(header),
        "metrics": dict(header.metrics),
        "verdict": verdict,
        "findings": [one for one in findings if one["holds"]],
        "gates": gates,
    }


def _header(
    portfolio: Portfolio,
    simulated: Simulated,
    inputs: Mapping[Series, SeriesInputs],
    failures: Mapping[str, str],
    run_id: str,
) -> portfolios.PortfolioHeader:
    result, trial = simulated.result, portfolio.trial
    bars = sum(len(one.arrays.ts) for one in inputs.values())
    metrics = daily_metrics(result, trial.engine.initial_capital, portfolio.series[0].timeframe.values_per_year) | {
        **simulated.ambiguity,
        "open_equity": float(simulated.days["total_value"].iloc[-1]),
        "optimistic_total_return": result.optimistic.metrics["total_return"],
        "filled_share": sum(one.filled for one in inputs.values()) / bars,
    }
    counts = {name: int(metrics[name]) for name in ("trade_count", "ambiguous_count", "metrics_version")}
    return portfolios.PortfolioHeader(
        strategy=trial.strategy.name,
        timeframe=portfolio.series[0].timeframe,
        symbols=tuple(one.symbol for one in portfolio.series),
        failures=failures,
        config=portfolio.config,
        first_ts=min(int(one.arrays.ts[0]) for one in inputs.values()),
        last_ts=max(int(one.arrays.ts[-1]) for one in inputs.values()),
        bars=bars,
        trade_count=counts["trade_count"],
        ambiguous_count=counts["ambiguous_count"],
        refused=refused_entries(result.refused.to_numpy()),
        metrics=finite(metrics | counts),
        by_symbol=finite(simulated.by_symbol.to_dict("index")),
        trades_sha256=result.trades_sha256,
        code_version=lineage_version(backtest_results.ASSET),
        coverage_revisions={one.symbol: found.revision for one, found in inputs.items()},
        run_id=run_id,
    )


def _all_failed(failures: Mapping[Series, Exception]) -> Exception:
    if len(failures) == 1:
        return next(iter(failures.values()))
    told = "; ".join(f"{one.symbol}: {one_line(error)}" for one, error in list(failures.items())[:_FAILURES_TOLD])
    more = f"; and {len(failures) - _FAILURES_TOLD} more" if len(failures) > _FAILURES_TOLD else ""
    return CryptaiError(f"none of {len(failures)} symbols can be simulated: {told}{more}")
