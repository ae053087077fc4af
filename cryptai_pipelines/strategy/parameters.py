"""What the default strategy may be told. Parameters that only concern fills and capital are in `backtest.parameters`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from cryptai_pipelines.market.errors import BadArgument

_WHOLE_NUMBERS = ("rsi_window", "clean_bars")


@dataclass(frozen=True)
class StrategyParameters:
    """Parameters of `trend_rsi_macd`; `BadArgument` (a `ValueError`) names the first one outside its range.

    take_profit, stop_loss: target above and stop below the price of entry, as shares of it.
    min_risk_reward: least reward per unit of risk after costs.
    fee_rate: per side, a share of the notional. slippage_bps: per side, basis points.
    rsi_recovery: the RSI confirms an entry after rising through this value, for `rsi_window` bars.
    rsi_overbought: and while it is not above this one.
    clean_bars: how many bar slots, the present one included, must hold neither a missing nor a filled bar.
    """

    take_profit: float = 0.15
    stop_loss: float = 0.08
    min_risk_reward: float = 1.5
    fee_rate: float = 0.001
    slippage_bps: float = 2.0
    rsi_recovery: float = 50.0
    rsi_overbought: float = 70.0
    rsi_window: int = 3
    clean_bars: int = 20

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name))
        _require(0 < self.take_profit < math.inf, "take_profit", self.take_profit, "a share above 0, such as 0.15")
        _require(0 < self.stop_loss < 1, "stop_loss", self.stop_loss, "a share above 0 and below 1, such as 0.08")
        _require(0 < self.min_risk_reward < math.inf, "min_risk_reward", self.min_risk_reward, "a ratio above 0, such as 1.5")
        _require(0 <= self.fee_rate < 1, "fee_rate", self.fee_rate, "a share from 0 to below 1, such as 0.001")
        _require(0 <= self.slippage_bps < 10_000, "slippage_bps", self.slippage_bps, "basis points from 0 to below 10,000")
        _require(0 < self.rsi_recovery < 100, "rsi_recovery", self.rsi_recovery, "between 0 and 100")
        above = self.rsi_recovery < self.rsi_overbought <= 100
        _require(above, "rsi_overbought", self.rsi_overbought, f"above rsi_recovery {self.rsi_recovery} and at most 100")
        _require(1 <= self.rsi_window <= 50, "rsi_window", self.rsi_window, "a number of bars from 1 to 50")
        _require(1 <= self.clean_bars <= 500, "clean_bars", self.clean_bars, "a number of bar slots from 1 to 500")


# The ranges above bound how far back one row may look, whatever the parameters are.
LONGEST_LOOK_BACK = 500


def _check_type(name: str, value: object) -> None:
    wanted = int if name in _WHOLE_NUMBERS else int | float
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise BadArgument(f"{name} {value!r} is not a {'whole ' if wanted is int else ''}number")


def _require(holds: bool, name: str, value: float, accepted: str) -> None:
    if not holds:
        raise BadArgument(f"{name} {value!r} is not accepted: {accepted}")
