"""`sweeps`, `sweep_points`: searches over parameters, each found again by what it is made of, and what every point of them came
to. A point is written once, as soon as it is known, and never changed: that is what a search goes on from after it was killed.

Results of single backtests are in `backtests`; all that was ever tried on a series is counted here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from psycopg2.extras import Json

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.storage.backtests import config_hash
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.frame_columns import finite
from cryptai_pipelines.storage.merge_rows import merge_staged, stage
from cryptai_pipelines.storage.tables import TABLES

_POINTS = TABLES["sweep_points"]

Result: TypeAlias = dict[str, float] | str
"""Metrics by name, or why the point cannot be."""


class PointRow(NamedTuple):
    """A point by its number, with its key, its parameters and its result."""

    number: int
    key: str
    point: Mapping[str, Any]
    result: Result


@dataclass(frozen=True)
class Sweep:
    """A search: `kind` is sweep or walk_forward, `config` all that it depends on, as a JSON object, `points` how many it has at
    most, `summary` what came out of it once it is `finished`."""

    kind: str
    strategy: str
    series: Series
    config: Mapping[str, Any]
    points: int
    finished: bool = False
    summary: Mapping[str, Any] | None = None


def begin_sweep(cursor: Cursor, sweep: Sweep) -> int:
    """The id of the search with this configuration, which is begun where there is none."""
    cursor.execute(
        "INSERT INTO sweeps (kind, strategy, symbol, timeframe, config, config_hash, points, created_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, now())"
        " ON CONFLICT (config_hash) DO UPDATE SET points = excluded.points RETURNING id",
        (
            sweep.kind,
            sweep.strategy,
            sweep.series.symbol,
            sweep.series.timeframe.code,
            Json(dict(sweep.config)),
            config_hash(sweep.config),
            sweep.points,
        ),
    )
    return cursor.fetchone()[0]  # type: ignore[index]


def forget_points(cursor: Cursor, sweep_id: int) -> None:
    """Make the search one of which nothing is known yet."""
    cursor.execute("DELETE FROM sweep_points WHERE sweep_id = %s", (sweep_id,))
    cursor.execute("UPDATE sweeps SET status = 'running', finished_at = NULL, summary = NULL WHERE id = %s", (sweep_id,))


def save_points(cursor: Cursor, sweep_id: int, fold: int, rows: Sequence[PointRow]) -> int:
    """Add points; those that are there already stay as they are. How many were new."""
    if not rows:
        return 0
    refusals = [row.result if isinstance(row.result, str) else None for row in rows]
    metrics = [None if isinstance(row.result, str) else _json_text(row.result) for row in rows]
    values = {
        "sweep_id": int(sweep_id),
        "fold": int(fold),
        "number": np.array([row.number for row in rows], dtype="int32"),
        "key": np.array([row.key for row in rows], dtype=object),
        "point": np.array([_json_text(row.point) for row in rows], dtype=object),
        "metrics": np.array(metrics, dtype=object),
        "refusal": np.array(refusals, dtype=object),
    }
    stage(cursor, _POINTS, values, len(rows))
    return merge_staged(cursor, _POINTS, tuple(values), update=False).new


def finish_sweep(cursor: Cursor, sweep_id: int, summary: Mapping[str, Any]) -> None:
    """Write what came out; a number that is not finite becomes null."""
    cursor.execute(
        "UPDATE sweeps SET status = 'finished', finished_at = now(), summary = %s WHERE id = %s",
        (Json(finite(summary)), sweep_id),
    )


def read_sweep(database: Database, sweep_id: int) -> Sweep | None:
    """The search of an id; None when there is none."""
    rows = database.rows(
        "SELECT kind, strategy, symbol, timeframe, config, points, status = 'finished', summary FROM sweeps WHERE id = %s",
        (sweep_id,),
    )
    if not rows:
        return None
    kind, strategy, symbol, timeframe, *rest = rows[0]
    return Sweep(kind, strategy, Series(symbol, parse_timeframe(timeframe)), *rest)


def read_points(database: Database, sweep_id: int, fold: int = 0) -> list[PointRow]:
    """The points of a search, of one training of a walk-forward, by number."""
    rows = database.rows(
        "SELECT number, key, point, metrics, refusal FROM sweep_points WHERE sweep_id = %s AND fold = %s ORDER BY number",
        (sweep_id, fold),
    )
    return [PointRow(number, key, point, _result(metrics, refusal)) for number, key, point, metrics, refusal in rows]


def read_results(database: Database, sweep_id: int) -> dict[str, Result]:
    """What is known of a search already, by the key of the point."""
    rows = database.rows("SELECT key, metrics, refusal FROM sweep_points WHERE sweep_id = %s", (sweep_id,))
    return {key: _result(metrics, refusal) for key, metrics, refusal in rows}


_OF_SERIES = "s.strategy = %(strategy)s AND s.symbol = %(symbol)s AND s.timeframe = %(timeframe)s"
_BACKTESTS = f"""
SELECT s.config - 'kind' - 'market',
    (s.metrics->>'sharpe')::double precision / sqrt((s.metrics->>'periods_per_year')::double precision)
