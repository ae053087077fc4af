"""What the tests of this room share: small recordings on disk, plain HTTP, and the real ccxt client pointed at a venue."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.faults import Answer

SAMPLE = Path(__file__).resolve().parents[2] / "cryptai_pipelines" / "sample"


class Reply(NamedTuple):
    """One HTTP reply; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def fetch(base_url: str, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Reply:
    """One request on its own connection."""
    connection = http.client.HTTPConnection(base_url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, response.read())
    finally:
        connection.close()


def ask(api: Api, target: str, headers: dict[str, str] | None = None) -> Answer:
    """The API's answer to a GET, without a socket."""
    path, _, query = target.partition("?")
    return api.answer("GET", path, query, headers or {})


def ask_json(api: Api, target: str) -> Any:
    """The parsed body of a GET that must succeed."""
    answer = ask(api, target)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def ccxt_client(base_url: str) -> Any:
    """The real client, told where the venue is and nothing else."""
    import ccxt

    client = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{base_url}/api/v3"
    return client


def plain_bars(ts: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Orderly bars at the given open times: prices with two decimals, volumes with five."""
    rng = np.random.default_rng(seed)
    close = np.round(100 + np.cumsum(rng.normal(0, 1, len(ts))).clip(-90, 900), 2)
    opened = np.round(np.concatenate(([100.0], close[:-1])), 2)
    high = np.round(np.maximum(opened, close) + rng.uniform(0, 2, len(ts)), 2)
    low = np.round(np.minimum(opened, close) - rng.uniform(0, 2, len(ts)), 2)
    volume = np.round(rng.uniform(1, 50, len(ts)), 5)
    data = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return pd.DataFrame(data, index=ts_index(np.asarray(ts)))


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recording and gives the folder to serve."""

    def write(frame: pd.DataFrame, symbol: str = "BTCUSDT", timeframe: str = "1h", suffix: str = "parquet") -> Path:
        home = tmp_path / "binance"
        home.mkdir(exist_ok=True)
        path = home / f"{symbol}_{timeframe}.{suffix}"
        if suffix == "parquet":
            frame.reset_index().to_parquet(path, index=False)
        else:
            frame.reset_index().to_csv(path, index=False)
        return tmp_path

    return write
