"""Database URLs: reading, renaming the database, and showing them and the server's messages without the password."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cryptai_pipelines.market.errors import BadInput

_URL = re.compile(r"(?:postgresql|postgres)(?:\+psycopg2)?://(?P<rest>.*)", re.DOTALL)


def driver_url(url: str) -> str:
    """`url` as libpq reads it (`postgresql://...`); `BadInput` for another scheme or without a database name."""
    match = _URL.fullmatch(url.strip())
    if not match:
        scheme = url.strip().partition("://")[0] if "://" in url else "no scheme"
        raise BadInput(
            f"database URL with {scheme!r} is not accepted; it must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    plain = "postgresql://" + match["rest"]
    _parts(plain)
    return plain


def sqlalchemy_url(url: str) -> str:
    """`url` with the driver spelled out, as SQLAlchemy and dagster-postgres need it."""
    return driver_url(url).replace("postgresql://", "postgresql+psycopg2://", 1)


def database_name(url: str) -> str:
    """The database that `url` names."""
    return _parts(driver_url(url))[0]


def with_database(url: str, name: str) -> str:
    """`url` with another database on the same server, in libpq's spelling."""
    place, question, query = driver_url(url).partition("?")
    scheme, _, rest = place.partition("://")
    # Put together by hand: `urlunsplit` of Python 3.11 loses the slashes of a URL without a host.
    return f"{scheme}://{rest.partition('/')[0]}/{quote(name, safe='')}{question}{query}"


def sibling_url(url: str, name: str) -> str:
    """SQLAlchemy URL of the database `name` on the server of `url`, such as `sibling_url(url, "dagster")`."""
    return sqlalchemy_url(with_database(url, name))


def one_line(message: str, url: str) -> str:
    """`message` on one line, with the password of `url` (and any in a URL of the message) replaced by `***`."""
    text = "; ".join(line.strip() for line in message.strip().splitlines() if line.strip())
    for secret in _secrets(url):
        for spelled in {secret, quote(secret, safe=""), unquote(secret)}:
            text = text.replace(spelled, "***") if len(spelled) > 2 else text
    text = re.sub(r"(://[^:/@\s]*):[^/\s]*@", r"\1:***@", text)
    return re.sub(r"(password=)[^&\s]*", r"\1***", text)


def _parts(plain: str) -> tuple[str, list[tuple[str, str]]]:
    try:
        parts = urlsplit(plain)
        _ = None if "," in parts.netloc else parts.port
    except ValueError as error:
        raise BadInput(f"database URL {one_line(plain, '')} cannot be read: {error}") from None
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise BadInput(f"database URL {one_line(plain, '')} names no database; write it as .../DATABASE")
    return name, parse_qsl(parts.query)


def _secrets(url: str) -> list[str]:
    if "://" not in url:
        return []
    parts = urlsplit(url)
    found = [value for key, value in parse_qsl(parts.query) if key == "password"]
    credentials = parts.netloc.rpartition("@")[0]
    if ":" in credentials:
        found.append(credentials.partition(":")[2])
    return [secret for secret in found if secret]
