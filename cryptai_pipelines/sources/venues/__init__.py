"""One module per venue: what is known about it, and how its answers are read. Binance, the first, stands in `ccxt_binance`."""
