"""A local venue that speaks Binance's spot REST protocol from recorded or simulated bars.

Only the command line and tests import this room; it imports `market` alone. It never reaches the network: it listens on a
loopback address. What a client does with the answers belongs in `sources`.
"""
