"""Two more columns of the default set of indicators, which a table may have got by a setting before."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"

_COLUMNS = """
ALTER TABLE technical_indicators
    ADD COLUMN IF NOT EXISTS adx_14 double precision, ADD COLUMN IF NOT EXISTS obv double precision;
"""


def upgrade() -> None:
    op.execute(_COLUMNS)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
