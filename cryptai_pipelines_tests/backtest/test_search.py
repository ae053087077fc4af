"""Searches: what a point comes to, and that neither workers nor interruptions show in the result."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.daily import daily_rows
from cryptai_pipelines.backtest.evaluation import Evaluator, Task, point_of
from cryptai_pipelines.backtest.parameters import MarketRules
from cryptai_pipelines.backtest.portfolio import simulate_portfolio
from cryptai_pipelines.backtest.search import Batch, Found, Plan, best, daily_returns_of, search
from cryptai_pipelines.backtest.search_space import grid_points, space_of
from cryptai_pipelines.backtest.subject import Span, Subject, check_space, parameters_of, point_key
from cryptai_pipelines.backtest.workers import load_subject, local_workers, save_subject
from cryptai_pipelines.market.errors import BadArgument, CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.signals import STRATEGIES

from .loud_bars import LOUD_BARS
from .walks import hourly_walk

SPACE = space_of({"rsi_recovery": [45.0, 55.0], "stop_loss": {"low": 0.02, "high": 0.06, "step": 0.02}, "size": [0.5, 1.0]})


@pytest.fixture
def loud(monkeypatch) -> Subject:
    monkeypatch.setitem(STRATEGIES, LOUD_BARS.name, LOUD_BARS)
    return Subject(hourly_walk(3, 3_000), Timeframe.H1, LOUD_BARS.name, {}, {"take_profit": 0.04, "stop_loss": 0.02})


@pytest.fixture(scope="module")
def default() -> Subject:
    return Subject(hourly_walk(1, 4_000), Timeframe.H1, "trend_rsi_macd", {}, {})


def found_by(subject: Subject, plan: Plan, jobs: int = 1, **options) -> list[Found]:
    with local_workers(subject, jobs) as submit:
        return search(subject, plan, submit, **options)


def as_text(found: list[Found]) -> str:
    return "\n".join(map(repr, found))


def test_a_point_is_the_backtest_of_its_parameters(loud):
    space = space_of({"volume": [5.0, 9.5], "take_profit": [0.01, 0.05], "fee_rate": [0.0, 0.002], "stop_loss": [0.01, 0.04]})
    found = found_by(loud, Plan(space))
    assert [one.number for one in found] == list(range(16)) and [one.point for one in found] == list(grid_points(space))
    for one in found:
        point = dict(one.point)
        entries = loud.bars["volume"] > point.pop("volume")
        expected = simulate(loud.bars, entries, **point)
        for name in ("total_return", "max_drawdown", "trade_count", "profit_factor", "exposure", "fees_paid"):
            np.testing.assert_equal(one.result[name], expected.metrics[name], err_msg=name)
        days = daily_rows(expected.equity, 10_000.0)["daily_return"].to_numpy()
        assert one.result["sharpe"] == pytest.approx(days.mean() / days.std(ddof=1) * math.sqrt(365), rel=1e-12)
    assert best(found, "total_return").result["total_return"] == max(one.result["total_return"] for one in found)


def test_the_grid_and_one_backtest_at_a_time_agree_to_the_bit(loud):
    """Whichever of the two a point goes through, nothing of it may show."""
    evaluator = Evaluator(loud)
    points = (
        {"stop_loss": 0.01},
        {"take_profit": math.inf, "size": 0.3},
        {"volume": 9.5, "fee_rate": 0.0, "slippage_bps": 30.0},
    )
    for span in (None, Span(100, 1_900)):
        answer = evaluator.evaluate(Task(points, span, True))
        for point, result, daily in zip(points, answer.results, answer.daily_returns, strict=True):
            metrics, returns = point_of(evaluator.simulate(point, span), 10_000.0, 365.0)
            np.testing.assert_equal(result, metrics)
            assert returns.astype("float32").tobytes() == daily.tobytes()


@pytest.mark.parametrize("name", ["trend_structure", "ema_crossover", "rsi_mean_reversion", "donchian_trend", "macd_adx"])
def test_strategies_with_levels_exits_and_shorts_are_simulated_in_full(name):
    """The metrics of a point are those of one backtest of the strategy's decisions."""
    bars = hourly_walk(9, 3_000)
    subject = Subject(bars, Timeframe.H1, name, {}, {"short": True})
    points = ({}, {"directions": "both"}, {"stop_loss": 0.03, "trailing_stop": 0.02, "cooldown_bars": 5})
    answer = Evaluator(subject).evaluate(Task(points))
    for point, result in zip(points, answer.results, strict=True):
        rules, engine = parameters_of(subject, point)
        inputs = gather(bars, subject.found, rules, Timeframe.H1)
        expected = simulate_portfolio({"X": bars}, {"X": decide_checked(subject.found, inputs, rules)}, engine)
        for metric in ("total_return", "max_drawdown", "trade_count", "profit_factor", "exposure", "fees_paid", "win_rate"):
            np.testing.assert_equal(result[metric], expected.metrics[metric], err_msg=metric)
    assert answer.results[0]["trade_count"] > 0 or name == "trend_structure"


