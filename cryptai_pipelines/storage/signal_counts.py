"""What many rows of `signals` say together: how often each gate let pass, and numbers at the entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from psycopg2 import sql

from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.tables import TABLES

_KEY = TABLES["signals"].series_key


def count_verdicts(db: Database, keys: Mapping[str, str], gates: Sequence[str]) -> pd.DataFrame:
    """How often each of `gates` was True, False and NULL over the rows of `keys` (strategy, symbol, timeframe): a row per gate,
    int64 columns passed, rejected, unknown."""
    columns = ["passed", "rejected", "unknown"]
    if not gates:
        return pd.DataFrame(columns=columns, dtype="int64").rename_axis("gate")
    counts = [
        sql.SQL("count(*) FILTER (WHERE {0}), count(*) FILTER (WHERE NOT {0}), count(*) FILTER (WHERE {0} IS NULL)").format(
            sql.Identifier(gate)
        )
        for gate in gates
    ]
    [row] = _rows(db, sql.SQL(", ").join(counts), keys)
    return pd.DataFrame(np.reshape(row, (-1, 3)), index=pd.Index(gates, name="gate"), columns=columns)


def entry_values(db: Database, keys: Mapping[str, str], column: str) -> np.ndarray:
    """The values of `column` on the rows of `keys` that ask for an entry, by time, float64 with NaN for NULL."""
    rows = _rows(db, sql.Identifier(column), keys, " AND entry ORDER BY ts")
    return np.array([np.nan if value is None else value for (value,) in rows], dtype="float64")


def _rows(db: Database, wanted: sql.Composable, keys: Mapping[str, str], more: str = "") -> list[tuple]:
    condition = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in _KEY)
    statement = sql.SQL("SELECT {} FROM signals WHERE {}").format(wanted, condition) + sql.SQL(more)
    return db.rows(statement, tuple(keys[name] for name in _KEY))
