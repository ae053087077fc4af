"""Market structure as it was known at each bar, the states that it is carried on from, and assets that are made from two."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

_TABLES = """
CREATE TABLE market_structure (
    ts timestamptz NOT NULL, coverage_revision bigint NOT NULL,
    swing_high double precision, swing_high_ts timestamptz, swing_high_confirmed_at timestamptz,
    swing_low double precision, swing_low_ts timestamptz, swing_low_confirmed_at timestamptz,
    broken_level double precision, gap_above double precision, gap_below double precision,
    higher_swing_high double precision, higher_swing_low double precision,
    swing_high_order smallint NOT NULL CHECK (swing_high_order IN (-1, 0, 1)),
    swing_low_order smallint NOT NULL CHECK (swing_low_order IN (-1, 0, 1)),
    leg smallint NOT NULL CHECK (leg IN (-1, 0, 1)), bias smallint NOT NULL CHECK (bias IN (-1, 0, 1)),
    bos smallint NOT NULL CHECK (bos IN (-1, 0, 1)), choch smallint NOT NULL CHECK (choch IN (-1, 0, 1)),
    fair_value_gap smallint NOT NULL CHECK (fair_value_gap IN (-1, 0, 1)),
    higher_trend smallint CHECK (higher_trend IN (-1, 0, 1)), higher_bias smallint CHECK (higher_bias IN (-1, 0, 1)),
    higher_bos smallint CHECK (higher_bos IN (-1, 0, 1)), higher_choch smallint CHECK (higher_choch IN (-1, 0, 1)),
    symbol text COLLATE "C" NOT NULL, timeframe text COLLATE "C" NOT NULL, code_version text NOT NULL,
    PRIMARY KEY (symbol, timeframe, ts)
);
CREATE TABLE structure_checkpoints (
    symbol text COLLATE "C" NOT NULL, timeframe text COLLATE "C" NOT NULL, at timestamptz NOT NULL,
    input_revision bigint NOT NULL, state bytea NOT NULL,
    PRIMARY KEY (symbol, timeframe, at)
);
ALTER TABLE series_state ADD COLUMN further_revisions bigint[] NOT NULL DEFAULT '{}';
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("an older release reads its own tables; restore a backup instead")
