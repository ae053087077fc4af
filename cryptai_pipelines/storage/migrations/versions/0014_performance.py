"""Rolling metrics and trades to date of every day, and what is concluded from a result."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"

_TABLES = """
ALTER TABLE performance_metrics
    ADD COLUMN rolling_volatility double precision, ADD COLUMN rolling_sharpe double precision,
    ADD COLUMN var_95 double precision, ADD COLUMN trade_count double precision, ADD COLUMN win_rate double precision,
    ADD COLUMN profit_factor double precision, ADD COLUMN expectancy double precision, ADD COLUMN fees_paid double precision;
ALTER TABLE backtest_results ADD COLUMN verdict jsonb, ADD COLUMN review jsonb;
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