FROM backtest_results AS s WHERE {_OF_SERIES} ORDER BY s.updated_at, s.id
"""
_SEARCHED = f"""
SELECT DISTINCT ON (p.key) p.key, (p.metrics->>'sharpe')::double precision / sqrt(%(yearly)s)
FROM sweep_points AS p JOIN sweeps AS s ON s.id = p.sweep_id WHERE s.kind = 'sweep' AND {_OF_SERIES}
ORDER BY p.key, p.sweep_id DESC
"""
_WITHOUT_RATIO = f"""
SELECT (SELECT count(*) FROM (
    SELECT DISTINCT p.point, s.config->'defaults', s.config->'asked', s.config->'strategy_version', s.config->'windows'
    FROM sweep_points AS p JOIN sweeps AS s ON s.id = p.sweep_id WHERE s.kind = 'walk_forward' AND {_OF_SERIES}
) AS walked) + (SELECT count(*) FROM (
    SELECT DISTINCT s.config - 'markets' FROM portfolio_results AS s WHERE s.strategy = %(strategy)s
    AND s.timeframe = %(timeframe)s AND %(symbol)s = ANY(s.symbols) AND NOT s.failures ? %(symbol)s
) AS together)
"""

_TRIED = f"""
SELECT (SELECT count(*) FROM backtest_results AS s WHERE {_OF_SERIES})
    + (SELECT count(*) FROM sweep_points AS p JOIN sweeps AS s ON s.id = p.sweep_id WHERE {_OF_SERIES})
    + (SELECT count(*) FROM portfolio_results AS s WHERE s.strategy = %(strategy)s AND s.timeframe = %(timeframe)s
       AND %(symbol)s = ANY(s.symbols) AND NOT s.failures ? %(symbol)s)
"""


def trial_sharpes(database: Database, strategy: str, series: Series) -> np.ndarray:
    """The Sharpe ratio per day of every trial that was ever made of a strategy on a series, NaN for one that has none; how many
    there are is the number of trials. What `significance.deflated_sharpe` wants to know.

    A trial is what was chosen: strategy, parameters, window. It counts once, whether the schedule, a person or a search made
    it, how often, on which bars, and whatever rules the venue had for the market by then; with the ratio of the latest
    backtest, else of the latest search. The points of a walk-forward were tried on parts of the bars, whose ratios scatter more
    than those of the whole: they count, without one. So does a portfolio with the symbol in it: its ratio is that of all of
    them together (`portfolios.trial_sharpes`).
    """
    timeframe = series.timeframe
    keys = {"strategy": strategy, "symbol": series.symbol, "timeframe": timeframe.code, "yearly": timeframe.values_per_year}
    # A backtest is hashed as the point of a search is by its key.
    tested = {config_hash(config): ratio for config, ratio in database.rows(_BACKTESTS, keys)}
    ratios = {**dict(database.rows(_SEARCHED, keys)), **tested}
    [(others,)] = database.rows(_WITHOUT_RATIO, keys)
    known = [math.nan if ratio is None else ratio for ratio in ratios.values()]
    return np.array([*known, *[math.nan] * others], dtype="float64")


def count_tried(database: Database, strategy: str, series: Series) -> int:
    """How many backtests, points of searches and portfolios `trial_sharpes` is told from. It is cheap to ask and grows with
    every trial, but is more than these are: some are the same trial."""
    keys = {"strategy": strategy, "symbol": series.symbol, "timeframe": series.timeframe.code}
    return database.rows(_TRIED, keys)[0][0]


def _json_text(values: Mapping[str, Any]) -> str:
    """JSON has no NaN and no infinities: null stands for the one, `Infinity` and `-Infinity` for the others."""
    return json.dumps({name: _told(value) if isinstance(value, float) else value for name, value in values.items()})


def _told(value: float) -> float | str | None:
    if math.isfinite(value):
        return value + 0.0  # jsonb has no negative zero
    return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _result(metrics: Mapping[str, float | str | None] | None, refusal: str | None) -> Result:
    if metrics is None:
        return refusal or ""
    return {name: math.nan if value is None else float(value) for name, value in metrics.items()}
