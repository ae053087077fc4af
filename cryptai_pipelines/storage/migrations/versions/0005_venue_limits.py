"""What all processes together have asked of a venue, and until when it wants silence."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

_TABLES = """
CREATE TABLE venue_limits (
    venue text COLLATE "C" PRIMARY KEY,
    window_start timestamptz NOT NULL, used bigint NOT NULL, used_late bigint NOT NULL,
    closed_until timestamptz
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
