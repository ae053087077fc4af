"""The series rules: a table of ways for a run of bars to look wrong, and their findings over a whole series or block by block.

A finding says that something is unusual enough to be looked at; it refuses no bar. What a single bar cannot be is in
`row_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cryptai_pipelines.quality import copy_signs, market_signs, order_signs, price_signs, receipt_signs, volume_signs
from cryptai_pipelines.quality.series_view import (
    Limits,
    Run,
    SeriesFinding,
    SeriesRule,
    View,
    as_finding,
    joined,
    marked_runs,
)

SERIES_RULES: tuple[SeriesRule, ...] = (
    SeriesRule(
        "zero_volume_run",
        "Nothing was traded for several bars.",
        "info",
        volume_signs.zero_volume_run,
        "{count} bars in a row without volume",
        limits={"at_least": 3},
    ),
    SeriesRule(
        "flat_run",
        "The price did not move at all for several bars.",
        "info",
        volume_signs.flat_run,
        "{count} bars in a row at one price",
        limits={"at_least": 5},
    ),
    SeriesRule(
        "price_jump",
        "The close jumped far beyond what was usual before.",
        "warning",
        price_signs.price_jump,
        "the close moved by {worst:.1f} robust standard deviations",
        context=price_signs.RETURNS + 1,
        limits={"z": 25.0, "move": 0.03},
    ),
    SeriesRule(
        "jump_across_gap",
        "The price on the far side of a gap is another one: holding across it makes profit or loss that nobody could trade.",
        "warning",
        price_signs.jump_across_gap,
        "the log price moved by {worst:.4f} across missing bars",
        limits={"move": 0.05},
    ),
    SeriesRule(
        "symbol_reuse",
        "After a long pause the price level is another one: another asset may be traded under the name.",
        "error",
        price_signs.symbol_reuse,
        "the log price moved by {worst:.3f} over a pause of {days:.0f} days or more",
        limits={"days": 7.0, "times": 3.0},
    ),
    SeriesRule(
        "wick",
        "Low or high is far away from open, close and the close before.",
        "warning",
        price_signs.wick,
        "low or high lies {worst:.3f} (log) away from the rest of the bar",
        limits={"times": 1.5},
    ),
    SeriesRule(
        "first_bar",
        "The first bar does not fit those after it.",
        "error",
        price_signs.first_bar,
        "a price of the first bar lies {worst:.3f} (log) away from the median close after it",
        context=0,
        limits={"times": 1.5, "bars": 24},
    ),
    SeriesRule(
        "off_tick",
        "A price is no multiple of the listed tick.",
        "info",
        price_signs.off_tick,
        "{count} bars with prices between ticks, up to {worst:.3f} of a tick off",
        context=0,
        limits={"part": 1e-3},
        needs=("tick_size",),
    ),
    SeriesRule(
        "precision_change",
        "Prices have more decimals than before.",
        "info",
        price_signs.precision_change,
        "prices with {worst:.0f} decimals, more than in the 500 bars before",
        context=price_signs.RETURNS,
        limits={"more": 1},
    ),
    SeriesRule(
        "volume_unit",
        "Quote volume divided by volume is no price of the bar: one of them is in another unit.",
        "error",
        volume_signs.volume_unit,
        "{count} bars whose average price lies outside of low and high, by up to {worst:.3g} of it",
        context=0,
        limits={"rounding": 1e-6},
    ),
    SeriesRule(
        "taker_exceeds_volume",
        "Buyers took more from the book than was traded.",
        "error",
        volume_signs.taker_exceeds_volume,
        "{count} bars in which more was taken than traded, by up to {worst:.3g} of it",
        context=0,
        limits={"rounding": 1e-6},
    ),
    SeriesRule(
        "trades_without_volume",
        "Trades were counted, but no volume.",
        "warning",
        volume_signs.trades_without_volume,
        "{count} bars with up to {worst:.0f} trades and no volume",
        context=0,
    ),
    SeriesRule(
        "made_up_opens",
        "Every open is the close before it for longer than any market does that: opens were made, not observed.",
        "warning",
        volume_signs.made_up_opens,
        "{count} opens in a row are the close before them",
        limits={"at_least": 200},
    ),
    SeriesRule(
        "stale_page",
        "A run of bars repeats earlier ones under other times.",
        "error",
        copy_signs.stale_page,
        "{count} bars repeat those {worst:.0f} bar lengths before them",
        context=copy_signs.PAGE,
        limits={"at_least": 3},
    ),
    SeriesRule(
        "mislabelled_venue",
        "The bars are another venue's, bit for bit.",
        "error",
        copy_signs.mislabelled_venue,
        "{count} bars in a row are another venue's, bit for bit",
        context=0,
        limits={"at_least": 24},
        needs=("other",),
    ),
    SeriesRule(
        "aggregate_mismatch",
        "The bar is not what the shorter bars in it make.",
        "warning",
        market_signs.aggregate_mismatch,
        "{count} bars differ from the shorter bars in them, by up to {worst:.3g} of the value",
        context=0,
        limits={"price": 1e-9, "volume": 1e-6},
        needs=("finer",),
    ),
    SeriesRule(
        "cross_venue_band",
        "High, low or close is far away from another venue's.",
        "warning",
        market_signs.cross_venue_band,
        "high, low or close lies {worst:.4f} (log) away from another venue's",
        context=0,
        limits={"band": 0.05},
        needs=("other",),
    ),
    SeriesRule(
        "future_bar",
        "The bar was received before it was over.",
        "error",
        receipt_signs.future_bar,
        "{count} bars were received up to {worst:.2f} bar lengths before their end",
        context=0,
        limits={"skew_s": 120.0},
        needs=("receipts",),
    ),
    SeriesRule(
        "forming_bar",
        "The bar was stored while it was still forming; a later answer holds more of it.",
        "warning",
        receipt_signs.forming_bar,
        "{count} bars grew after they were stored as final, by up to {worst:.1%} of their volume",
        context=0,
        limits={"grown": 0.01},
        needs=("receipts",),
    ),
    SeriesRule(
        "restatement_share",
        "The venue restates more of its bars than it should.",
        "warning",
        receipt_signs.restatement_share,
        "up to {worst:.1%} of 200 bars were restated",
        context=receipt_signs.RECEIPTS,
        limits={"share": 0.05},
        needs=("receipts",),
    ),
    SeriesRule(
        "unsorted",
        "Rows came in an order that is not that of time.",
        "warning",
        order_signs.unsorted,
        "rows that open before the row they follow: {count}, by up to {worst:.0f} x the length of a bar",
        as_received=True,
    ),
    SeriesRule(
        "duplicate_run",
        "Rows came with an open time that was there already.",
        "warning",
        order_signs.duplicate_run,
        "rows in a row with the open time of the row before: {count}",
        as_received=True,
    ),
    SeriesRule(
        "mixed_time_unit",
        "Open times came in another unit than milliseconds, or from before 2009.",
        "error",
        order_signs.mixed_time_unit,
        "open times in a row that are not in milliseconds, or lie before 2009: {count}",
        context=0,
        as_received=True,
    ),
    SeriesRule(
        "shifted_grid",
        "Rows opened off the grid, all by the same shift.",
        "warning",
        order_signs.shifted_grid,
        "rows in a row that open {worst:.0f} s behind the grid: {count}",
        context=0,
        as_received=True,
    ),
)
"""What is done with rows `as_received` is decided where they enter; the others are asked of what is stored."""

RECEIVED_RULES = tuple(rule for rule in SERIES_RULES if rule.as_received)
STORED_RULES = tuple(rule for rule in SERIES_RULES if not rule.as_received)
CONTEXT = max(rule.context for rule in SERIES_RULES)
"""No mark depends on more bars before it than these."""

LONGEST_START = max(rule.at_least for rule in SERIES_RULES)
"""A run that is no finding yet is shorter than this."""


def find(
    view: View, rules: Sequence[SeriesRule] = SERIES_RULES, limits: Mapping[str, Limits] | None = None
) -> list[SeriesFinding]:
    """What `rules` find in a whole series; `limits` by name of the rule replace its defaults one by one."""
    return scan([(view, 0)], rules, limits)


def scan(
    blocks: Iterable[tuple[View, int]],
    rules: Sequence[SeriesRule] = SERIES_RULES,
    limits: Mapping[str, Limits] | None = None,
) -> list[SeriesFinding]:
    """What `rules` find in a series that is given block by block: the same as in the whole, whatever the cuts.

    A block is a view and the number of its first rows that were in the block before: `CONTEXT` of them, or all there are. By
    rule in the order of the table, then by time.
    """
    found: dict[str, list[SeriesFinding]] = {rule.name: [] for rule in rules}
    for finding in as_found(blocks, rules, limits):
        found[finding.rule].append(finding)
    return [finding for rule in rules for finding in found[rule.name]]


def as_found(
    blocks: Iterable[tuple[View, int]],
    rules: Sequence[SeriesRule] = SERIES_RULES,
    limits: Mapping[str, Limits] | None = None,
) -> Iterator[SeriesFinding]:
    """The findings of `scan` one at a time, each as soon as it has ended: those of one rule in their order, the rules in none.
    Only what has not ended yet is kept, so a series with a finding per bar takes no more memory than a sound one."""
    open_runs: dict[str, Run] = {}
    last = None
    for view, fresh in blocks:
        last = view
        for rule in rules:
            closed = _read_block(rule, _limits(rule, limits), view, fresh, open_runs)
            yield from _findings(rule, _limits(rule, limits), closed, view)
    for rule in rules if last is not None else ():
        closed = [open_runs[rule.name]] if rule.name in open_runs else []
        yield from _findings(rule, _limits(rule, limits), closed, last)


def _limits(rule: SeriesRule, chosen: Mapping[str, Limits] | None) -> Limits:
    return {**rule.limits, **(chosen or {}).get(rule.name, {})}


def _read_block(rule: SeriesRule, limits: Limits, view: View, fresh: int, open_runs: dict[str, Run]) -> list[Run]:
    """The runs that ended in this block; the one that reaches its end is left in `open_runs`."""
    if fresh >= len(view.bars["ts"]):
        return []
    before = open_runs.pop(rule.name, None)
    if any(getattr(view, need) is None for need in rule.needs):
        return [before] if before else []
    runs, from_start, to_end = marked_runs(rule.mark(view, limits), view.bars["ts"], fresh)
    if before is not None:
        if from_start and runs[0].group == before.group:
            runs[0] = joined(before, runs[0])
        else:
            runs.insert(0, before)
    if to_end:
        open_runs[rule.name] = runs.pop()
    return runs


def _findings(rule: SeriesRule, limits: Limits, runs: Iterable[Run], view: View) -> list[SeriesFinding]:
    least = limits.get("at_least", 1)
    return [as_finding(rule, limits, run, view.timeframe) for run in runs if run.count >= least]
