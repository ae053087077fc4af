"""A user's strategy: found by path or entry point, and every way in which that can fail told in one line."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cryptai_pipelines.market.errors import BadArgument, BadInput
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy import user_strategies
from cryptai_pipelines.strategy.checked import StrategyFailed, decide_checked
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.signals import STRATEGIES, find_strategy

from .conftest import random_bars

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
import pandas as pd
from cryptai_pipelines.strategy import Inputs, Strategy, as_strategy, parameter

@dataclass(frozen=True)
class Parameters:
    period: int = parameter(20, low=2)

def rows(inputs, parameters):
    return pd.DataFrame({"side": 0}, index=inputs.bars.index)
"""
ONE = HEAD + "\n@as_strategy(parameters=Parameters)\ndef mine(inputs, parameters):\n    return rows(inputs, parameters)\n"
TWO = ONE + "\n@as_strategy()\ndef other(inputs, parameters):\n    return rows(inputs, parameters)\n"


def written(folder: Path, text: str, name: str = "my_strategy.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_the_only_strategy_of_a_file_needs_no_name(tmp_path):
    found = find_strategy(written(tmp_path, ONE))
    assert found.name == "mine" and found.parameters().period == 20
    bars = random_bars(1, Timeframe.H1, 30)
    assert len(decide_checked(found, gather(bars, found, found.parameters(), Timeframe.H1), found.parameters())) == 30


def test_of_several_one_is_named_or_called_strategy(tmp_path):
    path = written(tmp_path, TWO)
    assert find_strategy(f"{path}:other").name == "other"
    assert find_strategy(written(tmp_path, TWO + "\nstrategy = other\n")).name == "other"


def test_the_code_version_is_that_of_the_text_unless_there_is_one(tmp_path):
    first, again = (find_strategy(written(tmp_path, ONE)).code_version for _ in range(2))
    changed = find_strategy(written(tmp_path, ONE + "\n# changed\n")).code_version
    assert first == again != changed and len(first) == 12
    text = HEAD + "\nstrategy = Strategy('mine', rows, code_version='7')\n"
    assert find_strategy(written(tmp_path, text)).code_version == "7"


@pytest.mark.parametrize(
    ("text", "member", "message"),
    [
        (TWO, "", "my_strategy.py defines mine, other; name the one that is meant, as in .*my_strategy.py:mine$"),
        (TWO, ":third", "my_strategy.py defines no strategy 'third'; defined: mine, other"),
        (HEAD, "", "my_strategy.py defines no strategy; accepted: a function under @as_strategy"),
        (HEAD, ":rows", "defines no strategy 'rows'; defined: none"),
        ("1 / 0", "", "my_strategy.py cannot be loaded: ZeroDivisionError: division by zero"),
        ("def broken(", "", "my_strategy.py cannot be loaded: SyntaxError"),
        ("raise SystemExit(3)", "", "my_strategy.py cannot be loaded: SystemExit: 3"),
        (ONE.replace("low=2", "low=30"), "", "'mine' of .*: period 20 is not accepted; accepted: a whole number at least 30"),
        ("import no_such_module", "", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        (HEAD + "s = Strategy('ema_crossover', rows)", "", "'ema_crossover' of .*py is called like one of ours"),
        (HEAD + "s = Strategy('My Strategy', rows)", "", "'My Strategy' of .* is not accepted; accepted: lower case letters"),
        (HEAD + "s = Strategy('mine', rows, parameters=3)", "", "'mine' of .*: parameters are no dataclass, but 3"),
        (
            HEAD + "s = Strategy('mine', rows, indicators=lambda p: ('ema20x',))",
            "",
            "'mine' of .*: indicator 'ema20x' does not",
        ),
        (
            HEAD + "s = Strategy('mine', rows, indicators=lambda p: p.x)",
            "",
            "cannot be asked for its indicators: AttributeError",
        ),
    ],
)
def test_a_file_that_will_not_do_is_told_in_one_line(tmp_path, text, member, message):
    with pytest.raises(BadInput, match=message) as caught:
        find_strategy(written(tmp_path, text) + member)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInput, match="there is no file .*nowhere.py; accepted: a Python file"):
        find_strategy(str(tmp_path / "nowhere.py"))


def test_what_it_gives_is_checked_when_it_is_asked(tmp_path):
    text = HEAD + "strategy = Strategy('mine', lambda inputs, parameters: rows(inputs, parameters).assign(side=0.5))"
    found = find_strategy(written(tmp_path, text))
    bars = random_bars(1, Timeframe.H1, 5)
    with pytest.raises(StrategyFailed, match="'mine' on ETH-USDT 1h, 5 bars, the last 2024-.*: gives side as float64"):
        decide_checked(found, gather(bars, found, found.parameters(), Timeframe.H1), found.parameters(), series="ETH-USDT 1h")


def test_a_name_that_is_not_known_is_told_with_the_known_ones():
    with pytest.raises(
        BadArgument, match="'ema_crosover' is not known .near: ema_crossover.; accepted: .*trend_structure, FILE"
    ):
        find_strategy("ema_crosover")
    assert all(find_strategy(name) is strategy and strategy.name == name for name, strategy in STRATEGIES.items())


def offering(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, value: str) -> None:
    """As if a package with this entry point were installed."""
    written(folder, ONE, "a_package_of_strategies.py")
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("a_package_of_strategies", None)
    entry = EntryPoint(name, value, user_strategies.GROUP)
    monkeypatch.setattr(user_strategies, "entry_points", lambda group: [entry] if group == user_strategies.GROUP else [])


def test_an_installed_strategy_is_found_by_the_name_of_its_entry_point(monkeypatch, tmp_path):
    offering(monkeypatch, tmp_path, "theirs", "a_package_of_strategies:mine")
    found = find_strategy("theirs")
    assert isinstance(found, Strategy) and found.name == "theirs"
    with pytest.raises(BadArgument, match="accepted: .*theirs"):
        find_strategy("nope")


@pytest.mark.parametrize(
    ("name", "value", "asked", "message"),
    [
        ("ema_crossover", "a_package_of_strategies:mine", "other", "'ema_crossover' of a_package.* is called like one of ours"),
        ("theirs", "a_package_of_strategies:rows", "theirs", "'theirs' of .* is a function; accepted: a Strategy"),
        ("theirs", "no_such_module:mine", "theirs", "'theirs' of no_such_module:mine cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_an_installed_strategy_that_will_not_do_is_told(monkeypatch, tmp_path, name, value, asked, message):
    offering(monkeypatch, tmp_path, name, value)
    with pytest.raises(BadArgument, match=message):
        find_strategy(asked)
