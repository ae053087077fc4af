"""Which series a command is about, from its arguments and the settings."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cryptai_pipelines.market.clock import SystemClock, parse_time, parse_window
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series, parse_series, parse_symbol
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe, parse_timeframe
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.coverage import covered_series
from cryptai_pipelines.storage.database import Database

_OWN = secrets.token_hex(3)
_TIMEFRAME = "1h"


def chosen_series(symbols: Sequence[str] | None, timeframes: Sequence[str] | None, settings: Settings) -> list[Series]:
    """Every named symbol on every named timeframe, each once; the configured ones for what is not named."""
    slugs = [parse_symbol(symbol) for symbol in symbols or settings.symbols]
    codes = [parse_timeframe(code) for code in timeframes or settings.timeframes]
    chosen = list(dict.fromkeys(Series(symbol, timeframe) for symbol in slugs for timeframe in codes))
    if not chosen:
        raise BadInput("no series is chosen; name a symbol, such as BTC-USDT, or set CRYPTAI_SYMBOLS and CRYPTAI_TIMEFRAMES")
    return chosen


def one_series(text: str, timeframe: str | None) -> Series:
    """The series of an argument `BTC-USDT@1h`, or of a symbol with `--timeframe` (hours without one); `BadInput` when both name
    a timeframe and not the same."""
    given = None if timeframe is None else parse_timeframe(timeframe)
    if "@" not in text and "|" not in text:
        return Series(parse_symbol(text), given or parse_timeframe(_TIMEFRAME))
    series = parse_series(text.replace("@", "|"))
    if given not in (None, series.timeframe):
        raise BadInput(f"--timeframe {timeframe} is not that of {text}; accepted: {series.timeframe.code}, or none beside it")
    return series


class Named(NamedTuple):
    """The symbols (slugs) and timeframes that were named; where none are, all are meant."""

    symbols: tuple[str, ...] = ()
    timeframes: tuple[Timeframe, ...] = ()


def named(symbols: Sequence[str] | None, timeframes: Sequence[str] | None) -> Named:
    """What a person named, each once; `BadInput` for what is malformed, which can be told before a store is opened."""
    return Named(
        tuple(dict.fromkeys(parse_symbol(symbol) for symbol in symbols or ())),
        tuple(dict.fromkeys(parse_timeframe(code) for code in timeframes or ())),
    )


def stored_series(database: Database, names: Named) -> list[Series]:
    """The series that the store knows bars of, by symbol and timeframe; of these the named ones where any are named.

    `CryptaiError` for a named symbol that is stored on none of the named timeframes, and for a named timeframe on which none of
    the named symbols is.
    """
    symbols, timeframes = names
    known = covered_series(database)
    chosen = [one for one in known if one.symbol in (symbols or (one.symbol,)) and one.timeframe in (timeframes or TIMEFRAMES)]
    for symbol in symbols:
        if symbol not in {one.symbol for one in chosen}:
            raise not_stored([symbol], timeframes)
    for timeframe in timeframes:
        if timeframe not in {one.timeframe for one in chosen}:
            raise not_stored(symbols, [timeframe])
    return chosen


def not_stored(symbols: Sequence[str], timeframes: Sequence[Timeframe]) -> CryptaiError:
    """The line that says that nothing is stored of well-formed names, and how to fetch it."""
    codes = [one.code for one in timeframes]
    fetch = " ".join(["cryptai sync", *symbols, *(f"--timeframe {code}" for code in codes)])
    return CryptaiError(f"no bars of {' '.join([*symbols, *codes])} are stored; fetch them with: {fetch}")


def venue_name(exchange: str | None, settings: Settings) -> str:
    """The source that `--exchange` names, or the settings'; `BadInput` when there is none of that name."""
    from cryptai_pipelines.sources.catalog import known_venue
    from cryptai_pipelines.sources.tradingview_udf import UDF_PREFIX

    name = (exchange or settings.exchange).strip().lower()
    return name if name.startswith(UDF_PREFIX) else known_venue(name).name


def chosen_window(start: str | None, end: str | None) -> Interval | None:
    """The interval of `--start` and `--end`, None when neither is given; `BadInput` when it ends before it starts."""
    return parse_window(start, end, ("--start", "--end"))


def chosen_moment(as_of: str | None) -> int | None:
    """The moment of `--as-of` (epoch ms), None when it is not given. `BadInput` for one in the future: what will be known by
    then still changes."""
    known_at = None if as_of is None else parse_time(as_of, "--as-of")
    if known_at is not None and known_at > SystemClock().now_ms():
        raise BadInput(f"--as-of {as_of!r} is in the future; accepted: a moment of which all is known")
    return known_at


def chosen_parameters(texts: Sequence[str], options: Mapping[str, float]) -> dict[str, Any]:
    """The values of `--set NAME=VALUE` (numbers, true, false, anything else a text) and of options of their own, by name;
    `BadInput` for what is no such text, or a name that is given twice."""
    from cryptai_pipelines.backtest.search_space import parse_dimension

    chosen: dict[str, Any] = dict(options)
    for text in texts:
        name, values = parse_dimension(text)
        given = values.get("choices")
        if not isinstance(given, list) or len(given) != 1:
            raise BadInput(f"--set {text!r} is not one value; accepted: NAME=VALUE, such as rsi_window=5")
        if name in chosen:
            raise BadInput(f"{name} is given twice, at last with --set {text!r}; accepted: once")
        chosen[name] = given[0]
    return chosen


def run_name(command: str) -> str:
    """How this process signs what it writes; no other one, of another host or after a reboot, signs the same."""
    return f"{command}-{os.getpid()}-{_OWN}"
