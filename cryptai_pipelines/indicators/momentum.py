"""Oscillators: how fast the price moves, and how far it is from where it used to be. Formulas are TA-Lib's."""

from __future__ import annotations

from cryptai_pipelines.indicators.families import Family, period, talib_family
from cryptai_pipelines.indicators.spec import CLOSE, HIGH_LOW, HIGH_LOW_CLOSE, OHLC, OPEN_CLOSE
from cryptai_pipelines.indicators.warmup import LULL_BARS, ema_bars, macd_bars, rma_bars, wilder_bars, window_bars


def windows_bars(*lengths: int) -> int:
    """One window of the values of another."""
    return sum(window_bars(length) for length in lengths)


def slower_ema_bars(_fast: int, slow: int) -> int:
    """Of two exponential means the slower one settles last."""
    return ema_bars(slow)


_FAST_K, _SLOW_K, _FAST_D, _SLOW_D = (
    period(14, "fastk_period"),
    period(3, "slowk_period"),
    period(3, "fastd_period"),
    period(3, "slowd_period"),
)
_FAST, _SLOW, _SIGNAL = period(12, "fastperiod"), period(26, "slowperiod"), period(9, "signalperiod")
_EXPONENTIAL = {"matype": 1}

STOCHASTICS: tuple[Family, ...] = (
    talib_family(
        "stochastic",
        "STOCH",
        HIGH_LOW_CLOSE,
        windows_bars,
        _FAST_K,
        _SLOW_K,
        _SLOW_D,
        outputs=("stoch_k", "stoch_d"),
        stem="stoch",
        fixed={"slowk_matype": 0, "slowd_matype": 0},
    ),
    talib_family(
        "stochastic_fast",
        "STOCHF",
        HIGH_LOW_CLOSE,
        windows_bars,
        _FAST_K,
        _FAST_D,
        outputs=("stoch_fast_k", "stoch_fast_d"),
        stem="stoch_fast",
        fixed={"fastd_matype": 0},
    ),
    talib_family(
        "stochastic_rsi",
        "STOCHRSI",
        CLOSE,
        lambda length, *lengths: wilder_bars(length) + windows_bars(*lengths),
        period(14),
        _FAST_K,
        _FAST_D,
        lull=LULL_BARS,
        outputs=("stoch_rsi_k", "stoch_rsi_d"),
        stem="stoch_rsi",
        fixed={"fastd_matype": 0},
    ),
    talib_family(
        "kdj",
        "KDJ",
        HIGH_LOW_CLOSE,
        lambda length, k, d: window_bars(length) + rma_bars(k) + rma_bars(d),
        period(9, "fastk_period"),
        _SLOW_K,
        _SLOW_D,
        outputs=("kdj_k", "kdj_d", "kdj_j"),
        fixed={"slowk_matype": 13, "slowd_matype": 13},
    ),
)

OF_MEANS: tuple[Family, ...] = (
    talib_family(
        "macd",
        "MACD",
        CLOSE,
        lambda _fast, slow, signal: macd_bars(slow, signal),
        _FAST,
        _SLOW,
        _SIGNAL,
        outputs=("macd", "macd_signal", "macd_histogram"),
        ascending=2,
    ),
    talib_family("apo", "APO", CLOSE, slower_ema_bars, _FAST, _SLOW, fixed=_EXPONENTIAL, ascending=2),
    talib_family("ppo", "PPO", CLOSE, slower_ema_bars, _FAST, _SLOW, fixed=_EXPONENTIAL, ascending=2),
    talib_family("trix", "TRIX", CLOSE, lambda length: 3 * ema_bars(length) + 1, period(15)),
    talib_family(
        "tsi",
        "TSI",
        CLOSE,
        lambda first, second: 1 + ema_bars(first) + ema_bars(second),
        period(25, "firstperiod"),
        period(13, "secondperiod"),
        lull=LULL_BARS,
    ),
    talib_family(
        "smi",
        "SMI",
        HIGH_LOW_CLOSE,
        lambda length, fast, slow, signal: window_bars(length) + ema_bars(fast) + ema_bars(slow) + ema_bars(signal),
        period(13),
        period(2, "fastperiod"),
        period(25, "slowperiod"),
        _SIGNAL,
        lull=LULL_BARS,
        outputs=("smi", "smi_signal"),
    ),
    talib_family(
        "awesome_oscillator",
        "AO",
        HIGH_LOW,
        lambda _fast, slow: window_bars(slow),
        period(5, "fastperiod"),
        period(34, "slowperiod"),
        ascending=2,
    ),
    talib_family(
        "accelerator",
        "AC",
        HIGH_LOW,
        lambda _fast, slow, signal: windows_bars(slow, signal),
        period(5, "fastperiod"),
        period(34, "slowperiod"),
        period(5, "signalperiod"),
        ascending=2,
    ),
    talib_family(
        "elder_ray", "ERI", HIGH_LOW_CLOSE, ema_bars, period(13), outputs=("elder_bull_power", "elder_bear_power"), stem="elder"
    ),
)

OF_CHANGES: tuple[Family, ...] = (
    talib_family("rsi", "RSI", CLOSE, wilder_bars, period(14), lull=LULL_BARS),
    talib_family("cmo", "CMO", CLOSE, wilder_bars, period(14), lull=LULL_BARS),
    talib_family("cci", "CCI", HIGH_LOW_CLOSE, window_bars, period(20)),
    talib_family("williams_r", "WILLR", HIGH_LOW_CLOSE, window_bars, period(14), also=("willr",)),
    talib_family("momentum", "MOM", CLOSE, int, period(10, low=1), also=("mom",)),
    talib_family("rate_of_change", "ROC", CLOSE, int, period(10, low=1), also=("roc",)),
    talib_family(
        "ultimate_oscillator",
        "ULTOSC",
        HIGH_LOW_CLOSE,
        lambda *lengths: max(lengths),
        period(7, "timeperiod1"),
        period(14, "timeperiod2"),
        period(28, "timeperiod3"),
        ascending=3,
    ),
    talib_family("balance_of_power", "BOP", OHLC, lambda: 0),
    talib_family(
        "coppock",
        "COPPOCK",
        CLOSE,
        lambda mean, first, second: max(first, second) + window_bars(mean),
        period(10, "wmaperiod"),
        period(11, "roc1period"),
        period(14, "roc2period"),
    ),
    # Half a window ago is longer ago than the window is, where it is of two bars.
    talib_family("detrended_price", "DPO", CLOSE, lambda length: max(window_bars(length), length // 2 + 1), period(20)),
    talib_family("forecast_oscillator", "FOSC", CLOSE, int, period(5)),
    talib_family("intraday_momentum", "IMI", OPEN_CLOSE, window_bars, period(14)),
    talib_family("qstick", "QSTICK", OPEN_CLOSE, window_bars, period(10)),
)

MOMENTUM: tuple[Family, ...] = (*OF_CHANGES, *OF_MEANS, *STOCHASTICS)
