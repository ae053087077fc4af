"""The resumable engine: a state, bars in, trades and equity out. Simulating any split of the bars equals simulating them at
once, bit for bit. The arithmetic is in `kernel`, the one-call form in `simulation`."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.backtest.kernel import close_position, compiled, fold_equity
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.records import BOOK_DTYPE, TRADE_DTYPE, ExitReason
from cryptai_pipelines.market.errors import BadArgument

_MAGIC = b"CryptAI backtest"
STATE_VERSION = 1
_HEADER = struct.Struct("<16sI")
_BODY = struct.Struct("<6d")
_STATE_BYTES = _HEADER.size + _BODY.size + 2 * BOOK_DTYPE.itemsize


@dataclass(frozen=True)
class BarArrays:
    """Checked bars and signals of one length: ts int64 (ms), prices float64, tradable and entries bool."""

    ts: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    tradable: np.ndarray
    entries: np.ndarray


@dataclass(frozen=True)
class EngineState:
    """Everything the engine carries from bar to bar: the parameters and two `BOOK_DTYPE` records, the pessimistic book
    (a bar that touches both levels is the stop) and the optimistic one (it is the target). Never changed in place."""

    parameters: EngineParameters
    books: np.ndarray

    @property
    def last_ts(self) -> int | None:
        """Open time of the last simulated bar, None before the first."""
        return int(self.books[0]["last_ts"]) if self.books[0]["bars"] else None

    @property
    def book(self) -> np.void:
        """The pessimistic book."""
        return self.books[0]

    def to_bytes(self) -> bytes:
        """A versioned, byte-order-independent serialisation."""
        p = self.parameters
        body = _BODY.pack(p.take_profit, p.stop_loss, p.fee_rate, p.slippage_bps, p.initial_capital, p.size)
        return _HEADER.pack(_MAGIC, STATE_VERSION) + body + self.books.tobytes()

    @staticmethod
    def from_bytes(data: bytes) -> EngineState:
        """The state that `to_bytes` wrote; `BadArgument` for anything else, or for another version."""
        if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
            raise BadArgument(f"engine state of {len(data)} bytes was not written by this engine")
        version = _HEADER.unpack_from(data)[1]
        if version != STATE_VERSION:
            raise BadArgument(f"engine state has version {version}, this engine reads version {STATE_VERSION}: simulate anew")
        if len(data) != _STATE_BYTES:
            raise BadArgument(f"engine state has {len(data)} bytes instead of {_STATE_BYTES}")
        parameters = EngineParameters(*_BODY.unpack_from(data, _HEADER.size))
        books = np.frombuffer(data, dtype=BOOK_DTYPE, offset=_HEADER.size + _BODY.size).copy()
        return EngineState(parameters, books)


@dataclass(frozen=True)
class Advance:
    """What new bars added. `trades`: the positions they closed (`TRADE_DTYPE`). `equity`: float64 per bar, at its close and
    with an open position at the market price. `optimistic_*`: the same where ambiguous bars count as the target."""

    state: EngineState
    trades: np.ndarray
    equity: np.ndarray
    optimistic_trades: np.ndarray
    optimistic_equity: np.ndarray


def start(parameters: EngineParameters) -> EngineState:
    """The state before the first bar."""
    books = np.zeros(2, dtype=BOOK_DTYPE)
    for name in ("cash", "last_equity", "peak"):
        books[name] = parameters.initial_capital
    return EngineState(parameters, books)


def advance(state: EngineState, bars: BarArrays) -> Advance:
    """Simulate the bars that follow `state`; `BadArgument` when the first of them does not come after its last bar."""
    if state.last_ts is not None and len(bars.ts) and bars.ts[0] <= state.last_ts:
        raise BadArgument(f"bars start at {int(bars.ts[0])} ms, at or before the last simulated bar {state.last_ts} ms")
    same_before = state.books[0] == state.books[1]
    book, trades, equity = _run(state.parameters, state.books[:1], bars, target_first=False)
    if same_before and not trades["ambiguous"].any():
        return Advance(EngineState(state.parameters, np.concatenate((book, book))), trades, equity, trades, equity)
    other_book, other_trades, other_equity = _run(state.parameters, state.books[1:], bars, target_first=True)
    following = EngineState(state.parameters, np.concatenate((book, other_book)))
    return Advance(following, trades, equity, other_trades, other_equity)


def settle(state: EngineState) -> tuple[EngineState, np.ndarray, np.ndarray]:
    """Close what is open at the last close, costs included, reason `end`: (final state, trade of the pessimistic book, trade
    of the optimistic one); each a `TRADE_DTYPE` array of 0 or 1 rows. Reports are made of the final state; the simulation
    goes on from the unsettled one."""
    books = state.books.copy()
    charged = state.parameters.record()[0]
    last_trades = []
    for book in (books[0], books[1]):
        trades = np.zeros(1 if book["quantity"] > 0 else 0, dtype=TRADE_DTYPE)
        if len(trades):
            close_position(book, charged, book["last_ts"], book["last_close"], ExitReason.END.value, False, trades[0])
            book["last_equity"] = book["cash"]
        fold_equity(book)
        last_trades.append(trades)
    return EngineState(state.parameters, books), last_trades[0], last_trades[1]


def _run(
    parameters: EngineParameters, book: np.ndarray, bars: BarArrays, *, target_first: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    book = book.copy()
    equity = np.empty(len(bars.ts))
    # A trade that closes here was either open before or asked for by one of these bars or by the last bar before them.
    trades = np.empty(np.count_nonzero(bars.entries) + 1, dtype=TRADE_DTYPE)
    columns = (bars.ts, bars.open, bars.high, bars.low, bars.close, bars.tradable, bars.entries)
    closed = compiled()(*columns, target_first, parameters.record(), book, equity, trades)
    return book, trades[:closed].copy(), equity
