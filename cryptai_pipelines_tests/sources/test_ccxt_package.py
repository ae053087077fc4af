"""Loading one exchange of ccxt: nothing else is loaded, and the package looks as `import ccxt` gives it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cryptai_pipelines.sources.catalog import VENUES


def _said(program: str) -> object:
    """What `program` prints, in a process that has loaded no ccxt."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_venue_opens_its_exchange_alone() -> None:
    program = f"""
import json, sys
from cryptai_pipelines.sources.ccxt_package import exchange_class
for name in {sorted(venue.wire.ccxt_id for venue in VENUES.values())!r}:
    assert exchange_class(name)({{}}).id == name
print(json.dumps(["ccxt.whitebit" in sys.modules, exchange_class("binance")({{}}).describe()["id"]]))
"""
    assert _said(program) == [False, "binance"]


@pytest.mark.parametrize(
    "use",
    [
        "import ccxt; assert ccxt.binance is ours; found = ccxt.whitebit",
        "from ccxt import binance; assert binance is ours; from ccxt import whitebit as found",
        "import ccxt; found = ccxt.whitebit",
        "from ccxt import whitebit as found",
        "import ccxt; found = getattr(ccxt, ccxt.exchanges[ccxt.exchanges.index('whitebit')])",
        "from ccxt import *; found = whitebit",
        "import ccxt.async_support; import ccxt; found = ccxt.whitebit",
    ],
)
def test_the_rest_of_the_package_is_there_for_whoever_wants_it(use: str) -> None:
    program = f"""
import json, sys
from cryptai_pipelines.sources.ccxt_package import exchange_class
ours = exchange_class("binance")
{use}
import ccxt, types
print(json.dumps([found.__name__, ccxt.binance is ours, ccxt.__version__ > "4", type(ccxt) is types.ModuleType]))
"""
    assert _said(program) == ["whitebit", True, True, True]


def test_threads_that_want_the_package_at_the_same_time_all_get_it() -> None:
    program = """
import json, threading
from concurrent.futures import ThreadPoolExecutor
from cryptai_pipelines.sources.ccxt_package import exchange_class
exchange_class("binance")
import ccxt
together = threading.Barrier(8)
def want(name):
    together.wait()
    return getattr(ccxt, name).__name__
names = ["whitebit", "kraken", "okx", "bybit", "bitvavo", "gate", "NetworkError", "Exchange"]
with ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(want, names)) == names))
"""
    assert _said(program) is True


def test_what_ccxt_does_not_have_is_missed_as_before() -> None:
    program = """
import json
from cryptai_pipelines.sources.ccxt_package import exchange_class
exchange_class("binance")
import ccxt
print(json.dumps([hasattr(ccxt, "nowhere"), hasattr(ccxt, "kraken")]))
"""
    assert _said(program) == [False, True]


def test_a_package_that_is_loaded_already_is_left_alone() -> None:
    program = """
import json, ccxt
from cryptai_pipelines.sources.ccxt_package import exchange_class
print(json.dumps(exchange_class("kraken") is ccxt.kraken))
"""
    assert _said(program) is True
