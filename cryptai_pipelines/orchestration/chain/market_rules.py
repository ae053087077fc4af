"""The rules that a venue has for orders in a series' market, by its stored listing: part of what a backtest is made of. How
each is applied is the affair of `backtest`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from cryptai_pipelines.backtest.parameters import NO_RULES, MarketRules
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.storage import symbols
from cryptai_pipelines.storage.database import Database


def in_market(database: Database, venue: str, series: Series, trial: Trial) -> Trial:
    """The trial of a series at a venue, with the rules of its market. They are those that are listed now, whatever the moment
    of which the bars are: no other ones are stored."""
    return replace(trial, market=market_rules(database, venue, series.symbol))


def market_rules(database: Database, venue: str, symbol: str) -> MarketRules:
    """What the stored listing says; no rule where it says none, or where there is no listing."""
    listing = symbols.read_listing(database, venue, symbol)
    if listing is None:
        return NO_RULES
    return MarketRules(*(_rule(value) for value in (listing.tick_size, listing.lot_size, listing.min_notional)))


def told_rules(market: Mapping[str, float]) -> str:
    """The rules that there are, by name, in words."""
    words = {"tick": "prices in steps of", "lot": "quantities in steps of", "min_notional": "entries of at least"}
    return ", ".join(f"{told} {market[name]:g}" for name, told in words.items() if name in market) or "none known"


def _rule(value: float | None) -> float:
    return value if value is not None and 0 < value < math.inf else 0.0
