"""Who is asked for the bars of a gap, in which order: the primary venue again, its archive, the other venues of
`CRYPTAI_SECONDARY`. What is done with their answers is in `chain.holes`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.archive_history import Archive, refuse_other_kind
from cryptai_pipelines.orchestration.chain.holes import Door, OpenDoors
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.catalog import VENUES
from cryptai_pipelines.sources.source import BarSource


class Secondary(NamedTuple):
    """Another venue, and the quote currency under which it trades what the primary trades; None for the same."""

    exchange: str
    quote: str | None = None


def parse_secondaries(settings: Settings) -> list[Secondary]:
    """`CRYPTAI_SECONDARY`: `EXCHANGE` or `EXCHANGE:QUOTE` each; `BadInput` names what is neither, or is the primary itself."""
    found = []
    for text in settings.secondary:
        exchange, separator, quote = (part.strip() for part in text.partition(":"))
        if not exchange or (separator and not quote.isalnum()):
            raise BadInput(f"CRYPTAI_SECONDARY names {text!r}; accepted: an exchange, or exchange:QUOTE such as kraken:USD")
        name = exchange.lower()
        if name == settings.exchange:
            raise BadInput(f"CRYPTAI_SECONDARY names {text!r}, which is the primary venue; accepted: another one")
        if name in VENUES and settings.replacement(name) is None:
            _refuse_real_beside_replaced(settings, text, name)
        found.append(Secondary(name, quote.upper() or None))
    return found


def _refuse_real_beside_replaced(settings: Settings, text: str, name: str) -> None:
    """A venue that only looks like the real one, such as a replay, has bars of its own; a real venue's do not belong there."""
    if settings.replaced_by is not None:
        raise BadInput(
            f"CRYPTAI_SECONDARY names {text!r} at its real address, while {settings.exchange} is called at"
            f" {settings.replaced_by}; accepted: its address beside that, as CRYPTAI_VENUE_URLS={name}=URL"
        )


def doors(
    primary: BarSource,
    archive: Archive | None,
    secondaries: Sequence[tuple[Secondary, Callable[[], BarSource]]],
) -> OpenDoors:
    """The doors of every series. A secondary venue is opened when it is first knocked at."""

    @cache
    def same_kind() -> None:
        if archive is not None:
            refuse_other_kind(archive, primary.is_simulated())

    def of(series: Series) -> list[Door]:
        timeframe = series.timeframe
        found = [Door(primary.name, primary.origin(timeframe), partial(primary.bars, series.symbol, timeframe))]
        if archive is not None:
            found.append(Door(archive.name, "archive", partial(_bars_of_archive, archive, same_kind, series)))
        for secondary, opened in secondaries:
            found.append(Door(secondary.exchange, "secondary", partial(_bars_of, opened, secondary, series)))
        return found

    return of


def _bars_of_archive(
    archive: Archive, same_kind: Callable[[], None], series: Series, start_ms: int, end_ms: int
) -> Iterator[Page]:
    same_kind()
    return archive.bars(series.symbol, series.timeframe, start_ms, end_ms)


def _bars_of(
    opened: Callable[[], BarSource], secondary: Secondary, series: Series, start_ms: int, end_ms: int
) -> Iterator[Page]:
    base, _, quote = series.symbol.partition("-")
    return opened().bars(f"{base}-{secondary.quote or quote}", series.timeframe, start_ms, end_ms)
