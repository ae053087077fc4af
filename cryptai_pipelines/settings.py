"""Every setting, typed, from `CRYPTAI_*` environment variables or a `.env` file. Nothing else reads the environment."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.series import Series, parse_symbol
from cryptai_pipelines.market.timeframe import parse_timeframe


class Settings(BaseSettings):
    """The settings of one process. Field `x_y` is read from `CRYPTAI_X_Y`; the README holds the table."""

    model_config = SettingsConfigDict(
        env_prefix="CRYPTAI_", env_file=".env", env_ignore_empty=True, allow_inf_nan=False, extra="ignore", frozen=True
    )

    home: Path = Field(Path(".cryptai"), description="Where the embedded Postgres, Dagster's files and reports live")
    database_url: SecretStr | None = Field(None, description="A PostgreSQL >= 15 of yours; unset starts the embedded one")
    exchange: str = Field("binance", description="The venue that bars are fetched from")
    secondary: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Venues asked for bars that no other source has, in this order; `kraken:USD` takes another quote"
    )
    fill: str = Field("carry_forward", description="What is done with gaps that no source can close: `carry_forward` or `none`")
    binance_url: str = Field("https://api.binance.com", description="Base URL of the Binance spot REST API")
    udf_url: str | None = Field(None, description="Base URL of a TradingView UDF server, for an exchange named `udf:NAME`")
    webhook_secret: SecretStr | None = Field(None, description="Secret in the path of the alert webhook, 16 characters or more")
    archive_url: str | None = Field(
        "https://data.binance.vision",
        description="Base URL of Binance's public archive of bars; `off` uses none, and so does another address of the venue"
        " unless this is set, too",
    )
    venue_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Base URLs of venues that are called elsewhere, as `venue=URL`, comma separated"
    )
    symbols: Annotated[tuple[str, ...], NoDecode] = Field(("BTC-USDT",), description="Symbols on the grid, comma separated")
    timeframes: Annotated[tuple[str, ...], NoDecode] = Field(("1h",), description="Timeframes kept up to date by the schedule")
    indicators: Annotated[tuple[str, ...], NoDecode] = Field(
        ("default",), description="Indicators that are stored, comma or space separated; `default` stands for the default set"
    )
    grace_seconds: float = Field(10.0, ge=0, description="How long after its close a bar may still change and is left alone")
    overlap_bars: int = Field(24, ge=1, description="Stored bars fetched again by each sync, to see restatements")
    request_timeout_seconds: float = Field(30.0, gt=0, description="Total deadline of one call to a venue")
    fetch_threads: int = Field(4, ge=1, le=32, description="Series fetched at the same time, and stretches of a long one")
    lease_seconds: float = Field(300.0, gt=0, description="How long a writer may be silent before another takes its series")
    initial_capital: float = Field(10_000.0, gt=0, description="Capital of a backtest, in the quote currency")
    fee_rate: float = Field(
        0.001, ge=0, lt=1, description="Fee per side, as a share of the notional; unset, what the venue charges"
    )
    slippage_bps: float = Field(2.0, ge=0, lt=10_000, description="Slippage per side, in basis points")
    take_profit: float = Field(0.15, gt=0, description="Target above the entry price, as a share of it")
    stop_loss: float = Field(0.08, gt=0, lt=1, description="Stop below the entry price, as a share of it")
    min_risk_reward: float = Field(1.5, gt=0, description="Entries with a lower reward to risk after costs are refused")
    strategy: str = Field("trend_structure", description="The scheduled strategy: a name, `FILE.py` or `FILE.py:NAME`")
    parameters: Annotated[dict[str, int | float | str | bool], NoDecode] = Field(
        {}, description='Its parameters and the engine\'s as a JSON object, such as `{"size": 0.5}`; `"inf"` for none'
    )
    swing_length: int = Field(5, ge=1, le=1000, description="Bars after a pivot that confirm it as a swing of market structure")
    backups_kept: int = Field(7, ge=1, description="Backups kept of each database")
    alert_urls: SecretStr | None = Field(None, description="Apprise URLs that alerts are sent to, comma separated")
    alerts_per_hour: int = Field(20, ge=1, description="The most messages a receiver of alerts is sent within an hour")
    ui_url: str = Field("http://127.0.0.1:3000", description="Where the links of alerts lead: the Dagster UI")

    @field_validator("symbols", "timeframes", "secondary", "venue_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("indicators", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("indicators")
    @classmethod
    def _check_indicators(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from cryptai_pipelines.indicators.registry import indicator_set

        with _named("CRYPTAI_INDICATORS"):
            if not indicator_set(value):
                raise BadInput("no indicator is named; accepted: names such as default rsi_14 macd_8_21_5")
        return value

    @field_validator("exchange")
    @classmethod
    def _spell_exchange(cls, value: str) -> str:
        return value.strip().lower()

    @field_validator("archive_url", mode="before")
    @classmethod
    def _switch_off(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "off" else value

    @field_validator("symbols")
    @classmethod
    def _check_symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with _named("CRYPTAI_SYMBOLS"):
            return tuple(parse_symbol(symbol) for symbol in value)

    @field_validator("timeframes")
    @classmethod
    def _check_timeframes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with _named("CRYPTAI_TIMEFRAMES"):
            return tuple(parse_timeframe(code).code for code in value)

    @field_validator("fill")
    @classmethod
    def _check_fill(cls, value: str) -> str:
        if value == "interpolate":
            raise BadInput("CRYPTAI_FILL=interpolate reads ahead; accepted: carry_forward none (cryptai bars --fill draws it)")
        if value not in ("carry_forward", "none"):
            raise BadInput(f"CRYPTAI_FILL={value!r} is not accepted; accepted: carry_forward none")
        return value

    @field_validator("parameters", mode="before")
    @classmethod
    def _read_parameters(cls, value: object) -> object:
        try:
            given = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise BadInput(f'CRYPTAI_PARAMETERS={value!r} is not accepted; accepted: a JSON object such as {{"size": 0.5}}')
        return given

    @field_validator("parameters")
    @classmethod
    def _read_infinity(cls, value: dict[str, int | float | str | bool]) -> dict[str, int | float | str | bool]:
        return {name: math.inf if one == "inf" else one for name, one in value.items()}

    @field_validator("venue_urls")
    @classmethod
    def _check_venue_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from cryptai_pipelines.sources.catalog import known_venue
        from cryptai_pipelines.sources.venue_address import venue_address

        with _named("CRYPTAI_VENUE_URLS"):
            for entry in value:
                name, separator, url = entry.partition("=")
                if not separator:
                    shown = entry.rpartition("@")[2]
                    raise BadInput(f"{shown!r} is not of the form venue=URL, such as kraken=http://127.0.0.1:8900")
                venue_address(known_venue(name).name, url, "")
        return value

    @property
    def archive(self) -> str | None:
        """The base URL of the archive that belongs to the venue; None when there is none. A venue that only looks like Binance,
        such as a replay, has bars of its own: the real archive is not mixed with them."""
        from cryptai_pipelines.sources.catalog import VENUES

        venue = VENUES.get(self.exchange)
        if venue is None or venue.archive_market is None:
            return None
        return None if self.replaced_by and "archive_url" not in self.model_fields_set else self.archive_url

    @property
    def replaced_by(self) -> str | None:
        """The URL at which the primary venue is called in its own's place, such as that of a replay; None when it is called
        where it is."""
        return self.replacement(self.exchange)

    def replacement(self, venue_name: str) -> str | None:
        """As `replaced_by`, of any venue of the catalog."""
        from cryptai_pipelines.sources.catalog import VENUES

        venue = VENUES.get(venue_name)
        called = None if venue is None else self.base_urls.get(venue.name, venue.base_url)
        return None if venue is None or called == venue.base_url else called

    @property
    def base_urls(self) -> dict[str, str]:
        """The base URL of every venue that is called elsewhere than where it is, Binance's, and that of UDF."""
        elsewhere = (entry.partition("=") for entry in self.venue_urls)
        udf = {"udf": self.udf_url} if self.udf_url else {}
        return {"binance": self.binance_url} | udf | {name.strip().lower(): url.strip() for name, _, url in elsewhere}

    @property
    def series(self) -> tuple[Series, ...]:
        """Every configured symbol on every configured timeframe."""
        return tuple(Series(symbol, parse_timeframe(code)) for symbol in self.symbols for code in self.timeframes)


@contextmanager
def _named(variable: str) -> Iterator[None]:
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{variable}: {error}") from None


def load_settings() -> Settings:
    """Settings from the environment; `BadInput` with one line per process naming the first variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "CRYPTAI_" + "_".join(str(part) for part in first["loc"][:1]).upper()
        raise BadInput(f"{name}={first['input']!r} is not accepted: {first['msg']}") from None
    except CryptaiError as error:
        raise BadInput(str(error)) from None


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
