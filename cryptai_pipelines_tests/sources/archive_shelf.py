"""Archived files for tests, made without any code of the product: klines as CSV, zips, checksums, and a server of them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field

from cryptai_pipelines_tests.fakes import Request, Script, http_answer

HEADER = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
HTML = b"<html><body><h1>Sorry</h1></body></html>"


def row(ts: int, length_ms: int, price: float = 100.0, factor: int = 1) -> str:
    """One line of a klines file; `factor` 1000 writes the times in microseconds."""
    text = f"{price:.8f}"
    close = (ts + length_ms) * factor - 1
    return f"{ts * factor},{text},{text},{text},{text},1.50000000,{close},150.00000000,7,0.50000000,50.00000000,0\n"


def rows(start_ms: int, end_ms: int, length_ms: int, factor: int = 1) -> bytes:
    """Lines of all open times from `start_ms` on, the price being that of the open time's place in all time."""
    opens = range(start_ms, end_ms, length_ms)
    return "".join(row(ts, length_ms, 100 + ts // length_ms % 1000, factor) for ts in opens).encode()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of the members in order; the same bytes whenever it is made."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text, method)
    return content.getvalue()


def checksum(content: bytes, name: str) -> bytes:
    """The `.CHECKSUM` of a file."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


@dataclass
class Shelf:
    """Answers of a server by path (without the leading slash); what is not there is answered 404. A list is used up from its
    front, its last answer stays."""

    answers: dict[str, bytes | Script | list[bytes | Script]] = field(default_factory=dict)

    def put(self, path: str, content: bytes, with_checksum: bool = True) -> None:
        """A file and its right checksum."""
        self.answers[path] = http_answer(content)
        if with_checksum:
            self.answers[f"{path}.CHECKSUM"] = http_answer(checksum(content, path.rpartition("/")[2]))

    def put_klines(self, path: str, text: bytes) -> None:
        """A zip of the klines `text` under its right name, and its checksum."""
        name = path.rpartition("/")[2].removesuffix(".zip")
        self.put(path, zipped({f"{name}.csv": text}))

    def __call__(self, request: Request) -> bytes | Script:
        found = self.answers.get(request.path.lstrip("/"), http_answer(b"<Error>NoSuchKey</Error>", 404))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found
