"""What is particular to files of TradingView: the chart export, and the headerless rows of its data repositories.

An export begins with `time,open,high,low,close`; plots of the chart follow, with names in any script that repeat, and `Volume`
stands anywhere among them or nowhere. Its last bar is the one that was forming when the chart was exported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

EXPORT = "TradingView export"
SEED = "TradingView data repository"

_EXPORT_COLUMNS = ("time", "open", "high", "low", "close")
_SEED_DATE = re.compile(r"[0-9]{8}T")
_SEED_FIELDS = 6


def is_export(header: Sequence[str]) -> bool:
    """Whether a header row is that of a chart export. It writes `Volume` with a capital; with a small letter the file is of
    somebody else, who may have had only finished bars."""
    return tuple(name.strip() for name in header[:5]) == _EXPORT_COLUMNS and "volume" not in header


def is_seed(first_row: Sequence[str]) -> bool:
    """Whether the first row of a file without a header is `YYYYMMDDT,open,high,low,close,volume`."""
    return len(first_row) == _SEED_FIELDS and bool(_SEED_DATE.fullmatch(first_row[0].strip()))


def ends_unfinished(kind: str) -> bool:
    """Whether the last bar of a file of this kind has to be taken for unfinished. The file does not say when it was exported,
    and a chart always shows the bar that is forming."""
    return kind == EXPORT
