"""Answers of a UDF server, strictly: from parsed JSON to wire columns, `nextTime`, and what a server says of itself.

As in `kline_rows`, what breaks the structure makes the whole answer `Malformed`, and a single value that cannot be read is NaN.
Prices that a server leaves out are NaN as well: a bar without them is not made up. A volume that it leaves out is 0.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns, empty_columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.sources.errors import Malformed, Permanent, Transient

_SPELLINGS = dict(
    zip(TIMEFRAMES, (("1",), ("5",), ("15",), ("30",), ("60", "1H"), ("240", "4H"), ("1D", "D"), ("1W", "W")), strict=True)
)
_PRICES = {"o": "open", "h": "high", "l": "low", "c": "close"}
# A second of the year 5138: whatever is larger is in milliseconds.
_SECONDS_BELOW = 10**11


class History(NamedTuple):
    """Rows of an answer inside what was asked (`WIRE_DTYPES`, ascending), and the open time of the nearest earlier bar in epoch
    milliseconds where the server named one."""

    rows: Columns
    next_ms: int | None = None


class ServerConfig(NamedTuple):
    """What `/config` says, as far as it is used. `resolutions` are the spellings of the server."""

    resolutions: tuple[str, ...]
    supports_time: bool
    supports_search: bool


def history(parsed: Any, within: Interval) -> History:
    """The bars of an answer to `/history` whose open time lies in `within`.

    A server may give older bars than `within`, because `countback` comes first, and one bar at its end, which it should not;
    those are left out. `Transient` for `s: error`. `Malformed` for anything else that is no table of equally long lists with
    ascending times in seconds, for two different bars at one time, and for `no_data` that names a bar inside what was asked.
    """
    status = parsed.get("s") if isinstance(parsed, dict) else None
    if status == "error":
        raise Transient(f"the server says: {_words(parsed.get('errmsg'))}")
    if status not in ("ok", "no_data"):
        raise Malformed("history should be a JSON object whose s is ok, no_data or error")
    times = parsed.get("t", [] if status == "no_data" else None)
    if type(times) is not list or set(map(type, times)) - {int}:
        raise Malformed("the times t should be a list of integers")
    if status == "no_data" and times:
        raise Malformed(f"no_data comes with {len(times)} bars")
    if not times:
        return History(empty_columns(), _next_ms(parsed, within))
    return History(_rows(parsed, times, within))


def config(parsed: Any) -> ServerConfig:
    """What a server says of itself; `Malformed` for anything but an object with a list of texts `supported_resolutions`."""
    resolutions = parsed.get("supported_resolutions") if isinstance(parsed, dict) else None
    if type(resolutions) is not list or set(map(type, resolutions)) - {str}:
        raise Malformed("config should be a JSON object with a list of texts supported_resolutions")
    return ServerConfig(tuple(resolutions), parsed.get("supports_time") is True, parsed.get("supports_search") is True)


def known_symbol(parsed: Any) -> dict[str, Any] | None:
    """The description of a symbol; None when the server says that it knows none of that name. `Malformed` otherwise."""
    if not isinstance(parsed, dict):
        raise Malformed("symbols should be a JSON object")
    if parsed.get("s") in ("error", "no_data"):
        return None
    if not isinstance(parsed.get("ticker", parsed.get("name")), str):
        raise Malformed("the description of a symbol should have a text ticker or name")
    return parsed


def served_resolution(timeframe: Timeframe, offered: tuple[str, ...], server: str) -> str:
    """How the server spells a timeframe. `Permanent` names the timeframe and what the server offers when it is not among it."""
    name = next((name for name in _SPELLINGS[timeframe] if name in offered), None)
    if name is None:
        raise Permanent(f"{server} offers no bars of {timeframe.code}; it offers: {' '.join(offered)[:200]}")
    return name


def _rows(parsed: dict[str, Any], times: list[int], within: Interval) -> Columns:
    lists = {key: parsed.get(key) for key in "ohlcv"}
    for key, values in lists.items():
        if values is None and key != "c":
            continue
        if type(values) is not list or len(values) != len(times):
            size = f"{len(values)} values" if type(values) is list else type(values).__name__
            raise Malformed(f"{key} should be a list as long as t, {len(times)}; it is {size}")
    if not 0 <= min(times) <= max(times) < _SECONDS_BELOW:
        raise Malformed(f"the times t should be seconds since 1970; there is {max(times, key=abs)}")
    ts = np.array(times, dtype="int64") * 1000
    columns: Columns = {name: np.zeros(len(ts), dtype=dtype) for name, dtype in WIRE_DTYPES.items()}
    columns["ts"] = ts
    for key, name in _PRICES.items():
        columns[name] = np.full(len(ts), np.nan) if lists[key] is None else _floats(lists[key])
    if lists["v"] is not None:
        columns["volume"] = _floats(lists["v"])
    return _ordered(columns, within)


def _ordered(columns: Columns, within: Interval) -> Columns:
    ts = columns["ts"]
    steps = np.diff(ts)
    if (steps < 0).any():
        raise Malformed("the times t are not ascending")
    again = np.flatnonzero(steps == 0)
    for name, values in columns.items():
        differs = ~((values[again] == values[again + 1]) | (np.isnan(values[again]) & np.isnan(values[again + 1])))
        if differs.any():
            raise Malformed(f"two bars of {int(ts[again[differs][0]])} ms differ in {name}")
    if ts[-1] > within.end_ms:
        raise Malformed(f"the bar {int(ts[-1])} lies behind what was asked, [{within.start_ms}, {within.end_ms})")
    kept = (ts >= within.start_ms) & (ts < within.end_ms)
    kept[again] = False
    return {name: values[kept] for name, values in columns.items()}


def _next_ms(parsed: dict[str, Any], within: Interval) -> int | None:
    value = parsed.get("nextTime", parsed.get("nb"))
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < _SECONDS_BELOW:
        raise Malformed(f"nextTime should be seconds since 1970; it is {_words(value)}")
    if within.start_ms <= value * 1000 < within.end_ms:
        raise Malformed(f"no_data for [{within.start_ms}, {within.end_ms}), although it names a bar at {value * 1000}")
    # Some servers name a later bar; that tells nothing about what lies before.
    return value * 1000 if value * 1000 < within.start_ms else None


def _floats(values: list[Any]) -> np.ndarray:
    """Numbers as float64; NaN for everything else, texts of numbers too: the protocol has numbers."""
    return np.array([_float(value) for value in values], dtype="float64")


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value) if abs(value) < 10**300 else math.inf
    return math.nan


def _words(value: Any) -> str:
    return repr(str(value)[:80])
