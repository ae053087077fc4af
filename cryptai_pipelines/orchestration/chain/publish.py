"""The picture and the report of a result, rendered and put into files. What they show and how lives in `backtest`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import settled_days
from cryptai_pipelines.backtest.engine import EngineState
from cryptai_pipelines.backtest.metrics import summary
from cryptai_pipelines.backtest.picture import equity_png
from cryptai_pipelines.backtest.records import refused_entries
from cryptai_pipelines.backtest.report import Report, replace_file, report_bytes
from cryptai_pipelines.backtest.venue_fees import told_fees
from cryptai_pipelines.market.clock import format_moment, format_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.assessment import Assessment
from cryptai_pipelines.orchestration.chain.market_rules import told_rules
from cryptai_pipelines.storage import backtests, market_data, quality_log, symbols
from cryptai_pipelines.storage.backtests import BacktestHeader
from cryptai_pipelines.storage.database import Database


@dataclass(frozen=True)
class Rendered:
    """The content of both files."""

    report: bytes
    picture: bytes


@dataclass(frozen=True)
class Published:
    """Where the files of one result are."""

    report: Path
    picture: Path

    @property
    def exist(self) -> bool:
        """Are both there?"""
        return self.report.is_file() and self.picture.is_file()

    def replace(self, rendered: Rendered) -> None:
        """Each is complete or untouched. Within a transaction that has checked the lease nobody else writes them."""
        replace_file(self.report, rendered.report)
        replace_file(self.picture, rendered.picture)


def files_of(folder: Path, series: Series, name: str) -> Published:
    """The paths of the result called `name`, such as the strategy's name, whether or not they exist yet."""
    stem = f"{series.symbol}_{series.timeframe.code}_{name}"
    return Published(folder / f"{stem}.html", folder / f"{stem}.png")


def render_files(
    database: Database,
    venue: str,
    identity: int,
    header: BacktestHeader,
    settled: EngineState,
    prices: pd.Series,
    assessment: Assessment,
) -> Rendered:
    """What a result shows. `prices`: a close a day over what was simulated; the account of the data is always of the whole
    series, as it is stored now."""
    series, daily = header.series, backtests.read_daily(database, identity)
    known = header.config.get("known_at")
    title = f"{series} {header.strategy}" + ("" if known is None else f", bars as known at {format_moment(int(known))}")
    simulated = bool(symbols.is_simulated(database, venue, series.symbol))
    metrics = numbers(header.metrics)
    report = Report(
        title=title,
        prices=prices,
        equity=settled_days(daily["total_value"], header.metrics),
        trades=backtests.read_trades(database, identity).drop(columns="is_open").reset_index(drop=True),
        metrics=metrics,
        optimistic=metrics if settled.books[0] == settled.books[1] else _without_days(settled, series),
        parameters=settled.parameters,
        quality=_quality(database, series),
        provenance=_provenance(series, venue, header),
        simulated=simulated,
        **vars(assessment),
        refused=refused_entries(settled.refused[0]),
    )
    picture = equity_png(daily["total_value"], settled.parameters.initial_capital, title, simulated=simulated)
    return Rendered(report_bytes(report), picture)


def numbers(stored: Mapping[str, float | int | None]) -> dict[str, float]:
    """Stored metrics as a report takes them: NaN for none."""
    return {name: np.nan if value is None else float(value) for name, value in stored.items()}


def fees_of_config(venue: str, config: Mapping[str, Any]) -> str:
    """What was charged by a result of this configuration, and whether that is what the venue does."""
    engine = config["engine"]
    return told_fees(venue, engine["fee_rate"], engine.get("maker_fee_rate"))


def rules_of_result(header: BacktestHeader) -> str:
    """What the venue's listing prescribed for the orders."""
    return told_rules(header.config.get("market", {}))


def funding_of_result(header: BacktestHeader) -> str | None:
    """Which rates a person gave; None without any. What they came to is a metric."""
    told = header.config.get("funding")
    if told is None:
        return None
    return f"{told['rates']:,} rates of {format_time(told['first'])} to {format_time(told['last'])}, {told['sha256'][:12]}"


def _without_days(settled: EngineState, series: Series) -> dict[str, float]:
    """The optimistic book has no days of its own: what needs them stays undefined rather than borrowed."""
    return summary(settled, np.empty(0), series.timeframe.values_per_year, optimistic=True)


def _quality(database: Database, series: Series) -> dict[str, object]:
    expected, received, excused = quality_log.completeness_adjusted(database, series)
    gaps, missing = quality_log.count_missing(database, series)
    quarantined = quality_log.count_quarantined(database, series)
    return {
        "bars": received,
        "gaps": gaps,
        "missing bars": missing,
        "completeness": f"{100 * received / (expected - excused):.3f} %" if expected > excused else "not defined",
        "quarantined": ", ".join(f"{count} {rule}" for rule, count in quarantined.items()) or "none",
        "filled bars": market_data.count_filled(database, series),
    }


def _provenance(series: Series, venue: str, header: BacktestHeader) -> dict[str, object]:
    return {
        "series": str(series),
        "source": venue,
        "fees": fees_of_config(venue, header.config),
        "market rules": rules_of_result(header),
        **({"funding": funding_of_result(header)} if "funding" in header.config else {}),
        "run": header.run_id,
        "code version": header.code_version,
        "coverage revision": header.coverage_revision,
        "trades_sha256": header.trades_sha256,
        "configuration": header.config,
    }
