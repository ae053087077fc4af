"""The quality of the stored series as a page: a Markdown text and a heat map, for where an asset is looked at. What is on it is
gathered in `data_quality`."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.orchestration.chain.data_quality import QualityAssessment, SeriesQuality

_MOST_ROWS = 60
_MOST_LINES = 40
_MOST_MONTHS = 120
_SHOWN = 20
# Everything below this share of the bars is as red as red can be: what a person looks for lies just under 100 %.
_LOWEST = 0.9


class QualityPage(NamedTuple):
    """`markdown`: tables. `heatmap_png`: completeness by series and month, below 100 KB, the same bytes for the same input;
    None when there are no months. `facts`: the figures of the page by name."""

    markdown: str
    heatmap_png: bytes | None
    facts: Mapping[str, int | float | str]


def render_page(assessment: QualityAssessment, alerts: Sequence[str] = ()) -> QualityPage:
    """The page of an assessment. `alerts`: the last ones, one line each, the newest first."""
    parts = [_head(assessment), _series_table(assessment.series)]
    parts.append(_counts("Gaps by class", "class", _summed(one.gaps for one in assessment.series)))
    parts.append(_counts("Findings by rule", "rule", _finding_counts(assessment.series)))
    parts.append(_counts("Bars in quarantine by rule", "rule", _summed(one.quarantined for one in assessment.series)))
    parts.append(_outages(assessment))
    parts.append("### Last alerts\n" + ("\n".join(f"- {_cell(line)}" for line in alerts[:_SHOWN]) or "none"))
    return QualityPage("\n\n".join(parts), _heatmap(assessment.series), _facts(assessment))


def _facts(assessment: QualityAssessment) -> dict[str, int | float | str]:
    facts: dict[str, int | float | str] = {
        "series": len(assessment.series),
        "gaps": sum(sum(one.gaps.values()) for one in assessment.series),
        "findings": sum(_finding_counts(assessment.series).values()),
        "outages": len(assessment.outages),
        "rows_changed": assessment.changed,
    }
    shares = [share for one in assessment.series if (share := one.total.completeness) is not None]
    if shares:
        facts["lowest_completeness"] = min(shares)
    if assessment.oldest_ms is not None:
        facts["oldest_bar"] = format_time(assessment.oldest_ms)
    return facts


def _head(assessment: QualityAssessment) -> str:
    oldest = "no bars yet" if assessment.oldest_ms is None else f"oldest bar {format_time(assessment.oldest_ms)}"
    return f"**{_cell(assessment.venue)}**: {len(assessment.series)} series, {oldest}"


def _series_table(told: Sequence[SeriesQuality]) -> str:
    """The least complete series first; not more than a page can bear."""
    lines = [
        "| series | oldest bar | bars | expected | excused | complete | gaps | findings | quarantined |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    ordered = sorted(told, key=_share)
    for one in ordered[:_MOST_ROWS]:
        total = one.total
        oldest = "" if one.oldest_ms is None else format_time(one.oldest_ms)
        counts = (total.received, total.expected, total.unlisted + total.in_outage)
        findings = sum(len(found) for found in one.findings.values())
        lines.append(
            f"| {one.series} | {oldest} | {' | '.join(f'{count:,}' for count in counts)} | {_percent(total.completeness)}"
            f" | {sum(one.gaps.values()):,} | {findings:,} | {sum(one.quarantined.values()):,} |"
        )
    if len(ordered) > _MOST_ROWS:
        lines.append(f"\nand {len(ordered) - _MOST_ROWS} more, all more complete")
    return "\n".join(lines)


def _share(one: SeriesQuality) -> float:
    share = one.total.completeness
    return 2.0 if share is None else share


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3f} %"


def _summed(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return total


def _finding_counts(told: Sequence[SeriesQuality]) -> Counter[str]:
    return _summed({rule: len(found) for rule, found in one.findings.items()} for one in told)


def _counts(title: str, name: str, counts: Counter[str]) -> str:
    if not counts:
        return f"### {title}\nnone"
    rows = "\n".join(f"| {_cell(key)} | {count:,} |" for key, count in counts.most_common())
    return f"### {title}\n| {name} | count |\n| --- | ---: |\n{rows}"


def _outages(assessment: QualityAssessment) -> str:
    latest = assessment.outages[-_SHOWN:][::-1]
    lines = [
        f"- {format_time(one.start_ms)} to {format_time(one.end_ms)}: {len(one.symbols)} of {one.of_symbols} symbols"
        for one in latest
    ]
    more = len(assessment.outages) - len(latest)
    return "### Outages of the venue\n" + ("\n".join(lines) or "none") + (f"\n- and {more} earlier ones" if more else "")


def _cell(text: str) -> str:
    """Text within a table or a list."""
    return " ".join(text.split()).replace("|", "\\|")


def _heatmap(told: Sequence[SeriesQuality]) -> bytes | None:
    """Series down, months across; the least complete series and the latest months where there are too many."""
    rows = [one for one in sorted(told, key=_share)[:_MOST_LINES] if one.months]
    if not rows:
        return None
    from matplotlib.figure import Figure

    rows.sort(key=lambda one: (one.series.symbol, one.series.timeframe.ms))
    months, grid = _grid(rows)
    figure = Figure(figsize=(10, min(14, 1.3 + 0.22 * len(rows))), dpi=80, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(grid, aspect="auto", cmap="RdYlGn", vmin=_LOWEST, vmax=1.0, interpolation="nearest")
    axes.set_yticks(range(len(rows)), [str(one.series) for one in rows], fontsize=7, parse_math=False)
    ticks = np.unique(np.linspace(0, len(months) - 1, 12).round().astype(int))
    axes.set_xticks(ticks, [str(months[tick]) for tick in ticks], fontsize=7, rotation=45)
    axes.set_title("completeness by month (UTC); white: no bars expected", loc="left", fontsize=9)
    bar = figure.colorbar(image, ax=axes, extend="min", fraction=0.03)
    bar.ax.tick_params(labelsize=7)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _grid(rows: Sequence[SeriesQuality]) -> tuple[np.ndarray, np.ndarray]:
    """The months from the first to the last (datetime64[M]), and the share of each series and month, NaN without one."""
    first = min(one.months[0].start_ms for one in rows)
    last = max(one.months[-1].start_ms for one in rows)
    edges = np.array([first, last], "datetime64[ms]").astype("datetime64[M]")
    months = np.arange(edges[0], edges[1] + 1)[-_MOST_MONTHS:]
    grid = np.full((len(rows), len(months)), np.nan)
    for row, one in enumerate(rows):
        for month in one.months:
            column = int((np.datetime64(month.start_ms, "ms").astype("datetime64[M]") - months[0]).astype(int))
            if column >= 0 and month.completeness is not None:
                grid[row, column] = month.completeness
    return months, grid
