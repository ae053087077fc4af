"""What others call over HTTP: the receiver of TradingView's alerts. A shell: it reads, stores and answers; nothing imports it
but the command line, and it listens on loopback only.
"""
