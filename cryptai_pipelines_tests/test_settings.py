"""Settings: read from the environment, refused in one line, and told in the README."""

from __future__ import annotations

import pytest

from cryptai_pipelines.indicators.registry import DEFAULT_SET, indicator_set
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.settings import Settings, load_settings
from cryptai_pipelines_tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def no_dotenv(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_every_setting_is_in_the_readme_with_its_default():
    table = (REPOSITORY / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "unset" if default in (None, ()) else ",".join(default) if isinstance(default, tuple) else default
        assert f"| `CRYPTAI_{name.upper()}` | `{shown}` | {field.description} |" in table


def test_lists_and_dotenv_are_read(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("CRYPTAI_TIMEFRAMES=1h, 4h\n")
    monkeypatch.setenv("CRYPTAI_SYMBOLS", "btc/usdt, ETH-USDT,")
    told = load_settings()
    assert [str(series) for series in told.series] == ["BTC-USDT 1h", "BTC-USDT 4h", "ETH-USDT 1h", "ETH-USDT 4h"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRYPTAI_SYMBOLS", "BTCUSDT"),
        ("CRYPTAI_TIMEFRAMES", "7m"),
        ("CRYPTAI_GRACE_SECONDS", "soon"),
        ("CRYPTAI_GRACE_SECONDS", "-1"),
        ("CRYPTAI_INITIAL_CAPITAL", "0"),
        ("CRYPTAI_STOP_LOSS", "1.5"),
        ("CRYPTAI_FEE_RATE", "nan"),
        ("CRYPTAI_FETCH_THREADS", "0"),
        ("CRYPTAI_FILL", "interpolate"),
        ("CRYPTAI_FILL", "zero"),
    ],
)
def test_a_bad_setting_is_one_line_naming_it_and_its_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput) as refused:
        load_settings()
    line = str(refused.value)
    assert value in line and "\n" not in line


def test_indicators_are_named_by_comma_or_space_and_default_may_stand_among_them(monkeypatch):
    monkeypatch.setenv("CRYPTAI_INDICATORS", "default, supertrend_7_2 macd_12_26_9,ema_20")
    found = indicator_set(load_settings().indicators)
    assert [spec.name for spec in found] == [*(spec.name for spec in DEFAULT_SET), "supertrend_7_2", "ema_20"]
    monkeypatch.setenv("CRYPTAI_INDICATORS", "rsi")
    assert [spec.name for spec in indicator_set(load_settings().indicators)] == ["rsi_14"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("default rsi_14 supertrnd", "indicator 'supertrnd' does not exist; the nearest known: supertrend"),
        ("sma_0", "indicator 'sma_0': timeperiod=0 is not accepted"),
        (",", "no indicator is named"),
    ],
)
def test_bad_indicators_are_one_line(monkeypatch, value, says):
    monkeypatch.setenv("CRYPTAI_INDICATORS", value)
    with pytest.raises(BadInput) as refused:
        load_settings()
    line = str(refused.value)
    assert line.startswith("CRYPTAI_INDICATORS: ") and says in line and "\n" not in line


def test_venues_are_called_where_the_settings_say(monkeypatch):
    assert load_settings().base_urls == {"binance": "https://api.binance.com"}
    monkeypatch.setenv("CRYPTAI_VENUE_URLS", "Kraken=http://127.0.0.1:8900/a=b, okx=https://h")
    expected = {"binance": "https://api.binance.com", "kraken": "http://127.0.0.1:8900/a=b", "okx": "https://h"}
    assert load_settings().base_urls == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("mtgox=http://127.0.0.1:1", "'mtgox' is not known; accepted: binance kraken"),
        ("kraken", "'kraken' is not of the form venue=URL"),
        ("kraken=ftp://me:hunter2@h", "expected http"),
        ("http://me:hunter2@h", "not of the form venue=URL"),
    ],
)
def test_a_bad_venue_url_is_one_line_without_its_password(monkeypatch, value, says):
    monkeypatch.setenv("CRYPTAI_VENUE_URLS", value)
    with pytest.raises(BadInput) as refused:
        load_settings()
    line = str(refused.value)
    assert line.startswith("CRYPTAI_VENUE_URLS: ") and says in line and "\n" not in line and "hunter2" not in line


def test_a_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("CRYPTAI_DATABASE_URL", "postgresql://me:hunter2@db/cryptai")
    assert "hunter2" not in repr(load_settings())


