"""The tables of docs/automation.md are the definitions."""

from __future__ import annotations

import re

from cryptai_pipelines.definitions import build_defs
from cryptai_pipelines.orchestration.alerts.cause import KINDS
from cryptai_pipelines_tests.conftest import REPOSITORY

AUTOMATION = (REPOSITORY / "docs" / "automation.md").read_text()
ALERTS = (REPOSITORY / "docs" / "alerts.md").read_text()
DEFS = build_defs()


def rows(text: str, columns: int) -> set[tuple[str, ...]]:
    """The rows of a document's tables with that many columns, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    split = [tuple(cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]
    return {row for row in split if len(row) == columns}


def test_every_schedule_is_in_the_table_as_it_is():
    told = {(one.name, one.cron_schedule, one.job_name, one.description) for one in DEFS.schedules}
    assert rows(AUTOMATION, 4) == told


def test_every_sensor_is_in_the_table_as_it_is():
    told = {(one.name, f"{one.minimum_interval_seconds} s", one.description) for one in DEFS.sensors}
    assert rows(AUTOMATION, 3) == told


def test_every_kind_of_cause_is_explained():
    assert {row[0] for row in rows(ALERTS, 3)} == set(KINDS)
