"""Months on a virtual clock, one per seed: whatever happened, the tables end as the model says, and a seed is a seed."""

from __future__ import annotations

from collections import Counter

import pytest

from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.torture.crashes import CrashingDatabase, Fuse
from cryptai_pipelines_tests.torture.month import compare, fingerprint, live_through
from cryptai_pipelines_tests.torture.tally import record, size

_GROUPS = 20
_REPEATED = 10


@pytest.mark.parametrize("group", range(_GROUPS))
def test_a_month_of_trouble_ends_as_the_model_says(database_per_module: Database, group: int) -> None:
    per_group = size(200, 5_000) // _GROUPS
    injected: Counter[str] = Counter()
    ours = CrashingDatabase(database_per_module.url, Fuse())
    for seed in range(group * per_group, (group + 1) * per_group):
        month = live_through(ours, seed, f"S{seed}X")
        injected += Counter({**month.venue.injected, "crash between statements": month.crashes, "simulated months": 1})
        for series in month.series:
            found = compare(database_per_module, month, series)
            if found != type(found)():
                record("simulation", "months", 0, found.lost, found.duplicated, found.altered, found.findings)
            assert found == type(found)(), f"seed {seed}, {series}: {found}"
        if seed % _REPEATED == 0:
            again = live_through(ours, seed, f"R{seed}X")
            assert fingerprint(database_per_module, again) == fingerprint(database_per_module, month), f"seed {seed}"
            injected["months lived through again"] += 1
    ours.close()
    for what, count in injected.items():
        record("simulation", what, count)
