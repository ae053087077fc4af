"""`docs/strategies.md` is true: its example runs, and its tables are what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.candle_gates import PATTERNS
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.parameters import Parameter, parameters_in
from cryptai_pipelines.strategy.rows import CommonParameters
from cryptai_pipelines.strategy.signals import STRATEGIES, find_strategy

from .conftest import random_bars

PAGE = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMON = {one.name for one in parameters_in(CommonParameters)}


def shown(one: Parameter) -> tuple[str, ...]:
    default = str(one.default).lower() if one.type is bool else one.default if one.type is str else f"{one.default:g}"
    return f"`{one.name}`", default, one.accepted, one.help


def table(section: str) -> list[tuple[str, ...]]:
    rows = re.findall(r"^\| (`.*?) \|$", SECTIONS[section], re.MULTILINE)
    return [tuple(cell.strip() for cell in row.split(" | ")) for row in rows]


def test_the_example_is_a_strategy(tmp_path):
    [text] = re.findall(r"```python\n(.*?)```", SECTIONS["Writing one"], re.DOTALL)
    path = tmp_path / "above_mean.py"
    path.write_text(text)
    strategy = find_strategy(str(path))
    assert strategy.name == find_strategy(f"{path}:above_mean").name == "above_mean"
    bars, parameters = random_bars(1, Timeframe.H1, 200), strategy.parameters()
    rows = decide_checked(strategy, gather(bars, strategy, parameters, Timeframe.H1), parameters)
    assert set(rows["side"]) == {0, 1} and rows["exit_long"].any()
    assert len([line for line in text.splitlines() if line.strip() and "import" not in line]) <= 15


def test_every_column_of_a_decision_is_in_the_table():
    told = {name for row in table("Writing one") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == set(DECISION_COLUMNS)


def test_common_parameters_are_as_told():
    assert table("The blend") == [shown(one) for one in parameters_in(CommonParameters)]


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=lambda strategy: strategy.name)
def test_parameters_are_as_told(strategy):
    common = COMMON if issubclass(strategy.parameters, CommonParameters) else set()
    own = [shown(one) for one in parameters_in(strategy.parameters) if one.name not in common]
    assert table(strategy.name) == own


def test_gates_and_patterns_of_the_default_are_told():
    section = SECTIONS["trend_structure"]
    assert set(re.findall(r"`(cdl_\w+)`", section)) == set(PATTERNS)
    for gate in ("trend_gate", "structure_gate", "confirmation_gate", "risk_reward_gate"):
        assert f"`{gate}`" in section


def test_no_strategy_is_left_out_and_none_is_made_up():
    told = [name for name in SECTIONS if name not in ("Writing one", "The blend")]
    assert told == list(STRATEGIES)
