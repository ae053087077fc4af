"""What is wrong by our own tables: series that are stale, syncs that failed, files that are not believed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from urllib.parse import quote

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.alerts.cause import Cause, error_class
from cryptai_pipelines.orchestration.ticks import EVERY_MS
from cryptai_pipelines.storage.health import DoubtedFile, FailedSync, LastBar

# How long a run may take from its tick to the last of its series.
_RUN_MS = 5 * 60_000
# Between what is received and what is validated; a long download commits more often than this.
_UNDER_WAY_MS = 2 * 60_000


def stale_causes(
    bars: Sequence[LastBar], now_ms: int, grace_ms: int, ui_url: str, failing: Collection[Series] = ()
) -> list[Cause]:
    """Series whose newest bar closed more than 1.5 timeframes ago, and the grace and the length of a run beside.

    The time is `now_ms` by our clock, or the venue's where that is known to be another one (`venue_now`). 1m bars come every
    five minutes, so that they are stale after 7.5 minutes, not 1.5. Those in `failing` are explained by their failed syncs, and
    those of which something was received in the last two minutes by that it is being brought up to date.
    """
    causes = []
    clocks = venue_now(bars, now_ms, grace_ms)
    for bar in bars:
        timeframe = bar.series.timeframe
        closed_ms = bar.last_ts + timeframe.ms
        if clocks[bar.source] - closed_ms <= 3 * max(timeframe.ms, EVERY_MS) // 2 + grace_ms + _RUN_MS:
            continue
        causes.append(
            Cause(
                fingerprint=f"stale_series:{bar.source}:{bar.series.key}",
                cause="stale_series",
                group_key=f"stale_series:{bar.source}",
                severity="error",
                subject=f"{bar.source} {bar.series}",
                summary=f"the newest bar closed at {format_time(closed_ms)}",
                since_ms=closed_ms,
                link=partition_link(ui_url, "validated_bars", bar.series),
                explained=bar.series in failing or now_ms - bar.settled_at < _UNDER_WAY_MS,
            )
        )
    return causes


def venue_now(bars: Sequence[LastBar], now_ms: int, grace_ms: int) -> dict[str, int]:
    """Each source's own time now, in epoch ms: `now_ms`, unless what the source had settled shows that its clock is elsewhere.

    A series settled up to `covered_until` at our `settled_at` puts the source's clock at that moment between `covered_until`
    and one timeframe and the grace later. Where `now_ms` lies outside all of that by more than an hour, as with a replay of
    the past, the source's clock is taken to have run on from there.
    """
    by_source = defaultdict(list)
    for bar in bars:
        by_source[bar.source].append(bar)
    told = {}
    for source, ones in by_source.items():
        earliest = max(bar.covered_until - bar.settled_at for bar in ones)
        latest = min(bar.covered_until + bar.series.timeframe.ms + grace_ms - bar.settled_at for bar in ones)
        ours = earliest - 3_600_000 <= 0 <= latest + 3_600_000
        told[source] = now_ms if ours else now_ms + earliest
    return told


def sync_causes(syncs: Sequence[FailedSync], ui_url: str) -> list[Cause]:
    """Series whose latest sync failed. Those of one source that fail for one reason are one message."""
    return [
        Cause(
            fingerprint=f"failed_sync:{sync.source}:{sync.series.key}",
            cause="failed_sync",
            group_key=f"failed_sync:{sync.source}:{error_class(sync.error)}",
            severity="error",
            subject=f"{sync.source} {sync.series}",
            summary=f"{sync.status.lower()}: {sync.error or 'no reason was recorded'}",
            since_ms=sync.since_ms,
            link=partition_link(ui_url, "raw_ohlcv", sync.series),
            details={"status": sync.status, "run_id": sync.run_id},
        )
        for sync in syncs
    ]


def file_causes(files: Sequence[DoubtedFile], ui_url: str) -> list[Cause]:
    """Files of an archive that did not fit their checksum, or changed after they had been loaded."""
    meant = {"quarantined": "does not fit its checksum and was not loaded", "restated": "changed after it was loaded"}
    return [
        Cause(
            fingerprint=f"restated_file:{file.source}:{file.path}:{file.status}",
            cause="restated_file",
            group_key=f"restated_file:{file.source}:{file.status}",
            severity="error" if file.status == "quarantined" else "warning",
            subject=f"{file.source} {file.path}",
            summary=f"{meant[file.status]}{f': {file.error}' if file.error else ''}",
            since_ms=file.since_ms,
            link=partition_link(ui_url, "raw_ohlcv", file.series),
            details={"series": file.series.key},
        )
        for file in files
    ]


def partition_link(ui_url: str, asset: str, series: Series) -> str:
    """Where the UI shows an asset of one series."""
    return f"{ui_url.rstrip('/')}/assets/{asset}?view=partitions&partition={quote(series.key, safe='')}"
