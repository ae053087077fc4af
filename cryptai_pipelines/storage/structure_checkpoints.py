"""`structure_checkpoints`: the states from which a series' market structure is carried on. What they hold is not said here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.times import to_datetime, to_ms


class Checkpoint(NamedTuple):
    """The state before the bar that opens at `at_ms` (epoch ms), or later where that one is missing. `input_revision`: that of
    the bars it was made from."""

    at_ms: int
    input_revision: int
    state: bytes


def find(source: Cursor | Database, series: Series, at_ms: int) -> Checkpoint | None:
    """The checkpoint at `at_ms`; None when there is none."""
    return _first(source, series, "at = %s", (to_datetime(at_ms),))


def last_before(source: Cursor | Database, series: Series, until_ms: int, input_revision: int) -> Checkpoint | None:
    """The last checkpoint at or before `until_ms` that was made from a revision up to `input_revision`."""
    return _first(source, series, "at <= %s AND input_revision <= %s", (to_datetime(until_ms), input_revision))


def save(cursor: Cursor, series: Series, states: Mapping[int, bytes], input_revision: int) -> None:
    """Keep `states` (by `at_ms`) in the place of those that were kept for the same times."""
    for at_ms, state in states.items():
        cursor.execute(
            "INSERT INTO structure_checkpoints (symbol, timeframe, at, input_revision, state) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (symbol, timeframe, at) DO UPDATE SET input_revision = excluded.input_revision,"
            " state = excluded.state",
            (*_keys(series), to_datetime(at_ms), input_revision, state),
        )


def forget_all(cursor: Cursor, series: Series) -> None:
    """Remove every checkpoint of the series, as when another code has made them."""
    cursor.execute("DELETE FROM structure_checkpoints WHERE symbol = %s AND timeframe = %s", _keys(series))


def forget_outside(cursor: Cursor, series: Series, first_ms: int, last_ms: int) -> None:
    """Remove the checkpoints before the bar at `first_ms` and those after the bar at `last_ms`."""
    cursor.execute(
        "DELETE FROM structure_checkpoints WHERE symbol = %s AND timeframe = %s AND (at < %s OR at > %s)",
        (*_keys(series), to_datetime(first_ms), to_datetime(last_ms)),
    )


def _first(source: Cursor | Database, series: Series, condition: str, values: tuple[Any, ...]) -> Checkpoint | None:
    rows = rows_of(
        source,
        f"SELECT at, input_revision, state FROM structure_checkpoints WHERE symbol = %s AND timeframe = %s AND {condition}"  # noqa: S608 - conditions stand above
        " ORDER BY at DESC LIMIT 1",
        (*_keys(series), *values),
    )
    return Checkpoint(to_ms(rows[0][0]), rows[0][1], bytes(rows[0][2])) if rows else None  # type: ignore[arg-type]


def _keys(series: Series) -> tuple[str, str]:
    return series.symbol, series.timeframe.code
