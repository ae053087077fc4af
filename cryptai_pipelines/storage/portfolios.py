"""`portfolio_results`, `portfolio_trades`, `portfolio_days`: one result per configuration of a backtest of many symbols on one
capital, its trades by number and its days. Written in the caller's transaction, so that the three always agree.

Results of single series are in `backtests`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from psycopg2.extras import Json

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.timeframe import Timeframe, parse_timeframe
from cryptai_pipelines.storage.backtests import config_hash, told_verdict
from cryptai_pipelines.storage.copy_rows import copy_rows
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.frame_columns import columns_of, finite
from cryptai_pipelines.storage.tables import PORTFOLIO_DAY_COLUMNS, TABLES
from cryptai_pipelines.storage.times import column_ms, to_datetime, to_ms

_TRADES, _DAYS = TABLES["portfolio_trades"], TABLES["portfolio_days"]
_TRADE_COLUMNS = tuple(name for name in _TRADES.types if name not in _TRADES.key)


@dataclass(frozen=True)
class PortfolioHeader:
    """What was tested and what came out.

    symbols: those that were asked for, by name; failures: why one of them has no part in the result, by symbol. first_ts,
    last_ts: open times (epoch ms) of the first and the last bar of any of them, both inclusive; bars: of all of them together.
    refused: entries that did not happen, by reason. metrics: a metric that is not a finite number is None. by_symbol: what each
    brought. coverage_revisions: of the validated bars of each. `config`, `metrics` and what is by symbol are JSON objects.
    """

    strategy: str
    timeframe: Timeframe
    symbols: tuple[str, ...]
    failures: Mapping[str, str]
    config: Mapping[str, Any]
    first_ts: int
    last_ts: int
    bars: int
    trade_count: int
    ambiguous_count: int
    refused: Mapping[str, int]
    metrics: Mapping[str, float | int | None]
    by_symbol: Mapping[str, Mapping[str, float | None]]
    trades_sha256: str
    code_version: str
    coverage_revisions: Mapping[str, int]
    run_id: str | None = None


_REPLACED = (
    "failures first_ts last_ts bars trade_count ambiguous_count refused metrics by_symbol trades_sha256 code_version"
    " coverage_revisions run_id"
).split()
_COLUMNS = ("strategy", "timeframe", "symbols", "config", *_REPLACED)
_SAVE = (
    f"INSERT INTO portfolio_results ({', '.join(_COLUMNS)}, config_hash, created_at, updated_at)"
    f" VALUES ({', '.join(f'%({name})s' for name in _COLUMNS)}, %(hash)s, now(), now())"
    f" ON CONFLICT (config_hash) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _REPLACED)},"
    " verdict = NULL, review = NULL, gates = NULL, updated_at = excluded.updated_at RETURNING id"
)


def save_portfolio(cursor: Cursor, header: PortfolioHeader, trades: pd.DataFrame, days: pd.DataFrame) -> int:
    """Insert the result with its trades and days, or put it in place of the one of the same configuration; its id, which never
    changes.

    trades: in order, a row per exit: the columns of `portfolio_trades`, times in UTC. days: indexed by day (UTC midnight,
    unique), `tables.PORTFOLIO_DAY_COLUMNS` float64, NaN for none.
    """
    values = {name: getattr(header, name) for name in _COLUMNS}
    objects = {name: Json(finite(value)) for name, value in values.items() if isinstance(value, Mapping)}
    times = {name: to_datetime(values[name]) for name in ("first_ts", "last_ts")}
    plain = {"timeframe": header.timeframe.code, "symbols": list(header.symbols), "hash": config_hash(header.config)}
    cursor.execute(_SAVE, {**values, **objects, **times, **plain})
    identity = int(cursor.fetchone()[0])  # type: ignore[index]
    for name in ("portfolio_trades", "portfolio_days"):
        cursor.execute(f"DELETE FROM {name} WHERE portfolio_id = %s", (identity,))
    numbers = np.arange(len(trades), dtype="int32")
    columns = columns_of(trades, _TRADE_COLUMNS, "trades")
    copy_rows(cursor, _TRADES, {"portfolio_id": identity, "number": numbers, **columns}, len(trades))
    columns = columns_of(days, PORTFOLIO_DAY_COLUMNS, "days")
    copy_rows(cursor, _DAYS, {"portfolio_id": identity, "day": days.index.as_unit("ms").asi8, **columns}, len(days))
    return identity


def save_review(
    cursor: Cursor,
    portfolio_id: int,
    verdict: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    gates: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write what is concluded from a result, and how its gates judged; a number that is not finite becomes null."""
    cursor.execute(
        "UPDATE portfolio_results SET verdict = %s, review = %s, gates = %s WHERE id = %s",
        (Json(finite(verdict)), Json(finite(findings)), Json(finite(gates)), portfolio_id),
    )


