"""The receivers that the settings name: their URLs, which hold secrets, and the names they go by everywhere else. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from pydantic import SecretStr


class Receiver(NamedTuple):
    """`name` is safe to show and to store: the scheme and a hash of the URL."""

    name: str
    url: SecretStr


def read_receivers(urls: SecretStr | None) -> list[Receiver]:
    """The receivers of `CRYPTAI_ALERT_URLS`, each once. A comma separates only where another URL follows it."""
    text = urls.get_secret_value() if urls else ""
    parts = [part.strip() for part in re.split(r"[,\s]+(?=[A-Za-z][A-Za-z0-9+.-]*://)", text.strip().strip(","))]
    found = [Receiver(_name(part), SecretStr(part)) for part in dict.fromkeys(parts) if part]
    return found


def _name(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    shown = scheme.lower() if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) else "unknown"
    return f"{shown}#{hashlib.sha256(url.encode()).hexdigest()[:10]}"
