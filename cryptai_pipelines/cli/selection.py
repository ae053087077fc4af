"""Which series a command is about, from its arguments and the settings."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptai_pipelines.market.clock import parse_window
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series, parse_symbol
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.coverage import covered_series
from cryptai_pipelines.storage.database import Database


def chosen_series(symbols: Sequence[str] | None, timeframes: Sequence[str] | None, settings: Settings) -> list[Series]:
    """Every named symbol on every named timeframe, each once; the configured ones for what is not named."""
    slugs = [parse_symbol(symbol) for symbol in symbols or settings.symbols]
    codes = [parse_timeframe(code) for code in timeframes or settings.timeframes]
    chosen = list(dict.fromkeys(Series(symbol, timeframe) for symbol in slugs for timeframe in codes))
    if not chosen:
        raise BadInput("no series is chosen; name a symbol, such as BTC-USDT, or set CRYPTAI_SYMBOLS and CRYPTAI_TIMEFRAMES")
    return chosen


def stored_series(database: Database, symbols: Sequence[str] | None, timeframes: Sequence[str] | None) -> list[Series]:
    """The series that the store knows bars of, by symbol and timeframe; of these the named ones where any are named.

    `BadInput` for a named symbol or timeframe of which nothing is stored, when anything is.
    """
    slugs = [parse_symbol(symbol) for symbol in symbols or ()]
    codes = [parse_timeframe(code) for code in timeframes or ()]
    known = covered_series(database)
    unknown = [slug for slug in slugs if slug not in {one.symbol for one in known}]
    unknown += [code.code for code in codes if code not in {one.timeframe for one in known}]
    if unknown and known:
        raise BadInput(f"nothing is stored of {unknown[0]}; `cryptai sync` fetches bars")
    return [one for one in known if (not slugs or one.symbol in slugs) and (not codes or one.timeframe in codes)]


def chosen_window(start: str | None, end: str | None) -> Interval | None:
    """The interval of `--start` and `--end`, None when neither is given; `BadInput` when it ends before it starts."""
    return parse_window(start, end, ("--start", "--end"))


def run_name(command: str) -> str:
    """How this process signs what it writes."""
    return f"{command}-{os.getpid()}"
