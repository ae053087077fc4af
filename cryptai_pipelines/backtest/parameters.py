"""What a backtest may be told: exits, costs, capital and size, and the rules of a market. Parameters of signals live in
`strategy`, how each is applied in docs/backtest.md."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

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


def _told(default: Any, accepted: str, meaning: str) -> Any:
    """A field with what is accepted and what it means: for errors, docs/backtest.md, forms and `cryptai strategies engine`."""
    return field(default=default, metadata={"accepted": accepted, "meaning": meaning})


@dataclass(frozen=True)
class EngineParameters:
    """Parameters of one backtest; `BadArgument` (a `ValueError`) names the first one outside its range. The defaults are a
    long position of the whole equity with a target and a stop; everything else is off. Each is told at its field."""

    take_profit: float = _told(
        0.15,
        "a share above 0, such as 0.15, or infinity for none",
        "Target beyond the market price at entry, as a share of it.",
    )
    stop_loss: float = _told(
        0.08,
        "a share above 0 and below 1, such as 0.08, or infinity for none",
        "Stop on the other side of the market price at entry, as a share of it.",
    )
    fee_rate: float = _told(0.001, _SHARE, "Taker fee of each fill as a share of its notional.")
    slippage_bps: float = _told(0.0, "basis points from 0 to below 10,000", "Adverse slippage of each fill.")
    initial_capital: float = _told(10_000.0, "a finite amount above 0, such as 10000", "Start capital in the quote currency.")
    size: float = _told(
        1.0,
        "a share of equity above 0 and at most 1",
        "Put into a position, fee included; the most it may take where sizing is not fraction.",
    )
    maker_fee_rate: float | None = _told(
        None, f"{_SHARE}, or None", "Fee of an entry whose limit order rested; None: fee_rate."
    )
    slippage_range_share: float = _told(
        0.0, "a share of the bar's range from 0 to 1", "Half the spread as a share of the bar's high - low."
    )
    volume_impact: float = _told(
        0.0, "a share of the price from 0 on", "By how much of the price taking a whole bar's volume moves it."
    )
    volume_share: float = _told(
        math.inf, "a share of the bar's volume above 0, or infinity for no limit", "The most of it that one fill may take."
    )
    sizing: str = _told(
        "fraction",
        ", ".join(SIZINGS),
        "How large a position is: by size, risk_per_trade or target_volatility; never more than the free cash.",
    )
    risk_per_trade: float = _told(
        0.01,
        "a share of equity above 0 and below 1, such as 0.01",
        "Lost when the stop fills at its level, costs included.",
    )
    target_volatility: float = _told(0.5, "a volatility per year above 0, such as 0.5", "Of the position's share of equity.")
    bars_per_year: float | None = _told(
        None,
        "a number of bars above 0, such as 8760, or None",
        "How many bars a year has, for target_volatility; None: as the bars have.",
    )
    max_positions: int = _told(0, "a number of positions from 0 (no limit) on", "Open at the same time.")
    short: bool = _told(False, "True or False", "May positions be short?")
    cooldown_bars: int = _told(
        0, "a number of bars from 0 on", "Between the bar of an exit and that of the symbol's next entry."
    )
    time_stop_bars: int = _told(
        0, "a number of bars from 0 (never) on", "A position is closed at the open this many bars after its entry."
    )
    trailing_stop: float = _told(
        0.0, "a share from 0 (none) to below 1", "Distance of the stop from the best price since entry, a share of it."
    )
    break_even_at: float = _told(
        0.0, "a share of gain from 0 (never) on", "The gain at which the stop moves to the price at entry."
    )
    partial_take_profit: float = _told(
        0.0, "a share of the quantity from 0 (none) to below 1", "What is closed at the gain partial_at."
    )
    partial_at: float = _told(
        0.05, "a share of gain above 0", "The gain of the partial exit; below take_profit where one is asked for."
    )
    limit_expiry_bars: int = _told(1, "a number of bars from 1 on", "For how many bars a limit entry is good.")

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, _typed(one.name, one.type, getattr(self, one.name)))
        self._check_exits()
        self._check_costs()
        self._check_capital()

    def _check_exits(self) -> None:
        require = self._require
        require(self.take_profit > 0, "take_profit")
        stop_known = 0 < self.stop_loss < 1 or self.stop_loss == math.inf
        require(stop_known, "stop_loss")
        require(0 <= self.trailing_stop < 1, "trailing_stop")
        require(0 <= self.break_even_at < math.inf, "break_even_at")
        require(0 <= self.partial_take_profit < 1, "partial_take_profit")
        require(0 < self.partial_at < math.inf, "partial_at")
        partly = self.partial_take_profit == 0 or self.partial_at < self.take_profit
        require(partly, "partial_at", f"a share of gain below take_profit {self.take_profit!r}")
        require(self.time_stop_bars >= 0, "time_stop_bars")

    def _check_costs(self) -> None:
        require = self._require
        require(0 <= self.fee_rate < 1, "fee_rate")
        require(self.maker_fee_rate is None or 0 <= self.maker_fee_rate < 1, "maker_fee_rate")
        require(0 <= self.slippage_bps < 10_000, "slippage_bps")
        require(0 <= self.slippage_range_share <= 1, "slippage_range_share")
        require(0 <= self.volume_impact < math.inf, "volume_impact")
        require(self.volume_share > 0, "volume_share")

    def _check_capital(self) -> None:
        require = self._require
        require(0 < self.initial_capital < math.inf, "initial_capital")
        require(0 < self.size <= 1, "size")
        require(self.sizing in SIZINGS, "sizing")
        require(0 < self.risk_per_trade < 1, "risk_per_trade")
        require(0 < self.target_volatility < math.inf, "target_volatility")
        known = self.bars_per_year is None or 0 < self.bars_per_year < math.inf
        require(known, "bars_per_year")
        require(self.max_positions >= 0, "max_positions")
        require(self.cooldown_bars >= 0, "cooldown_bars")
        require(self.limit_expiry_bars >= 1, "limit_expiry_bars")

    def _require(self, holds: bool, name: str, accepted: str = "") -> None:
        _require(holds, name, getattr(self, name), accepted or self.__dataclass_fields__[name].metadata["accepted"])

    @property
    def round_trip(self) -> float:
        """What a position keeps of its cost when the price does not move: both fees and both slippages in basis points."""
        slippage = self.slippage_bps * _BASIS_POINT
        return (1 - slippage) * (1 - self.fee_rate) / ((1 + slippage) * (1 + self.fee_rate))

    @property
    def told(self) -> dict[str, float | str | None]:
        """Plain data by which a backtest is known: the first six always, each of the others where it is not the default. So a
        parameter that is added later does not change what an earlier backtest was called."""
        defaults = {one.name: one.default for one in fields(self)}
        return {name: value for name, value in asdict(self).items() if name in ALWAYS_TOLD or value != defaults[name]}

    def record(self) -> np.ndarray:
        """The parameters as an array of one `PARAMETERS_DTYPE` record."""
        values = asdict(self)
        values["slippage"] = self.slippage_bps * _BASIS_POINT
        values["maker_fee_rate"] = self.fee_rate if self.maker_fee_rate is None else self.maker_fee_rate
        values["bars_per_year"] = math.nan if self.bars_per_year is None else self.bars_per_year
        values["sizing"] = SIZINGS.index(self.sizing)
        return np.array([tuple(values[name] for name in PARAMETERS_DTYPE.names)], dtype=PARAMETERS_DTYPE)


class Told(NamedTuple):
    """An engine parameter in words; `kind` is its JSON type."""

    name: str
    kind: str
    default: str
    accepted: str
    meaning: str


def told_value(value: object) -> str:
    """A value of a parameter as it is spelled in words: `none` for None and infinity."""
    return "none" if value is None or value == math.inf else str(value)


def told_parameters() -> tuple[Told, ...]:
    """All engine parameters, in order."""
    kinds = {"bool": "boolean", "int": "integer", "str": "string"}
    return tuple(
        Told(one.name, kinds.get(str(one.type), "number"), told_value(one.default), **one.metadata)
        for one in fields(EngineParameters)
    )


def parameters_schema() -> dict[str, Any]:
    """The engine parameters as a JSON schema: plain data for a form or an API. A default of none is left out."""
    defaults = {one.name: one.default for one in fields(EngineParameters)}
    properties = {
        one.name: {
            "type": one.kind,
            "description": f"{one.meaning} Accepted: {one.accepted}.",
            **({} if one.default == "none" else {"default": defaults[one.name]}),
            **({"enum": list(SIZINGS)} if one.name == "sizing" else {}),
        }
        for one in told_parameters()
    }
    return {"type": "object", "title": "parameters of the engine", "properties": properties, "additionalProperties": False}


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
        for one in fields(self):
            value = _typed(one.name, one.type, getattr(self, one.name))
            object.__setattr__(self, one.name, value)
            _require(0 <= value < math.inf, one.name, value, "a finite number from 0 (no rule) on")

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
