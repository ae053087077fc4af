"""Where the engine of a result stood a little before its last bar, so that late news of the last bars redoes only these."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"

_TABLES = """
CREATE TABLE backtest_checkpoints (
    backtest_id bigint NOT NULL REFERENCES backtest_results ON DELETE CASCADE, before_ts timestamptz NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (backtest_id, before_ts)
);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
