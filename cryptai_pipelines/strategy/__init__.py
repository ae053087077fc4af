"""Gates, blend and signals, pure: rows that explain themselves, from bars and indicators to an entry.

How an entry is filled, and what became of it, is the business of `backtest`.
"""
