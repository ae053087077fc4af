"""A local venue that speaks real wire protocols from recorded or simulated bars, all on one port: the REST APIs of Binance
spot and of its USD-M futures, Binance's public archive of both, TradingView's UDF, and Coinbase Exchange's REST API over the
same market at a second exchange.

Only the command line and tests import this room; it imports `market` alone. It never reaches the network: it listens on a
loopback address. What a client does with the answers belongs in `sources`.
"""
