"""What the body of a TradingView alert says, as far as it says it in a form that is known. Any bytes at all are an alert: what
is no JSON, or JSON that cannot be stored as such, is kept as it came."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, NoReturn

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.storage.tradingview_alerts import TradingViewAlert

_DEEPEST = 64
_LONGEST_FIELD = 200
_LATEST_MS = 4_102_444_800_000  # 2100
_SECONDS_BELOW = 1e11
# Names that people give to TradingView's placeholders, the usual one first.
_FIELDS = {
    "ticker": ("ticker", "symbol"),
    "exchange": ("exchange",),
    "interval": ("interval", "timeframe", "resolution"),
    "rule": ("rule", "alert", "alert_name", "strategy", "name"),
}
_TIMES = ("time", "timenow", "timestamp")


def read_alert(body: bytes, received_at_ms: int) -> TradingViewAlert:
    """The alert that `body` holds. An alert repeats another when ticker, interval, time and rule are the same (the whole body
    where it names no rule); one that lacks ticker or time, when the body is."""
    payload, has_payload = _payload(body)
    said = payload if isinstance(payload, dict) else {}
    fields = {name: _text(_first(said, keys)) for name, keys in _FIELDS.items()}
    when = _first(said, _TIMES)
    digest = hashlib.sha256(body).hexdigest()
    named = fields["ticker"] is not None and isinstance(when, str | int | float)
    parts = [fields["ticker"], fields["interval"], str(when), fields["rule"] or digest] if named else [digest]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return TradingViewAlert(key, named, received_at_ms, body, payload, has_payload, fired_at_ms=_moment(when), **fields)


def as_text(alert: TradingViewAlert) -> TradingViewAlert:
    """The alert without its payload, for one that the database does not take as JSON."""
    return TradingViewAlert(alert.dedup_key, alert.names_time, alert.received_at_ms, alert.body)


def _payload(body: bytes) -> tuple[Any, bool]:
    """The JSON value of a body and True; None and False where there is none that Postgres could hold."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None, False
    return (value, True) if _storable(value) else (None, False)


def _storable(value: Any) -> bool:
    """Whether jsonb holds it: no NUL, no half of a surrogate pair, finite numbers, and no deeper than is ever meant."""
    left = [(value, 0)]
    while left:
        one, depth = left.pop()
        if depth > _DEEPEST:
            return False
        if isinstance(one, dict):
            left.extend((part, depth + 1) for pair in one.items() for part in pair)
        elif isinstance(one, list):
            left.extend((part, depth + 1) for part in one)
        elif isinstance(one, str):
            if "\x00" in one or any("\ud800" <= character <= "\udfff" for character in one):
                return False
        elif isinstance(one, float) and not math.isfinite(one):
            return False
    return True


def _first(said: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((said[key] for key in keys if said.get(key) not in (None, "")), None)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)[:_LONGEST_FIELD]


def _moment(value: Any) -> int | None:
    """Epoch milliseconds of a time as ISO 8601 text or a number of seconds or milliseconds; None for anything else."""
    if isinstance(value, str):
        if not value.strip().isdecimal():
            try:
                value = parse_time(value) / 1000
            except (BadInput, OverflowError):
                return None
        else:
            value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    ms = value * 1000 if abs(value) < _SECONDS_BELOW else value
    return round(ms) if 0 < ms < _LATEST_MS else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
