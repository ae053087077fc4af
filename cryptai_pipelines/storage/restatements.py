"""`restatements`: the ledger of bars that changed after they were stored: when that became known, what depended on them, and
when the last of it was computed again. The values before and after are revisions in `raw_ohlcv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from psycopg2 import sql
from psycopg2.extras import Json

from cryptai_pipelines.market.bars import WIRE_DTYPES
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe, parse_timeframe
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms

_VALUES = tuple(name for name in WIRE_DTYPES if name not in ("ts", "close_ts", "unused"))


RowsOfBars = Literal["technical_indicators", "market_structure"]


class RestatedBars(NamedTuple):
    """Restated bars of one source that became known together: `bars` of them, from `first_ts` to `last_ts`, both inclusive,
    epoch ms. `fetch_ids`: the first and the last of the fetches that brought them."""

    first_ts: int
    last_ts: int
    bars: int
    fetch_ids: tuple[int, int]


@dataclass(frozen=True)
class Restatement:
    """An entry of the ledger. `touched`: what depended on the bars when the restatement came (JSON). `done_ms`: when each asset
    of the chain had been computed again with it, epoch ms; None for what has not."""

    id: int
    source: str
    series: Series
    bars: RestatedBars
    known_at_ms: int
    sync_id: int | None
    touched: Mapping[str, Any]
    done_ms: Mapping[str, int | None]


class RestatedValues(NamedTuple):
    """One bar before and after: the values by column."""

    ts_ms: int
    revision: int
    known_at_ms: int
    before: dict[str, float]
    after: dict[str, float]


def restated_opens(cursor: Cursor, source: str, series: Series, fetch_ids: Sequence[int], within: Interval) -> np.ndarray:
    """Open times (int64 epoch ms, ascending) in `within` of the bars that these fetches brought and that were stored otherwise
    before."""
    cursor.execute(
        "SELECT ts FROM raw_ohlcv WHERE source = %s AND symbol = %s AND timeframe = %s AND ts >= %s AND ts < %s"
        " AND revision > 0 AND fetch_id = ANY(%s) ORDER BY ts",
        (source, *_keys(series), *(to_datetime(ts) for ts in within), list(fetch_ids)),
    )
    return np.array([to_ms(ts) for (ts,) in cursor.fetchall()], dtype="int64")


def add(
    cursor: Cursor,
    source: str,
    series: Series,
    restated: RestatedBars,
    known_at_ms: int,
    sync_id: int | None,
    touched: Mapping[str, Any],
) -> int:
    """Enter restated bars into the ledger; the id of the entry."""
    cursor.execute(
        "INSERT INTO restatements (source, symbol, timeframe, first_ts, last_ts, bars, first_fetch_id, last_fetch_id, known_at,"
        " sync_id, touched) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (
            source,
            *_keys(series),
            to_datetime(restated.first_ts),
            to_datetime(restated.last_ts),
            restated.bars,
            *restated.fetch_ids,
            to_datetime(known_at_ms),
            sync_id,
            Json(dict(touched)),
        ),
    )
    return cursor.fetchone()[0]  # type: ignore[index]


def standing(cursor: Cursor, source: str, series: Series, opens: Sequence[int]) -> tuple[int, int]:
    """How many of the validated bars at these open times are those of `source`, and how many those of a more believed one."""
    cursor.execute(
        "SELECT count(*) FILTER (WHERE m.source = %s), count(*) FILTER (WHERE holder.rank < own.rank)"
        " FROM market_data AS m LEFT JOIN series_sources AS holder ON holder.symbol = m.symbol"
        " AND holder.timeframe = m.timeframe AND holder.source = m.source AND NOT m.is_filled"
        " LEFT JOIN series_sources AS own ON own.symbol = m.symbol AND own.timeframe = m.timeframe AND own.source = %s"
        " WHERE m.symbol = %s AND m.timeframe = %s AND m.ts = ANY(%s)",
        (source, source, *_keys(series), [to_datetime(ts) for ts in opens]),
    )
    return cursor.fetchone()  # type: ignore[return-value]


def count_rows(cursor: Cursor, table: RowsOfBars, series: Series, within: Interval) -> int:
    """Rows of `table`, of which a series has one per bar, in `within`."""
    cursor.execute(
        sql.SQL("SELECT count(*) FROM {} WHERE symbol = %s AND timeframe = %s AND ts >= %s AND ts < %s").format(
            sql.Identifier(table)
        ),
        (*_keys(series), *(to_datetime(ts) for ts in within)),
    )
    return cursor.fetchone()[0]  # type: ignore[index]


def count_signals(cursor: Cursor, series: Series, strategy: str, within: Interval) -> int:
    """Rows of `signals` of one strategy in `within`."""
    cursor.execute(
        "SELECT count(*) FROM signals WHERE strategy = %s AND symbol = %s AND timeframe = %s AND ts >= %s AND ts < %s",
        (strategy, *_keys(series), *(to_datetime(ts) for ts in within)),
    )
    return cursor.fetchone()[0]  # type: ignore[index]


def scheduled_strategies(cursor: Cursor, series: Series) -> list[str]:
    """The strategies of which signals are or were stored, as far as a scheduled result was made of them."""
    cursor.execute(
        "SELECT DISTINCT strategy FROM backtest_results WHERE symbol = %s AND timeframe = %s"
        " AND config ->> 'kind' = 'scheduled'",
        _keys(series),
    )
    return [name for (name,) in cursor.fetchall()]


# A result on bars as known at a moment depends on nothing that became known later.
_NOT_SETTLED = "coalesce((r.config ->> 'known_at')::bigint >= %(known_at)s, true)"
_RESULT = ("id", "strategy", "kind", "timeframe", "trades")


def backtests_over(cursor: Cursor, series: Series, within: Interval, known_at_ms: int) -> list[dict[str, Any]]:
    """The results that simulated bars in `within` or after it began: `id`, `strategy`, `kind`, `timeframe`, and `trades`: how
    many were entered at or after its start. A result on bars as known at a moment depends on nothing that became known
    (`known_at_ms`) later."""
    symbol, code = _keys(series)
    start, end = (to_datetime(ts) for ts in within)
    cursor.execute(
        "SELECT r.id, r.strategy, r.config ->> 'kind', r.timeframe, (SELECT count(*) FROM backtest_trades AS t"
        " WHERE t.backtest_id = r.id AND t.entry_ts >= %(start)s) FROM backtest_results AS r WHERE r.symbol = %(symbol)s"
        f" AND r.timeframe = %(code)s AND r.last_ts >= %(start)s AND r.first_ts < %(end)s AND {_NOT_SETTLED} ORDER BY r.id",
        {"start": start, "end": end, "symbol": symbol, "code": code, "known_at": known_at_ms},
    )
    return [dict(zip(_RESULT, row, strict=True)) for row in cursor.fetchall()]


def backtests_looking_into(
    cursor: Cursor,
    series: Series,
    within: Interval,
    known_at_ms: int,
    coarser: Sequence[Timeframe],
    told_by: Sequence[Timeframe],
) -> list[dict[str, Any]]:
    """The results of `coarser` series of the symbol of which an ambiguous bar overlaps `within` and was told apart by bars of
    `told_by`, or by none: as in `backtests_over`, with the `trades` that were left in the first such bar or later."""
    cursor.execute(
        "SELECT r.id, r.strategy, r.config ->> 'kind', r.timeframe, (SELECT count(*) FROM backtest_trades AS t"
        " WHERE t.backtest_id = r.id AND t.exit_ts >= asked.first) FROM backtest_results AS r"
        " JOIN unnest(%(codes)s::text[], %(lengths)s::bigint[]) AS coarse (code, length) ON coarse.code = r.timeframe"
        " CROSS JOIN LATERAL (SELECT min(b.ts) AS first FROM backtest_ambiguous_bars AS b WHERE b.backtest_id = r.id"
        " AND b.ts > %(start)s - coarse.length * interval '1 ms' AND b.ts < %(end)s"
        " AND coalesce(b.finer_timeframe = ANY(%(told_by)s), true)) AS asked"
        f" WHERE r.symbol = %(symbol)s AND asked.first IS NOT NULL AND {_NOT_SETTLED} ORDER BY r.id",
        {
            "codes": [one.code for one in coarser],
            "lengths": [one.ms for one in coarser],
            "start": to_datetime(within.start_ms),
            "end": to_datetime(within.end_ms),
            "told_by": [one.code for one in told_by],
            "symbol": series.symbol,
            "known_at": known_at_ms,
        },
    )
    return [dict(zip(_RESULT, row, strict=True)) for row in cursor.fetchall()]


def seen_by_coarser(db: Database, entry: Restatement, asset: str, result: str, places: Mapping[str, int]) -> dict[str, int]:
    """By timeframe when `result` of a longer timeframe was made again after the restated bars had come into `asset`, epoch ms;
    none for one that has not seen them yet. `places`: by code the place of the entry's timeframe, from 0, among the further
    inputs of `result`."""
    rows = db.rows(
        "SELECT made.timeframe, min(c.changed_at) FROM restatements AS r CROSS JOIN LATERAL (SELECT revision, changed_at"
        " FROM series_changes AS c WHERE c.asset = %(asset)s AND c.symbol = r.symbol AND c.timeframe = r.timeframe"
        " AND c.changed_at > r.recorded_at ORDER BY c.revision LIMIT 1) AS bars"
        " CROSS JOIN unnest(%(codes)s::text[], %(places)s::bigint[]) AS coarse (code, place)"
        " JOIN series_state AS made ON made.asset = %(result)s AND made.symbol = r.symbol AND made.timeframe = coarse.code"
        " AND made.further_revisions[coarse.place + 1] >= bars.revision"
        " JOIN series_changes AS c ON c.asset = made.asset AND c.symbol = made.symbol AND c.timeframe = made.timeframe"
        " AND c.changed_at > bars.changed_at WHERE r.id = %(id)s GROUP BY made.timeframe",
        {"asset": asset, "result": result, "codes": list(places), "places": list(places.values()), "id": entry.id},
    )
    return {code: to_ms(at) for code, at in rows}  # type: ignore[misc]


def read_restatements(
    db: Database,
    chain: Mapping[str, Sequence[str]],
    symbol: str | None = None,
    timeframe: str | None = None,
    limit: int = 100,
) -> list[Restatement]:
    """The latest entries of the ledger, the newest first. `chain`: assets, each after those that it is made of and with their
    names; each has seen a restatement with its first change after all of these had, and the validated bars, which are made of
    none of them, with the first after it was recorded."""
    steps = " ".join(_first_change(number, chain, name) for number, name in enumerate(chain))
    done = ", ".join(f"a{number}.at" for number in range(len(chain)))
    rows = db.rows(
        "SELECT r.id, r.source, r.symbol, r.timeframe, r.first_ts, r.last_ts, r.bars, r.first_fetch_id, r.last_fetch_id,"
        f" r.known_at, r.sync_id, r.touched, {done} FROM restatements AS r {steps} WHERE r.symbol = coalesce(%s, r.symbol)"
        " AND r.timeframe = coalesce(%s, r.timeframe) ORDER BY r.id DESC LIMIT %s",
        (*chain, symbol, timeframe, limit),
    )
    return [_restatement(row, tuple(chain)) for row in rows]


def _first_change(number: int, chain: Mapping[str, Sequence[str]], name: str) -> str:
    """Of the asset at `number` in `chain` the time of its first change after those before it, as `aN.at`."""
    places = list(chain)
    after = [f"a{places.index(one)}.at" for one in chain[name]] or ["r.recorded_at"]
    conditions = " ".join(f"AND c.changed_at > {moment}" for moment in after)
    return (
        "LEFT JOIN LATERAL (SELECT min(changed_at) AS at FROM series_changes AS c WHERE c.asset = %s AND c.symbol = r.symbol"
        f" AND c.timeframe = r.timeframe {conditions}) AS a{number} ON true"
    )


def _restatement(row: tuple[Any, ...], chain: Sequence[str]) -> Restatement:
    identity, source, symbol, code, first, last, bars, first_fetch, last_fetch, known_at, sync_id, touched, *done = row
    restated = RestatedBars(to_ms(first), to_ms(last), bars, (first_fetch, last_fetch))  # type: ignore[arg-type]
    series, done_ms = Series(symbol, parse_timeframe(code)), dict(zip(chain, map(to_ms, done), strict=True))
    return Restatement(identity, source, series, restated, to_ms(known_at), sync_id, touched, done_ms)  # type: ignore[arg-type]


def read_values(db: Database, entry: Restatement) -> list[RestatedValues]:
    """The bars of an entry as they were before it and as it made them, by open time."""
    columns = ", ".join(f"{revision}.{name}" for revision in ("earlier", "later") for name in _VALUES)
    rows = db.rows(
        f"SELECT later.ts, later.revision, later.known_at, {columns} FROM raw_ohlcv AS later JOIN raw_ohlcv AS earlier"
        " ON earlier.source = later.source AND earlier.symbol = later.symbol AND earlier.timeframe = later.timeframe"
        " AND earlier.ts = later.ts AND earlier.revision = later.revision - 1 WHERE later.source = %s AND later.symbol = %s"
        " AND later.timeframe = %s AND later.ts >= %s AND later.ts <= %s AND later.fetch_id BETWEEN %s AND %s"
        " ORDER BY later.ts, later.revision",
        (
            entry.source,
            *_keys(entry.series),
            to_datetime(entry.bars.first_ts),
            to_datetime(entry.bars.last_ts),
            *entry.bars.fetch_ids,
        ),
    )
    count = len(_VALUES)
    return [
        RestatedValues(
            to_ms(ts),  # type: ignore[arg-type]
            revision,
            to_ms(known_at),  # type: ignore[arg-type]
            dict(zip(_VALUES, values[:count], strict=True)),
            dict(zip(_VALUES, values[count:], strict=True)),
        )
        for ts, revision, known_at, *values in rows
    ]


def _keys(series: Series) -> tuple[str, str]:
    return series.symbol, series.timeframe.code
