"""How often each gate let pass over a result."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute("ALTER TABLE backtest_results ADD COLUMN gates jsonb")


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
