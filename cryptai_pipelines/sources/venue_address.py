"""Where a venue is called: a base URL from the settings, taken apart once so that its credentials reach no message."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from cryptai_pipelines.market.errors import BadInput


class VenueAddress(NamedTuple):
    """A venue, the root of its API without credentials, and the credentials of the URL, if it had any."""

    venue: str
    api_url: str
    credentials: tuple[str, str] | None = None


def venue_address(venue: str, base_url: str, api_path: str) -> VenueAddress:
    """The address of `venue` at `base_url` (`http(s)://[user:password@]host[:port][/prefix]`); `BadInput` for another form."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        shown = base_url.rpartition("@")[2]
        raise BadInput(
            f"{venue} URL {shown!r} is not accepted; expected http(s)://host[:port], such as https://api.binance.com"
        )
    authority = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    credentials = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username or parts.password else None
    return VenueAddress(venue, f"{parts.scheme}://{authority}{parts.path.rstrip('/')}{api_path}", credentials)
