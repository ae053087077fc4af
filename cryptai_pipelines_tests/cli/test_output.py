"""How commands put numbers into words."""

from __future__ import annotations

from cryptai_pipelines.cli.output import counted


def test_a_number_agrees_with_its_noun() -> None:
    assert [counted(count, "gap") for count in (0, 1, 2_000)] == ["0 gaps", "1 gap", "2,000 gaps"]
    assert (counted(1, "series", "series"), counted(2, "series", "series")) == ("1 series", "2 series")
