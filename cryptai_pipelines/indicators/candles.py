"""TA-Lib's candlestick patterns: 100 or 200 where a bullish one ends at the bar, -100 or -200 a bearish one, 0 elsewhere.

A pattern compares bodies and shadows with their means over the bars before, so each is a function of a window."""

from __future__ import annotations

from cryptai_pipelines.indicators.spec import OHLC, IndicatorSpec, talib_indicator

# Five bars of the longest pattern, ten of the mean before them, and what two patterns look back for their confirmation.
_WINDOW = 25

NAMES = tuple(
    (
        "2CROWS 3BLACKCROWS 3INSIDE 3LINESTRIKE 3OUTSIDE 3STARSINSOUTH 3WHITESOLDIERS ABANDONEDBABY ADVANCEBLOCK "
        "BELTHOLD BREAKAWAY CLOSINGMARUBOZU CONCEALBABYSWALL COUNTERATTACK DARKCLOUDCOVER DOJI DOJISTAR "
        "DRAGONFLYDOJI ENGULFING EVENINGDOJISTAR EVENINGSTAR GAPSIDESIDEWHITE GRAVESTONEDOJI HAMMER HANGINGMAN "
        "HARAMI HARAMICROSS HIGHWAVE HIKKAKE HIKKAKEMOD HOMINGPIGEON IDENTICAL3CROWS INNECK INVERTEDHAMMER "
        "KICKING KICKINGBYLENGTH LADDERBOTTOM LONGLEGGEDDOJI LONGLINE MARUBOZU MATCHINGLOW MATHOLD "
        "MORNINGDOJISTAR MORNINGSTAR ONNECK PIERCING RICKSHAWMAN RISEFALL3METHODS SEPARATINGLINES SHOOTINGSTAR "
        "SHORTLINE SPINNINGTOP STALLEDPATTERN STICKSANDWICH TAKURI TASUKIGAP THRUSTING TRISTAR UNIQUE3RIVER "
        "UPSIDEGAP2CROWS XSIDEGAP3METHODS"
    ).split()
)
"""As TA-Lib calls them, without its prefix."""

CANDLES: tuple[IndicatorSpec, ...] = tuple(
    talib_indicator(f"cdl_{name.lower()}", f"CDL{name}", OHLC, _WINDOW) for name in NAMES
)
