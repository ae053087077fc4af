"""An explanation tells what the row holds, whether it comes from the strategy or from where it was stored, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.explanation import explain, with_undeclared
from cryptai_pipelines.strategy.gate_rates import fixed_ratio, gate_rates
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.protocol import Column, as_strategy
from cryptai_pipelines.strategy.signals import STRATEGIES
from cryptai_pipelines.strategy.trend_structure import TREND_STRUCTURE, Parameters

from .conftest import random_bars
from .test_trend_structure import changed, passing

DEFAULTS = Parameters()


def rows(inputs, parameters: Parameters = DEFAULTS) -> pd.DataFrame:
    return decide_checked(TREND_STRUCTURE, inputs, parameters)


def explained(inputs, parameters: Parameters = DEFAULTS) -> dict:
    return explain(rows(inputs, parameters).iloc[-1], TREND_STRUCTURE, parameters)


def test_an_entry():
    told = explained(passing())
    assert (told["strategy"], told["at"], told["side"], told["direction"]) == (
        "trend_structure", "2024-01-02T15:00:00Z", "long", "long"
    )  # fmt: skip
    assert told["refused_by"] == [] and [gate["verdict"] for gate in told["gates"]] == [True] * 6
    assert [(one["name"], one["verdict"]) for one in told["evidence"]] == [
        ("rsi_gate", True), ("macd_gate", True), ("candle_gate", True)
    ]  # fmt: skip
    assert told["blend"]["parts"][0]["weight"] == 0.6 and told["blend"]["parts"][1] == {
        "name": "sentiment", "weight": 0.2, "score": None
    }  # fmt: skip
    assert told["blend"]["coverage"] == pytest.approx(0.6) and told["blend"]["least"] == 0.0
    assert [(level["name"], level["price"], level["kind"]) for level in told["levels"]] == [
        ("stop", 95.0, "level"), ("target", 109.0, "level")
    ]  # fmt: skip
    said = "\n".join(told["sentences"])
    for words in (
        "asks for a long",
        "trend_gate: yes",
        "score +1.00",
        "sentiment absent",
        "coverage 0.60",
        "stop 95: the last",
    ):
        assert words in said, words
    assert json.loads(json.dumps(told)) == told


def test_a_refusal_names_its_gate():
    told = explained(changed("structure", higher_bias=-1.0))
    assert told["side"] == "none" and told["refused_by"] == ["trend_gate"]
    assert (
        told["sentences"][0].endswith("no entry (gates asked for: long)") and told["sentences"][-1] == "refused by: trend_gate"
    )


def test_what_is_unknown_is_said_to_be():
    told = explained(changed("structure", higher_trend=np.nan))
    assert told["gates"][0]["verdict"] is None and told["blend"]["score"] is None
    assert any(sentence.startswith("trend_gate: unknown (") for sentence in told["sentences"])


def test_a_share_of_the_price_is_told_as_one():
    told = explained(passing(), Parameters(risk_mode="fixed"))
    assert [(level["kind"], level["reason"]) for level in told["levels"]] == [
        ("share", "8 % of the close"), ("share", "15 % of the close")
    ]  # fmt: skip


def test_a_stored_row_is_explained_as_it_was():
    """As a table gives it back: verdicts as objects with None, numbers as floats, sides as whole numbers."""
    row = rows(changed("structure", higher_trend=np.nan)).iloc[-1]
    stored = row.map(lambda value: None if value is pd.NA else value).astype(object)
    assert explain(stored, TREND_STRUCTURE, DEFAULTS) == explain(row, TREND_STRUCTURE, DEFAULTS)


def test_what_a_strategy_gives_without_declaring_it_is_told():
    bars = random_bars(3, Timeframe.H1, 40)

    @as_strategy(columns=(Column("wide", "number", "the range of the bar"),))
    def mine(inputs, parameters):
        gate = pd.array([None, *[False] * 39], dtype="boolean")
        given = {"side": np.int8(0), "wide": 2.0, "calm_gate": gate, "trend_score": 0.25, "calm_score": -0.5, "distance": 1.5}
        return pd.DataFrame(given, index=inputs.bars.index)

    parameters = mine.parameters()
    decided = decide_checked(mine, gather(bars, mine, parameters, Timeframe.H1), parameters)
    told = explain(decided.iloc[-1], with_undeclared(mine, decided), parameters)
    assert [(gate["name"], gate["verdict"], gate["score"]) for gate in told["gates"]] == [("calm_gate", False, -0.5)]
    assert told["refused_by"] == ["calm_gate"]
    assert told["scores"] == {"trend_score": 0.25, "calm_score": -0.5} and told["numbers"] == {"wide": 2.0, "distance": 1.5}
    said = ["calm_gate: no (score -0.50)", "trend_score 0.25", "wide 2: the range of the bar", "distance 1.5"]
    assert [sentence for sentence in told["sentences"] if sentence in said] == said
    assert explain(decided.iloc[0], with_undeclared(mine, decided), parameters)["gates"][0]["verdict"] is None
    assert with_undeclared(TREND_STRUCTURE, rows(passing())).columns == TREND_STRUCTURE.columns


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=lambda strategy: strategy.name)
def test_every_strategy_explains_itself(strategy):
    bars, parameters = random_bars(3, Timeframe.H1, 400), strategy.parameters()
    decided = decide_checked(strategy, gather(bars, strategy, parameters, Timeframe.H1), parameters)
    for at in (0, 40, 399):
        told = explain(decided.iloc[at], strategy, parameters)
        assert (told["side"] == "none") == bool(told["refused_by"])
        assert json.loads(json.dumps(told)) == told
        assert (told["blend"] is None) == (strategy.name in ("trend_rsi_macd", "buy_and_hold"))


def test_the_gate_of_fixed_levels_is_reported_for_what_it_is():
    fixed = replace(DEFAULTS, risk_mode="fixed")
    rates = {rate.gate: rate for rate in gate_rates(rows(passing(), fixed), TREND_STRUCTURE, fixed)}
    assert rates["risk_reward_gate"].passed == 1.0 and "always 1.875:1 before costs" in rates["risk_reward_gate"].note
    assert fixed_ratio(STRATEGIES["trend_rsi_macd"].parameters()) == pytest.approx(1.875)
    assert fixed_ratio(DEFAULTS) is None and fixed_ratio(STRATEGIES["buy_and_hold"].parameters()) is None


def test_rates_by_hand():
    told = pd.DataFrame({column.name: True for column in TREND_STRUCTURE.columns}, index=range(5))
    told["trend_gate"] = pd.array([True, False, None, False, True], dtype="boolean")
    told["structure_gate"] = pd.array([True, True, True, False, True], dtype="boolean")
    told["macd_gate"] = False
    rates = {rate.gate: rate for rate in gate_rates(told, TREND_STRUCTURE, DEFAULTS)}
    assert (rates["trend_gate"].known, rates["trend_gate"].passed, rates["trend_gate"].alone) == (4, 0.5, 2)
    assert (rates["structure_gate"].passed, rates["structure_gate"].alone) == (0.8, 0)
    assert rates["data_quality_gate"].note == "refuses nothing" and rates["macd_gate"].note == "lets nothing through"
    assert rates["macd_gate"].alone == 0  # it only counts
