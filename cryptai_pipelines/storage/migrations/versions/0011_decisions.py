"""What a strategy decides beside its gates, and what a trade tells beside its prices."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

_TABLES = """
ALTER TABLE signals
    ADD COLUMN side smallint NOT NULL DEFAULT 0 CHECK (side IN (-1, 0, 1)),
    ADD COLUMN exit_long boolean NOT NULL DEFAULT false, ADD COLUMN exit_short boolean NOT NULL DEFAULT false,
    ADD COLUMN stop_level double precision, ADD COLUMN target_level double precision, ADD COLUMN limit_price double precision,
    ADD COLUMN volatility double precision, ADD COLUMN priority double precision,
    ADD COLUMN strategy_score double precision, ADD COLUMN sentiment_score double precision,
    ADD COLUMN ml_score double precision, ADD COLUMN score double precision, ADD COLUMN score_coverage double precision;
UPDATE signals SET side = 1 WHERE entry;
ALTER TABLE backtest_trades
    ADD COLUMN symbol text COLLATE "C", ADD COLUMN side smallint NOT NULL DEFAULT 1 CHECK (side IN (-1, 1)),
    ADD COLUMN funding double precision, ADD COLUMN slippage_cost double precision,
    ADD COLUMN max_adverse double precision, ADD COLUMN max_favourable double precision;
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
