"""Work on the Dagster instance of `DAGSTER_HOME` from outside a run: its home, its symbols, a run in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress
from cryptai_pipelines.orchestration.store import Store
from cryptai_pipelines.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult, JobDefinition
    from dagster._utils.error import SerializableErrorInfo

    from cryptai_pipelines.orchestration.resources import ProgressResource


def dagster_environment(settings: Settings, store: Store) -> dict[str, str]:
    """What Dagster's processes need to know: their home, with the packaged instance file put into it, and both databases."""
    home = (settings.home / "dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).parent / "dagster.yaml", home / "dagster.yaml")
    return {
        "DAGSTER_HOME": str(home),
        "CRYPTAI_HOME": str(settings.home.resolve()),
        "CRYPTAI_DATABASE_URL": store.url,
        "CRYPTAI_DAGSTER_URL": store.dagster_url,
    }


def register_symbols(environment: dict[str, str], symbols: Iterable[str]) -> list[str]:
    """Put `symbols` on the grid; returns those that were not on it."""
    from cryptai_pipelines.orchestration.partitions import add_symbols

    with _instance(environment) as instance:
        return add_symbols(instance, symbols)


def end_lost_runs(environment: dict[str, str]) -> list[str]:
    """Fail the runs that are recorded as under way; their ids. For the one process that is about to start the daemon: what a
    stopped or killed predecessor left would otherwise hold its place in the queue until it times out."""
    import dagster as dg

    under_way = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    with _instance(environment) as instance:
        lost = instance.get_runs(filters=dg.RunsFilter(statuses=under_way))
        for run in lost:
            instance.report_run_failed(run, "The processes of this run ended before it did; the next tick goes on from there.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        return [run.run_id for run in lost]


def materialize_graph(environment: dict[str, str], series: Sequence[Series], on_progress: OnProgress) -> str:
    """Run `symbols` and then the whole chain for `series` in this process; returns the chain's run id.

    `series` is a rectangle in grid order. `CryptaiError` with the reason when a run fails; what it did is in the instance.
    """
    from cryptai_pipelines.definitions import build_defs
    from cryptai_pipelines.orchestration.jobs import CHAIN_JOB, SYMBOLS_JOB
    from cryptai_pipelines.orchestration.partitions import rectangle_tags

    defs = build_defs(overrides={"progress": _told_to(on_progress)})
    with _instance(environment) as instance:
        _run(defs.resolve_job_def(SYMBOLS_JOB.name), instance, {})
        symbols = list(dict.fromkeys(one.symbol for one in series))
        timeframes = list(dict.fromkeys(one.timeframe for one in series))
        return _run(defs.resolve_job_def(CHAIN_JOB.name), instance, rectangle_tags(symbols, timeframes))


@contextmanager
def _instance(environment: dict[str, str]) -> Iterator[DagsterInstance]:
    """The instance of `environment`; `CryptaiError` when its database is not within reach."""
    import dagster as dg
    from dagster_postgres.utils import DagsterPostgresException
    from sqlalchemy.exc import SQLAlchemyError

    os.environ.update(environment)
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    except (DagsterPostgresException, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CryptaiError(f"Dagster's database `dagster` cannot be used: {reason}") from error


def _told_to(on_progress: OnProgress) -> ProgressResource:
    from cryptai_pipelines.orchestration.resources import ProgressResource

    class Watched(ProgressResource):
        """Progress for the person who started this process."""

        def callback(self) -> OnProgress:
            return on_progress

    return Watched()


def _run(job: JobDefinition, instance: DagsterInstance, tags: dict[str, str]) -> str:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(instance=instance, tags=tags, run_config=quiet, raise_on_error=False)
    if not result.success:
        if _was_interrupted(result):
            raise KeyboardInterrupt
        failures = [event.event_specific_data.error for event in result.get_step_failure_events()]
        reason = _root_cause(failures[0]) if failures and failures[0] else "see the run in the Dagster UI"
        raise CryptaiError(f"run {result.run_id} of {job.name} failed: {reason}")
    return result.run_id


def _was_interrupted(result: ExecuteInProcessResult) -> bool:
    """Dagster takes signals over while it runs, and tells of one by an error of its own in an event."""
    endings = [event for event in result.all_events if event.is_failure or event.is_job_event]
    canceled = any(event.event_type_value.startswith("PIPELINE_CANCEL") for event in endings)
    return canceled or any("ExecutionInterrupted" in f"{event.message} {event.event_specific_data}" for event in endings)


def _root_cause(error: SerializableErrorInfo) -> str:
    """The first line of what was raised in our code; Dagster wraps it in errors of its own, and libraries in theirs."""
    innermost = error
    while innermost.cause is not None:
        innermost = innermost.cause
    line = innermost.message.strip().splitlines()[0]
    kind, _, text = line.partition(": ")
    return text if text and kind.startswith("cryptai_pipelines.") else line
