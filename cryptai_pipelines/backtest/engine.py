"""The resumable engine: a state, bars in, trades and equity out. Simulating any split of the bars equals simulating them at
once, bit for bit. The arithmetic is in `kernel`, the one-call form in `simulation`."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from cryptai_pipelines.backtest.fills import Bar, close_position, count_cash
from cryptai_pipelines.backtest.kernel import AMBIGUOUS, LEDGER, Carried, MarketArrays, Written, compiled, fold_equity
from cryptai_pipelines.backtest.market_arrays import BarArrays, laid_out
from cryptai_pipelines.backtest.parameters import EngineParameters, MarketRules, rules_records
from cryptai_pipelines.backtest.records import BOOK_DTYPE, POSITION_DTYPE, TRADE_DTYPE, ExitReason, Refusal
from cryptai_pipelines.market.errors import BadArgument

_MAGIC = b"CryptAI backtest"
STATE_VERSION = 2
_HEADER = struct.Struct("<16sIII")  # magic, version, symbols, bytes of the parameters


@dataclass(frozen=True)
class EngineState:
    """Everything the engine carries from bar to bar: the parameters, the rules of each market, and two books with their
    positions, the pessimistic one (an ambiguous bar is the stop) and the optimistic one (it is the gain). Never changed in
    place.

    books: 2 `BOOK_DTYPE` records. positions: (2, symbols) `POSITION_DTYPE` records. refused: (2, reasons) int64 counts in the
    order of `Refusal`.
    """

    parameters: EngineParameters
    rules: tuple[MarketRules, ...]
    books: np.ndarray
    positions: np.ndarray
    refused: np.ndarray

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
        told = {"parameters": asdict(self.parameters), "rules": [asdict(rule) for rule in self.rules]}
        body = json.dumps(told, sort_keys=True).encode()
        header = _HEADER.pack(_MAGIC, STATE_VERSION, len(self.rules), len(body))
        return header + body + self.books.tobytes() + self.positions.tobytes() + self.refused.astype("<i8").tobytes()

    @staticmethod
    def from_bytes(data: bytes) -> EngineState:
        """The state that `to_bytes` wrote; `BadArgument` for anything else, or for another version (`is_readable`)."""
        version = _version(data)
        if version is None:
            raise BadArgument(f"engine state of {len(data)} bytes was not written by this engine")
        if version != STATE_VERSION:
            raise BadArgument(f"engine state has version {version}, this engine reads version {STATE_VERSION}: simulate anew")
        _, _, symbols, told_bytes = _HEADER.unpack_from(data)
        shapes = ((2,), BOOK_DTYPE), ((2, symbols), POSITION_DTYPE), ((2, len(Refusal)), np.dtype("<i8"))
        offset = _HEADER.size + told_bytes
        expected = offset + sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes)
        if len(data) != expected:
            raise BadArgument(f"engine state has {len(data)} bytes instead of {expected}")
        told = json.loads(data[_HEADER.size : offset])
        parts = []
        for shape, dtype in shapes:
            count = int(np.prod(shape))
            parts.append(np.frombuffer(data, dtype=dtype, offset=offset, count=count).reshape(shape).copy())
            offset += count * dtype.itemsize
        rules = tuple(MarketRules(**rule) for rule in told["rules"])
        return EngineState(EngineParameters(**told["parameters"]), rules, *parts)


def is_readable(data: bytes) -> bool:
    """Was `data` written by this version of the engine? A backtest whose state was not is simulated anew."""
    return _version(data) == STATE_VERSION


def _version(data: bytes) -> int | None:
    least = 20  # the magic and the version, which every version begins with
    return int.from_bytes(data[16:20], "little") if len(data) >= least and data[:16] == _MAGIC else None


@dataclass(frozen=True)
class Advance:
    """What new bars added. `trades`: the exits they made (`TRADE_DTYPE`). `equity`: float64 per bar (of several symbols per
    time at which any has one), at its close and with open positions at the market price. `optimistic_*`: the same where
    ambiguous bars count as the gain. `ledger`: (times, columns of `kernel.LEDGER`) of the pessimistic book, or no row at
    all. `judged`: int8 per row of the bars, of several symbols those of one after the other; AMBIGUOUS in either book, else
    TOLD_APART by finer bars in either, else 0."""

    state: EngineState
    trades: np.ndarray
    equity: np.ndarray
    optimistic_trades: np.ndarray
    optimistic_equity: np.ndarray
    ledger: np.ndarray
    optimistic_ledger: np.ndarray
    judged: np.ndarray


def start(parameters: EngineParameters, rules: Sequence[MarketRules] = (MarketRules(),)) -> EngineState:
    """The state before the first bar, with the rules of each symbol's market. `BadArgument` when the sizing needs the
    bars of a year and they are not given."""
    if parameters.sizing == "volatility" and parameters.bars_per_year is None:
        raise BadArgument("bars_per_year None is not accepted with sizing 'volatility': a number of bars, such as 8760")
    books = np.zeros(2, dtype=BOOK_DTYPE)
    for name in ("cash", "balance", "last_equity", "peak"):
        books[name] = parameters.initial_capital
    positions = np.zeros((2, len(rules)), dtype=POSITION_DTYPE)
    return EngineState(parameters, tuple(rules), books, positions, np.zeros((2, len(Refusal)), dtype=np.int64))


def advance(state: EngineState, bars: BarArrays) -> Advance:
    """Simulate the bars of a single symbol that follow `state`; `BadArgument` when the first of them does not come after its
    last bar."""
    return advance_together(state, [bars])


def advance_together(state: EngineState, symbols: Sequence[BarArrays], *, with_ledger: bool = False) -> Advance:
    """Simulate the bars that follow `state`, one entry per symbol; `BadArgument` as in `advance`."""
    market = laid_out(symbols)
    if state.last_ts is not None and len(market.clock) and market.clock[0] <= state.last_ts:
        raise BadArgument(f"bars start at {int(market.clock[0])} ms, at or before the last simulated bar {state.last_ts} ms")
    carried, written = _run(state, 0, market, with_ledger=with_ledger)
    other, other_written = carried, written
    if written.tally[1] > 0 or _part(state, 0) != _part(state, 1):
        other, other_written = _run(state, 1, market, with_ledger=with_ledger)
    books, positions, refused = (np.stack(pair) for pair in zip(carried, other, strict=True))
    return Advance(
        state=EngineState(state.parameters, state.rules, books[:, 0], positions, refused),
        trades=_trades(written),
        equity=written.equity,
        optimistic_trades=_trades(other_written),
        optimistic_equity=other_written.equity,
        ledger=written.ledger,
        optimistic_ledger=other_written.ledger,
        judged=_judged(written.judged, other_written.judged),
    )


def settle(state: EngineState) -> tuple[EngineState, np.ndarray, np.ndarray]:
    """Close what is open at the last closes, costs included, reason `end`: (final state, trades of the pessimistic book, trades
    of the optimistic one); each a `TRADE_DTYPE` array of a row per open position. Reports are made of the final state; the
    simulation goes on from the unsettled one."""
    final = EngineState(state.parameters, state.rules, state.books.copy(), state.positions.copy(), state.refused)
    p = state.parameters.record()[0]
    last_trades = []
    for number in (0, 1):
        book, positions = final.books[number], final.positions[number]
        trades = np.zeros(int(book["positions"]), dtype=TRADE_DTYPE)
        for trade, symbol in zip(trades, np.flatnonzero(positions["quantity"] > 0), strict=True):
            position = positions[symbol]
            bar = Bar(position["last_ts"], position["mark_range"], position["mark_volume"])
            whole, doubtful = position["quantity"], position["doubt"] == 1
            close_position(book, position, p, bar, position["mark"], whole, ExitReason.END.value, doubtful, trade)
            trade["symbol"] = symbol
        if len(trades):
            count_cash(book, positions)
            book["last_equity"] = book["cash"]
        fold_equity(book)
        last_trades.append(trades)
    return final, last_trades[0], last_trades[1]


def _part(state: EngineState, number: int) -> bytes:
    return state.books[number].tobytes() + state.positions[number].tobytes()


def _run(state: EngineState, number: int, market: MarketArrays, *, with_ledger: bool = False) -> tuple[Carried, Written]:
    """One book over the bars: the pessimistic one (0) or the optimistic one (1)."""
    carried = Carried(state.books[number : number + 1].copy(), state.positions[number].copy(), state.refused[number].copy())
    times = len(market.clock)
    written = Written(
        np.empty(times),
        np.empty((times if with_ledger else 0, len(LEDGER))),
        np.empty(_most_trades(state, market), dtype=TRADE_DTYPE),
        np.zeros(2, np.int64),
        np.zeros(len(market.ts), np.int8),
    )
    rules = rules_records(state.rules)
    compiled()(market, number == 1, state.parameters.record(), rules, carried, written)
    return carried, written


def _most_trades(state: EngineState, market: MarketArrays) -> int:
    """No run can make more: a position gives one trade and one for its partial exit; it was open, asked for before, or is asked
    for now. With a limit on the volume a bar may see three parts of it go."""
    positions = 2 * len(state.rules) + int(market.order_starts[-1])
    return 2 * positions + (3 * len(market.ts) if np.isfinite(state.parameters.volume_share) else 0)


def _judged(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where((one == AMBIGUOUS) | (other == AMBIGUOUS), np.int8(AMBIGUOUS), np.maximum(one, other))


def _trades(written: Written) -> np.ndarray:
    return written.trades[: written.tally[0]].copy()
