"""Bringing a database to the newest schema. The tables themselves are made in `migrations/versions`."""

from __future__ import annotations

from importlib.resources import files

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage.database import Database, DatabaseUnavailable, connect
from cryptai_pipelines.storage.urls import database_name, one_line

_LOCK = 4_702_111_234_002


def current_revision(db: Database) -> str:
    """The revision that the database is at; empty when no migration was ever applied."""
    if not db.rows("SELECT to_regclass('public.alembic_version')")[0][0]:
        return ""
    rows = db.rows("SELECT version_num FROM alembic_version")
    return rows[0][0] if rows else ""


def newest_revision() -> str:
    """The revision that this release's migrations end at: their files begin with their number."""
    steps = (files("cryptai_pipelines.storage") / "migrations" / "versions").iterdir()
    return max(step.name[:4] for step in steps if step.name[:4].isdecimal())


def upgrade(db: Database) -> str:
    """Apply every migration that is missing and return the revision reached; safe twice and from many processes at once.

    `CryptaiError` in one line when the server fails or the schema is of a newer release than this one.
    """
    newest = newest_revision()
    if current_revision(db) == newest:
        # Every command comes through here, and the tools that migrate take half a second to load.
        return newest
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    try:
        return _upgrade(db)
    except DBAPIError as error:
        what = f"the schema of database {database_name(db.url)} cannot be brought up to date"
        raise DatabaseUnavailable(f"{what}: {one_line(str(error.orig), db.url)}") from error
    except CommandError as error:
        raise CryptaiError(f"database {database_name(db.url)} has a schema this release does not know: {error}") from None


def _upgrade(db: Database) -> str:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine("postgresql+psycopg2://", creator=lambda: connect(db.url), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(files("cryptai_pipelines.storage") / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        # Held to the end of the transaction, in which all migrations run: a second process waits, then finds them done.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return MigrationContext.configure(connection).get_current_revision() or ""
