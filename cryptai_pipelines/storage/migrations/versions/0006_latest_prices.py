"""Symbols that come and go, and the last price of each."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

_TABLES = """
ALTER TABLE symbols ADD COLUMN first_seen_at timestamptz NOT NULL DEFAULT now(), ADD COLUMN missing_since timestamptz,
    ADD COLUMN renamed_to text;
CREATE TABLE latest_prices (
    venue text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    price double precision NOT NULL CHECK (price > 0 AND price < 'Infinity'),
    traded_at timestamptz, fetched_at timestamptz NOT NULL,
    PRIMARY KEY (venue, symbol)
);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
