"""`cryptai db`: where the database is, its schema, a psql on it, and its backups."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from cryptai_pipelines.cli.options import JsonOption

app = typer.Typer()


@app.callback(invoke_without_command=True)
def _options(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def url(json: JsonOption = False) -> None:
    """Print the URLs of the databases (with their passwords: they are yours)."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    with open_store(load_settings()) as store:
        urls = {"cryptai": store.url, "dagster": store.dagster_url, "mlflow": store.mlflow_url}
    if json:
        print_json(urls)
    else:
        for name, value in urls.items():
            typer.echo(f"{name}  {value}")


@app.command()
def upgrade(json: JsonOption = False) -> None:
    """Bring the schema up to date. Safe to run again, and from several processes at once."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.schema import current_revision

    with open_store(load_settings()) as store:
        revision = current_revision(store.database)
    if json:
        print_json({"revision": revision})
    else:
        typer.echo(f"schema revision {revision}")


@app.command()
def backup(
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to; the default is CRYPTAI_HOME/backups.")] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Backups kept of each database; CRYPTAI_BACKUPS_KEPT.")] = None,
    json: JsonOption = False,
) -> None:
    """Back up our database and Dagster's with pg_dump, each into one file that is complete or not there."""
    from cryptai_pipelines.cli.output import print_json, step
    from cryptai_pipelines.orchestration.store import open_server
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.backup import back_up
    from cryptai_pipelines.storage.urls import sibling_url

    settings = load_settings()
    folder = to or settings.home / "backups"
    with open_server(settings) as url, step(f"backup: into {folder}"):
        made = back_up([url, sibling_url(url, "dagster")], folder, keep or settings.backups_kept, _told_bytes())
    told = [
        {"file": str(one.file), "database": one.database, "bytes": one.size, "sha256": one.sha256, "rows": one.rows}
        for one in made
    ]
    if json:
        print_json({"backups": told})
    else:
        for one in made:
            typer.echo(f"{one.file}  {one.size:,} bytes, {sum(one.rows.values()):,} rows in {len(one.rows)} tables")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `cryptai db backup` wrote.")],
    into: Annotated[
        str | None, typer.Option(metavar="DATABASE", help="Its name there; the default is a fresh one, after the backup.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace a database that holds tables; it is kept under another name.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Put a backup back and hold it, table by table, against what was written down when it was made."""
    from cryptai_pipelines.cli.output import print_json, step
    from cryptai_pipelines.cli.running import kept_down
    from cryptai_pipelines.orchestration.store import open_server
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.database import SIBLINGS
    from cryptai_pipelines.storage.restore import read_manifest, refuse_target
    from cryptai_pipelines.storage.restore import restore as put_back
    from cryptai_pipelines.storage.urls import database_name

    settings = load_settings()
    ours = "cryptai" if settings.database_url is None else database_name(settings.database_url.get_secret_value())
    # What can be refused is refused before a server is started.
    refuse_target(read_manifest(file), into, ours)
    used_by_up = into in (ours, *SIBLINGS)
    held = kept_down(settings.home.resolve(), into) if used_by_up else nullcontext()
    with held, open_server(settings) as url, step(f"restore: from {file}"):
        done = put_back(url, file, into, yes)
    if json:
        print_json({"database": done.database, "former": done.former, "tables": done.tables, "rows": done.rows})
    else:
        kept = f"; what it replaced is kept as {done.former}" if done.former else ""
        typer.echo(f"database {done.database}: {done.rows:,} rows in {done.tables} tables, as in the backup{kept}")


def _told_bytes() -> Callable[[str, int], None]:
    """A line about every 64 MiB that are written."""
    from cryptai_pipelines.cli.output import say

    told: dict[str, int] = {}

    def tell(database: str, written: int) -> None:
        if written >> 26 > told.get(database, 0):
            told[database] = written >> 26
            say(f"backup: {database}: {written >> 20:,} MiB written")

    return tell


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database `cryptai`; what stands after -- is handed to psql. Exit code 1 when psql fails."""
    from cryptai_pipelines.cli.psql import run_psql
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    with open_store(load_settings()) as store:
        status = run_psql(store.url, store.bin_path, context.args)
    # psql has told its reason; 2 would mean bad usage of ours.
    raise typer.Exit(1 if status else 0)
