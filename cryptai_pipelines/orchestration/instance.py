"""Work on the Dagster instance of `DAGSTER_HOME` from outside a run: its home, its symbols, a run in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress
from cryptai_pipelines.orchestration.store import Store
from cryptai_pipelines.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, JobDefinition

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
    import dagster as dg

    from cryptai_pipelines.orchestration.partitions import add_symbols

    os.environ.update(environment)
    with dg.DagsterInstance.get() as instance:
        return add_symbols(instance, symbols)


def materialize_graph(environment: dict[str, str], series: Sequence[Series], on_progress: OnProgress) -> str:
    """Run `symbols` and then the whole chain for `series` in this process; returns the chain's run id.

    `series` is a rectangle in grid order. `CryptaiError` with the reason when a run fails; what it did is in the instance.
    """
    import dagster as dg

    from cryptai_pipelines.definitions import build_defs
    from cryptai_pipelines.orchestration.jobs import CHAIN_JOB, SYMBOLS_JOB
    from cryptai_pipelines.orchestration.partitions import rectangle_tags

    os.environ.update(environment)
    defs = build_defs(overrides={"progress": _told_to(on_progress)})
    with dg.DagsterInstance.get() as instance:
        _run(defs.resolve_job_def(SYMBOLS_JOB.name), instance, {})
        symbols = list(dict.fromkeys(one.symbol for one in series))
        timeframes = list(dict.fromkeys(one.timeframe for one in series))
        return _run(defs.resolve_job_def(CHAIN_JOB.name), instance, rectangle_tags(symbols, timeframes))


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
        failures = [event.event_specific_data.error_display_string for event in result.get_step_failure_events()]
        reason = failures[0].strip().splitlines()[0] if failures else "see the run in the Dagster UI"
        raise CryptaiError(f"run {result.run_id} of {job.name} failed: {reason}")
    return result.run_id
