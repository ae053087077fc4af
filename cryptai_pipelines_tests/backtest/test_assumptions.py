"""What a report says that was assumed is what the engine was told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cryptai_pipelines.backtest.assumptions import assumptions
from cryptai_pipelines.backtest.parameters import EngineParameters


def test_the_usual_parameters() -> None:
    told = assumptions(EngineParameters(slippage_bps=2.0))
    assert told["Size of a position"] == "100 % of equity" and told["Fee"] == "0.1 % of the notional, each side"
    assert told["Target"].startswith("15 % above the market price at entry")
    assert told["Stop"].startswith("8 % below the market price at entry")
    assert told["Slippage"].startswith("2 basis points, each fill") and told["Positions"] == "long, one at a time in a market"
    assert not {"Trailing stop", "Break-even", "Partial exit", "Time stop", "Most of a bar's volume"} & set(told)


@pytest.mark.parametrize(
    ("label", "changes", "expected"),
    [
        ("Target", {"take_profit": math.inf}, "where the strategy sets one, else none"),
        ("Stop", {"stop_loss": math.inf}, "where the strategy sets one, else none"),
        ("Target", {"short": True}, "15 % above (of a short below) the market price"),
        ("Stop", {"short": True}, "8 % below (of a short above) the market price"),
        ("Fee", {"maker_fee_rate": 0.0}, "0.1 % of the notional, each side; 0 % of an entry whose limit order rested"),
        ("Fee", {"maker_fee_rate": 0.001}, "0.1 % of the notional, each side"),
        ("Slippage", {}, "none"),
        ("Slippage", {"slippage_range_share": 0.1}, "10 % of the bar's range, each fill"),
        ("Slippage", {"slippage_bps": 2.0, "volume_impact": 0.5}, "2 basis points + 0.5 x price x root of the share"),
        ("Size of a position", {"size": 1 / 3}, "33.3333 % of equity"),
        ("Size of a position", {"sizing": "risk", "size": 0.5}, "so that the stop loses 1 % of equity, at most 50 % of equity"),
        ("Size of a position", {"sizing": "volatility"}, "for a volatility of 50 % of equity a year, at most 100 % of equity"),
        ("Entry", {"limit_expiry_bars": 3}, "a limit order within 3 bars of the signal"),
        ("Trailing stop", {"trailing_stop": 0.05}, "5 % from the best price"),
        ("Break-even", {"break_even_at": 0.02}, "at a gain of 2 %"),
        ("Partial exit", {"partial_take_profit": 0.5, "partial_at": 0.04}, "50 % of the quantity at a gain of 4 %"),
        ("Time stop", {"time_stop_bars": 24}, "24 bars after entry"),
        ("Most of a bar's volume", {"volume_share": 0.02}, "2 %, each fill"),
        ("Positions", {"short": True, "max_positions": 4}, "long and short, one at a time in a market, at most 4 at once"),
    ],
)
def test_each_parameter_is_told_as_it_is(label: str, changes: dict[str, object], expected: str) -> None:
    assert expected in assumptions(EngineParameters(**changes))[label]


def test_nothing_is_said_of_infinity_and_every_cost_is_shown() -> None:
    none = EngineParameters(take_profit=math.inf, stop_loss=math.inf, fee_rate=0.0)
    assert not any("inf" in sentence for sentence in assumptions(none).values())
    for name in ("fee_rate", "maker_fee_rate", "slippage_bps", "slippage_range_share", "volume_impact", "volume_share"):
        assert assumptions(replace(none, **{name: 0.0123})) != assumptions(none), name