def test_processes_give_what_one_gives(default):
    """Points that differ in signals, in stops and in size, and Optuna's, which depend on what came before."""
    plans = (Plan(SPACE), Plan(SPACE, "random", 7, seed=4), Plan(SPACE, "optuna", 24, seed=4))
    with local_workers(default, 2) as many, local_workers(default, 1) as one:
        for plan in plans:
            assert as_text(search(default, plan, many)) == as_text(search(default, plan, one))


def test_threads_give_what_one_gives(loud):
    space = space_of({"stop_loss": {"low": 0.005, "high": 0.3, "step": 0.0005}})
    with local_workers(loud, 3, one_signal_set=True) as threads:
        assert as_text(search(loud, Plan(space), threads)) == as_text(found_by(loud, Plan(space)))


@pytest.mark.parametrize("method", ["grid", "random", "optuna"])
def test_a_search_goes_on_where_it_was_cut(loud, method):
    space = space_of({"volume": [5.0, 8.0, 9.5], "stop_loss": {"low": 0.01, "high": 0.2, "log": True, "count": 12}})
    plan = Plan(space, method, 33, seed=2, objective="total_return")
    whole = found_by(loud, plan)
    for cut in (1, 2):
        kept: dict[str, object] = {}

        def stop(batch: Batch, kept=kept, cut=cut) -> None:
            if len(kept) >= 10 * cut:
                raise KeyboardInterrupt
            kept.update((one.key, one.result) for one in batch.found)

        with pytest.raises(KeyboardInterrupt):
            found_by(loud, plan, on_batch=stop)
        again: list[Found] = []
        resumed = found_by(loud, plan, known=kept, on_batch=lambda batch, again=again: again.extend(batch.found))
        assert as_text(resumed) == as_text(whole)
        assert {one.key for one in again} == {one.key for one in whole} - set(kept), "a finished point was evaluated again"


def test_optuna_finds_more_than_chance_and_the_same_with_the_same_seed(loud):
    """A target to be found: loud bars of a planted market, and a stop that only costs."""
    planted = Subject(hourly_walk(5, 3_000, planted=True), loud.timeframe, loud.strategy, {}, {})
    space = space_of(
        {"volume": {"low": 0.5, "high": 12.0}, "take_profit": {"low": 0.002, "high": 0.3, "log": True}, "every": [1, 2, 3, 4]}
    )
    found = found_by(planted, Plan(space, "optuna", 96, seed=1, objective="total_return"))
    other = found_by(planted, Plan(space, "optuna", 96, seed=1, objective="total_return"), jobs=1)
    assert as_text(found) == as_text(other)
    worth = [one.value("total_return") for one in found]
    assert np.median(worth[-32:]) > np.median(worth[:16]) and max(worth[-32:]) >= max(worth[:16])


def test_points_that_cannot_be_are_told_and_never_the_best(default):
    space = space_of({"rsi_recovery": [60.0, 50.0], "rsi_overbought": [55.0, 70.0]})
    found = found_by(default, Plan(space, objective="final_equity"))
    refused = [one for one in found if isinstance(one.result, str)]
    assert [one.point for one in refused] == [{"rsi_recovery": 60.0, "rsi_overbought": 55.0}]
    assert "rsi_overbought" in refused[0].result
    assert best(found, "final_equity") not in refused and best(refused, "final_equity") is None


def test_the_daily_returns_are_those_of_the_points(loud):
    space = space_of({"volume": [5.0, 9.5], "stop_loss": [0.01, 0.04]})
    batches: list[Batch] = []
    found = found_by(loud, Plan(space), keep_returns=True, on_batch=batches.append)
    with local_workers(loud, 1) as submit:
        anew = daily_returns_of(found, submit)
    for one, row in zip(found, anew, strict=True):
        assert np.prod(row.astype("float64") + 1) - 1 == pytest.approx(one.result["total_return"], abs=1e-5)
    kept = np.concatenate([batch.daily_returns for batch in batches])
    order = [one.number for batch in batches for one in batch.found]
    assert kept[np.argsort(order)].tobytes() == anew.tobytes()


def test_a_key_is_of_everything_that_is_chosen(loud):
    point, keys = {"stop_loss": 0.03}, set()
    others = [
        (loud, point, None),
        (loud, {"stop_loss": 0.04}, None),
        (loud, point, Span(0, 100)),
        (Subject(loud.bars, loud.timeframe, loud.strategy, {"every": 2}, loud.asked), point, None),
        (Subject(loud.bars, loud.timeframe, loud.strategy, {}, {**loud.asked, "size": 0.5}), point, None),
    ]
    keys.update(point_key(*one) for one in others)
    assert len(keys) == len(others)
    same = Subject(loud.bars.copy(), loud.timeframe, loud.strategy, {}, {**loud.asked, "stop_loss": 0.5})
    assert point_key(same, point, None) == point_key(loud, point, None), "the point stands in place of the subject's value"
    for other in (replace(loud, bars=loud.bars.iloc[:-1]), replace(loud, market=MarketRules(tick=0.5))):
        assert point_key(other, point, None) == point_key(loud, point, None) and other.inputs != loud.inputs


