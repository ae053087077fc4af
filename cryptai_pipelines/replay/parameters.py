"""Reading and checking query parameters the way Binance does, with its error codes. What they select is in `endpoints`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from cryptai_pipelines.market.timeframe import Timeframe

_SYMBOL = r"[A-Z0-9-_.]{1,20}"
LEGAL = {
    "symbol": f"^{_SYMBOL}$",
    "symbols": rf'^\[("{_SYMBOL}"(,"{_SYMBOL}"){{0,}}){{0,1}}\]$',
    "startTime": "^[0-9]{1,20}$",
    "endTime": "^[0-9]{1,20}$",
    "limit": "^[0-9]{1,20}$",
    "showPermissionSets": "^(true|false)$",
}
"""The pattern each parameter is held against; Binance quotes it in its error."""

# Times of 2001 and later in microseconds, and of no year before 5138 in milliseconds.
_MICROSECONDS_FROM = 10**14
_LARGEST_LONG = 2**63 - 1


class ApiError(Exception):
    """An answer that is an error: HTTP status, Binance's code and message."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def read_query(query: str, accepted: tuple[str, ...]) -> dict[str, str]:
    """Parameters of a raw query string; `ApiError` for a repeated, unknown, empty or malformed one."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace")
    parameters = dict(pairs)
    for name, _ in pairs:
        if sum(1 for other, _ in pairs if other == name) > 1:
            raise ApiError(-1101, f"Duplicate values for parameter '{name}' detected.")
    read = [name for name in parameters if name in accepted]
    for name in read:
        if not parameters[name]:
            raise ApiError(-1105, f"Parameter '{name}' was empty.")
        if name in LEGAL and not re.fullmatch(LEGAL[name], parameters[name], flags=re.ASCII):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{LEGAL[name]}'.")
    if len(read) < len(parameters):
        sent = f"read '{len(read)}' parameter(s) but was sent '{len(parameters)}'."
        raise ApiError(-1104, f"Not all sent parameters were read; {sent}")
    return parameters


def required(parameters: Mapping[str, str], name: str) -> str:
    """A mandatory parameter; `ApiError` -1102 when it was not sent."""
    if name not in parameters:
        raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return parameters[name]


def interval(parameters: Mapping[str, str]) -> Timeframe:
    """The mandatory, case-sensitive `interval`. Those that are no `Timeframe` (1s 3m 2h 6h 8h 12h 3d 1M) are refused."""
    try:
        return Timeframe(required(parameters, "interval"))
    except ValueError:
        raise ApiError(-1120, "Invalid interval.") from None


def moment(parameters: Mapping[str, str], name: str) -> int | None:
    """Epoch milliseconds of an optional time sent in milliseconds or microseconds."""
    value = _whole(parameters, name)
    return value // 1000 if value is not None and value >= _MICROSECONDS_FROM else value


def limit(parameters: Mapping[str, str], default: int, most: int) -> int:
    """The optional `limit`: `default` when it is not sent, cut down to `most`, `ApiError` -1130 when it is 0."""
    value = _whole(parameters, "limit")
    if value == 0:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    return default if value is None else min(value, most)


def choice(parameters: Mapping[str, str], name: str, accepted: tuple[str, ...], error: ApiError) -> str | None:
    """An optional parameter that is one of `accepted`; raises `error` when it is something else."""
    value = parameters.get(name)
    if value is not None and value not in accepted:
        raise error
    return value


def asked_symbols(parameters: Mapping[str, str], known: Mapping[str, object]) -> list[str] | None:
    """The symbols of `symbol` or `symbols`, None when neither was sent; `ApiError` for both, repeated or unknown ones."""
    if "symbol" in parameters and "symbols" in parameters:
        raise ApiError(-1128, "Combination of optional parameters invalid. Recommendation: 'symbol' or 'symbols'")
    if "symbol" in parameters:
        asked = [parameters["symbol"]]
    elif "symbols" in parameters:
        asked = json.loads(parameters["symbols"])
    else:
        return None
    if len(set(asked)) < len(asked):
        raise ApiError(-1151, "Symbol is present multiple times in the list.")
    if any(symbol not in known for symbol in asked):
        raise ApiError(-1121, "Invalid symbol.")
    return asked


def _whole(parameters: Mapping[str, str], name: str) -> int | None:
    if name not in parameters:
        return None
    value = int(parameters[name])
    if value > _LARGEST_LONG:
        raise ApiError(-1108, f"Parameter '{name}' overflowed.")
    return value
