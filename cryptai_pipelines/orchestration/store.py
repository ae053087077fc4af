"""Opening the store and the venue that the settings name. The command line, the assets and the tests all come through here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from cryptai_pipelines.market.clock import Clock, SystemClock
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.limit_ledger import LimitLedger
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.urls import sibling_url

if TYPE_CHECKING:
    from cryptai_pipelines.market.archive_file import ArchiveFile
    from cryptai_pipelines.orchestration.chain.holes import OpenDoors
    from cryptai_pipelines.sources.binance_archive import BinanceArchive
    from cryptai_pipelines.storage.embedded import EmbeddedServer

# One segment of the server's log and a little: with less the server cannot go on.
_LEAST_ROOM = 24 * 1024**2


@dataclass(frozen=True)
class Store:
    """An open database and the URLs beside it. `server`: the embedded one, None for a server of the user's own."""

    database: Database
    url: str
    bin_path: str | None
    server: EmbeddedServer | None = None

    @property
    def dagster_url(self) -> str:
        """The database of Dagster's own records."""
        return sibling_url(self.url, "dagster")

    @property
    def mlflow_url(self) -> str:
        """The database of MLflow's tracking."""
        return sibling_url(self.url, "mlflow")


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """The database of the settings, its schema up to date; the embedded server is started when no URL is set and stopped by
    whoever leaves last. `CryptaiError` in one line when it cannot be had."""
    from cryptai_pipelines.storage.schema import upgrade

    with _server(settings) as (url, server):
        database = Database(url)
        try:
            upgrade(database)
            yield Store(database, url, None if server is None else str(server.bin_path), server)
        finally:
            database.close()


@contextmanager
def open_server(settings: Settings) -> Iterator[str]:
    """URL of our database on a running server, in whatever state the database itself is: for putting a backup back."""
    with _server(settings) as (url, _):
        yield url


@contextmanager
def _server(settings: Settings) -> Iterator[tuple[str, EmbeddedServer | None]]:
    from cryptai_pipelines.storage.database import create_databases

    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        create_databases(url)
        yield url, None
        return
    from cryptai_pipelines.storage.embedded import start_embedded

    server = start_embedded(settings.home)
    try:
        url = server.url("cryptai")
        create_databases(url)
        yield url, server
    except Exception as error:  # a full disk shows itself as any kind of error; what is none is raised on
        _refuse_full_disk(settings, error)
        raise
    finally:
        server.stop_if_last()


def _refuse_full_disk(settings: Settings, error: Exception) -> None:
    """`CryptaiError` naming the disk when it is full: a server without room for its log ends, and what fails then, anywhere,
    only tells of a lost connection."""
    left = shutil.disk_usage(settings.home).free
    if left < _LEAST_ROOM:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CryptaiError(f"the disk of {settings.home} is full ({left >> 20} MiB left); free some of it: {reason}") from error


def shared_limits(database: Database, venue: str) -> LimitLedger:
    """Where all processes on `database` count the weight and the silences of `venue` (`sources.limit_ledger.ledger_key`)."""
    from cryptai_pipelines.storage.venue_limits import SharedLedger

    return SharedLedger(database, venue)


def open_venue(
    settings: Settings, clock: Clock | None = None, database: Database | None = None, exchange: str | None = None
) -> BarSource:
    """A client of the venue the settings name, or of `exchange`. Makes no call yet. With a `database`, the venue's limits are
    kept together with every other process on it; without, for this process alone."""
    from cryptai_pipelines.sources.catalog import open_source

    return open_source(
        exchange or settings.exchange,
        base_urls=settings.base_urls,
        request_timeout_s=settings.request_timeout_seconds,
        clock=clock or SystemClock(),
        ledger_of=None if database is None else partial(shared_limits, database),
    )


def open_archive(settings: Settings, database: Database, clock: Clock | None = None) -> BinanceArchive | None:
    """The archive of the settings' venue, None when it has none. What becomes of each file is kept in `database`. Makes no call
    yet."""
    from cryptai_pipelines.sources import binance_archive
    from cryptai_pipelines.sources.catalog import known_venue
    from cryptai_pipelines.storage.archive_files import record_file

    if settings.archive is None:
        return None
    market = known_venue(settings.exchange).archive_market
    assert market is not None, f"{settings.exchange} has no market in the archive"

    def keep(file: ArchiveFile) -> None:
        with database.transaction() as cursor:
            record_file(cursor, file)

    return binance_archive.open_archive(
        settings.archive, settings.request_timeout_seconds, clock or SystemClock(), market=market, on_file=keep
    )


def open_doors(settings: Settings, database: Database, primary: BarSource, clock: Clock | None = None) -> OpenDoors:
    """Who is asked for the bars of a gap, by the settings. Makes no call yet."""
    from cryptai_pipelines.orchestration.doors import doors, parse_secondaries

    others = [(one, cache(partial(open_venue, settings, clock, database, one.exchange))) for one in parse_secondaries(settings)]
    return doors(primary, open_archive(settings, database, clock), others)


def open_secondaries(settings: Settings, database: Database, clock: Clock | None = None) -> list[BarSource]:
    """Clients of the venues of `CRYPTAI_SECONDARY`, in their order. Makes no call yet."""
    from cryptai_pipelines.orchestration.doors import parse_secondaries

    return [open_venue(settings, clock, database, one.exchange) for one in parse_secondaries(settings)]
