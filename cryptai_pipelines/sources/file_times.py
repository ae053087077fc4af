"""Open times as files spell them: epoch numbers of any unit, ISO 8601, and the spellings of a few well-known files.

The unit of a number is told row by row from its size, because real files mix them. Clock changes are not guessed over: a local
time that a zone has twice, or not at all, is unreadable. Which column holds the times is decided in `file_columns`.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cryptai_pipelines.market.errors import BadInput

TIME_UNITS = ("auto", "s", "ms", "us")
EARLIEST_MS = 631_152_000_000  # 1990-01-01: what is older is a row number, or a unit that was mistaken.
LATEST_MS = 4_102_444_800_000  # 2100-01-01

_PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
_POWERS = {"s": -1, "ms": 0, "us": 1, "ns": 2}
_UNIT_BELOW = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (float("inf"), "ns"))
_NUMBER = re.compile(r"[0-9]{9,20}(\.[0-9]*)?")
_COMPACT_DATE = re.compile(r"(19|20)[0-9]{6}T?")
_DATE_ONLY = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}T?")
_HOUR_OF_HALF_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2})-([AP]M)")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


@dataclass
class TimeReading:
    """How times are read, and what was met on the way. `zone`: IANA name for times that carry no offset. `dates_are_utc`: a
    date alone names a day of UTC, whatever the zone, as in files of daily and longer bars. `powers`: of each row that was read
    last, the power of 1,000 by which its number is larger than its milliseconds (int8: -1 for s, 1 for us, 2 for ns; 0 for ms
    and for what is no epoch number)."""

    zone: str = "UTC"
    unit: str = "auto"
    dates_are_utc: bool = False
    met: set[str] = field(default_factory=set)
    powers: np.ndarray = field(default_factory=lambda: np.empty(0, dtype="int8"))


class UnreadableTime(Exception):
    """The time in `row` (counted from 0 in what was handed over) cannot be read; `reason` is a clause without the value."""

    def __init__(self, row: int, value: object, reason: str) -> None:
        super().__init__(reason)
        self.row, self.value, self.reason = row, value, reason


_ACCEPTED = "accepted: epoch s, ms or us, or ISO 8601"
_OUTSIDE = f"is not a time between 1990 and 2100; {_ACCEPTED}"


def check_reading(reading: TimeReading) -> None:
    """`BadInput` for a zone or a unit that is not known."""
    if reading.unit not in TIME_UNITS:
        raise BadInput(f"time unit {reading.unit!r} is not known; accepted: {' '.join(TIME_UNITS)}")
    try:
        zoneinfo.ZoneInfo(reading.zone)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise BadInput(f"time zone {reading.zone!r} is not known; accepted: an IANA name, such as UTC or Asia/Seoul") from None


def texts_to_ms(texts: Sequence[str], reading: TimeReading) -> np.ndarray:
    """Epoch milliseconds (int64) of times as text; `reading.met` gains what they were. `UnreadableTime` for the first bad."""
    if (numbers := _plain_numbers(texts)) is not None:
        return numbers_to_ms(numbers, reading)
    ms = np.empty(len(texts), dtype="int64")
    naive = np.zeros(len(texts), dtype=bool)
    reading.powers = np.zeros(len(texts), dtype="int8")
    for row, text in enumerate(texts):
        try:
            ms[row], naive[row], reading.powers[row] = _one(text.strip(), reading)
        except (ValueError, OverflowError):
            raise UnreadableTime(row, text, f"is not a time; {_ACCEPTED}") from None
    if naive.any():
        local, rows = ms[naive], np.flatnonzero(naive)
        ms[naive] = _to_utc(local, reading, rows, texts)
    return _within_reason(ms, texts)


def numbers_to_ms(values: np.ndarray, reading: TimeReading) -> np.ndarray:
    """Epoch milliseconds of epoch numbers (int64 or float64) in the unit of `reading`. Errors as of `texts_to_ms`."""
    if (bad := np.flatnonzero(~np.isfinite(values.astype("float64")))).size:
        raise UnreadableTime(int(bad[0]), values[bad[0]], f"is not a time; {_ACCEPTED}")
    if values.dtype.kind in "iu":
        # Wide enough for milliseconds, and far from where products would run over.
        values = np.clip(values, 0, np.iinfo("int64").max if values.dtype.itemsize == 8 else None).astype("int64")
    ms = np.zeros(len(values), dtype="int64")
    reading.powers = np.zeros(len(values), dtype="int8")
    lower = float("-inf")
    for upper, unit in _UNIT_BELOW if reading.unit == "auto" else ((float("inf"), reading.unit),):
        rows = (values >= lower) & (values < upper)
        if rows.any():
            reading.met.add(f"epoch {unit}")
            reading.powers[rows] = _POWERS[unit]
            part = values[rows]
            whole = part.dtype.kind in "iu"
            factor = _PER_MS[unit]
            scaled = (
                (part // int(factor) if factor >= 1 else np.minimum(part, LATEST_MS) * 1000)
                if whole
                else np.floor(part / factor + 1e-6)
            )
            ms[rows] = np.clip(scaled, 0, LATEST_MS)
        lower = upper
    return _within_reason(ms, values)


def naive_to_ms(local_ms: np.ndarray, reading: TimeReading) -> np.ndarray:
    """Epoch milliseconds of wall-clock times that are given as if they were UTC (a timestamp column without a zone)."""
    reading.powers = np.zeros(len(local_ms), dtype="int8")
    return _within_reason(_to_utc(local_ms, reading, np.arange(len(local_ms)), None), None)


def zoned_to_ms(utc_ms: np.ndarray, reading: TimeReading) -> np.ndarray:
    """Checks times of a timestamp column that has a zone; they are epoch milliseconds already."""
    reading.met.add("timestamp with zone")
    reading.powers = np.zeros(len(utc_ms), dtype="int8")
    return _within_reason(utc_ms, None)


def _plain_numbers(texts: Sequence[str]) -> np.ndarray | None:
    """Texts that are all whole epoch numbers, at once; None when one of them is something else, or could be."""
    together = "".join(texts)
    if not (together.isascii() and together.isdigit()) or min(map(len, texts)) < 9:
        return None
    try:
        return np.array(texts, dtype="int64")
    except (ValueError, OverflowError):
        return None  # More digits than 64 bits hold; each is then read by itself.


def _one(text: str, reading: TimeReading) -> tuple[int, bool, int]:
    """Milliseconds, whether they are of a wall clock rather than of UTC, and the power of `TimeReading.powers`."""
    if reading.unit == "auto" and _COMPACT_DATE.fullmatch(text):
        reading.met.add("date")
        return _as_if_utc(dt.datetime.fromisoformat(text[:8])), not reading.dates_are_utc, 0
    if _NUMBER.fullmatch(text):
        ms, power = _number(text, reading)
        return ms, False, power
    if half := _HOUR_OF_HALF_DAY.fullmatch(text):
        reading.met.add("date with hour-AM/PM")
        day, hour, half_day = half.groups()
        if not 1 <= int(hour) <= 12:
            raise ValueError(hour)
        moment = dt.datetime.fromisoformat(day) + dt.timedelta(hours=int(hour) % 12 + (12 if half_day == "PM" else 0))
        return _as_if_utc(moment), True, 0
    moment = dt.datetime.fromisoformat(text.removesuffix(" UTC") + ("Z" if text.endswith(" UTC") else ""))
    if moment.tzinfo is not None:
        reading.met.add("ISO 8601 with offset")
        return (moment - _EPOCH) // _MILLISECOND, False, 0
    if _DATE_ONLY.fullmatch(text):
        reading.met.add("date")
        return _as_if_utc(moment), not reading.dates_are_utc, 0
    reading.met.add("ISO 8601 without offset")
    return _as_if_utc(moment), True, 0


def _as_if_utc(moment: dt.datetime) -> int:
    return (moment.replace(tzinfo=dt.UTC) - _EPOCH) // _MILLISECOND


def _number(text: str, reading: TimeReading) -> tuple[int, int]:
    unit = reading.unit
    whole, _, part = text.partition(".")
    if unit == "auto":
        unit = next(unit for upper, unit in _UNIT_BELOW if int(whole) < upper)
    reading.met.add(f"epoch {unit}")
    if unit == "s":
        return int(whole) * 1000 + int((part + "000")[:3]), _POWERS[unit]
    return int(whole) // int(_PER_MS[unit]), _POWERS[unit]


def _to_utc(local_ms: np.ndarray, reading: TimeReading, rows: np.ndarray, texts: Sequence[str] | None) -> np.ndarray:
    reading.met.add(f"local time of {reading.zone}")
    outside = np.flatnonzero((local_ms < EARLIEST_MS) | (local_ms >= LATEST_MS))
    if outside.size:
        at = int(outside[0])
        raise UnreadableTime(int(rows[at]), int(local_ms[at]) if texts is None else texts[rows[at]], _OUTSIDE)
    if reading.zone == "UTC":
        return local_ms
    local = pd.DatetimeIndex(local_ms.view("datetime64[ms]"))
    moved = local.tz_localize(reading.zone, ambiguous="NaT", nonexistent="NaT")
    if moved.hasnans:
        at = int(np.flatnonzero(moved.isna())[0])
        reason = f"does not name one moment in {reading.zone}, whose clock changes then; accepted: times with an offset"
        raise UnreadableTime(int(rows[at]), local[at] if texts is None else texts[rows[at]], reason)
    return moved.as_unit("ms").asi8


def _within_reason(ms: np.ndarray, shown: Sequence[str] | np.ndarray | None) -> np.ndarray:
    outside = np.flatnonzero((ms < EARLIEST_MS) | (ms >= LATEST_MS))
    if outside.size:
        row = int(outside[0])
        value = int(ms[row]) if shown is None else shown[row]
        raise UnreadableTime(row, value, _OUTSIDE)
    return ms
