"""Postgres: the embedded server, the schema and its migrations, bulk reads and writes, one module per family of tables.

Imports `market` only; never dagster, never `sources`. What a value means is decided in other rooms: here it is kept, found
again, and protected from half-written or stale writers.
"""
