"""What a backtest may be told: exits, costs, capital and size, and the rules of a market. Parameters of signals live in
`strategy`, how each is applied in docs/backtest.md."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import numpy as np

from cryptai_pipelines.market.errors import BadArgument

PARAMETERS_DTYPE = np.dtype(
    [
        ("take_profit", "<f8"),
        ("stop_loss", "<f8"),
        ("fee_rate", "<f8"),
        ("maker_fee_rate", "<f8"),
        ("slippage", "<f8"),
        ("slippage_range_share", "<f8"),
        ("volume_impact", "<f8"),
        ("volume_share", "<f8"),
        ("size", "<f8"),
        ("risk_per_trade", "<f8"),
        ("target_volatility", "<f8"),
        ("bars_per_year", "<f8"),
        ("trailing_stop", "<f8"),
        ("break_even_at", "<f8"),
        ("partial_take_profit", "<f8"),
        ("partial_at", "<f8"),
        ("sizing", "<i8"),
        ("max_positions", "<i8"),
        ("cooldown_bars", "<i8"),
        ("time_stop_bars", "<i8"),
        ("limit_expiry_bars", "<i8"),
        ("short", "<i8"),
    ]
)
"""One record as the kernel reads it; `slippage` is a share, not basis points, `sizing` the place in `SIZINGS`."""

RULES_DTYPE = np.dtype([("tick", "<f8"), ("lot", "<f8"), ("min_notional", "<f8")])
"""One record of `MarketRules`, as the kernel reads it."""

SIZINGS = ("fraction", "risk", "volatility")

_BASIS_POINT = 1e-4
ALWAYS_TOLD = ("take_profit", "stop_loss", "fee_rate", "slippage_bps", "initial_capital", "size")
_OPTIONAL = ("maker_fee_rate", "bars_per_year")
_SHARE = "a share from 0 to below 1, such as 0.001"


@dataclass(frozen=True)
class EngineParameters:
    """Parameters of one backtest; `BadArgument` (a `ValueError`) names the first one outside its range. The defaults are a
    long position of the whole equity with a target and a stop; everything else is off.

    take_profit: target beyond the market price at entry, as a share of it; > 0 (infinity: none).
    stop_loss: stop on the other side of that price, as a share of it; > 0 and < 1 (infinity: none).
    fee_rate: taker fee of each fill as a share of its notional; 0 <= fee_rate < 1.
    slippage_bps: adverse slippage of each fill in basis points; 0 <= slippage_bps < 10,000.
    initial_capital: > 0, in the quote currency.
    size: share of equity put into a position, fee included; 0 < size <= 1. The most it may take where `sizing` is not fraction.

    maker_fee_rate: fee of an entry whose limit order rested; 0 <= maker_fee_rate < 1 (None: fee_rate).
    slippage_range_share: half the spread as a share of the bar's range, high - low; 0 <= it <= 1.
    volume_impact: share of the price by which taking a whole bar's volume moves it; 0 <= it < infinity.
    volume_share: largest share of a bar's volume that one fill may take; > 0 (infinity: no limit).
    sizing: `fraction` (size), `risk` (risk_per_trade) or `volatility` (target_volatility); never more than the free cash.
    risk_per_trade: share of equity lost when the stop fills at its level, costs included; 0 < it < 1.
    target_volatility: of the position's share of equity, per year; > 0. bars_per_year: what a year of the per-bar volatility in
    the decisions is; > 0 (None: taken from the bars, by `simulate_portfolio` only).
    max_positions: open at the same time; >= 0 (0: no limit). short: may positions be short?
    cooldown_bars: bars between the one of an exit and the one of the next entry of the same symbol; >= 0.
    time_stop_bars: a position is closed at the open this many bars after its entry; >= 0 (0: never).
    trailing_stop: distance of the stop from the best price since entry, a share of it; 0 <= it < 1 (0: none).
    break_even_at: share of gain at which the stop moves to the price at entry; >= 0 (0: never).
    partial_take_profit: share of the quantity that is closed at the share of gain partial_at; 0 <= it < 1 (0: none).
    partial_at: > 0, and below take_profit where a partial_take_profit is asked for.
    limit_expiry_bars: for how many bars a limit entry is good; >= 1.
    """

    take_profit: float = 0.15
    stop_loss: float = 0.08
    fee_rate: float = 0.001
    slippage_bps: float = 0.0
    initial_capital: float = 10_000.0
    size: float = 1.0
    maker_fee_rate: float | None = None
    slippage_range_share: float = 0.0
    volume_impact: float = 0.0
    volume_share: float = math.inf
    sizing: str = "fraction"
    risk_per_trade: float = 0.01
    target_volatility: float = 0.5
    bars_per_year: float | None = None
    max_positions: int = 0
    short: bool = False
    cooldown_bars: int = 0
    time_stop_bars: int = 0
    trailing_stop: float = 0.0
    break_even_at: float = 0.0
    partial_take_profit: float = 0.0
    partial_at: float = 0.05
    limit_expiry_bars: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
        self._check_exits()
        self._check_costs()
        self._check_capital()

    def _check_exits(self) -> None:
        require = self._require
        require(self.take_profit > 0, "take_profit", "a share above 0, such as 0.15")
        stop_known = 0 < self.stop_loss < 1 or self.stop_loss == math.inf
        require(stop_known, "stop_loss", "a share above 0 and below 1, such as 0.08, or infinity for none")
        require(0 <= self.trailing_stop < 1, "trailing_stop", "a share from 0 (none) to below 1")
        require(0 <= self.break_even_at < math.inf, "break_even_at", "a share of gain from 0 (never) on")
        require(0 <= self.partial_take_profit < 1, "partial_take_profit", "a share of the quantity from 0 (none) to below 1")
        require(0 < self.partial_at < math.inf, "partial_at", "a share of gain above 0")
        partly = self.partial_take_profit == 0 or self.partial_at < self.take_profit
        require(partly, "partial_at", f"a share of gain below take_profit {self.take_profit!r}")
        require(self.time_stop_bars >= 0, "time_stop_bars", "a number of bars from 0 (never) on")

    def _check_costs(self) -> None:
        require = self._require
        require(0 <= self.fee_rate < 1, "fee_rate", _SHARE)
        require(self.maker_fee_rate is None or 0 <= self.maker_fee_rate < 1, "maker_fee_rate", f"{_SHARE}, or None")
        require(0 <= self.slippage_bps < 10_000, "slippage_bps", "basis points from 0 to below 10,000")
        require(0 <= self.slippage_range_share <= 1, "slippage_range_share", "a share of the bar's range from 0 to 1")
        require(0 <= self.volume_impact < math.inf, "volume_impact", "a share of the price from 0 on")
        require(self.volume_share > 0, "volume_share", "a share of the bar's volume above 0, or infinity for no limit")

    def _check_capital(self) -> None:
        require = self._require
        require(0 < self.initial_capital < math.inf, "initial_capital", "a finite amount above 0, such as 10000")
        require(0 < self.size <= 1, "size", "a share of equity above 0 and at most 1")
        require(self.sizing in SIZINGS, "sizing", ", ".join(SIZINGS))
        require(0 < self.risk_per_trade < 1, "risk_per_trade", "a share of equity above 0 and below 1, such as 0.01")
        require(0 < self.target_volatility < math.inf, "target_volatility", "a volatility per year above 0, such as 0.5")
        known = self.bars_per_year is None or 0 < self.bars_per_year < math.inf
        require(known, "bars_per_year", "a number of bars above 0, such as 8760, or None")
        require(self.max_positions >= 0, "max_positions", "a number of positions from 0 (no limit) on")
        require(self.cooldown_bars >= 0, "cooldown_bars", "a number of bars from 0 on")
        require(self.limit_expiry_bars >= 1, "limit_expiry_bars", "a number of bars from 1 on")

    def _require(self, holds: bool, name: str, accepted: str) -> None:
        _require(holds, name, getattr(self, name), accepted)

    @property
    def round_trip(self) -> float:
        """What a position keeps of its cost when the price does not move: both fees and both slippages in basis points."""
        slippage = self.slippage_bps * _BASIS_POINT
        return (1 - slippage) * (1 - self.fee_rate) / ((1 + slippage) * (1 + self.fee_rate))

    @property
    def told(self) -> dict[str, float | str | None]:
        """Plain data by which a backtest is known: the first six always, each of the others where it is not the default. So a
        parameter that is added later does not change what an earlier backtest was called."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if name in ALWAYS_TOLD or value != defaults[name]}

    def record(self) -> np.ndarray:
        """The parameters as an array of one `PARAMETERS_DTYPE` record."""
        values = asdict(self)
        values["slippage"] = self.slippage_bps * _BASIS_POINT
        values["maker_fee_rate"] = self.fee_rate if self.maker_fee_rate is None else self.maker_fee_rate
        values["bars_per_year"] = math.nan if self.bars_per_year is None else self.bars_per_year
        values["sizing"] = SIZINGS.index(self.sizing)
        return np.array([tuple(values[name] for name in PARAMETERS_DTYPE.names)], dtype=PARAMETERS_DTYPE)


