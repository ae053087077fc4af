"""One module per venue: what is known of it, and how its answers are read. Binance spot, the first, is in `ccxt_binance`."""
