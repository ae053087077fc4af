"""`backtest_results`, `backtest_trades`, `performance_metrics`: one result per strategy, series and configuration, its trades
by number and its days. Written in the caller's transaction, so that the three always agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from psycopg2.extras import Json

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value, copy_rows
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.frame_columns import columns_of, finite
from cryptai_pipelines.storage.merge_rows import merge_staged, stage
from cryptai_pipelines.storage.tables import TABLES
from cryptai_pipelines.storage.times import column_ms, to_datetime, to_ms

_TRADES = TABLES["backtest_trades"]
_DAILY = TABLES["performance_metrics"]
_TRADE_COLUMNS = tuple(name for name in _TRADES.types if name not in _TRADES.key)
_OPTIONAL = ("is_open", "symbol", "side", "funding", "slippage_cost", "max_adverse", "max_favourable")
_DAY_COLUMNS = tuple(name for name in _DAILY.types if name not in _DAILY.key)


@dataclass(frozen=True)
class BacktestHeader:
    """What was tested and what came out. `config` and `metrics` are JSON objects; a metric that is not a finite number is None.
    `first_ts`, `last_ts`: open times (epoch ms) of the first and last bar, both inclusive."""

    strategy: str
    series: Series
    config: Mapping[str, Any]
    first_ts: int | None
    last_ts: int | None
    bars: int
    trade_count: int
    ambiguous_count: int
    metrics: Mapping[str, float | int | None]
    trades_sha256: str
    code_version: str
    coverage_revision: int
    run_id: str | None = None


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of `config` as JSON with sorted keys: the same configuration has the same hash in whatever order."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


_SAVE = (
    "INSERT INTO backtest_results AS r (strategy, symbol, timeframe, config, config_hash, first_ts, last_ts, bars, trade_count,"
    " ambiguous_count, metrics, trades_sha256, code_version, coverage_revision, run_id, created_at, updated_at)"
    " VALUES (%(strategy)s, %(symbol)s, %(timeframe)s, %(config)s, %(hash)s, %(first)s, %(last)s, %(bars)s, %(trades)s,"
    " %(ambiguous)s, %(metrics)s, %(sha256)s, %(code)s, %(coverage)s, %(run)s, now(), now())"
    " ON CONFLICT (strategy, symbol, timeframe, config_hash) DO UPDATE SET first_ts = excluded.first_ts,"
    " last_ts = excluded.last_ts, bars = excluded.bars, trade_count = excluded.trade_count,"
    " ambiguous_count = excluded.ambiguous_count, metrics = excluded.metrics, trades_sha256 = excluded.trades_sha256,"
    " code_version = excluded.code_version, coverage_revision = excluded.coverage_revision, run_id = excluded.run_id,"
    " updated_at = excluded.updated_at RETURNING id"
)


def save_backtest(cursor: Cursor, header: BacktestHeader) -> int:
    """Insert the result, or replace the one of the same strategy, series and configuration; its id, which never changes."""
    metrics = {name: None if value is None or not np.isfinite(value) else value for name, value in header.metrics.items()}
    cursor.execute(
        _SAVE,
        {
            "strategy": header.strategy,
            "symbol": header.series.symbol,
            "timeframe": header.series.timeframe.code,
            "config": Json(dict(header.config)),
            "hash": config_hash(header.config),
            "first": to_datetime(header.first_ts),
            "last": to_datetime(header.last_ts),
            "bars": header.bars,
            "trades": header.trade_count,
            "ambiguous": header.ambiguous_count,
            "metrics": Json(metrics, dumps=lambda value: json.dumps(value, default=_plain)),
            "sha256": header.trades_sha256,
            "code": header.code_version,
            "coverage": header.coverage_revision,
            "run": header.run_id,
        },
    )
    return cursor.fetchone()[0]  # type: ignore[index]


def save_review(
    cursor: Cursor,
    backtest_id: int,
    verdict: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    gates: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write what is concluded from a result, and how its gates judged, in place of what was; a number that is not finite
    becomes null."""
    cursor.execute(
        "UPDATE backtest_results SET verdict = %s, review = %s, gates = %s WHERE id = %s",
        (Json(finite(verdict)), Json(finite(findings)), Json(finite(gates)), int(backtest_id)),
    )