def read_portfolio(source: Cursor | Database, config: Mapping[str, Any]) -> tuple[int, PortfolioHeader] | None:
    """Id and header of the result of a configuration; None when there is none."""
    statement = f"SELECT id, {', '.join(_COLUMNS)} FROM portfolio_results WHERE config_hash = %s"
    rows = rows_of(source, statement, (config_hash(config),))
    if not rows:
        return None
    identity, *values = rows[0]
    told = dict(zip(_COLUMNS, values, strict=True))
    times = {name: to_ms(told[name]) for name in ("first_ts", "last_ts")}
    plain = {"timeframe": parse_timeframe(told["timeframe"]), "symbols": tuple(told["symbols"])}
    return identity, PortfolioHeader(**{**told, **times, **plain})


Concluded: TypeAlias = tuple[dict[str, Any] | None, list[dict[str, Any]], list[dict[str, Any]]]
"""Verdict, findings, and how the gates judged."""


def read_review(db: Database, portfolio_id: int) -> Concluded:
    """What is concluded from a result; None and nothing while it is not known."""
    rows = db.rows("SELECT verdict, review, gates FROM portfolio_results WHERE id = %s", (portfolio_id,))
    return (told_verdict(rows[0][0]), rows[0][1] or [], rows[0][2] or []) if rows else (None, [], [])


def read_trades(db: Database, portfolio_id: int) -> pd.DataFrame:
    """The trades of a result as `save_portfolio` takes them, indexed by `number`."""
    table = db.read(
        f"SELECT number, {', '.join(_TRADE_COLUMNS)} FROM portfolio_trades WHERE portfolio_id = $1::bigint ORDER BY number",
        (int(portfolio_id),),
    )
    frame = table.to_pandas().set_index("number")
    return frame.astype({name: "datetime64[ms, UTC]" for name in ("entry_ts", "exit_ts")})


def read_days(db: Database, portfolio_id: int) -> pd.DataFrame:
    """The days of a result as `save_portfolio` takes them."""
    names = ", ".join(PORTFOLIO_DAY_COLUMNS)
    table = db.read(
        f"SELECT day::timestamptz AS day, {names} FROM portfolio_days WHERE portfolio_id = $1::bigint ORDER BY day",
        (int(portfolio_id),),
    )
    index = ts_index(column_ms(table["day"])).rename("day")
    return pd.DataFrame({name: table[name].to_numpy() for name in PORTFOLIO_DAY_COLUMNS}, index=index)


_DAILY_SHARPE = "(s.metrics->>'sharpe')::double precision / sqrt((s.metrics->>'periods_per_year')::double precision)"
_OF_SYMBOLS = "s.strategy = %(strategy)s AND s.timeframe = %(timeframe)s AND s.symbol = ANY(%(symbols)s)"
_SEARCHED = "p.point, s.config->'defaults', s.config->'asked', s.config->'strategy_version'"
_TRIALS = f"""
SELECT ratio FROM (
    SELECT DISTINCT ON (s.config - 'markets') {_DAILY_SHARPE} AS ratio FROM portfolio_results AS s
    WHERE s.strategy = %(strategy)s AND s.timeframe = %(timeframe)s AND s.symbols && %(symbols)s
    ORDER BY s.config - 'markets', s.updated_at DESC, s.id DESC
) AS together
UNION ALL
SELECT avg({_DAILY_SHARPE}) FROM backtest_results AS s WHERE {_OF_SYMBOLS}
GROUP BY s.config - 'kind' - 'market'
UNION ALL
SELECT avg((p.metrics->>'sharpe')::double precision / sqrt(%(yearly)s))
FROM sweep_points AS p JOIN sweeps AS s ON s.id = p.sweep_id WHERE s.kind = 'sweep' AND {_OF_SYMBOLS} GROUP BY {_SEARCHED}
UNION ALL
SELECT NULL
FROM sweep_points AS p JOIN sweeps AS s ON s.id = p.sweep_id WHERE s.kind = 'walk_forward' AND {_OF_SYMBOLS}
GROUP BY {_SEARCHED}
"""


def trial_sharpes(source: Cursor | Database, strategy: str, timeframe: Timeframe, symbols: Sequence[str]) -> np.ndarray:
    """The Sharpe ratio per day of every trial of a strategy that was made on the way to a portfolio of these symbols, NaN for
    one that has none; how many there are is the number of trials.

    Such a trial is every portfolio with one of the symbols in it, and every set of parameters that was tried on any of them
    alone: once, however many of them it was tried on, with the mean of its ratios. What rules the venue had for the markets by
    then makes no other trial, and walk-forwards count without a ratio, as in `sweeps.trial_sharpes`.
    """
    keys = {"strategy": strategy, "timeframe": timeframe.code, "symbols": list(symbols), "yearly": timeframe.values_per_year}
    values = [row[0] for row in rows_of(source, _TRIALS, keys)]
    return np.array([math.nan if value is None else value for value in values], dtype="float64")
