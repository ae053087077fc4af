"""What a backtest assumed, in the words of its report: only what holds for its parameters. How each is applied stands in
docs/backtest.md."""

from __future__ import annotations

import math

from cryptai_pipelines.backtest.parameters import EngineParameters


def assumptions(parameters: EngineParameters) -> dict[str, str]:
    """Label to sentence, in the order they are shown."""
    p = parameters
    return {
        "Start capital": f"{p.initial_capital:,.2f}",
        "Size of a position": _size(p),
        "Target": _level(p.take_profit, p.short, "above", "below"),
        "Stop": _level(p.stop_loss, p.short, "below", "above"),
        **_other_exits(p),
        "Fee": _fee(p),
        "Slippage": _slippage(p),
        "Entry": _entry(p),
        **_most_of_a_bar(p),
        "Gaps": "an open beyond a level fills at the open",
        "Both levels in one bar": "the stop, unless finer bars tell which came first",
        "Filled bars and bars without volume": "no fills",
        "Positions": ("long and short" if p.short else "long")
        + ", one at a time in a market"
        + (f", at most {p.max_positions:,} at once" if p.max_positions else ""),
    }


def _size(p: EngineParameters) -> str:
    share = f"{_percent(p.size)} of equity"
    if p.sizing == "risk":
        return f"so that the stop loses {_percent(p.risk_per_trade)} of equity, at most {share}"
    if p.sizing == "volatility":
        return f"for a volatility of {_percent(p.target_volatility)} of equity a year, at most {share}"
    return share


def _entry(p: EngineParameters) -> str:
    within = "in that bar" if p.limit_expiry_bars == 1 else f"within {p.limit_expiry_bars:,} bars of the signal"
    at_market = "a market order at the open of the bar after the signal, cancelled when that bar cannot be traded"
    return f"{at_market}; a limit order {within}"


def _level(share: float, short: bool, long_side: str, short_side: str) -> str:
    if math.isinf(share):
        return "where the strategy sets one, else none"
    side = f"{long_side} (of a short {short_side})" if short else long_side
    return f"{_percent(share)} {side} the market price at entry, or a nearer one of the strategy"


def _other_exits(p: EngineParameters) -> dict[str, str]:
    partly = f"{_percent(p.partial_take_profit)} of the quantity at a gain of {_percent(p.partial_at)}"
    told = {
        "Trailing stop": p.trailing_stop and f"{_percent(p.trailing_stop)} from the best price since entry",
        "Break-even": p.break_even_at and f"the stop moves to entry at a gain of {_percent(p.break_even_at)}",
        "Partial exit": p.partial_take_profit and partly,
        "Time stop": p.time_stop_bars and f"at the open {p.time_stop_bars:,} bars after entry",
    }
    return {label: sentence for label, sentence in told.items() if sentence}


def _fee(p: EngineParameters) -> str:
    taker = f"{_percent(p.fee_rate)} of the notional"
    if p.maker_fee_rate is None or p.maker_fee_rate == p.fee_rate:
        return f"{taker}, each side"
    return f"{taker}, each side; {_percent(p.maker_fee_rate)} of an entry whose limit order rested"


def _slippage(p: EngineParameters) -> str:
    parts = {
        f"{p.slippage_bps:g} basis points": p.slippage_bps,
        f"{_percent(p.slippage_range_share)} of the bar's range": p.slippage_range_share,
        f"{p.volume_impact:g} x price x root of the share of the bar's volume": p.volume_impact,
    }
    charged = [words for words, amount in parts.items() if amount]
    return f"{' + '.join(charged)}, each fill but that of a limit order that rested, adverse" if charged else "none"


def _most_of_a_bar(p: EngineParameters) -> dict[str, str]:
    return {} if math.isinf(p.volume_share) else {"Most of a bar's volume": f"{_percent(p.volume_share)}, each fill"}


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"
