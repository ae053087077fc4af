"""The tally: what is counted comes out of the table, and the sums are sums."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cryptai_pipelines_tests.torture.tally import read, size, tallied


def test_rows_survive_a_failed_suite_and_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTAI_TALLY", str(tmp_path))
    with pytest.raises(ZeroDivisionError), tallied("first suite") as tally:
        tally.add("hang", 3)
        tally.add("hang", 1_000, altered=2)
        raise ZeroDivisionError
    with tallied("second") as tally:
        tally.add("kill", 7, lost=1, unrecovered=4)
    assert [(row.suite, row.injected, row.times, row.altered) for row in read(tmp_path)] == [
        ("first suite", "hang", 1_003, 2),
        ("second", "kill", 7, 0),
    ]
    command = [sys.executable, "-m", "cryptai_pipelines_tests.torture.tally", str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed[0].split() == "suite injected times lost duplicated altered unrecovered".split()
    assert printed[1].split()[-5:] == ["1,003", "0", "0", "2", "0"]
    assert printed[-1].split() == ["all", "1,010", "1", "0", "2", "4"]
    assert len(set(map(len, printed))) == 1


def test_the_size_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTAI_TORTURE", raising=False)
    assert size(2, 50) == 2
    monkeypatch.setenv("CRYPTAI_TORTURE", "1")
    assert size(2, 50) == 50
