"""The asset `engine_parity`: our trades beside those of other engines. What is compared stands in `chain.engine_parity`, what
may explain a difference in `backtest.parity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.orchestration.alerts.findings import show_findings
from cryptai_pipelines.orchestration.catalog import OWNERS
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.resources import ProgressResource, StoreResource

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.chain.engine_parity import EngineParity

AGREE, COMPARED = "engines_agree", "engines_were_compared"
_INSTALL = "pip install 'cryptai-pipelines[peers]'"
_COLUMNS = [
    dg.TableColumn(name, "timestamp with time zone" if name == "entry_ts" else "text")
    for name in ("series", "peer", "levels", "entry_ts", "reason", "ours", "peers")
]


@dg.asset(
    deps=["validated_bars"],
    group_name="research",
    owners=list(OWNERS),
    kinds={"python", "numba", "csv"},
    code_version="1",
    freshness_policy=freshness_policy("engine_parity"),
    metadata={"dagster/column_schema": dg.TableSchema(columns=_COLUMNS)},
    check_specs=[
        dg.AssetCheckSpec(
            AGREE, asset="engine_parity", description="Every trade that another engine makes otherwise is explained by a rule."
        ),
        dg.AssetCheckSpec(
            COMPARED, asset="engine_parity", description="Stored bars were compared, and every peer is installed."
        ),
    ],
)
def engine_parity(store: StoreResource, progress: ProgressResource) -> dg.MaterializeResult:
    """Our trades beside those of vectorbt and backtesting.py over the stored bars of every series, trade by trade: how many are
    equal, and the rule behind each that is not (docs/engine-parity.md). On demand."""
    from cryptai_pipelines.orchestration.chain.engine_parity import compare_engines, write_differences

    settings = store.settings()
    with store.open() as database:
        found = compare_engines(database, settings.fee_rate, progress.callback())
    path = settings.home.resolve() / "reports" / "engine_parity.csv"
    write_differences(found, path)
    return dg.MaterializeResult(metadata=parity_metadata(found, path), check_results=parity_checks(found))


def parity_metadata(found: EngineParity, path: Path) -> dict[str, dg.MetadataValue]:
    """The figures, the table, and the file with every difference."""
    parities = [one.parity for one in found.compared]
    return {
        "compared": dg.MetadataValue.int(sum(max(one.ours, one.peers) for one in parities)),
        "equal": dg.MetadataValue.int(sum(one.equal for one in parities)),
        "explained": dg.MetadataValue.int(sum(len(one.differences) - len(one.unexplained) for one in parities)),
        "unexplained": dg.MetadataValue.int(sum(len(one.unexplained) for one in parities)),
        "not_installed": dg.MetadataValue.text(", ".join(found.absent) or "none"),
        "page": dg.MetadataValue.md(parity_page(found)),
        "differences": dg.MetadataValue.path(str(path)),
    }


def parity_page(found: EngineParity) -> str:
    """A row for each series, peer and pair of levels, the reasons in words, and what is not installed."""
    from cryptai_pipelines.backtest.parity import REASONS

    head = "| series | peer | target / stop | our trades | its trades | equal | explained | unexplained |\n" + "|---" * 8 + "|"
    rows, reasons = [], dict[str, None]()
    for one in found.compared:
        parity = one.parity
        explained = "; ".join(f"{count} {reason}" for reason, count in parity.explained.items())
        reasons |= dict.fromkeys(name for reason in parity.explained for name in reason.split(" + "))
        rows.append(
            f"| {one.series} | {one.peer} | {one.levels} | {parity.ours} | {parity.peers} | {parity.equal} "
            f"| {explained or 'none'} | {len(parity.unexplained)} |"
        )
    meant = [f"- `{name}`: {REASONS[name]}" for name in reasons]
    absent = [f"- {peer} is not installed and was not compared: {_INSTALL}" for peer in found.absent]
    return "\n".join([*([head, *rows] if rows else ["nothing was compared"]), "", *meant, *absent])


def parity_checks(found: EngineParity) -> list[dg.AssetCheckResult]:
    """What the checks say."""
    wrong = [
        f"{one.series}: {one.peer}, {one.levels}, entry {difference.entry_ts:%Y-%m-%dT%H:%MZ}:"
        f" ours {difference.ours or 'none'}, its {difference.peers or 'none'}"
        for one in found.compared
        for difference in one.parity.unexplained
    ]
    # A check must not be green because nothing was compared.
    wrong += [] if found.compared else ["nothing was compared"]
    missing = [f"{peer} is not installed: {_INSTALL}" for peer in found.absent]
    missing += [] if found.compared or found.absent else ["no bars are stored"]
    return [_check(AGREE, wrong, dg.AssetCheckSeverity.ERROR), _check(COMPARED, missing, dg.AssetCheckSeverity.WARN)]


def _check(name: str, findings: Sequence[str], severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=not findings,
        severity=severity,
        metadata={"findings": dg.MetadataValue.md(show_findings(findings))},
    )
