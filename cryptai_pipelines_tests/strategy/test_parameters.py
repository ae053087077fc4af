"""Parameters: each bound is where it is said to be, and messages name the parameter, its value and what is accepted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.parameters import (
    NoParameters,
    check_parameters,
    parameter,
    parameters_from_text,
    parameters_in,
    parameters_of,
    schema,
)
from cryptai_pipelines.strategy.trend_rsi_macd import Parameters


@dataclass(frozen=True)
class Some:
    period: int = parameter(20, low=2, high=500, help="bars")
    share: float = parameter(0.1, above=0, below=1)
    mode: str = parameter("fixed", choices=("fixed", "structure"))
    strict: bool = parameter(True)
    plain: float = 3.0


def test_values_are_taken_in_the_type_of_the_default():
    made = parameters_of(Some, {"period": np.int64(2), "share": 0.5, "mode": "structure", "strict": False, "plain": 7})
    assert made == Some(2, 0.5, "structure", False, 7.0)
    assert [type(value) for value in vars(made).values()] == [int, float, str, bool, float]
    assert parameters_of(Some, {}) == Some() and parameters_of(NoParameters, {}) == NoParameters()


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("period", 1, "accepted: a whole number from 2 to 500"),
        ("period", 501, "from 2 to 500"),
        ("period", 2.5, "is not a whole number"),
        ("period", True, "is not a whole number"),
        ("period", "20", "is not a whole number"),
        ("share", 0.0, "accepted: a number above 0 and below 1"),
        ("share", 1, "below 1"),
        ("share", float("nan"), "above 0"),
        ("share", None, "is not a number"),
        ("mode", "moon", "accepted: one of fixed structure"),
        ("strict", 1, "is not true or false"),
        ("plain", float("inf"), "accepted: a number"),
    ],
)
def test_what_is_not_accepted_is_named(name, value, accepted):
    with pytest.raises(BadArgument, match=f"^{name} {value!r} .*{accepted}"):
        parameters_of(Some, {name: value})
    with pytest.raises(BadArgument, match=f"^{name} {value!r} .*{accepted}"):
        check_parameters(Some(**{name: value}))


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(BadArgument, match="'perod' with the value 3 is not known; accepted: period, share, mode"):
        parameters_of(Some, {"perod": 3})
    with pytest.raises(BadArgument, match="'x' with the value 1 is not known; accepted: none"):
        parameters_of(NoParameters, {"x": 1})


def test_text_is_read_in_the_type_of_the_default():
    texts = {"period": "30", "share": "0.25", "mode": "structure", "strict": "False"}
    assert parameters_from_text(Some, texts) == Some(30, 0.25, "structure", False)
    for name, text in (("period", "3.5"), ("share", "much"), ("strict", "1"), ("moon", "1")):
        with pytest.raises(BadArgument, match=f"{name}.*{text}"):
            parameters_from_text(Some, {name: text})


def test_the_schema_is_plain_data_that_tells_the_same_bounds():
    shown = schema(Some)
    assert shown["properties"]["period"] == {
        "type": "integer", "default": 20, "description": "bars", "minimum": 2, "maximum": 500
    }  # fmt: skip
    share = shown["properties"]["share"]
    assert (share["exclusiveMinimum"], share["exclusiveMaximum"], "minimum" in share) == (0, 1, False)
    assert shown["properties"]["mode"]["enum"] == ["fixed", "structure"]
    assert shown["properties"]["strict"]["type"] == "boolean" and shown["additionalProperties"] is False


def test_a_parameter_without_a_usable_default_is_refused():
    @dataclass(frozen=True)
    class Without:
        period: int

    @dataclass(frozen=True)
    class Odd:
        period: tuple = ()

    for kind, told in ((Without, "the default none"), (Odd, r"the default \(\)")):
        with pytest.raises(BadArgument, match=f"parameter 'period' of {kind.__name__} has {told}"):
            parameters_in(kind)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("take_profit", 0.0),
        ("take_profit", float("nan")),
        ("stop_loss", 1.0),
        ("stop_loss", -0.1),
        ("min_risk_reward", 0.0),
        ("fee_rate", -0.001),
        ("slippage_bps", 10_000),
        ("rsi_recovery", 100.0),
        ("rsi_overbought", 50.0),
        ("rsi_window", 0),
        ("rsi_window", 2.5),
        ("clean_bars", True),
        ("fee_rate", "0.1"),
    ],
)
def test_those_of_trend_rsi_macd_are_bounded(name, value):
    with pytest.raises(ValueError, match=f"{name} .*{value}"):
        parameters_of(Parameters, {name: value})
