"""docs/commands.md names every command there is, and no other."""

from __future__ import annotations

import re

import typer

from cryptai_pipelines.cli.main import app
from cryptai_pipelines_tests.conftest import REPOSITORY

# They run until they are interrupted, or hand their terminal to another program, and so have no result of their own.
WITHOUT_RESULT = {"up", "webhook", "replay", "db psql"}


def commands() -> dict[str, object]:
    """Every command of the command line by its words."""
    root = typer.main.get_command(app)
    found: dict[str, object] = {}
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        children = getattr(command, "commands", {})
        found |= {f"{name} {child}": one for child, one in children.items()}
        if not children or command.params and any(one.name == "json" for one in command.params):
            found[name] = command
    return found


def test_every_command_is_on_the_page_and_every_one_on_the_page_exists() -> None:
    page = (REPOSITORY / "docs" / "commands.md").read_text()
    first_cells = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `cryptai ")]
    words = [re.match(r"\| `cryptai ([a-z]+(?: [a-z]+)?)", cell).group(1) for cell in first_cells]  # type: ignore[union-attr]
    known = commands()
    told = {word if word in known else word.split()[0] for word in words}
    assert told == set(known)


def test_every_command_with_a_result_takes_json() -> None:
    for name, command in commands().items():
        has_json = any(parameter.name == "json" for parameter in command.params)  # type: ignore[attr-defined]
        assert has_json is (name not in WITHOUT_RESULT), name
