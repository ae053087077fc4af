"""The exact type of every column that is written in bulk, and the key of its table. Other rooms never name columns to SQL.

A type ends in `?` where the column may be NULL; there NaN, and a masked or missing value, is stored as NULL. A column that may
not be NULL keeps NaN as NaN. `compared` are the columns whose difference makes a row a change; the rest is provenance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cryptai_pipelines.market.bars import BAR_COLUMNS, OHLCV, WIRE_DTYPES
from cryptai_pipelines.market.errors import BadInput

INDICATOR_COLUMNS = tuple(
    "sma_20 sma_50 sma_200 ema_12 ema_26 ema_50 ema_200 rsi_14 macd macd_signal macd_histogram "
    "bb_upper bb_middle bb_lower atr_14 stoch_k stoch_d cci_20 adx_14 obv".split()
)
SIGNAL_SCORES = tuple("trend_score rsi_score macd_score higher_trend risk_reward stop_price target_price".split())
SIGNAL_GATES = tuple("trend_gate rsi_gate macd_gate risk_reward_gate data_quality_gate".split())
BLEND_COLUMNS = tuple("strategy_score sentiment_score ml_score score score_coverage".split())
ORDER_COLUMNS = tuple("stop_level target_level limit_price volatility priority".split())
STRUCTURE_COLUMNS = {
    "swing_high": "float8?",
    "swing_high_ts": "timestamptz?",
    "swing_high_confirmed_at": "timestamptz?",
    "swing_high_order": "int2",
    "swing_low": "float8?",
    "swing_low_ts": "timestamptz?",
    "swing_low_confirmed_at": "timestamptz?",
    "swing_low_order": "int2",
    "leg": "int2",
    "bias": "int2",
    "bos": "int2",
    "choch": "int2",
    "broken_level": "float8?",
    "fair_value_gap": "int2",
    "gap_above": "float8?",
    "gap_below": "float8?",
    "higher_trend": "int2?",
    "higher_bias": "int2?",
    "higher_bos": "int2?",
    "higher_choch": "int2?",
    "higher_swing_high": "float8?",
    "higher_swing_low": "float8?",
}

DAY_COLUMNS = tuple(
    "total_value daily_return cumulative_return drawdown rolling_volatility rolling_sharpe var_95 trade_count win_rate "
    "profit_factor expectancy fees_paid".split()
)
PORTFOLIO_DAY_COLUMNS = (*DAY_COLUMNS, "benchmark", "gross_exposure", "net_exposure")


@dataclass(frozen=True)
class Table:
    """One table: `types` by column, `key` in the order of its primary key, `provenance` columns that are not compared."""

    name: str
    types: dict[str, str]
    key: tuple[str, ...]
    provenance: tuple[str, ...] = ()

    @property
    def series_key(self) -> tuple[str, ...]:
        """The key columns that name a series within the table: those before the time."""
        return self.key[: self.key.index("ts")]

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns whose difference makes a stored row another row."""
        return tuple(name for name in self.types if name not in self.key and name not in self.provenance)


_WIRE_TYPES = {"int64": "int8", "float64": "float8", "float32": "float4"}
_WIRE = {name: _WIRE_TYPES[dtype] for name, dtype in WIRE_DTYPES.items()} | {"ts": "timestamptz", "close_ts": "timestamptz"}
_SERIES = {"symbol": "text", "timeframe": "text"}

