"""Bars of a result that do not tell by themselves what came first in them, and what finer bars told of each."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

_TABLES = """
CREATE TABLE backtest_ambiguous_bars (
    backtest_id bigint NOT NULL REFERENCES backtest_results ON DELETE CASCADE, ts timestamptz NOT NULL,
    finer_timeframe text COLLATE "C", ambiguous boolean NOT NULL,
    PRIMARY KEY (backtest_id, ts)
);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