def test_a_subject_is_the_same_from_its_files(loud, tmp_path):
    save_subject(loud, tmp_path)
    loaded = load_subject(tmp_path)
    assert loaded.inputs == loud.inputs
    task = Task(({"stop_loss": 0.03}, {"volume": 9.0}), Span(500, 2_000))
    assert Evaluator(loaded).evaluate(task).results == Evaluator(loud).evaluate(task).results


def test_a_strategy_of_a_file_is_searched_on_processes_like_one_of_ours(tmp_path, capfd):
    """Its parameters are of a class that no other process knows; it is looked up anew there, and what it prints there is not
    the result of the command."""
    (tmp_path / "quiet.py").write_text(
        "from dataclasses import dataclass\n"
        "from cryptai_pipelines.strategy.parameters import parameter\n"
        "from cryptai_pipelines.strategy.protocol import as_strategy\n\n\n"
        "@dataclass(frozen=True)\nclass Parameters:\n    volume: float = parameter(0.9, above=0)\n\n\n"
        "@as_strategy(parameters=Parameters)\ndef quiet(inputs, parameters):\n"
        "    print('asked')\n    return (inputs.bars['volume'] < parameters.volume).astype('int8').to_frame('side')\n"
    )
    subject = Subject(hourly_walk(4, 2_000), Timeframe.H1, str(tmp_path / "quiet.py"), {}, {})
    plan = Plan(space_of({"volume": [0.85, 0.9, 1.1], "stop_loss": [0.02, 0.04]}))
    check_space(subject, plan.space)
    one = found_by(subject, plan)
    capfd.readouterr()
    assert as_text(found_by(subject, plan, jobs=2)) == as_text(one)
    printed = capfd.readouterr()
    assert printed.out == "" and "asked" in printed.err
    assert len({one.result["trade_count"] for one in one}) > 1
    assert pickle.loads(pickle.dumps(subject)).inputs == subject.inputs


def test_what_comes_after_a_span_does_not_show_in_it(loud):
    task = Task(({"stop_loss": 0.03},), Span(100, 1_500))
    changed = loud.bars.copy()
    changed.iloc[1_500:, :4] *= 3.0
    later = Subject(changed, loud.timeframe, loud.strategy, loud.defaults, loud.asked)
    assert Evaluator(loud).evaluate(task).results == Evaluator(later).evaluate(task).results


def test_a_point_at_which_the_strategy_raises_is_kept_with_the_reason(loud):
    """One choice of many may be impossible to compute: it costs its own result, and no other point's."""
    found = found_by(loud, Plan(space_of({"every": [9, 1, 2], "stop_loss": [0.02, 0.05]})), keep_returns=True)
    raised = [one for one in found if one.point["every"] == 9]
    assert len(raised) == 2
    assert all("loud_bars" in one.result and "ZeroDivisionError: nine" in one.result for one in raised)
    alone = found_by(loud, Plan(space_of({"every": [1, 2], "stop_loss": [0.02, 0.05]})))
    assert {one.key: one.result for one in found if one not in raised} == {one.key: one.result for one in alone}


def test_a_search_of_which_no_point_can_be_names_the_first(loud):
    with pytest.raises(CryptaiError, match=r"none of 2 points.*every=9, stop_loss=0.02: .*loud_bars.*ZeroDivisionError: nine"):
        found_by(loud, Plan(space_of({"every": [9], "stop_loss": [0.02, 0.05]})))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"volumes": [1.0]}, "'volumes' is not known; accepted: .*every.*volume"),
        ({"every": [0, 10]}, "every 0 is not accepted"),
        ({"every": [1, 10]}, "every 10 is not accepted"),
        ({"stop_loss": [1.5]}, "stop_loss 1.5 is not accepted"),
        ({"volume": ["loud"]}, "volume 'loud' is not a number"),
    ],
)
def test_a_space_that_does_not_fit_the_strategy_is_named(loud, given, message):
    with pytest.raises(BadArgument, match=message):
        check_space(loud, space_of(given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "luck"}, "method 'luck'.*accepted: grid, random, optuna"),
        ({"objective": "fees_paid"}, "objective 'fees_paid'.*accepted: sharpe"),
        ({"method": "random"}, "random search of 0 points"),
    ],
)
def test_a_plan_that_cannot_be_is_named(options, message):
    with pytest.raises(BadArgument, match=message):
        Plan(SPACE, **options)


def test_no_point_with_the_objective_is_no_best():
    nothing = {name: math.nan for name in ("sharpe", "total_return")}
    assert best([Found(0, "a", {}, nothing)], "sharpe") is None
    assert best([], "sharpe") is None
    equal = [Found(number, str(number), {}, {"sharpe": 1.0}) for number in range(3)]
    assert best(equal, "sharpe").number == 0
