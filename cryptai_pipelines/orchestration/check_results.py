"""The asset checks of the chain: what is asked, and how a finding is shown. Each is one query for all series of a run. A check
reports; what keeps bad rows out stands before the write (`quality`, and the constraints of the tables)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.orchestration.alerts.findings import show_findings

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.chain.walk import SeriesResult
    from cryptai_pipelines.storage.database import Database

_ERROR = dg.AssetCheckSeverity.ERROR
_WARN = dg.AssetCheckSeverity.WARN


@dataclass(frozen=True)
class Check:
    """One check. `sql` gives a row `symbol, timeframe, finding` per finding; it may read the common table expression
    `asked(symbol, timeframe, length interval, since timestamptz, strategy)`: the series of the run that got this far, from
    where on their rows changed, and the strategy that the schedule follows."""

    spec: dg.AssetCheckSpec
    severity: dg.AssetCheckSeverity
    sql: str


def _check(asset: str, name: str, description: str, severity: dg.AssetCheckSeverity, sql: str) -> Check:
    return Check(dg.AssetCheckSpec(name, asset=asset, description=description), severity, sql)


SYNCED = _check("raw_ohlcv", "series_are_synced", "Every series of the run reached the end of the chain.", _ERROR, "")

CHECKS: tuple[Check, ...] = (
    SYNCED,
    _check(
        "raw_ohlcv",
        "no_future_rows",
        "No bar is stored that the venue's clock had not closed.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, 'bar ' || newest.ts || ' is beyond the coverage ' || h.covered_until
           FROM asked AS a JOIN historical_data_range AS h USING (symbol, timeframe)
           CROSS JOIN LATERAL (SELECT ts FROM raw_ohlcv AS r WHERE r.source = h.source AND r.symbol = a.symbol
                               AND r.timeframe = a.timeframe ORDER BY ts DESC LIMIT 1) AS newest
           WHERE newest.ts >= h.covered_until""",
    ),
    _check(
        "validated_bars",
        "schema",
        "The table has the columns and types that the code writes, prices that cannot be NULL, and its constraints.",
        _ERROR,
        """SELECT '', '', 'column ' || wanted.name || ' is ' || coalesce(c.data_type, 'missing')
           FROM (VALUES ('ts', 'timestamp with time zone'), ('open', 'double precision'), ('high', 'double precision'),
                        ('low', 'double precision'), ('close', 'double precision'), ('volume', 'double precision'),
                        ('is_filled', 'boolean'), ('source', 'text'), ('origin', 'text')) AS wanted (name, type)
           LEFT JOIN information_schema.columns AS c ON c.table_schema = 'public' AND c.table_name = 'market_data'
                AND c.column_name = wanted.name
           WHERE c.data_type IS DISTINCT FROM wanted.type OR c.is_nullable = 'YES'
           UNION ALL
           SELECT '', '', 'the constraint on ' || wanted.meant || ' is missing'
           FROM (VALUES ('%low <= open%', 'the order of prices'), ('%open > %', 'open'), ('%high > %', 'high'),
                        ('%low > %', 'low'), ('%close > %', 'close'), ('%volume >= %', 'volume')) AS wanted (pattern, meant)
           WHERE NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = 'market_data'::regclass AND k.contype = 'c'
                             AND k.convalidated AND pg_get_constraintdef(k.oid) LIKE wanted.pattern)""",
    ),
    _check(
        "validated_bars",
        "ohlc_order",
        "low <= open, close <= high and every price is positive, for all bars this run touched.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, 'bar ' || m.ts || ': ' || m.open || ' ' || m.high || ' ' || m.low || ' ' || m.close
           FROM asked AS a JOIN market_data AS m ON m.symbol = a.symbol AND m.timeframe = a.timeframe AND m.ts >= a.since
           WHERE NOT (m.low > 0 AND m.low <= m.open AND m.low <= m.close AND m.open <= m.high AND m.close <= m.high)""",
    ),
    _check(
        "validated_bars",
        "coverage",
        "At least 99 % of the bars between the first one and the coverage's end are there.",
        _WARN,
        """SELECT symbol, timeframe, sum(missing) || ' of ' || sum(expected) || ' bars are missing'
           FROM asked JOIN data_quality USING (symbol, timeframe) WHERE kind = 'completeness'
           GROUP BY symbol, timeframe HAVING sum(received) < 0.99 * sum(expected)""",
    ),
    _check(
        "validated_bars",
        "bar_age",
        "The newest bar closed at most one and a half timeframes before the end of what the venue's clock has settled.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, 'the newest bar closed ' || (h.covered_until - newest.ts - a.length) || ' before the '
                  || 'last one that the venue should have'
           FROM asked AS a JOIN historical_data_range AS h USING (symbol, timeframe)
           CROSS JOIN LATERAL (SELECT max(ts) AS ts FROM market_data AS m WHERE m.symbol = a.symbol
                               AND m.timeframe = a.timeframe) AS newest
           WHERE newest.ts IS NULL OR h.covered_until - newest.ts - a.length > 1.5 * a.length""",
    ),
    _check(
        "validated_bars",
        "no_future_rows",
        "No validated bar lies beyond what coverage has settled.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, 'bar ' || newest.ts || ' is beyond the coverage ' || h.covered_until
           FROM asked AS a JOIN historical_data_range AS h USING (symbol, timeframe)
           CROSS JOIN LATERAL (SELECT max(ts) AS ts FROM market_data AS m WHERE m.symbol = a.symbol
                               AND m.timeframe = a.timeframe) AS newest
           WHERE newest.ts >= h.covered_until""",
    ),
    _check(
        "technical_indicators",
        "one_row_per_bar",
        "Every validated bar that this run touched has its indicators, and nothing else has.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, counted.bars || ' bars, ' || counted.rows || ' rows of indicators'
           FROM asked AS a CROSS JOIN LATERAL (SELECT
             (SELECT count(*) FROM market_data AS m WHERE m.symbol = a.symbol AND m.timeframe = a.timeframe
              AND m.ts >= a.since) AS bars,
             (SELECT count(*) FROM technical_indicators AS t WHERE t.symbol = a.symbol AND t.timeframe = a.timeframe
              AND t.ts >= a.since) AS rows) AS counted
           WHERE counted.bars <> counted.rows""",
    ),
    _check(
        "market_structure",
        "one_row_per_bar",
        "Every validated bar that this run touched has its structure, and nothing else has.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, counted.bars || ' bars, ' || counted.rows || ' of them with structure'
           FROM asked AS a CROSS JOIN LATERAL (SELECT
             (SELECT count(*) FROM market_data AS m WHERE m.symbol = a.symbol AND m.timeframe = a.timeframe
              AND m.ts >= a.since) AS bars,
             (SELECT count(*) FROM market_structure AS s WHERE s.symbol = a.symbol AND s.timeframe = a.timeframe
              AND s.ts >= a.since) AS rows) AS counted
           WHERE counted.bars <> counted.rows""",
    ),
    _check(
        "market_structure",
        "nothing_is_known_early",
        "No pivot was confirmed after the close of the bar that tells of it, for all bars this run touched.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, 'bar ' || s.ts || ' tells of a pivot that was confirmed at '
                  || greatest(s.swing_high_confirmed_at, s.swing_low_confirmed_at)
           FROM asked AS a JOIN market_structure AS s ON s.symbol = a.symbol AND s.timeframe = a.timeframe AND s.ts >= a.since
           WHERE greatest(s.swing_high_confirmed_at, s.swing_low_confirmed_at) > s.ts + a.length""",
    ),
    _check(
        "signals",
        "one_row_per_bar",
        "Every validated bar that this run touched has its signal row, and nothing else has.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, counted.bars || ' bars, ' || counted.rows || ' of them with signals'
           FROM asked AS a CROSS JOIN LATERAL (SELECT
             (SELECT count(*) FROM market_data AS m WHERE m.symbol = a.symbol AND m.timeframe = a.timeframe
              AND m.ts >= a.since) AS bars,
             (SELECT count(*) FROM signals AS s WHERE s.strategy = a.strategy AND s.symbol = a.symbol
              AND s.timeframe = a.timeframe AND s.ts >= a.since) AS rows) AS counted
           WHERE counted.bars <> counted.rows""",
    ),
    _check(
        "backtest_results",
        "accounting_identity",
        "Start capital plus the profit and loss of every trade is the final equity, to 1e-9.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, 'capital ' || capital || ' + pnl ' || pnl || ' is not the final equity ' || final
           FROM asked AS a CROSS JOIN LATERAL (SELECT (b.config -> 'engine' ->> 'initial_capital')::float8 AS capital,
                  (SELECT coalesce(sum(t.pnl), 0) FROM backtest_trades AS t WHERE t.backtest_id = b.id) AS pnl,
                  (b.metrics ->> 'final_equity')::float8 AS final
                FROM backtest_results AS b WHERE b.strategy = a.strategy AND b.symbol = a.symbol AND b.timeframe = a.timeframe
                AND b.config ->> 'kind' = 'scheduled' ORDER BY b.updated_at DESC LIMIT 1) AS told
           WHERE (abs(capital + pnl - final) <= 1e-9 * greatest(capital, final)) IS NOT TRUE""",
    ),
    _check(
        "performance_metrics",
        "equity_is_explained_by_trades",
        "The last daily value, told from trades and closes, is the equity that the engine carried, to 1e-9.",
        _ERROR,
        """SELECT a.symbol, a.timeframe, 'value ' || coalesce(value::text, 'missing') || ' by trades, '
                  || coalesce(carried::text, 'missing') || ' by the engine'
           FROM asked AS a CROSS JOIN LATERAL (SELECT (b.metrics ->> 'open_equity')::float8 AS carried,
                  (SELECT p.total_value FROM performance_metrics AS p WHERE p.backtest_id = b.id ORDER BY day DESC LIMIT 1)
                    AS value
                FROM backtest_results AS b WHERE b.strategy = a.strategy AND b.symbol = a.symbol AND b.timeframe = a.timeframe
                AND b.config ->> 'kind' = 'scheduled' ORDER BY b.updated_at DESC LIMIT 1) AS told
           WHERE (abs(value - carried) <= 1e-9 * greatest(value, carried)) IS NOT TRUE""",
    ),
)

