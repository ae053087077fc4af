"""Faults in what an answer says, as pure functions from JSON to JSON: well-formed HTTP with the wrong rows in it.

Nothing is made up: a wrong row is a true one that is misplaced, repeated, missing or misspelled, so whatever a client believes
can be held against the market. Each function leaves alone what its fault does not concern. Where faults are chosen is `faults`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cryptai_pipelines.replay.wire import to_json

_SKEW_MS = 600_000
_OFF_GRID_MS = 1_234
_KLINE_FIELDS = 12

Content = Callable[[Any, Any], Any]
"""(parsed answer, parsed former answer about the same, or None) -> what is sent instead."""


def spoiled_content(kind: str, body: bytes, former: bytes | None) -> bytes:
    """The body with the fault `kind` of `CONTENT_FAULTS`, byte for byte the same where it does not apply.

    `former` is an earlier answer of the same endpoint about the same symbol.
    """
    parsed = json.loads(body)
    wrong = CONTENT_FAULTS[kind](parsed, None if former is None else json.loads(former))
    return body if wrong == parsed else to_json(wrong)


def _stale(parsed: Any, former: Any) -> Any:
    return parsed if former is None else former


def _of_rows(change: Callable[[list[list[Any]]], list[list[Any]]]) -> Content:
    """A fault of kline rows and candles alone."""

    def changed(parsed: Any, former: Any) -> Any:
        return change(parsed) if _is_rows(parsed) else parsed

    return changed


def _overlapping(parsed: Any, former: Any) -> Any:
    return former[-3:] + parsed if _is_rows(parsed) and _is_rows(former) else parsed


def _is_rows(parsed: Any) -> bool:
    return type(parsed) is list and bool(parsed) and type(parsed[0]) is list


def _conflicting(rows: list[list[Any]]) -> list[list[Any]]:
    half = len(rows) // 2
    return [*rows[: half + 1], [rows[half][0], *rows[half - 1][1:]], *rows[half + 1 :]]


def _off_grid(rows: list[list[Any]]) -> list[list[Any]]:
    half = len(rows) // 2
    return [*rows[:half], [rows[half][0] + _OFF_GRID_MS, *rows[half][1:]], *rows[half + 1 :]]


def _future(rows: list[list[Any]]) -> list[list[Any]]:
    if len(rows[0]) < _KLINE_FIELDS:
        # Newest first, and a row does not tell its length.
        ahead = 1000 * max(60, rows[0][0] - rows[min(1, len(rows) - 1)][0])
        return [[rows[0][0] + ahead, *rows[0][1:]], *rows]
    ahead_ms = 1000 * (rows[-1][6] + 1 - rows[-1][0])
    return [*rows, [rows[-1][0] + ahead_ms, *rows[-1][1:6], rows[-1][6] + ahead_ms, *rows[-1][7:]]]


def _in_microseconds(rows: list[list[Any]]) -> list[list[Any]]:
    return [[row[0] * 1000, *row[1:6], *(closed * 1000 + 999 for closed in row[6:7]), *row[7:]] for row in rows]


def _server_time(skew_ms: int) -> Content:
    def skewed(parsed: Any, former: Any) -> Any:
        if isinstance(parsed, dict) and "serverTime" in parsed and "symbols" not in parsed:
            return parsed | {"serverTime": parsed["serverTime"] + skew_ms}
        if isinstance(parsed, dict) and "epoch" in parsed:
            return parsed | {"epoch": parsed["epoch"] + skew_ms / 1000}
        return parsed

    return skewed


def _of_symbols(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Content:
    """A fault of the list of symbols that exchangeInfo gives, or of products."""

    def changed(parsed: Any, former: Any) -> Any:
        if isinstance(parsed, list) and parsed and isinstance(parsed[0], dict) and "base_currency" in parsed[0]:
            return change(parsed)
        return parsed | {"symbols": change(parsed["symbols"])} if isinstance(parsed, dict) and parsed.get("symbols") else parsed

    return changed


def _reused(symbol: dict[str, Any]) -> dict[str, Any]:
    return {name: "OTHER" if name in ("baseAsset", "base_currency") else value for name, value in symbol.items()}


CONTENT_FAULTS: dict[str, Content] = {
    "stale_page": _stale,
    "stale_tail": _of_rows(lambda rows: rows[: max(1, len(rows) - 3)]),
    "short_page": _of_rows(lambda rows: rows[: max(1, len(rows) // 2)]),
    "last_bar_only": _of_rows(lambda rows: rows[-1:]),
    "overlapping_page": _overlapping,
    "out_of_order": _of_rows(lambda rows: rows[::-1]),
    "duplicate_rows": _of_rows(lambda rows: [row for row in rows for _ in range(2)]),
    "conflicting_rows": _of_rows(_conflicting),
    "eleven_fields": _of_rows(lambda rows: [row[:11] for row in rows]),
    "thirteen_fields": _of_rows(lambda rows: [[*row, "0"] for row in rows]),
    "microseconds": _of_rows(_in_microseconds),
    "off_grid": _of_rows(_off_grid),
    "future_bar": _of_rows(_future),
    "server_time_ahead": _server_time(_SKEW_MS),
    "server_time_behind": _server_time(-_SKEW_MS),
    "symbol_vanishes": _of_symbols(lambda symbols: symbols[1:]),
    "symbol_reused": _of_symbols(lambda symbols: [_reused(symbols[0]), *symbols[1:]]),
}
