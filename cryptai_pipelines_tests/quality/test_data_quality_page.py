"""docs/data-quality.md holds every rule with its severity, thresholds and evidence, and every class of a gap."""

from __future__ import annotations

from cryptai_pipelines.quality.gap_classes import GAP_CLASSES
from cryptai_pipelines.quality.row_rules import ROW_RULES
from cryptai_pipelines.quality.series_rules import CONTEXT, SERIES_RULES
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.quality.recorded import ALONE, REFUSED, WITNESSED, rule_table

PAGE = (REPOSITORY / "docs" / "data-quality.md").read_text(encoding="utf-8")


def test_the_table_of_the_page_is_that_of_the_registries() -> None:
    table = rule_table()
    assert len(table) - 2 == len(ROW_RULES) + len(SERIES_RULES) >= 25
    assert "\n".join(table) in PAGE
    assert PAGE.partition("\n## Syncs")[0].count("\n| `") == len(table) - 2 + len(GAP_CLASSES)


def test_every_class_of_a_gap_is_on_the_page_in_its_order() -> None:
    assert "\n".join(f"| `{name}` | {meaning} |" for name, meaning in GAP_CLASSES.items()) in PAGE


def test_figures_in_the_text_are_those_of_the_code() -> None:
    assert f"at most {CONTEXT:,} bars back" in PAGE and f"all {len(ALONE)} files" in PAGE


def test_evidence_names_rules_that_exist() -> None:
    series = {rule.name for rule in SERIES_RULES}
    assert {rule for found in (*ALONE.values(), *WITNESSED.values()) for rule in found} <= series
    assert {rule for found in REFUSED.values() for rule in found} <= {rule.name for rule in ROW_RULES}
