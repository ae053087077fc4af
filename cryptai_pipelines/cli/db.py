"""`cryptai db`: where the database is, its schema, and a psql on it."""

from __future__ import annotations

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
