"""In which order the sources of a series were believed at any time."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

_TABLES = """
CREATE TABLE series_source_ranks (
    symbol text COLLATE "C" NOT NULL, timeframe text COLLATE "C" NOT NULL, ranked_at timestamptz NOT NULL,
    sources text[] NOT NULL CHECK (cardinality(sources) > 0),
    PRIMARY KEY (symbol, timeframe, ranked_at)
);
INSERT INTO series_source_ranks (symbol, timeframe, ranked_at, sources)
SELECT symbol, timeframe, max(added_at), array_agg(source ORDER BY rank) FROM series_sources GROUP BY symbol, timeframe;
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