def forget_review(cursor: Cursor, backtest_id: int) -> None:
    """What was concluded from a result is not known any more, in the transaction that gives it other numbers."""
    cursor.execute("UPDATE backtest_results SET verdict = NULL, review = NULL, gates = NULL WHERE id = %s", (backtest_id,))


def read_gates(db: Database, backtest_id: int) -> list[dict[str, Any]]:
    """How the gates of a result judged, as of `gate_rates.counted_rates`; nothing while it is not known."""
    rows = db.rows("SELECT gates FROM backtest_results WHERE id = %s", (int(backtest_id),))
    return (rows[0][0] or []) if rows else []


def told_verdict(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """A stored verdict by the names of now: `better_than_market` was once written as `psr`."""
    if stored is None or "psr" not in stored:
        return stored
    return {"better_than_market" if name == "psr" else name: value for name, value in stored.items()}


def read_review(db: Database, backtest_id: int) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Verdict and findings of a result; None and nothing while there are none."""
    rows = db.rows("SELECT verdict, review FROM backtest_results WHERE id = %s", (int(backtest_id),))
    return (told_verdict(rows[0][0]), rows[0][1] or []) if rows else (None, [])


_LATEST_REVIEWS = (
    " (SELECT DISTINCT ON (symbol, timeframe) symbol, timeframe, review FROM backtest_results"
    " JOIN unnest(%s::text[], %s::text[]) AS asked (symbol, timeframe) USING (symbol, timeframe)"
    " WHERE strategy = %s AND config ->> 'kind' = 'scheduled' ORDER BY symbol, timeframe, updated_at DESC, id DESC) AS latest"
    " WHERE jsonb_typeof(review) = 'array'"
)


def scheduled_reviews(db: Database, strategy: str, series: Sequence[Series]) -> dict[Series, list[dict[str, Any]]]:
    """The findings of the scheduled results of `strategy`, by series: of several, with other parameters, the latest. A result
    that was not reviewed yet is left out."""
    rows = db.rows(f"SELECT symbol, timeframe, review FROM{_LATEST_REVIEWS}", _asked(strategy, series))
    return {Series(symbol, parse_timeframe(code)): findings for symbol, code, findings in rows}


def reviews_digest(db: Database, strategy: str, series: Sequence[Series]) -> str | None:
    """A text that is another one whenever the `scheduled_reviews` are others; None while there are none."""
    told = "SELECT md5(string_agg(concat_ws(' ', symbol, timeframe, md5(review::text)), ',' ORDER BY symbol, timeframe)) FROM"
    return db.rows(told + _LATEST_REVIEWS, _asked(strategy, series))[0][0]


def _asked(strategy: str, series: Sequence[Series]) -> tuple[list[str], list[str], str]:
    return [one.symbol for one in series], [one.timeframe.code for one in series], strategy


def replace_trades(cursor: Cursor, backtest_id: int, from_number: int, trades: pd.DataFrame) -> int:
    """Make `trades` the trades numbered `from_number`, `from_number + 1`, ... and the last ones; how many were written.

    `trades`: one row per trade in order, with `entry_ts`, `exit_ts` (datetime in UTC, NaT while open), `entry_price`,
    `exit_price`, `exit_reason`, `quantity`, `fees`, `pnl`, `return_pct`, `ambiguous`; where present `is_open` (else false),
    `side` (1 long, -1 short; else long), `symbol`, `funding`, `slippage_cost`, `max_adverse`, `max_favourable` (else NULL).
    Trades that are equal to the stored ones need not be given: `from_number` says where the difference begins.
    """
    cursor.execute("DELETE FROM backtest_trades WHERE backtest_id = %s AND number >= %s", (backtest_id, from_number))
    values = columns_of(trades, tuple(name for name in _TRADE_COLUMNS if name in trades or name not in _OPTIONAL), "trades")
    values.setdefault("is_open", False)
    numbers = np.arange(from_number, from_number + len(trades), dtype="int32")
    return copy_rows(cursor, _TRADES, {"backtest_id": int(backtest_id), "number": numbers, **values}, len(trades))


def replace_daily(cursor: Cursor, backtest_id: int, from_day_ms: int, daily: pd.DataFrame) -> Change:
    """Make `daily` all there is from the day `from_day_ms` (UTC midnight) on: equal days are left alone, others are dropped.

    `daily`: indexed by day (DatetimeIndex at 00:00 UTC, unique), with the columns `tables.DAY_COLUMNS` float64, NaN for none.
    """
    days = daily.index.as_unit("ms").asi8
    kept = [to_datetime(day).date() for day in days.tolist()]  # type: ignore[union-attr]
    cursor.execute(
        "DELETE FROM performance_metrics WHERE backtest_id = %s AND day >= %s AND NOT (day = ANY(%s::date[]))",
        (backtest_id, to_datetime(from_day_ms).date(), kept),  # type: ignore[union-attr]
    )
    if daily.empty:
        return Change()
    values: dict[str, Value] = {"backtest_id": int(backtest_id), "day": days, **columns_of(daily, _DAY_COLUMNS, "daily")}
    stage(cursor, _DAILY, values, len(daily))
    return merge_staged(cursor, _DAILY, tuple(values))


_HEADER = (
    "SELECT id, config, first_ts, last_ts, bars, trade_count, ambiguous_count, metrics, trades_sha256, code_version,"
    " coverage_revision, run_id FROM backtest_results WHERE strategy = %s AND symbol = %s AND timeframe = %s"
    " AND (%s::text IS NULL OR config_hash = %s) ORDER BY updated_at DESC, id DESC LIMIT 1"
)


def read_backtest(
    source: Cursor | Database, strategy: str, series: Series, config: Mapping[str, Any] | None = None
) -> tuple[int, BacktestHeader] | None:
    """Id and header of the result for `config`, or of the latest one without it; None when there is none."""
    wanted = None if config is None else config_hash(config)
    parameters = (strategy, series.symbol, series.timeframe.code, wanted, wanted)
    rows = rows_of(source, _HEADER, parameters)
    if not rows:
        return None
    identity, stored, first, last, *rest = rows[0]
    return identity, BacktestHeader(strategy, series, stored, to_ms(first), to_ms(last), *rest)


def read_trades(db: Database, backtest_id: int) -> pd.DataFrame:
    """The trades of a result, indexed by `number`, with the columns that `replace_trades` takes."""
    table = db.read(
        f"SELECT number, {', '.join(_TRADE_COLUMNS)} FROM backtest_trades WHERE backtest_id = $1::bigint ORDER BY number",
        (int(backtest_id),),
    )
    frame = table.to_pandas().set_index("number")
    return frame.astype({name: "datetime64[ms, UTC]" for name in ("entry_ts", "exit_ts")})


def read_entry_volumes(db: Database, backtest_id: int) -> np.ndarray:
    """What was traded in the bar of the entry of each trade of a result, by number, in the quote currency: as the venue told
    it, else volume x close, as of `trade_statistics.entry_volumes`; 0 where there is no such bar now. float64."""
    rows = db.rows(
        "SELECT coalesce(bar.quote_volume, bar.volume * bar.close, 0) FROM backtest_trades AS t"
        " JOIN backtest_results AS r ON r.id = t.backtest_id LEFT JOIN market_data AS bar"
        " ON bar.symbol = r.symbol AND bar.timeframe = r.timeframe AND bar.ts = t.entry_ts"
        " WHERE t.backtest_id = %s ORDER BY t.number",
        (int(backtest_id),),
    )
    return np.array([volume for (volume,) in rows], dtype="float64")


def read_daily(db: Database, backtest_id: int) -> pd.DataFrame:
    """The days of a result as `replace_daily` takes them."""
    table = db.read(
        f"SELECT day::timestamptz AS day, {', '.join(_DAY_COLUMNS)} FROM performance_metrics WHERE backtest_id = $1::bigint"
        " ORDER BY day",
        (int(backtest_id),),
    )
    index = ts_index(column_ms(table["day"])).rename("day")
    return pd.DataFrame({name: table[name].to_numpy() for name in _DAY_COLUMNS}, index=index)


def no_days() -> pd.DataFrame:
    """Zero days, as `read_daily` gives them."""
    return pd.DataFrame({name: np.empty(0) for name in _DAY_COLUMNS}, index=ts_index(np.empty(0, "int64")).rename("day"))


def count_days(db: Database, backtest_id: int) -> int:
    """How many days of a result are stored."""
    return db.rows("SELECT count(*) FROM performance_metrics WHERE backtest_id = %s", (int(backtest_id),))[0][0]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a metric is a number, not {type(value).__name__}")
