"""Classes of bad rows: how to make a good one bad, and under which rule it must be filed. Told from what the rules promise, not
from how they are written. Wire columns here; `WIRE` spoils rows of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import OHLCV, Columns

MINUTE = 60_000
FIRST_OPEN = 1_300_000_020_000 // MINUTE * MINUTE
_PRICES = OHLCV[:4]

Spoil = Callable[[Columns, np.ndarray], None]
"""Makes the rows at some positions bad, in place. The rows around them are good, and at least two lie between any two."""


class BadClass(NamedTuple):
    """`pairs`: the good row before each spoiled one cannot be told from it, and is refused with it."""

    name: str
    rule: str
    spoil: Spoil
    pairs: bool = False


def good_rows(count: int, first: int, random: np.random.Generator) -> Columns:
    """`count` consecutive one-minute wire rows that nobody can object to; `first` is the number of the first one. High is so
    far above close that a twin with another close is in order by itself."""
    ts = FIRST_OPEN + MINUTE * np.arange(first, first + count, dtype="int64")
    opened, closed = random.uniform(90, 110, (2, count))
    volume = random.uniform(1, 50, count)
    return {
        "ts": ts,
        "open": opened,
        "high": np.maximum(opened, closed) + random.uniform(0.02, 2, count),
        "low": np.minimum(opened, closed) - random.uniform(0.01, 2, count),
        "close": closed,
        "volume": volume,
        "close_ts": ts + MINUTE - 1,
        "quote_volume": volume * closed,
        "trades": random.integers(1, 900, count),
        "taker_buy_base": volume / 3,
        "taker_buy_quote": volume * closed / 3,
        "unused": np.zeros(count, "float32"),
    }


def _put(name: str, value: float) -> Spoil:
    def spoil(rows: Columns, at: np.ndarray) -> None:
        rows[name][at] = value

    return spoil


def _relative(name: str, other: str, factor: float) -> Spoil:
    def spoil(rows: Columns, at: np.ndarray) -> None:
        rows[name][at] = rows[other][at] * factor

    return spoil


def _swap(one: str, other: str) -> Spoil:
    def spoil(rows: Columns, at: np.ndarray) -> None:
        rows[one][at], rows[other][at] = rows[other][at].copy(), rows[one][at].copy()

    return spoil


def _moved(name: str, by: int) -> Spoil:
    def spoil(rows: Columns, at: np.ndarray) -> None:
        rows[name][at] += by

    return spoil


def _scaled(name: str, number: int, divisor: int = 1) -> Spoil:
    def spoil(rows: Columns, at: np.ndarray) -> None:
        rows[name][at] = rows[name][at] * number // divisor

    return spoil


def _ahead(by_bars: int) -> Spoil:
    """Open times after the last one of the batch, on the grid, each its own."""

    def spoil(rows: Columns, at: np.ndarray) -> None:
        rows["ts"][at] = rows["ts"][-1] + MINUTE * (by_bars + np.arange(len(at)))
        rows["close_ts"][at] = rows["ts"][at] + MINUTE - 1

    return spoil


def _twin(name: str, factor: float) -> Spoil:
    """The row before, again, with one column changed."""

    def spoil(rows: Columns, at: np.ndarray) -> None:
        for column in rows:
            rows[column][at] = rows[column][at - 1]
        rows[name][at] = rows[name][at] * factor

    return spoil


def _classes() -> list[BadClass]:
    made = []
    for name in OHLCV:
        for value in (np.nan, np.inf, -np.inf):
            made.append(BadClass(f"{name} {value}", "not_finite", _put(name, value)))
    for name in _PRICES:
        for value in (0.0, -0.0, -1.0, -1e-300):
            made.append(BadClass(f"{name} {value}", "not_positive", _put(name, value)))
    for value in (-1.0, -1e-300):
        made.append(BadClass(f"volume {value}", "negative_volume", _put("volume", value)))
    order = {
        "high and low swapped": _swap("high", "low"),
        "open over high": _relative("open", "high", 1.01),
        "close over high": _relative("close", "high", 1.01),
        "open under low": _relative("open", "low", 0.99),
        "close under low": _relative("close", "low", 0.99),
        "high under both": _relative("high", "low", 0.9),
        "low over both": _relative("low", "high", 1.1),
        "a digit more in high's favour": _relative("close", "high", 10.0),
    }
    made += [BadClass(name, "price_order", spoil) for name, spoil in order.items()]
    units = {
        "ts 0": _put("ts", 0),
        "ts negative": _scaled("ts", -1),
        "ts in seconds": _scaled("ts", 1, 1000),
        "ts in microseconds": _scaled("ts", 1000),
        "ts in nanoseconds": _scaled("ts", 1_000_000),
        "ts of 2008": _put("ts", 1_230_767_940_000),
    }
    made += [BadClass(name, "time_unit", spoil) for name, spoil in units.items()]
    made += [BadClass(f"ts {by:+} ms", "off_grid", _moved("ts", by)) for by in (1, -1, 30_000, 59_999)]
    made += [BadClass(f"ts {by} bars ahead", "not_closed", _ahead(by)) for by in (1, 5_000_000)]
    for name in ("quote_volume", "taker_buy_base", "taker_buy_quote"):
        for value in (-1.0, np.inf, -np.inf):
            made.append(BadClass(f"{name} {value}", "impossible_flow", _put(name, value)))
    made.append(BadClass("trades -1", "impossible_flow", _put("trades", -1)))
    closes = {
        "close_ts a millisecond late": _moved("close_ts", 1),
        "close_ts a bar late": _moved("close_ts", MINUTE),
        "close_ts in microseconds": _scaled("close_ts", 1000),
        "close_ts in seconds": _scaled("close_ts", 1, 1000),
        "close_ts -1": _put("close_ts", -1),
    }
    made += [BadClass(name, "close_time", spoil) for name, spoil in closes.items()]
    for name, factor in (("volume", 2.0), ("close", 1.0001), ("trades", 3), ("quote_volume", 0.5)):
        made.append(BadClass(f"twin with another {name}", "conflicting_duplicate", _twin(name, factor), pairs=True))
    return made


CLASSES: tuple[BadClass, ...] = tuple(_classes())


_UNREADABLE: tuple[Any, ...] = (
    None,
    "NaN",
    "inf",
    "-Infinity",
    "1e400",
    "-1e400",
    "abc",
    "",
    True,
    " 1.5",
    "1_000",
    [1],
    "0x1p3",
)
_FLOW_FIELDS = {7: "quote_volume", 9: "taker_buy_base", 10: "taker_buy_quote"}


class WireClass(NamedTuple):
    """One field of a JSON kline row replaced: `value(row)` gives the new one."""

    name: str
    rule: str
    field: int
    value: Callable[[list[Any]], Any]


def _wire_classes() -> list[WireClass]:
    made = []
    for number, name in enumerate(OHLCV, start=1):
        for value in _UNREADABLE:
            made.append(WireClass(f"{name} {value!r}", "not_finite", number, lambda _, value=value: value))
    for number, name in enumerate(_PRICES, start=1):
        for value in ("0", "0.00000000", "-1.5", -2, 0):
            made.append(WireClass(f"{name} {value!r}", "not_positive", number, lambda _, value=value: value))
    made.append(WireClass("volume '-1'", "negative_volume", 5, lambda _: "-1"))
    made.append(WireClass("high under low", "price_order", 2, lambda row: str(float(row[3]) * 0.9)))
    made.append(WireClass("low over high", "price_order", 3, lambda row: str(float(row[2]) * 1.1)))
    made.append(WireClass("close over high", "price_order", 4, lambda row: str(float(row[2]) * 1.1)))
    made.append(WireClass("open under low", "price_order", 1, lambda row: str(float(row[3]) * 0.9)))
    for number, name in _FLOW_FIELDS.items():
        for value in ("-1", "1e400"):
            made.append(WireClass(f"{name} {value!r}", "impossible_flow", number, lambda _, value=value: value))
    for value in (None, "12", 1.5, True, -3, 2**70):
        made.append(WireClass(f"trades {value!r}", "impossible_flow", 8, lambda _, value=value: value))
    for value in (None, "12", True, 2**70, 1, 253_402_300_799_999, 9_224_318_016_000_000, -(2**62)):
        made.append(WireClass(f"close_ts {value!r}", "close_time", 6, lambda _, value=value: value))
    made.append(WireClass("close_ts in nanoseconds", "close_time", 6, lambda row: row[6] * 1_000_000))
    made.append(WireClass("close_ts in microseconds", "close_time", 6, lambda row: row[6] * 1_000))
    for by in (1, 1_800_000, 3_599_999):
        made.append(WireClass(f"open time {by:+} ms", "off_grid", 0, lambda row, by=by: row[0] + by))
    return made


WIRE: tuple[WireClass, ...] = tuple(_wire_classes())