_ASKED = """WITH asked (symbol, timeframe, length, since, strategy) AS (
  SELECT symbol, timeframe, milliseconds * interval '1 millisecond', coalesce(to_timestamp(since / 1000.0),
         (SELECT max(ts) FROM market_data AS m WHERE m.symbol = series.symbol AND m.timeframe = series.timeframe)
         - 1000 * milliseconds * interval '1 millisecond'), %s
  FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS series (symbol, timeframe, milliseconds, since))
"""


def evaluate(check: Check, database: Database, results: Sequence[SeriesResult], strategy: str) -> dg.AssetCheckResult:
    """Ask the check for those series whose asset was brought up to date, of the scheduled `strategy`. Of a series that did not
    get this far nothing is known, and that is a finding too: a check must not be green because nobody looked."""
    asset = check.spec.asset_key.to_user_string()
    reached = [result for result in results if asset in {outcome.asset for outcome in result.outcomes}]
    columns = (
        strategy,
        [result.series.symbol for result in reached],
        [result.series.timeframe.code for result in reached],
        [result.series.timeframe.ms for result in reached],
        [_since(result) for result in reached],
    )
    # The table-wide schema check has no placeholders of its own, but every query is given the series all the same.
    rows = database.rows(_ASKED + check.sql.replace("%", "%%"), columns)
    findings = [f"{symbol} {timeframe}: {finding}".strip(": ") for symbol, timeframe, finding in rows]
    unknown = [f"{result.series}: not known, it failed at {result.failed_at}" for result in results if result not in reached]
    return _result(check, [*findings, *unknown], len(reached))


def synced_result(results: Sequence[SeriesResult]) -> dg.AssetCheckResult:
    """Which series failed, where and why."""
    findings = [f"{result.series} failed at {result.failed_at}: {result.error}" for result in results if result.error]
    return _result(SYNCED, findings, len(results))


def _since(result: SeriesResult) -> int | None:
    """From where this run's rows are to be looked at; None, for the newest 1,000 bars, when it changed nothing."""
    touched = [int(outcome.facts["changed_from_ms"]) for outcome in result.outcomes if outcome.facts.get("changed_from_ms")]
    return min(touched, default=None)


def _result(check: Check, findings: Sequence[str], asked: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=check.spec.asset_key,
        check_name=check.spec.name,
        passed=not findings,
        severity=check.severity,
        metadata={"series": asked, "findings": dg.MetadataValue.md(show_findings(findings))},
    )