@dataclass(frozen=True)
class MarketRules:
    """What a venue prescribes for orders in one market; 0 stands for no rule. `BadArgument` names a value below 0.

    tick: prices of limit, stop and target are multiples of it. lot: quantities are. min_notional: least quantity x price of an
    entry, in the quote currency.
    """

    tick: float = 0.0
    lot: float = 0.0
    min_notional: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = _typed(field.name, field.type, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            _require(0 <= value < math.inf, field.name, value, "a finite number from 0 (no rule) on")

    @property
    def told(self) -> dict[str, float]:
        """The rules that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value}


def rules_records(rules: tuple[MarketRules, ...]) -> np.ndarray:
    """One `RULES_DTYPE` record per market."""
    return np.array([(rule.tick, rule.lot, rule.min_notional) for rule in rules], dtype=RULES_DTYPE)


def _typed(name: str, kind: str, value: object) -> float | int | bool | str | None:
    """`value` as the plain Python type its annotation asks for."""
    if kind == "str":
        return _of_type(name, value, str, "a text")
    if kind == "bool":
        return bool(_of_type(name, value, bool | np.bool_, "True or False"))
    if value is None and name in _OPTIONAL:
        return None
    if isinstance(value, bool | np.bool_):
        raise BadArgument(f"{name} {value!r} is not a number")
    if kind == "int":
        return int(_of_type(name, value, int | np.integer, "a whole number"))
    return float(_of_type(name, value, int | float | np.integer | np.floating, "a number"))


def _of_type(name: str, value: object, accepted: type, words: str) -> object:
    if not isinstance(value, accepted):
        raise BadArgument(f"{name} {value!r} is not {words}")
    return value


def _require(holds: bool, name: str, value: object, accepted: str) -> None:
    if not holds:
        raise BadArgument(f"{name} {value!r} is not accepted: {accepted}")


NO_RULES = MarketRules()
