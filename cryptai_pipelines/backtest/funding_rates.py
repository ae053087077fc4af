"""Funding rates as a person has them: a CSV file of times and rates, read and checked. How they are paid is in `kernel`."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cryptai_pipelines.market.clock import format_time, parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval

HEADER = ("ts", "rate")
# Of the year 1973; in seconds it is of one that is far away.
_LEAST_MS = 100_000_000_000


@dataclass(frozen=True, eq=False)
class FundingRates:
    """ts: int64, epoch ms, ascending and unique. rate: float64, finite; longs pay a rate above 0 as a share of the notional,
    shorts receive it."""

    ts: np.ndarray
    rate: np.ndarray

    @cached_property
    def told(self) -> dict[str, str | int]:
        """Plain data by which the rates are known: the hash of times and rates, how many there are, the first and last time."""
        digest = hashlib.sha256(self.ts.astype("<i8").tobytes() + self.rate.astype("<f8").tobytes()).hexdigest()
        return {"sha256": digest, "rates": len(self.ts), "first": int(self.ts[0]), "last": int(self.ts[-1])}

    def check_within(self, span: Interval) -> None:
        """`BadInput` when none of them is of a time in `span`: they would change nothing."""
        if not ((self.ts >= span.start_ms) & (self.ts < span.end_ms)).any():
            given, bars = (f"{format_time(a)} to {format_time(b)}" for a, b in ((self.ts[0], self.ts[-1]), span))
            raise BadInput(f"no funding rate is of the time of the bars: rates of {given}, bars of {bars}")


def read_funding(path: Path) -> FundingRates:
    """The rates of a file, UTF-8. `BadInput` names the file, and the line where one is wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text; accepted: a CSV file with the header {','.join(HEADER)}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    return parse_funding(text, str(path))


def parse_funding(text: str, name: str) -> FundingRates:
    """The rates of CSV text with the header `ts,rate`; empty lines do not count. Times ascend: ISO 8601, UTC without an offset,
    or epoch milliseconds. A rate is a share, above -1 and below 1. `BadInput` begins with `name` and the line."""
    rows = list(_rows(text))
    if not rows or tuple(cell.strip().lower() for cell in rows[0][1]) != HEADER:
        raise BadInput(
            f"{name} does not begin with the header {','.join(HEADER)}; accepted: it, then a time and a rate per line"
        )
    times, rates = [], []
    for line, cells in rows[1:]:
        where = f"{name} line {line}"
        if len(cells) != len(HEADER):
            raise BadInput(f"{where} has {len(cells)} values; accepted: {len(HEADER)}, such as 2024-01-01T08:00:00Z,0.0001")
        time, rate = _time(cells[0].strip(), where), _rate(cells[1].strip(), where)
        if times and time <= times[-1]:
            raise BadInput(
                f"{where}: {cells[0].strip()!r} is not after the time before it; accepted: ascending times, each once"
            )
        times.append(time)
        rates.append(rate)
    if not times:
        raise BadInput(f"{name} has no rate; accepted: at least one line after the header")
    return FundingRates(np.array(times, dtype=np.int64), np.array(rates, dtype=np.float64))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold something, each with its number."""
    reader = csv.reader(text.splitlines())
    return ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))


def _time(text: str, where: str) -> int:
    accepted = "ISO 8601, such as 2024-01-01T08:00:00Z, or epoch milliseconds"
    if text.isdecimal():
        if int(text) < _LEAST_MS:
            raise BadInput(f"{where}: time {text!r} is not in milliseconds; accepted: {accepted}")
        return int(text)
    try:
        return parse_time(text)
    except BadInput:
        raise BadInput(f"{where}: time {text!r} is not accepted; accepted: {accepted}") from None


def _rate(text: str, where: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not -1 < rate < 1:
        raise BadInput(f"{where}: rate {text!r} is not accepted; accepted: a share above -1 and below 1, such as 0.0001")
    return rate
