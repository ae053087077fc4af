"""Which files of an archive were read, and which were not believed."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

_TABLES = """
CREATE TABLE archive_files (
    source text COLLATE "C" NOT NULL, path text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL, timeframe text COLLATE "C" NOT NULL,
    period_start timestamptz NOT NULL, period_end timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('loaded', 'quarantined', 'restated', 'absent')),
    expected_sha256 text, received_sha256 text, row_count integer, attempts integer NOT NULL DEFAULT 1, error text,
    first_tried_at timestamptz NOT NULL, last_tried_at timestamptz NOT NULL,
    PRIMARY KEY (source, path), CHECK (period_start < period_end)
);
CREATE INDEX archive_files_series ON archive_files (symbol, timeframe, period_start);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
