"""A search over parameters on stored bars: read, searched, logged point by point, judged. The same window after window is
`walk_forward`, single backtests are in `trial`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryptai_pipelines.backtest.heat_map import heat_map_page
from cryptai_pipelines.backtest.report import replace_file
from cryptai_pipelines.backtest.search import Batch, Found, Plan, daily_returns_of, search
from cryptai_pipelines.backtest.subject import Span, Subject, check_space, parameters_of, signal_parameters
from cryptai_pipelines.backtest.surface import default_pair, surface
from cryptai_pipelines.backtest.venue_fees import told_fees
from cryptai_pipelines.backtest.workers import Submit, local_workers
from cryptai_pipelines.market.bars import OHLCV, index_ms
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.market_rules import market_rules, told_rules
from cryptai_pipelines.orchestration.chain.trial_inputs import no_bars
from cryptai_pipelines.orchestration.chain.trial_parameters import own_parameters, parameter_layers
from cryptai_pipelines.orchestration.cluster import cluster_workers
from cryptai_pipelines.orchestration.sweep_log import OnPoints, logged
from cryptai_pipelines.orchestration.sweep_verdict import POINTS_CROSS_VALIDATED, judged, overfitting
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import market_data, sweeps
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.signals import find_strategy

SHOWN = 10


@dataclass(frozen=True)
class Request:
    """What a person asks for. window: where trades may be made, None for all bars; signals are computed from the first bar of
    the series on all the same. jobs: workers of this machine, None for one per core. scheduler: a Dask cluster instead. resume:
    go on from the points that are stored, else begin anew."""

    series: Series
    strategy: str
    plan: Plan
    window: Interval | None = None
    jobs: int | None = None
    scheduler: str | None = None
    resume: bool = True

    @property
    def strategy_name(self) -> str:
        """As it is stored; `strategy` may say where it is found instead."""
        return find_strategy(self.strategy).name

    def file(self, folder: Path, name: str) -> Path:
        """Where a file about the search goes."""
        return folder / f"{self.series.symbol}_{self.series.timeframe.code}_{self.strategy_name}_{name}"


def run_sweep(database: Database, settings: Settings, request: Request, on_points: OnPoints) -> dict[str, Any]:
    """Search, store and judge; what came out as plain data, with the path of the map where two parameters make one.

    `CryptaiError` when the series has no bars or no point can be, `BadInput` for what cannot be searched.
    """
    plan = request.plan
    subject, span = read_subject(database, settings, request)
    within = None if request.window is None else span
    config = {**config_of(subject, plan), "span": list(span)}
    sweep = sweeps.Sweep("sweep", request.strategy_name, request.series, config, plan.size)
    with (
        logged(database, sweep, resume=request.resume, on_points=on_points) as log,
        workers_for(subject, request) as submit,
    ):
        kept: dict[int, np.ndarray] = {}

        def note(batch: Batch) -> None:
            log.add(0, batch.found)
            if batch.daily_returns is not None:
                kept.update((one.number, row) for one, row in zip(batch.found, batch.daily_returns, strict=True))

        keep = plan.size <= POINTS_CROSS_VALIDATED
        found = search(subject, plan, submit, span=within, known=log.known, keep_returns=keep, on_batch=note)
        log.write()
        told = {
            **judged(subject, plan, found, within, sweeps.trial_sharpes(database, request.strategy_name, request.series)),
            "pbo": overfitting(found, kept, lambda missing: daily_returns_of(missing, submit, within)),
            "best": _ranked(found, plan.objective),
            **bars_told(subject, span),
            **costs_told(subject, plan, settings.exchange),
        }
        return log.finish({**told, "heat_map": _map(found, request, log.id, settings.home.resolve() / "reports", told)})


def read_subject(database: Database, settings: Settings, request: Request) -> tuple[Subject, Span]:
    """What is searched, and the rows of its bars in which trades may be made. `BadInput` when there are none, or for a space
    that does not fit the strategy."""
    series, strategy = request.series, find_strategy(request.strategy)
    stored = market_data.span(database, series)
    if stored is None:
        raise no_bars(series)
    whole = Interval(stored.start_ms, stored.end_ms + series.timeframe.ms)
    window = whole if request.window is None else clipped(request.window, whole)
    bars = market_data.read(database, series, whole.start_ms, window.end_ms, columns=(*OHLCV, "is_filled"))
    begin = int(np.searchsorted(index_ms(bars.index), window.start_ms))
    if begin == len(bars):
        told = f"{format_time(whole.start_ms)} to {format_time(whole.end_ms)}"
        raise BadInput(f"no bars of {series} are stored between --start and --end; stored: {told}")
    defaults, asked = parameter_layers(settings, strategy, own_parameters(settings, strategy))
    market = market_rules(database, settings.exchange, series.symbol)
    subject = Subject(bars, series.timeframe, request.strategy, defaults, asked, market)
    check_space(subject, request.plan.space)
    return subject, Span(begin, len(bars))


def config_of(subject: Subject, plan: Plan) -> dict[str, Any]:
    """All that the points of a search depend on, as JSON knows it. The objective is part of it only where it chooses them."""
    space = [{name: value for name, value in asdict(one).items() if value == value} for one in plan.space]
    chosen = {"objective": plan.objective} if plan.method == "optuna" else {}
    layers = {"defaults": dict(subject.defaults), "asked": dict(subject.asked)}
    how = {"space": space, "method": plan.method, "count": plan.count, "seed": plan.seed, **chosen}
    return _without_infinity({**subject.inputs, **layers, **how})


def _without_infinity(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_infinity(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def workers_for(subject: Subject, request: Request) -> AbstractContextManager[Submit]:
    """The cluster that was asked for, or workers of this machine."""
    if request.scheduler is not None:
        return cluster_workers(subject, request.scheduler)
    names = {dimension.name for dimension in request.plan.space if dimension.values is None or len(dimension.values) > 1}
    return local_workers(subject, request.jobs, one_signal_set=not names & signal_parameters(subject))


def bars_told(subject: Subject, span: Span) -> dict[str, Any]:
    """Which bars a search was about."""
    first, last = edges(subject, span)
    return {"bars": span.end - span.begin, "first_bar": first, "last_bar": last}


def costs_told(subject: Subject, plan: Plan, venue: str) -> dict[str, str]:
    """The fees of all points and the rules of the market, in words."""
    engine, searched = parameters_of(subject, {})[1], {dimension.name for dimension in plan.space}
    own = bool(searched & {"fee_rate", "maker_fee_rate"})
    fees = "those of each point" if own else told_fees(venue, engine.fee_rate, engine.maker_fee_rate)
    return {"fees": fees, "market_rules": told_rules(subject.market.told)}


def edges(subject: Subject, span: Span) -> list[str]:
    """Open times of the first and the last bar of a span."""
    ms = index_ms(subject.bars.index[[span.begin, span.end - 1]])
    return [format_time(int(ts)) for ts in ms]


def _ranked(found: list[Found], objective: str) -> list[dict[str, Any]]:
    """The best points as plain data."""
    possible = [one for one in found if not isinstance(one.result, str)]
    ranked = sorted(possible, key=lambda one: -one.value(objective))[:SHOWN]
    return [{"number": one.number, "point": one.point, "metrics": one.result} for one in ranked]


def map_facts(told: Mapping[str, Any]) -> dict[str, str]:
    """What a reader of the map must know of the best cell beside its value, and what it was searched on."""
    verdict, findings = told["verdict"], told["findings"] or ()
    errors = ", ".join(one["code"] for one in findings if one["severity"] == "error")
    dsr, pbo = (
        "not defined" if told[name] is None or math.isnan(told[name]) else f"{told[name]:.3f}" for name in ("dsr", "pbo")
    )
    return {
        "Verdict on the best": "no point can be" if verdict is None else f"{verdict['answer']}; {verdict['reasons'][0]}",
        "Errors of its review": errors or "none",
        "Deflated Sharpe ratio": f"{dsr}, of {told['trials']:,} trials so far",
        "Probability of overfitting": pbo,
        "Bars": f"{told['bars']:,}, {told['first_bar']} to {told['last_bar']}",
        "Fees": told["fees"],
        "Market rules": told["market_rules"],
    }


def _map(found: list[Found], request: Request, sweep_id: int, folder: Path, told: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the map is, and how the best cell stands among its neighbours; None when there are no two parameters for one."""
    plan = request.plan
    pair = default_pair(plan.space)
    if pair is None:
        return None
    shown = surface(found, plan.space, plan.objective, *pair)
    path = request.file(folder, f"sweep_{sweep_id}.html")
    title = f"{request.series} {request.strategy_name}: {plan.objective} over {pair[0]} and {pair[1]}"
    others = [one.name for one in plan.space if one.name not in pair]
    facts = {
        "Search": plan.method,
        "Points": f"{len(found):,}",
        **({"Each cell": f"the best {plan.objective} over all that was tried of {', '.join(others)}"} if others else {}),
        **map_facts(told),
        "Stored as": f"sweep {sweep_id}",
    }
    replace_file(path, heat_map_page(shown, title, plan.objective, facts).encode())
    return {"path": str(path), "over": list(pair), "best": shown.best_value, "neighbours": shown.neighbours_mean}
