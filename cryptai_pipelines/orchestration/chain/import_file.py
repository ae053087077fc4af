"""A user's file into a series: its rows judged before they are stored, its pages as one more source, then validated bars.
Reading files is in `sources.bar_files`, storing pages in `receive`, the rules in `quality`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, ignore_progress
from cryptai_pipelines.orchestration.chain.receive import Received, receive_pages, register
from cryptai_pipelines.orchestration.chain.walk import Hold
from cryptai_pipelines.quality.row_rules import ROW_RULES, judge
from cryptai_pipelines.quality.series_rules import RECEIVED_RULES, as_found
from cryptai_pipelines.quality.series_view import SeriesFinding, View
from cryptai_pipelines.sources.bar_files import BarFile
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease
from cryptai_pipelines.storage.series_sources import Place, read_sources

ORIGIN = "csv"
PREFIX = "file:"
MOST_TOLD = 100
"""So many findings of a rule are kept one by one; a file in no order at all has one for every second row."""

_NAME = re.compile(r"[a-z0-9_.-]{1,40}")


@dataclass
class RuleFindings:
    """What one rule of `RECEIVED_RULES` finds in the rows of a file: how many findings, how many rows in them, and the first
    `MOST_TOLD` in the order of the file."""

    count: int = 0
    rows: int = 0
    first: list[SeriesFinding] = field(default_factory=list)


def judge_received(file: BarFile) -> dict[str, RuleFindings]:
    """What `RECEIVED_RULES` find in the rows of `file` as they came, before they are sorted and each open time is given one
    place: by rule in the order of the table, only the rules that find something.

    The findings are of the file and not of the series, in which the rows have their order by then; they are not stored.
    """
    found = {rule.name: RuleFindings() for rule in RECEIVED_RULES}
    for finding in as_found(_views(file), RECEIVED_RULES):
        of_rule = found[finding.rule]
        of_rule.count += 1
        of_rule.rows += finding.count
        if len(of_rule.first) < MOST_TOLD:
            of_rule.first.append(finding)
    return {name: one for name, one in found.items() if one.count}


@dataclass(frozen=True)
class RefusedRows:
    """What one row rule refuses of a file: how many rows, and of the first of them the open time (epoch ms) and the reason."""

    rows: int
    first_ms: int
    reason: str


def judge_rows(file: BarFile) -> dict[str, RefusedRows]:
    """The rows of `file` that validation refuses, by the rule of `ROW_RULES` that it files them under, in the order of the
    table; only the rules that refuse something. A page is judged at a time, so memory holds one.

    A refused row is seen here alone where a good bar of another source stands at its time: the series then lacks nothing.
    """
    refused: dict[str, RefusedRows] = {}
    for page in file.pages():
        verdict = judge(page.rows, file.timeframe, file.span.end_ms)
        for position, rule, reason in zip(verdict.bad.tolist(), verdict.rules, verdict.reasons, strict=True):
            known = refused.get(rule) or RefusedRows(0, int(page.rows["ts"][position]), reason)
            refused[rule] = replace(known, rows=known.rows + 1)
    return {rule.name: refused[rule.name] for rule in ROW_RULES if rule.name in refused}


def _views(file: BarFile) -> Iterator[tuple[View, int]]:
    for columns, known in file.received():
        yield View(columns, file.timeframe), known


@dataclass(frozen=True)
class Imported:
    """What was stored of a file, and what validation made of the series."""

    received: Received
    outcome: Outcome


def import_file(
    database: Database,
    hold: Hold,
    series: Series,
    source: str,
    file: BarFile,
    *,
    run_id: str,
    place: Place | None = None,
    behind: tuple[str, str] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Imported:
    """Store the bars of `file` under `source` and bring the series up to date. Importing the same file again writes nothing; a
    bar that another file of this source has differently becomes a revision. `place`: believed before all other sources
    (`first`) or after them (`last`); None leaves a source that is known where it is. In a series that has no source yet, one
    that is not to be first comes after `behind` (a source and its origin), from which bars are to come later."""
    with hold(series) as lease:
        if behind is not None and place != "first":
            _give_primary(database, lease, *behind)
        received = receive_pages(
            database,
            lease,
            source,
            ORIGIN,
            file.pages(),
            run_id=run_id,
            asked=file.span,
            place=place,
            on_progress=on_progress,
        )
        return Imported(received, validated_bars.bring_up_to_date(database, lease, on_progress=on_progress))


def _give_primary(database: Database, lease: SeriesLease, source: str, origin: str) -> None:
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        if not read_sources(cursor, lease.series):
            register(cursor, lease, source, origin)


def file_source(name: str | None, file_name: str) -> str:
    """The source `file:<name>` of an import; without a name, one made of the name of the file. `BadInput` for another form."""
    if name is None:
        stem = re.sub(r"\.(csv|txt|parquet|feather)(\.gz)?$", "", file_name.lower())
        name = re.sub(r"[^a-z0-9_.]+", "-", stem).strip("-.")[:40] or "import"
    if not _NAME.fullmatch(name):
        raise BadInput(f"--name {name!r} is not accepted; expected 1 to 40 of a-z 0-9 _ . -")
    return PREFIX + name
