"""The report of a portfolio as a file. How it looks lives in `backtest.portfolio_report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryptai_pipelines.backtest.daily import settled_days
from cryptai_pipelines.backtest.portfolio_days import daily_metrics
from cryptai_pipelines.backtest.portfolio_report import PortfolioReport, write_portfolio_report
from cryptai_pipelines.backtest.symbol_shares import equal_weight
from cryptai_pipelines.market.clock import format_moment
from cryptai_pipelines.orchestration.chain.assessment import Assessment
from cryptai_pipelines.orchestration.chain.publish import fees_of_config, numbers
from cryptai_pipelines.orchestration.universe import gone_symbols
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import quality_log, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.portfolios import PortfolioHeader

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.portfolio import Portfolio, Simulated


def publish_portfolio(
    database: Database,
    settings: Settings,
    identity: int,
    header: PortfolioHeader,
    portfolio: Portfolio,
    simulated: Simulated,
    assessment: Assessment,
) -> Path:
    """Render and replace the page, which is complete or untouched; where it is."""
    result, days, capital = simulated.result, simulated.days, portfolio.trial.engine.initial_capital
    known = header.config.get("known_at")
    as_known = "" if known is None else f", bars as known at {format_moment(int(known))}"
    report = PortfolioReport(
        title=f"{len(simulated.closes)} symbols {header.timeframe.code} {header.strategy}{as_known}",
        prices=equal_weight(simulated.closes),
        equity=settled_days(days["total_value"], header.metrics),
        trades=simulated.trades.drop(columns="is_open"),
        metrics=numbers(header.metrics),
        optimistic=daily_metrics(result.optimistic, capital, header.timeframe.values_per_year),
        parameters=portfolio.trial.engine,
        quality=_quality(database, settings.exchange, header, portfolio),
        provenance=_provenance(settings.exchange, header),
        simulated=any(symbols.is_simulated(database, settings.exchange, symbol) for symbol in simulated.closes),
        **vars(assessment),
        exposure=days[["gross_exposure", "net_exposure"]].set_axis(["gross", "net"], axis=1),
        profits=simulated.profits,
        by_symbol=simulated.by_symbol,
        failures=header.failures,
        refused=header.refused,
    )
    path = settings.home.resolve() / "reports" / f"portfolio_{header.timeframe.code}_{header.strategy}_{identity}.html"
    write_portfolio_report(report, path)
    return path


def rules_of_portfolio(header: PortfolioHeader) -> str:
    """For how many markets the venue's listing prescribed something; what it is stands in the configuration."""
    markets = header.config.get("markets", {})
    return f"those listed for {len(markets):,} of {len(header.symbols):,} symbols" if markets else "none known"


def _quality(database: Database, venue: str, header: PortfolioHeader, portfolio: Portfolio) -> dict[str, object]:
    """Of all that is stored of the series that were simulated, and of the symbols that could not be among them."""
    chosen = [one for one in portfolio.series if one.symbol not in header.failures]
    gaps, missing = np.sum([quality_log.count_missing(database, one) for one in chosen], axis=0)
    quarantined = sum(sum(quality_log.count_quarantined(database, one).values()) for one in chosen)
    gone, among = gone_symbols(database, venue, chosen, header.first_ts)
    return {
        "bars": f"{header.bars:,}",
        "gaps": f"{gaps:,}",
        "missing bars": f"{missing:,}",
        "quarantined": f"{quarantined:,}",
        "filled bars": f"{header.metrics['filled_share']:.3%}",
        "symbols gone from the venue's list, as far as it was seen": f"{gone:,}, of which {among:,} here",
    }


def _provenance(venue: str, header: PortfolioHeader) -> dict[str, object]:
    return {
        "symbols": " ".join(header.symbols),
        "timeframe": header.timeframe.code,
        "source": venue,
        "fees": fees_of_config(venue, header.config),
        "market rules": rules_of_portfolio(header),
        "run": header.run_id,
        "code version": header.code_version,
        "coverage revisions": dict(header.coverage_revisions),
        "trades_sha256": header.trades_sha256,
        "configuration": header.config,
    }
