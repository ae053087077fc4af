"""What the leak detector can be given by name, and that nothing of ours knows the future."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.indicators.leaks import examine, find_leak
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.leak_targets import leak_target, strategy_columns
from cryptai_pipelines.strategy.signals import STRATEGIES
from cryptai_pipelines_tests.indicators.samples import random_bars
from cryptai_pipelines_tests.strategy.strategy_corpus import CLEAN, LEAKING

BARS = random_bars(41, 1_200, Timeframe.H1).assign(is_filled=False)
MARKET = random_bars(43, 700, Timeframe.H1).assign(is_filled=False)
CLEAN_AND_NOT = """
import dataclasses

def honest(bars):
    return bars["close"].rolling(5).mean()

def ahead(bars, by=-1):
    return bars["close"].shift(by)

def _inner(bars):
    return bars
"""


@pytest.mark.parametrize("name", [*STRATEGIES, "rsi_14", "bollinger_30_2.5", "market_structure"])
def test_ours_are_clean(name: str) -> None:
    target = leak_target(name, Timeframe.H1)
    examined = examine(target.compute, BARS, cuts=40)
    assert examined.leaks == () and examined.cuts >= 20 and examined.columns


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_function_of_a_file_is_judged_by_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, CLEAN_AND_NOT)
    assert examine(leak_target(f"{path}:honest", Timeframe.H1).compute, BARS, cuts=20).leaks == ()
    [leak] = examine(leak_target(f"{path}:ahead", Timeframe.H1).compute, BARS, cuts=20).leaks
    assert leak.column == "close"


def test_the_only_function_of_a_file_needs_no_name(tmp_path: Path) -> None:
    path = written(tmp_path, "def mine(bars):\n    return bars[['close']]\n")
    assert leak_target(path, Timeframe.H1)[:2] == ("mine", "function")


@pytest.mark.parametrize(
    ("text", "member", "words"),
    [
        (CLEAN_AND_NOT, "", "defines honest, ahead; name the one that is meant"),
        (CLEAN_AND_NOT, ":other", "no strategy or function 'other'; defined: honest, ahead"),
        ("x = 1", "", "defines nothing of the kind"),
        ("1 / 0", "", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("def broken(bars:", "", "cannot be loaded: SyntaxError"),
    ],
)
def test_a_file_that_will_not_do_is_told_in_one_line(tmp_path: Path, text: str, member: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        leak_target(written(tmp_path, text) + member, Timeframe.H1)


@pytest.mark.parametrize(("does", "what"), [("return bars[['price']]", "KeyError"), ("exit(3)", "SystemExit: 3")])
def test_what_a_function_raises_names_it(tmp_path: Path, does: str, what: str) -> None:
    path = written(tmp_path, f"def mine(bars):\n    {does}\n")
    with pytest.raises(CryptaiError, match=rf"mine on 1200 bars raises {what}.* \(.*\.py, line 2\)"):
        examine(leak_target(path, Timeframe.H1).compute, BARS)


def test_names_that_are_not_known_are_told_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'bolinger' is no strategy .*nearest known: bollinger"):
        leak_target("bolinger", Timeframe.H1)
    with pytest.raises(BadInput, match="there is no file nowhere.py"):
        leak_target("nowhere.py", Timeframe.H1)


def test_the_corpus_of_strategies_is_as_large_as_it_should_be() -> None:
    assert len(CLEAN) >= 20 and len(LEAKING) >= 15


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_strategy_is_not_accused(name: str) -> None:
    for seed in range(2):
        assert find_leak(strategy_columns(CLEAN[name], Timeframe.H1), MARKET, seed=seed) is None


@pytest.mark.parametrize("name", LEAKING)
def test_a_strategy_that_knows_the_future_is_found(name: str) -> None:
    for seed in range(2):
        assert find_leak(strategy_columns(LEAKING[name], Timeframe.H1), MARKET, seed=seed) is not None
