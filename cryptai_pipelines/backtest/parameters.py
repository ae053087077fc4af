"""What a backtest may be told: exits, costs, capital and size. Parameters of signals live in `strategy`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from cryptai_pipelines.market.errors import BadArgument

PARAMETERS_DTYPE = np.dtype(
    [
        ("take_profit", "<f8"),
        ("stop_loss", "<f8"),
        ("fee_rate", "<f8"),
        ("slippage", "<f8"),
        ("initial_capital", "<f8"),
        ("size", "<f8"),
    ]
)
"""One record as the kernel reads it; `slippage` is a share, not basis points."""

_BASIS_POINT = 1e-4


@dataclass(frozen=True)
class EngineParameters:
    """Parameters of one backtest; `BadArgument` (a `ValueError`) names the first one outside its range.

    take_profit: target above the market price at entry, as a share of it; > 0 (infinity: no target).
    stop_loss: stop below that price, as a share of it; > 0 and < 1.
    fee_rate: fee of each side as a share of the notional; 0 <= fee_rate < 1.
    slippage_bps: adverse slippage of each fill in basis points; 0 <= slippage_bps < 10,000.
    initial_capital: > 0, in the quote currency.
    size: share of equity put into a position, fee included; 0 < size <= 1.
    """

    take_profit: float = 0.15
    stop_loss: float = 0.08
    fee_rate: float = 0.001
    slippage_bps: float = 0.0
    initial_capital: float = 10_000.0
    size: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _number(field.name, getattr(self, field.name)))
        _require(self.take_profit > 0, "take_profit", self.take_profit, "a share above 0, such as 0.15")
        _require(0 < self.stop_loss < 1, "stop_loss", self.stop_loss, "a share above 0 and below 1, such as 0.08")
        _require(0 <= self.fee_rate < 1, "fee_rate", self.fee_rate, "a share from 0 to below 1, such as 0.001")
        _require(0 <= self.slippage_bps < 10_000, "slippage_bps", self.slippage_bps, "basis points from 0 to below 10,000")
        capital_known = 0 < self.initial_capital < math.inf
        _require(capital_known, "initial_capital", self.initial_capital, "a finite amount above 0, such as 10000")
        _require(0 < self.size <= 1, "size", self.size, "a share of equity above 0 and at most 1")

    @property
    def round_trip(self) -> float:
        """What a position keeps of its cost when the price does not move: both fees and both slippages."""
        slippage = self.slippage_bps * _BASIS_POINT
        return (1 - slippage) * (1 - self.fee_rate) / ((1 + slippage) * (1 + self.fee_rate))

    def record(self) -> np.ndarray:
        """The parameters as an array of one `PARAMETERS_DTYPE` record."""
        slippage = self.slippage_bps * _BASIS_POINT
        values = (self.take_profit, self.stop_loss, self.fee_rate, slippage, self.initial_capital, self.size)
        return np.array([values], dtype=PARAMETERS_DTYPE)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise BadArgument(f"{name} {value!r} is not a number")
    return float(value)


def _require(holds: bool, name: str, value: float, accepted: str) -> None:
    if not holds:
        raise BadArgument(f"{name} {value!r} is not accepted: {accepted}")
