"""docs/indicators.md tells every indicator as the registry has it."""

from __future__ import annotations

import numpy as np

from cryptai_pipelines.indicators.candles import CANDLES
from cryptai_pipelines.indicators.chunks import compute
from cryptai_pipelines.indicators.families import LONGEST, Family, Parameter
from cryptai_pipelines.indicators.registry import DEFAULT_SET, FAMILIES, REGISTRY
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.indicators.samples import random_bars

PAGE = REPOSITORY / "docs" / "indicators.md"
HEAD = (
    "| family | parameters (default, range) | inputs | outputs | example | warm-up bars | NaN bars |\n"
    "| --- | --- | --- | --- | --- | ---: | ---: |\n"
)


def told_table() -> str:
    rows = [row(family, spec) for family in FAMILIES for spec in family.members]
    candles = f"`open` `high` `low` `close` | each its own name | `{CANDLES[0].name}`"
    names = " ".join(f"`{spec.name}`" for spec in CANDLES)
    warmup = {(spec.warmup, spec.settled) for spec in CANDLES}
    [(bars, absent)] = warmup
    return (
        HEAD
        + "".join(rows)
        + f"| candle patterns | none | {candles} | {bars:,} | {absent:,} |\n\n"
        + "The candle patterns are 100 or 200 where a bullish one ends, -100 or -200 a bearish one, 0 elsewhere: "
        + f"{names}.\n"
    )


def row(family: Family, spec: IndicatorSpec) -> str:
    parameters = "; ".join(map(told_parameter, family.parameters)) or "none"
    inputs, outputs = (" ".join(f"`{name}`" for name in names) for names in (spec.inputs, spec.outputs))
    cells = (f"`{family.name}`", parameters, inputs, outputs, f"`{spec.name}`", f"{spec.warmup:,}", f"{nan_bars(spec):,}")
    return f"| {' | '.join(cells)} |\n"


def told_parameter(parameter: Parameter) -> str:
    until = "" if parameter.high == LONGEST else f" to {parameter.high:g}"
    return f"{parameter.name} {parameter.default:g}, from {parameter.low:g}{until}"


def nan_bars(spec: IndicatorSpec) -> int:
    """Counted, not declared."""
    values = compute(random_bars(1, spec.warmup + 50, Timeframe.H1), (spec,), Timeframe.H1, 0)
    absent = np.isnan(values.to_numpy()).any(axis=1)
    first = int(np.argmin(absent))
    assert not absent[first:].any()
    return first


def test_the_page_tells_what_the_registry_has() -> None:
    assert PAGE.read_text().endswith(told_table()), f"if this change is meant, put told_table() at the end of {PAGE.name}"


def test_the_page_tells_what_is_stored_by_default() -> None:
    text = " ".join(PAGE.read_text().split())
    assert (
        "`default` stands for SMA 20/50/200, EMA 12/26/50/200, RSI 14, MACD with signal and histogram, Bollinger bands, ATR 14,"
        " stochastic, CCI 20, ADX 14 and OBV." in text
    )
    assert [spec.name for spec in DEFAULT_SET] == (
        "sma_20 sma_50 sma_200 ema_12 ema_26 ema_50 ema_200 rsi_14 macd bollinger atr_14 stochastic cci_20 adx_14 obv".split()
    )
    assert f"at most {LONGEST:,} bars" in text and f"EMA 200 needs {REGISTRY['ema_200'].warmup:,} bars" in text
