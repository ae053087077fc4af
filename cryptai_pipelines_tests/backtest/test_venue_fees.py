"""The table of fees against ccxt, which it is taken from."""

from __future__ import annotations

import ccxt
import pytest

from cryptai_pipelines.backtest.venue_fees import VENUE_FEES, fees_of, told_fees
from cryptai_pipelines.market.errors import BadInput


@pytest.mark.parametrize("venue", sorted(set(VENUE_FEES) - {"bybit"}))
def test_fees_are_those_that_ccxt_tells(venue):
    told = getattr(ccxt, venue)().fees
    trading = told["linear"]["trading"] if venue == "binanceusdm" else told["trading"]
    assert fees_of(venue) == (trading["maker"], trading["taker"])


def test_an_unknown_venue_is_told_the_known_ones():
    with pytest.raises(BadInput, match="fees of venue 'mtgox' are not known; accepted: binance, "):
        fees_of("mtgox")


def test_whose_fees_they_are_is_told():
    assert told_fees("binance", 0.001) == "0.1000% taker, 0.1000% maker; what binance charges without a discount"
    assert "what kraken charges without" in told_fees("kraken", 0.0026, 0.0016)
    assert "chosen, kraken charges 0.2600% and 0.1600%" in told_fees("kraken", 0.0026)
    assert told_fees("udf:mine", 0.001).endswith("what udf:mine charges is not known")
