"""CryptAI pipelines: exchange data to trustworthy bars, and bars to backtests, as one lineage graph.

Nothing is imported here: every room is loaded by whoever needs it, because each Dagster run pays for imports.
"""
