"""The receivers that the settings name: their URLs, which hold secrets, and the names they go by everywhere else. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

# Of most other services a token stands where these have their host.
_WITH_HOST = re.compile(r"jsons?|xmls?|forms?|mailtos?|gotifys?|apprises?|mmosts?")
_HOST = re.compile(r"[a-z0-9][a-z0-9.-]*|[0-9a-f:.]*:[0-9a-f:.]*")
_ADDRESSES = re.compile(r"(?<=[?&])(to|from|cc|bcc|reply)=[^&#]*")


class Receiver(NamedTuple):
    """`name` is safe to show and to store: the scheme and a hash of the URL."""

    name: str
    url: SecretStr

    @property
    def address(self) -> str | None:
        """Scheme, host and port, which are safe to show too; None where they might be or hold a secret."""
        return _address(self.url.get_secret_value())

    @property
    def shown(self) -> str:
        """The name, with the address beside it where there is one."""
        return f"{self.name} ({self.address})" if self.address else self.name


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


def _address(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    behind = _ADDRESSES.sub("", url.partition("://")[2][len(parts.netloc) :])
    # A password with a / or an @ in it that is not written as %2F or %40 ends where nobody can tell.
    torn = parts.netloc.count("@") > 1 or "@" in behind
    # A single word without a port may be a token in the wrong place.
    named = "." in host or ":" in host or host == "localhost" or port is not None
    if torn or not named or not _WITH_HOST.fullmatch(parts.scheme) or not _HOST.fullmatch(host):
        return None
    spelled = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{spelled}" + (f":{port}" if port is not None else "")