@pytest.mark.parametrize(
    ("value", "used"), [("off", None), (" OFF ", None), ("http://127.0.0.1:8899", "http://127.0.0.1:8899"), ("", None)]
)
def test_the_archive_can_be_elsewhere_or_off(monkeypatch, value, used):
    monkeypatch.setenv("CRYPTAI_ARCHIVE_URL", value)
    # An empty variable is as good as none, so it cannot switch anything off.
    assert load_settings().archive_url == (used if value else "https://data.binance.vision")


@pytest.mark.parametrize(
    ("exchange", "elsewhere"),
    [
        ("binance", {"CRYPTAI_BINANCE_URL": "http://127.0.0.1:8899"}),
        ("binance", {"CRYPTAI_VENUE_URLS": "binance=http://127.0.0.1:8899"}),
        ("binanceusdm", {"CRYPTAI_VENUE_URLS": "binanceusdm=http://127.0.0.1:8899"}),
    ],
)
def test_a_venue_that_is_called_elsewhere_has_an_archive_only_when_it_is_named(monkeypatch, exchange, elsewhere):
    monkeypatch.setenv("CRYPTAI_EXCHANGE", exchange)
    assert load_settings().archive == "https://data.binance.vision"
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    assert load_settings().archive is None
    monkeypatch.setenv("CRYPTAI_ARCHIVE_URL", "http://127.0.0.1:8899")
    assert load_settings().archive == "http://127.0.0.1:8899"
    monkeypatch.setenv("CRYPTAI_ARCHIVE_URL", "off")
    assert load_settings().archive is None


def test_the_address_of_one_market_says_nothing_about_the_archive_of_another(monkeypatch):
    monkeypatch.setenv("CRYPTAI_EXCHANGE", "binanceusdm")
    monkeypatch.setenv("CRYPTAI_BINANCE_URL", "http://127.0.0.1:8899")
    assert load_settings().archive == "https://data.binance.vision"


@pytest.mark.parametrize("exchange", ["kraken", "udf:replay", "mtgox"])
def test_other_venues_have_no_archive(monkeypatch, exchange):
    monkeypatch.setenv("CRYPTAI_EXCHANGE", exchange)
    monkeypatch.setenv("CRYPTAI_ARCHIVE_URL", "http://127.0.0.1:8899")
    assert load_settings().archive is None


@pytest.mark.parametrize(
    ("exchange", "elsewhere"),
    [("binance", "CRYPTAI_BINANCE_URL"), ("binanceusdm", "CRYPTAI_VENUE_URLS"), (" Kraken", "CRYPTAI_VENUE_URLS")],
)
def test_a_real_secondary_is_not_asked_beside_a_replayed_venue(monkeypatch, exchange, elsewhere):
    from cryptai_pipelines.orchestration.doors import parse_secondaries

    url, name = "http://127.0.0.1:8899", exchange.strip().lower()
    replaced = url if elsewhere == "CRYPTAI_BINANCE_URL" else f"{name}={url}"
    monkeypatch.setenv("CRYPTAI_EXCHANGE", exchange)
    monkeypatch.setenv("CRYPTAI_SECONDARY", "coinbase:USD")
    assert [one.exchange for one in parse_secondaries(load_settings())] == ["coinbase"]
    monkeypatch.setenv(elsewhere, replaced)
    with pytest.raises(BadInput, match=f"while {name} is called at {url}; accepted: .*CRYPTAI_VENUE_URLS=coinbase=URL"):
        parse_secondaries(load_settings())
    replaced = f"{replaced}," if elsewhere == "CRYPTAI_VENUE_URLS" else ""
    monkeypatch.setenv("CRYPTAI_VENUE_URLS", f"{replaced}coinbase={url}")
    assert [one.quote for one in parse_secondaries(load_settings())] == ["USD"]
    # Spot's own address is its real one, whatever is said of another venue; and a venue is the same in any case.
    monkeypatch.setenv("CRYPTAI_SECONDARY", "Binance")
    refused = "which is the primary venue" if name == "binance" else "at its real address"
    with pytest.raises(BadInput, match=refused):
        parse_secondaries(load_settings())
    monkeypatch.setenv("CRYPTAI_SECONDARY", " CoinBase : usd")
    assert parse_secondaries(load_settings()) == [("coinbase", "USD")]
