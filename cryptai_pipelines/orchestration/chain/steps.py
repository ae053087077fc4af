"""The chain as a list of steps with everything they need filled in from the settings."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import (
    backtest_results,
    market_structure,
    performance_metrics,
    raw_ohlcv,
    signals,
    technical_indicators,
    validated_bars,
)
from cryptai_pipelines.orchestration.chain.archive_history import Archive
from cryptai_pipelines.orchestration.chain.judged_ahead import Ahead, judged_ahead
from cryptai_pipelines.orchestration.chain.market_rules import in_market
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, ignore_progress
from cryptai_pipelines.orchestration.chain.raw_ohlcv import VenueNow
from cryptai_pipelines.orchestration.chain.receive import ignore_stored
from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial, stored_indicators, stored_swing_length
from cryptai_pipelines.orchestration.chain.walk import Hold, Step
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage import series_sources, sync_log
from cryptai_pipelines.storage.database import Database, DatabaseUnavailable
from cryptai_pipelines.storage.leases import SeriesLease, take_series

logger = logging.getLogger(__name__)


def data_steps(
    database: Database,
    source: BarSource,
    settings: Settings,
    run_id: str,
    window: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
    *,
    only_due: bool = False,
    archive: Archive | None = None,
    judge_ahead: bool = True,
) -> list[Step]:
    """From the venue to validated bars. `only_due`: leave series alone of which no bar has closed since the last time.
    `archive`: where a long history is read first. `judge_ahead`: a long first history is judged while it is being received,
    which is not for whoever wants the raw bars alone."""
    policy = raw_ohlcv.FetchPolicy(
        settings.overlap_bars, round(settings.grace_seconds * 1000), only_due, settings.fetch_threads
    )
    venue_now, judged = asked_once(source), dict[Series, Ahead]()

    def fetch(lease: SeriesLease) -> Outcome:
        judged[lease.series] = Ahead()
        judging = judged_ahead(database, lease, judged[lease.series]) if judge_ahead else nullcontext(ignore_stored)
        with judging as on_stored:
            return raw_ohlcv.bring_up_to_date(
                database,
                source,
                venue_now,
                lease,
                policy,
                run_id=run_id,
                archive=archive,
                window=window,
                on_progress=on_progress,
                on_stored=on_stored,
            )

    def validate(lease: SeriesLease) -> Outcome:
        written = judged.pop(lease.series, Ahead()).written
        return validated_bars.bring_up_to_date(database, lease, written, on_progress=on_progress)

    return [Step(raw_ohlcv.ASSET, fetch), Step(validated_bars.ASSET, validate)]


def research_steps(
    database: Database, settings: Settings, run_id: str, on_progress: OnProgress = ignore_progress
) -> list[Step]:
    """From validated bars to performance metrics, with the strategy of the settings."""
    trial, specs = scheduled_trial(settings), stored_indicators(settings)
    swing_length = stored_swing_length(settings, trial)
    reports = settings.home.resolve() / "reports"

    def indicate(lease: SeriesLease) -> Outcome:
        return technical_indicators.bring_up_to_date(database, lease, specs, on_progress=on_progress)

    def structure(lease: SeriesLease) -> Outcome:
        return market_structure.bring_up_to_date(database, lease, swing_length, on_progress=on_progress)

    def signal(lease: SeriesLease) -> Outcome:
        return signals.bring_up_to_date(database, lease, trial.strategy, trial.rules, on_progress=on_progress)

    def simulate(lease: SeriesLease) -> Outcome:
        own = in_market(database, settings.exchange, lease.series, trial)
        return backtest_results.bring_up_to_date(database, lease, own, run_id=run_id, on_progress=on_progress)

    def measure(lease: SeriesLease) -> Outcome:
        own = in_market(database, settings.exchange, lease.series, trial)
        return performance_metrics.bring_up_to_date(database, lease, own, reports, on_progress=on_progress)

    return [
        Step(technical_indicators.ASSET, indicate),
        Step(market_structure.ASSET, structure),
        Step(signals.ASSET, signal),
        Step(backtest_results.ASSET, simulate),
        Step(performance_metrics.ASSET, measure),
    ]


def chain_steps(
    database: Database,
    source: BarSource,
    settings: Settings,
    run_id: str,
    window: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
    *,
    only_due: bool = False,
    archive: Archive | None = None,
    judge_ahead: bool = True,
) -> list[Step]:
    """The whole chain."""
    return [
        *data_steps(
            database, source, settings, run_id, window, on_progress, only_due=only_due, archive=archive, judge_ahead=judge_ahead
        ),
        *research_steps(database, settings, run_id, on_progress),
    ]


def holding(database: Database, source: str, settings: Settings, run_id: str) -> Hold:
    """How a walk takes each series before it writes: a lease under the name of the run."""

    def hold(series: Series) -> AbstractContextManager[SeriesLease]:
        name = series_sources.lease_name(database, series, otherwise=source)
        return take_series(database, name, series, holder=run_id, lease_s=settings.lease_seconds)

    return hold


@contextmanager
def planned(database: Database, source: str, series: Sequence[Series], settings: Settings, run_id: str) -> Iterator[None]:
    """While the block walks `series`, those that it has not come to are PENDING in the sync log of `source`. Not for a
    tick that asks for what is due: it finds out only on its way which series that are."""
    sync_log.plan_syncs(database, source, series, run_id, settings.lease_seconds)
    try:
        yield
    finally:
        try:
            sync_log.forget_planned(database, run_id)
        except DatabaseUnavailable as error:
            # What became of the series has been told, or is being raised; whoever looks at the log next removes the rows.
            logger.warning("what %s had planned is still called PENDING: %s", run_id, error)


def asked_once(source: BarSource) -> Callable[[], VenueNow]:
    """The venue's clock and kind, asked by whoever needs them first and kept for the walk. A failure is not kept: the next
    series asks again."""
    lock, answers = threading.Lock(), []

    def venue_now() -> VenueNow:
        with lock:
            if not answers:
                answers.append(VenueNow(source.server_time(), source.is_simulated()))
            return answers[0]

    return venue_now
