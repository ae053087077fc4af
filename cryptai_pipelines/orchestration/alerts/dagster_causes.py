"""What is wrong by Dagster's records: checks and runs that failed. The one module of this folder that knows dagster."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

from cryptai_pipelines.orchestration.alerts.cause import UNREACHABLE, Cause, error_class
from cryptai_pipelines.orchestration.alerts.findings import (
    WHOLE,
    is_about_sync,
    merge_findings,
    read_findings,
    timeframes_between,
)

_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_PARTITION = "dagster/partition"
# The job of what is materialized by hand in the UI.
_BY_HAND = "__ASSET_JOB"
_WILL_RETRY = "dagster/will_retry"
_RUNS_LOOKED_AT = 100
# Of one check: more than there are while a sensor was off for a night, and few where one look finds one.
_EVALUATIONS_LOOKED_AT = 100
_EVALUATIONS_AT_ONCE = 5
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]

CheckState = dict[str, Any]
"""Of one check: `run` (of the last evaluation seen), `severity`, and `open`: by series what was found, when, in which run."""


def read_checks(
    instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey], before: Mapping[str, CheckState]
) -> dict[str, CheckState]:
    """The state of every check, carried on from `before`, by `asset.check`. Plain data, to be kept as JSON."""
    told: dict[str, CheckState] = {}
    for key in keys:
        name = f"{key.asset_key.to_user_string()}.{key.name}"
        state = before.get(name)
        for run_id, at_s, evaluation in _unseen(instance, key, state["run"] if state else None):
            state = _next_state(instance, run_id, at_s, evaluation, state)
        if state is not None:
            told[name] = state
    return told


def _unseen(instance: dg.DagsterInstance, key: dg.AssetCheckKey, seen: str | None) -> list[tuple[str, float, Any]]:
    """Run, time and evaluation for each evaluation after that of the run `seen`, or of the last ones, the oldest first. A tick
    may follow another so closely that one look finds both, and each looked at timeframes of its own."""
    found: list[tuple[str, float, Any]] = []
    cursor = None
    while len(found) < _EVALUATIONS_LOOKED_AT:
        records = instance.event_log_storage.get_asset_check_execution_history(
            key, _EVALUATIONS_AT_ONCE, cursor, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
        )
        for record in records:
            if record.run_id == seen:
                return found[::-1]
            evaluation = record.event.asset_check_evaluation if record.event and record.event.dagster_event else None
            if evaluation is not None:
                found.append((record.run_id, record.event.timestamp, evaluation))  # type: ignore[union-attr]
        if len(records) < _EVALUATIONS_AT_ONCE:
            break
        cursor = records[-1].id
    return found[::-1]


def _next_state(
    instance: dg.DagsterInstance, run_id: str, at_s: float, evaluation: Any, before: CheckState | None
) -> CheckState:
    found = read_findings(_shown(evaluation), evaluation.passed)
    earlier = before["open"] if before else {}
    merged = merge_findings({series: one["text"] for series, one in earlier.items()}, found, _looked_at(instance, run_id))
    new = {"since_ms": round(at_s * 1000)}
    opened = {series: {**earlier.get(series, new), "text": text} for series, text in merged.items()}
    for series in found:
        opened[series]["run"] = run_id
    severity = evaluation.severity.value if found or before is None else before["severity"]
    return {"run": run_id, "severity": severity, "open": opened}


def _shown(evaluation: Any) -> str:
    """What a check says it found: its `findings`, or else everything that it shows."""
    if "findings" in evaluation.metadata:
        return str(evaluation.metadata["findings"].value)
    told = [f"{name}: {value.value}" for name, value in evaluation.metadata.items()]
    return " ".join(" ".join([evaluation.description or "", *told]).split())[:300]


def _looked_at(instance: dg.DagsterInstance, run_id: str) -> list[Any] | None:
    """The timeframes of the grid that a run was over; None when it was not over a part of the grid."""
    run = instance.get_run_by_id(run_id)
    tags = run.tags if run else {}
    if all(tag in tags for tag in _RANGE):
        return timeframes_between(*(tags[tag] for tag in _RANGE))
    return timeframes_between(tags[_PARTITION], tags[_PARTITION]) if "|" in tags.get(_PARTITION, "") else None


def check_causes(checks: Mapping[str, CheckState], failed: Collection[tuple[str, str]], ui_url: str) -> list[Cause]:
    """One cause for each finding that is open, those of one check in one message. `failed`: run and series (`BTC-USDT 1h`) of
    each sync that failed; it has an alert of its own, which may be over before the check is evaluated again."""
    causes = []
    for name, state in checks.items():
        asset, _, check = name.partition(".")
        for series, one in state["open"].items():
            causes.append(
                Cause(
                    fingerprint=f"failed_check:{name}:{series}",
                    cause="failed_check",
                    group_key=f"failed_check:{name}",
                    severity="error" if state["severity"] == "ERROR" else "warning",
                    subject=f"{name}{'' if series == WHOLE else f' of {series}'}",
                    summary=one["text"] or "failed",
                    since_ms=one["since_ms"],
                    link=f"{ui_url.rstrip('/')}/assets/{asset}?view=checks&checkDetail={check}",
                    explained=is_about_sync(one["text"]) and (one["run"], series) in failed,
                )
            )
    return causes


def run_causes(
    instance: dg.DagsterInstance,
    jobs: Iterable[str],
    ui_url: str,
    failing: Collection[str] = (),
    unalerted: Collection[str] = (),
) -> list[Cause]:
    """Those of `jobs`, and other runs by what they were for, whose latest finished run failed and is not retried by Dagster.
    `unalerted`: jobs and assets of which whoever started a run is told by the run, and nobody else.

    A run that failed at its end because some of its series had failed is explained: its checks tell which and why. So is one
    that could not reach its venue while syncs fail for the same reason; `failing`: the classes (`error_class`) of their errors.
    """
    causes = []
    for purpose, record in _latest_runs(instance, jobs).items():
        run = record.dagster_run
        if run.status is not dg.DagsterRunStatus.FAILURE or run.tags.get(_WILL_RETRY) == "true":
            continue
        if run.job_name in unalerted or _assets(run) and set(_assets(run)) <= set(unalerted):
            continue
        reason = _reason(instance, run.run_id)
        causes.append(
            Cause(
                fingerprint=f"failed_run:{purpose}",
                cause="failed_run",
                group_key=f"failed_run:{purpose}",
                severity="error",
                subject=f"run {run.run_id[:8]} of {_job(run)}",
                summary=reason,
                since_ms=round((record.end_time or record.update_timestamp.timestamp()) * 1000),
                link=f"{ui_url.rstrip('/')}/runs/{run.run_id}",
                details={"run_id": run.run_id},
                explained=_told_by_checks(instance, run.run_id)
                or (error_class(reason) == UNREACHABLE and UNREACHABLE in failing),
            )
        )
    return causes


def _latest_runs(instance: dg.DagsterInstance, jobs: Iterable[str]) -> dict[str, dg.RunRecord]:
    """The latest finished run of each purpose. Each job is asked for by itself: among all runs, that of a daily job is soon
    behind any number of those that come every five minutes, and would seem to have recovered."""
    latest: dict[str, dg.RunRecord] = {}
    for job, limit in [*((job, 1) for job in jobs), (_BY_HAND, _RUNS_LOOKED_AT), (None, _RUNS_LOOKED_AT)]:
        filters = dg.RunsFilter(job_name=job, statuses=_FINISHED)
        for record in instance.get_run_records(filters=filters, limit=limit, order_by="update_timestamp"):
            latest.setdefault(_purpose(record.dagster_run), record)
    return latest


def _purpose(run: dg.DagsterRun) -> str:
    """The same for runs that do the same: of a job of ours its name, of another run what it was over."""
    if not run.job_name.startswith("__"):
        return run.job_name
    what = "|".join([*_assets(run), *(run.tags.get(tag, "") for tag in (*_RANGE, _PARTITION))])
    return f"{run.job_name}:{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def _job(run: dg.DagsterRun) -> str:
    if not run.job_name.startswith("__"):
        return run.job_name
    assets = _assets(run)
    return ", ".join(assets[:3]) + (" and more" if len(assets) > 3 else "") or "assets"


def _assets(run: dg.DagsterRun) -> list[str]:
    return sorted(key.to_user_string() for key in run.asset_selection or ())


def _told_by_checks(instance: dg.DagsterInstance, run_id: str) -> bool:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    return any(not event.asset_check_evaluation_data.passed for event in events if event)


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """The error of the first step that failed, or what Dagster says of the run, on one line."""
    of_type = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    told = ""
    for record in instance.get_records_for_run(run_id, of_type=of_type, limit=20).records:
        event = record.event_log_entry.dagster_event
        error = getattr(event.event_specific_data, "error", None) if event else None
        if event and error is not None:
            return _worded(error)
        told = told or (event.message if event else None) or ""
    return " ".join(told.split())[:300] or "no reason was recorded"


def _worded(error: Any) -> str:
    """The innermost error of ours, which is worded for people; where there is none, the innermost one."""
    chain = [error]
    while chain[-1].cause is not None:
        chain.append(chain[-1].cause)
    ours = [one.message for one in chain if one.message.startswith("cryptai_pipelines.")]
    told = ours[-1].partition(": ")[2] if ours else chain[-1].message
    return " ".join(told.split())[:300]
