"""Gates, blend and signals, pure: rows that explain themselves, from bars and indicators to an entry. What a user's own
strategy needs can be imported from here.

How an entry is filled, and what became of it, is the business of `backtest`.
"""

from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy, as_strategy

__all__ = ["Column", "Inputs", "Strategy", "as_strategy", "parameter"]
