"""How much the price moves, whatever the direction. Formulas are TA-Lib's."""

from __future__ import annotations

from cryptai_pipelines.indicators.families import Family, period, talib_family
from cryptai_pipelines.indicators.spec import CLOSE, HIGH_LOW, HIGH_LOW_CLOSE, IndicatorSpec, talib_indicator
from cryptai_pipelines.indicators.warmup import LULL_BARS, ema_bars, wilder_bars, window_bars


def _chaikin(name: str, outputs: tuple[str, ...], length: int) -> IndicatorSpec:
    """How the mean range of `length` bars has changed since as many bars ago."""
    warmup, parameters = ema_bars(length) + length, {"timeperiod": length, "rocperiod": length}
    return talib_indicator(name, "CVI", HIGH_LOW, warmup, outputs, lull=LULL_BARS, **parameters)


VOLATILITY: tuple[Family, ...] = (
    talib_family("atr", "ATR", HIGH_LOW_CLOSE, wilder_bars, period(14)),
    talib_family("natr", "NATR", HIGH_LOW_CLOSE, wilder_bars, period(14)),
    talib_family("true_range", "TRANGE", HIGH_LOW_CLOSE, lambda: 1),
    talib_family("average_range", "ADR", HIGH_LOW, window_bars, period(14)),
    talib_family("standard_deviation", "STDDEV", CLOSE, window_bars, period(20), fixed={"nbdev": 1.0}),
    talib_family("variance", "VAR", CLOSE, window_bars, period(20), fixed={"nbdev": 1.0}),
    talib_family("average_deviation", "AVGDEV", CLOSE, window_bars, period(14)),
    Family("chaikin_volatility", (period(10),), _chaikin, ("chaikin_volatility",), "chaikin_volatility"),
    talib_family(
        "mass_index",
        "MASSI",
        HIGH_LOW,
        lambda mean, total: 2 * ema_bars(mean) + window_bars(total),
        period(9, "fastperiod"),
        period(25, "slowperiod"),
        lull=LULL_BARS,
    ),
    talib_family(
        "relative_volatility",
        "RVI",
        CLOSE,
        lambda length: wilder_bars(length) + window_bars(10),
        period(14),
        lull=LULL_BARS,
        fixed={"stddevperiod": 10},
    ),
)
