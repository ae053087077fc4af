"""The graph as it is published: a change here is a change of what people build upon, and must be meant."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg

from cryptai_pipelines.definitions import build_defs

defs = build_defs()

SNAPSHOT = Path(__file__).parent / "asset_graph.json"


def told_graph() -> dict[str, object]:
    graph = defs.resolve_asset_graph()
    assets = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        assets[key.to_user_string()] = {
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "owners": list(node.owners),
            "kinds": sorted(node.kinds),
            "code_version": node.code_version,
            "table": node.metadata.get("dagster/table_name"),
            "columns": [column.name for column in node.metadata["dagster/column_schema"].columns],
            "partitioned": node.is_partitioned,
            "checks": sorted(check.name for check in node.check_keys),
        }
    return {
        "assets": assets,
        "jobs": sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")),
        "schedules": {schedule.name: [schedule.cron_schedule, schedule.execution_timezone] for schedule in defs.schedules},
        "sensors": sorted(sensor.name for sensor in defs.sensors),
    }


def test_the_graph_is_the_published_one(instance_per_module):
    assert told_graph() == json.loads(SNAPSHOT.read_text()), f"if this change is meant, write told_graph() to {SNAPSHOT.name}"


def test_definitions_load_and_describe_every_asset(instance_per_module):
    dg.Definitions.validate_loadable(defs)
    for spec in defs.resolve_all_asset_specs():
        assert spec.description and len(spec.description) > 40
        assert spec.owners and spec.kinds and spec.group_name and spec.code_version
        assert spec.freshness_policy is not None
    assert all(schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in defs.schedules)
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in defs.sensors)


def test_every_check_explains_itself(instance_per_module):
    graph = defs.resolve_asset_graph()
    described = {key.to_user_string(): graph.get(key).description for key in graph.asset_check_keys}
    assert len(described) == 89
    assert all(text and text.endswith(".") for text in described.values()), described
