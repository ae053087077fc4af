"""What a person sees beside an asset: rows, facts, a picture, the report's path, and the columns of its table."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.market.page import Listing, Price
from cryptai_pipelines.storage.tables import TABLES

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.chain.outcome import Outcome

_SQL_NAMES = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "timestamptz": "timestamp with time zone",
}
_MOMENT = "timestamp with time zone"
_OTHER_TABLES = {
    "data_quality": {
        "symbol": "text",
        "timeframe": "text",
        "kind": "text",
        "period_start": _MOMENT,
        "period_end": _MOMENT,
        "expected": "bigint",
        "received": "bigint",
        "missing": "bigint",
        "severity": "text",
        "details": "jsonb",
        "detected_at": _MOMENT,
    },
    "reconciliations": {
        "symbol": "text",
        "timeframe": "text",
        "source": "text",
        "other_source": "text",
        "month": _MOMENT,
        "compared": "integer",
        "agreeing": "integer",
        "only_source": "integer",
        "only_other": "integer",
        "disagreeing": "integer",
        "believed": "text",
        "details": "jsonb",
        "reconciled_at": _MOMENT,
    },
    "backtest_results": {
        "id": "bigint",
        "strategy": "text",
        "symbol": "text",
        "timeframe": "text",
        "config": "jsonb",
        "config_hash": "text",
        "first_ts": "timestamp with time zone",
        "last_ts": "timestamp with time zone",
        "bars": "bigint",
        "trade_count": "integer",
        "ambiguous_count": "integer",
        "metrics": "jsonb",
        "trades_sha256": "text",
        "code_version": "text",
        "coverage_revision": "bigint",
        "run_id": "text",
    },
}
# What a fact is shown as, where plain text is not enough.
_PICTURE = "picture"
_REPORT = "report"
_GATES = "gates"


def table_schema(table: str) -> dg.TableSchema:
    """The columns of a table as Dagster shows them."""
    if table not in TABLES:
        return dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in _OTHER_TABLES[table].items()])
    declared = TABLES[table]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                _SQL_NAMES.get(kind.rstrip("?"), kind.rstrip("?")),
                constraints=dg.TableColumnConstraints(
                    nullable=kind.endswith("?"), other=["key"] if name in declared.key else []
                ),
            )
            for name, kind in declared.types.items()
        ]
    )


def listing_schema() -> dg.TableSchema:
    """The columns of `symbols`, which is written row by row and so has no declared types of its own."""
    kinds = {"str": "text", "bool": "boolean", "float | None": "double precision", "int | None": "timestamp with time zone"}
    return dg.TableSchema(
        columns=[dg.TableColumn(field.name.removesuffix("_ms"), kinds[str(field.type)]) for field in fields(Listing)]
    )


def price_schema() -> dg.TableSchema:
    """The columns of `latest_prices`."""
    kinds = {
        "str": "text",
        "float": "double precision",
        "int": _SQL_NAMES["timestamptz"],
        "int | None": _SQL_NAMES["timestamptz"],
    }
    return dg.TableSchema(
        columns=[dg.TableColumn(name.removesuffix("_ms"), kinds[str(kind)]) for name, kind in _told_types(Price).items()]
    )


def _told_types(record: type) -> dict[str, str]:
    return {name: getattr(kind, "__forward_arg__", kind) for name, kind in record.__annotations__.items()}


def outcome_metadata(outcome: Outcome, pictured: bool) -> dict[str, dg.MetadataValue]:
    """The metadata of one series' materialization, with the picture only if `pictured`."""
    return facts_metadata(
        {
            "dagster/partition_row_count": outcome.rows,
            "rows_written": outcome.written,
            "revision": outcome.revision,
            **{name: value for name, value in outcome.facts.items() if pictured or name != _PICTURE},
        }
    )


def facts_metadata(facts: Mapping[str, object]) -> dict[str, dg.MetadataValue]:
    """Plain facts as metadata, those that are None left out. The fact `picture` is the path of a PNG and is shown, `report` the
    path of a file."""
    return {name: _plain(_shown(name, value)) for name, value in facts.items() if value is not None}


def _shown(name: str, value: object) -> object:
    if name == _PICTURE:
        encoded = base64.b64encode(Path(str(value)).read_bytes()).decode()
        return dg.MetadataValue.md(f"![equity and drawdown](data:image/png;base64,{encoded})")
    if name == _GATES:
        return dg.MetadataValue.md(str(value))
    if name == _REPORT:
        return dg.MetadataValue.path(str(value))
    return value


def _plain(value: object) -> dg.MetadataValue:
    if isinstance(value, dg.MetadataValue):
        return value
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    return dg.MetadataValue.text(str(value))
