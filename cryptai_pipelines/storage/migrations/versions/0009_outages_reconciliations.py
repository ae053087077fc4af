"""When a venue stood still, and where sources disagree."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

_TABLES = """
CREATE TABLE venue_outages (
    venue text COLLATE "C" NOT NULL, outage_start timestamptz NOT NULL, outage_end timestamptz NOT NULL,
    symbols integer NOT NULL CHECK (symbols > 0), evidence jsonb NOT NULL DEFAULT '{}', detected_at timestamptz NOT NULL,
    PRIMARY KEY (venue, outage_start), CHECK (outage_start < outage_end)
);
CREATE TABLE reconciliations (
    symbol text COLLATE "C" NOT NULL, timeframe text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL, other_source text COLLATE "C" NOT NULL, month timestamptz NOT NULL,
    compared integer NOT NULL, agreeing integer NOT NULL, only_source integer NOT NULL, only_other integer NOT NULL,
    disagreeing integer NOT NULL, believed text NOT NULL, raw_revision bigint NOT NULL, details jsonb NOT NULL DEFAULT '{}',
    reconciled_at timestamptz NOT NULL,
    PRIMARY KEY (symbol, timeframe, source, other_source, month)
);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
