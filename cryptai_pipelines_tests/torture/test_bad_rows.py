"""Bad rows of every class among good ones: each is refused under its rule, and no good one is. In bulk where rows are judged,
and through the whole way from JSON to the tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.quality.row_rules import judge
from cryptai_pipelines.storage import market_data, quality_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.torture.bad_rows import CLASSES, FIRST_OPEN, MINUTE, WIRE, good_rows
from cryptai_pipelines_tests.torture.tally import record, size

_BAD_PER_BATCH = 10_000
_APART = 3
_HOUR = Timeframe.H1.ms


def test_the_classes_are_many_and_different() -> None:
    assert len({one.name for one in CLASSES}) == len(CLASSES) >= 60
    assert len({one.name for one in WIRE}) == len(WIRE) >= 60


def test_every_bad_row_is_refused_under_its_rule_and_no_good_one() -> None:
    planted = size(20_000, 1_000_000)
    accepted = refused = misfiled = 0
    for batch in range(planted // _BAD_PER_BATCH):
        random = np.random.default_rng(batch)
        rows = good_rows(_BAD_PER_BATCH * _APART + 1, batch * _BAD_PER_BATCH * _APART, random)
        closed = int(rows["ts"][-1]) + MINUTE
        # Every class in every batch; which rows, and in which order, differs.
        positions = random.permutation(np.arange(1, _BAD_PER_BATCH + 1)) * _APART - 1
        expected = np.full(len(rows["ts"]), "", dtype=object)
        for number, one in enumerate(CLASSES):
            at = np.sort(positions[number :: len(CLASSES)])
            one.spoil(rows, at)
            expected[at] = one.rule
            if one.pairs:
                expected[at - 1] = one.rule
        order = random.permutation(len(expected))
        expected = expected[order]
        verdict = judge({name: values[order] for name, values in rows.items()}, Timeframe.M1, closed)
        found = np.full(len(expected), "", dtype=object)
        found[verdict.bad] = verdict.rules
        accepted += int((verdict.good & (expected != "")).sum())
        refused += int((~verdict.good & (expected == "")).sum())
        misfiled += int((found != expected).sum())
        assert all(verdict.reasons)
    record("bad rows", "rows of 60+ classes, judged", planted, lost=refused, altered=accepted + misfiled)
    assert (accepted, refused, misfiled) == (0, 0, 0)


def test_bad_rows_of_the_wire_come_into_quarantine_and_the_others_into_the_table(database: Database, tmp_path: Path) -> None:
    rounds = size(4, 40)
    random = np.random.default_rng(7)
    start = FIRST_OPEN // _HOUR * _HOUR
    kinds = [WIRE[number] for number in np.concatenate([random.permutation(len(WIRE)) for _ in range(rounds)])]
    rows, expected, good = [], {}, []
    for number in range(2 * len(kinds)):
        row = fakes.kline(start + number * _HOUR, _HOUR, float(random.uniform(50, 150)))
        row[2], row[3] = str(float(row[2]) + 1), str(float(row[3]) - 1)
        if number % 2:
            kind = kinds[number // 2]
            row[kind.field] = kind.value(row)
            expected[row[0]] = kind.rule
        else:
            good.append(row[0])
        rows.append(row)
    series, end = Series("BTC-USDT", Timeframe.H1), start + len(rows) * _HOUR
    with fakes.serving(fakes.KlineVenue(rows)) as server:
        settings = settings_for(server.url, tmp_path)
        steps = data_steps(database, open_venue(settings), settings, "bad rows", Interval(start, end))
        [result] = walk([series], steps, holding(database, "binance", settings, "bad rows"), 1)
    assert result.error is None, result.error
    stored = market_data.read_opens(database, series, start, end).tolist()
    refused = quality_log.read_quarantine(database, "binance", series)
    filed = dict(zip(refused["ts"].astype("datetime64[ms, UTC]").astype("int64").tolist(), refused["rule"], strict=True))
    lost, let_in = set(good) - set(stored), set(stored) - set(good)
    misfiled = Counter((expected.get(ts), rule) for ts, rule in filed.items() if expected.get(ts) != rule)
    record("bad rows", "JSON rows of 60+ classes, to the tables", len(kinds), lost=len(lost), altered=len(let_in))
    assert not lost and not let_in and not misfiled
    assert filed.keys() == expected.keys() and refused["reason"].all()
