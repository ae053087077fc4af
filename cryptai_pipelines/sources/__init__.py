"""The outside world behind protocols: bars from exchanges, the error taxonomy, and the limits that a venue sets.

Imports `market` only. Nothing here stores anything, judges whether a bar is good, or knows of dagster.
"""
