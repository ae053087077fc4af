"""Backtests, pure: the engine, costs, metrics and what is drawn from them.

Signals come from `strategy`; reading and writing tables is done by `orchestration`. Numba, Plotly and matplotlib are imported
by the functions that use them, so importing this package stays cheap.
"""

from cryptai_pipelines.backtest.parameters import EngineParameters, MarketRules
from cryptai_pipelines.backtest.portfolio import PortfolioResult, simulate_portfolio
from cryptai_pipelines.backtest.simulation import SimulationResult, simulate

__all__ = ["EngineParameters", "MarketRules", "PortfolioResult", "SimulationResult", "simulate", "simulate_portfolio"]
