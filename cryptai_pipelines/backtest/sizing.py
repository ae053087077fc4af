"""How much a position takes. Part of the kernel: plain functions over records, see `kernel`."""

from __future__ import annotations

import math

import numpy as np

_RISK, _VOLATILITY = 1, 2  # places in parameters.SIZINGS; numba reads them as constants

# A share of equity below this is what rounding left of capital that is already taken.
LEAST_SHARE = 1e-12


def most_money(position: np.void, p: np.void, equity: float, cash: float) -> float:
    """What a position may take at most, fee included; NaN where the volatility to size by is unknown."""
    share = p["size"]
    if p["sizing"] == _VOLATILITY:
        yearly = position["asked_volatility"] * math.sqrt(p["bars_per_year"])
        if not yearly >= 0.0:
            return math.nan
        if yearly * share > p["target_volatility"]:
            share = p["target_volatility"] / yearly
    return min(share * equity, cash)


def affordable(position: np.void, p: np.void, equity: float, money: float, paid: float, fee_rate: float) -> float:
    """The quantity that `money` buys at the price `paid`, fee included, and that risks no more than asked for; NaN where there
    is no stop to size by."""
    quantity = money / (paid * (1.0 + fee_rate))
    if p["sizing"] == _RISK:
        loss = loss_at_stop(position, p, paid, fee_rate)
        if not loss < math.inf:
            return math.nan
        quantity = min(quantity, p["risk_per_trade"] * equity / loss)
    return quantity


def loss_at_stop(position: np.void, p: np.void, paid: float, fee_rate: float) -> float:
    """What one unit loses when the stop fills at its level, with both fees and the slippage in basis points; infinite without
    a stop."""
    stop, taker = position["stop"], p["fee_rate"]
    if position["asked"] > 0:
        if stop <= 0.0:
            return math.inf
        return paid * (1.0 + fee_rate) - stop * (1.0 - p["slippage"]) * (1.0 - taker)
    return stop * (1.0 + p["slippage"]) * (1.0 + taker) - paid * (1.0 - fee_rate)
