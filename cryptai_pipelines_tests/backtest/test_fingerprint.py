"""The fingerprint of trades is the same everywhere and tells trades apart."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.fingerprint import portfolio_sha256, trades_sha256
from cryptai_pipelines.backtest.records import CANONICAL, TRADE_DTYPE

from .conftest import random_market


def two_trades() -> np.ndarray:
    first = (3_600_000, 100.0, 7_200_000, 92.0, 2, 1.5, 0.25, -12.25, -0.08, 1)
    second = (10_800_000, 92.0, 14_400_000, 105.8, 1, 2.0, 0.5, 27.1, 0.15, 0)
    rest = (1, 0.0, 0.0, 0.0, 0.0, 0)
    return np.array([first + rest, second + rest], dtype=TRADE_DTYPE)


def test_is_the_hash_of_the_documented_bytes():
    rows = b"".join(struct.pack("<qdqdqddddq", *trade[:10]) for trade in two_trades().tolist())
    assert trades_sha256(two_trades()) == hashlib.sha256(b"trades 1\n" + rows).hexdigest()


def test_is_this_value():
    assert trades_sha256(two_trades()) == "676cbb4dcee40f1ddeb197b5ccd10b25aa54a24f6d04bb10fea0abf3e407e3f1"
    assert trades_sha256(two_trades()[:0]) == hashlib.sha256(b"trades 1\n").hexdigest()


def test_a_short_is_another_trade():
    changed = two_trades()
    changed["side"][1] = -1
    assert trades_sha256(changed) != trades_sha256(two_trades())


def test_of_a_portfolio_the_symbols_count():
    hashes = {portfolio_sha256(two_trades(), names) for names in (("A", "B"), ("B", "A"), ("AB",))}
    moved = two_trades()
    moved["symbol"][1] = 1
    assert len(hashes | {portfolio_sha256(moved, ("A", "B")), trades_sha256(two_trades())}) == 5


@pytest.mark.parametrize("name", CANONICAL)
def test_every_field_counts(name):
    changed = two_trades()
    changed[name][1] += 1
    assert trades_sha256(changed) != trades_sha256(two_trades())


def test_order_counts_and_the_sign_of_zero_does_not():
    assert trades_sha256(two_trades()[::-1]) != trades_sha256(two_trades())
    positive, negative = two_trades(), two_trades()
    positive["pnl"][0], negative["pnl"][0] = 0.0, -0.0
    assert trades_sha256(positive) == trades_sha256(negative)


@pytest.mark.parametrize("seed", range(20))
def test_a_frame_has_the_hash_of_its_records(seed):
    result = simulate(*random_market(seed, 300))
    assert trades_sha256(result.trades) == result.trades_sha256
    microseconds = result.trades.astype({"entry_ts": "datetime64[us, UTC]", "exit_ts": "datetime64[us, UTC]"})
    assert trades_sha256(microseconds) == result.trades_sha256
