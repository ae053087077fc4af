"""`backtest_checkpoints`: the few earlier states of a scheduled result's engine. Written in the transaction of the result
(`backtests`); its last state is that of the series (`state`)."""

from __future__ import annotations

from collections.abc import Mapping

from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms


def replace_checkpoints(cursor: Cursor, backtest_id: int, states: Mapping[int, bytes]) -> None:
    """Make `states` all there are. A key is the open time (epoch ms) up to which, exclusive, all bars were simulated."""
    cursor.execute("DELETE FROM backtest_checkpoints WHERE backtest_id = %s", (backtest_id,))
    for before_ms, state in states.items():
        cursor.execute(
            "INSERT INTO backtest_checkpoints (backtest_id, before_ts, state) VALUES (%s, %s, %s)",
            (backtest_id, to_datetime(before_ms), state),
        )


def read_checkpoints(db: Database, backtest_id: int) -> dict[int, bytes]:
    """The states as `replace_checkpoints` takes them, ascending."""
    rows = db.rows(
        "SELECT before_ts, state FROM backtest_checkpoints WHERE backtest_id = %s ORDER BY before_ts", (backtest_id,)
    )
    return {to_ms(before): bytes(state) for before, state in rows}  # type: ignore[misc]