_RAW = Table(
    "raw_ohlcv",
    {"source": "text", **_SERIES, **_WIRE, "revision": "int2", "known_at": "timestamptz", "fetch_id": "int8"},
    ("source", "symbol", "timeframe", "ts", "revision"),
    ("known_at", "fetch_id"),
)
_MARKET = Table(
    "market_data",
    {
        **_SERIES,
        "ts": "timestamptz",
        **{name: "float8" if name in OHLCV else "int8?" if name == "trades" else "float8?" for name in BAR_COLUMNS},
        "source": "text",
        "origin": "text",
        "is_filled": "bool",
    },
    ("symbol", "timeframe", "ts"),
)
_QUARANTINE = Table(
    "quarantine",
    {
        "source": "text",
        **_SERIES,
        **_WIRE,
        "revision": "int2",
        "rule": "text",
        "reason": "text",
        "fetch_id": "int8",
        "quarantined_at": "timestamptz",
    },
    ("source", "symbol", "timeframe", "ts", "revision", "rule"),
)
_DERIVED_PROVENANCE = {"code_version": "text", "coverage_revision": "int8"}
_INDICATORS = Table(
    "technical_indicators",
    {**_SERIES, "ts": "timestamptz", **dict.fromkeys(INDICATOR_COLUMNS, "float8?"), **_DERIVED_PROVENANCE},
    ("symbol", "timeframe", "ts"),
    ("coverage_revision",),
)
_STRUCTURE = Table(
    "market_structure",
    {**_SERIES, "ts": "timestamptz", **STRUCTURE_COLUMNS, **_DERIVED_PROVENANCE},
    ("symbol", "timeframe", "ts"),
    ("coverage_revision",),
)
_SIGNALS = Table(
    "signals",
    {
        "strategy": "text",
        **_SERIES,
        "ts": "timestamptz",
        **dict.fromkeys(SIGNAL_GATES, "bool?"),
        **dict.fromkeys((*SIGNAL_SCORES, *BLEND_COLUMNS, *ORDER_COLUMNS), "float8?"),
        "side": "int2",
        **dict.fromkeys(("entry", "exit_long", "exit_short"), "bool"),
        **_DERIVED_PROVENANCE,
    },
    ("strategy", "symbol", "timeframe", "ts"),
    ("coverage_revision",),
)
_TRADES = Table(
    "backtest_trades",
    {
        "backtest_id": "int8",
        "number": "int4",
        "entry_ts": "timestamptz",
        "entry_price": "float8",
        "exit_ts": "timestamptz?",
        "exit_price": "float8?",
        "exit_reason": "text?",
        "quantity": "float8",
        "fees": "float8",
        "pnl": "float8?",
        "return_pct": "float8?",
        "ambiguous": "bool",
        "is_open": "bool",
        "symbol": "text?",
        "side": "int2",
        **dict.fromkeys(("funding", "slippage_cost", "max_adverse", "max_favourable"), "float8?"),
    },
    ("backtest_id", "number"),
)
_AMBIGUOUS = Table(
    "backtest_ambiguous_bars",
    {"backtest_id": "int8", "ts": "timestamptz", "finer_timeframe": "text?", "ambiguous": "bool"},
    ("backtest_id", "ts"),
)
_DAILY = Table(
    "performance_metrics",
    {
        "backtest_id": "int8",
        "day": "date",
        **dict.fromkeys(DAY_COLUMNS, "float8?"),
    },
    ("backtest_id", "day"),
)
_PORTFOLIO_TRADES = Table(
    "portfolio_trades",
    {"portfolio_id": "int8", **{name: kind.rstrip("?") for name, kind in _TRADES.types.items() if name not in _TRADES.key[:1]}},
    ("portfolio_id", "number"),
)
_PORTFOLIO_DAYS = Table(
    "portfolio_days",
    {"portfolio_id": "int8", "day": "date", **dict.fromkeys(PORTFOLIO_DAY_COLUMNS, "float8?")},
    ("portfolio_id", "day"),
)
_POINTS = Table(
    "sweep_points",
    {
        "sweep_id": "int8",
        "fold": "int4",
        "number": "int4",
        "key": "text",
        "point": "jsonb",
        "metrics": "jsonb?",
        "refusal": "text?",
    },
    ("sweep_id", "fold", "number"),
)

_RESULTS = (_TRADES, _AMBIGUOUS, _DAILY, _PORTFOLIO_TRADES, _PORTFOLIO_DAYS, _POINTS)
_ALL = (_RAW, _MARKET, _QUARANTINE, _INDICATORS, _STRUCTURE, _SIGNALS, *_RESULTS)
TABLES: dict[str, Table] = {table.name: table for table in _ALL}
_DERIVED = ("technical_indicators", "market_structure", "signals")


def derived_table(name: str) -> Table:
    """The table of a derived per-bar asset; `BadInput` for any other."""
    if name not in _DERIVED:
        raise BadInput(f"table {name!r} holds no derived rows; accepted: {' '.join(_DERIVED)}")
    return TABLES[name]


def with_columns(table: Table, types: Mapping[str, str]) -> Table:
    """`table` with further columns, after its own."""
    return replace(table, types={**table.types, **types})
