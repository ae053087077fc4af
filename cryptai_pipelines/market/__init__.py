"""The vocabulary every other room speaks: timeframes, series, bar columns, intervals, clock, resampling.

Pure: no database, no HTTP, no dagster, and no reading of the real time outside `clock.SystemClock`.
"""
