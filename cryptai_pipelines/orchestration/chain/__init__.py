"""One module per asset of the per-series chain. Each brings one series up to date: read, call a pure function, write in one
transaction per chunk, tell what happened. No dagster here, and no loop over series (that is `walk`)."""
