"""Which column of a file is which: by a mapping of the user, by the names in its header, or by its shape when it has none.

Nothing is read here but the header or the first row. How a file is opened is in `file_tables`, how values are read in
`file_times` and `file_numbers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptai_pipelines.market.bars import OHLCV, WIRE_DTYPES
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.sources import tradingview_csv
from cryptai_pipelines.sources.file_numbers import is_number

NEEDED = ("ts", "open", "high", "low", "close")
MAPPABLE = tuple(name for name in WIRE_DTYPES if name not in ("close_ts", "unused"))
SYMBOL = "symbol"
"""Not a column of bars: where a file names its symbol, so that one with several is refused."""

FILLED, SIMULATED = "is_filled", "simulated"
"""Not columns of bars either: what `cryptai bars --to` says of each bar beside them."""

# By field, the most telling first; names are compared without case, spaces and punctuation.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    "ts": tuple(
        "unix unixtime unixtimestamp epoch epochtime timestampms ts timestamp opentime opentimems opentimestamp time t datetime"
        " date dateutc datetimeutc timeutc timestamputc gmttime begin start starttime candlebegintime".split()
    ),
    "open": ("open", "openprice", "priceopen", "openingprice", "o"),
    "high": ("high", "highprice", "pricehigh", "maxprice", "h"),
    "low": ("low", "lowprice", "pricelow", "minprice", "l"),
    "close": ("close", "closeprice", "priceclose", "closingprice", "c"),
    "volume": ("volume", "vol", "basevolume", "volumebase", "v"),
    "quote_volume": ("quotevolume", "quoteassetvolume", "volumequote", "quoteav", "turnover"),
    "trades": ("trades", "numberoftrades", "numtrades", "tradecount", "tradescount", "count"),
    "taker_buy_base": ("takerbuybase", "takerbuybaseassetvolume", "takerbuyvolume", "takerbuybasevolume", "tbbaseav"),
    "taker_buy_quote": ("takerbuyquote", "takerbuyquoteassetvolume", "takerbuyquotevolume", "tbquoteav"),
    "close_ts": ("closetime", "closets", "closetimestamp"),
    SYMBOL: ("symbol", "ticker", "pair", "instrument", "tic", "coin"),
    FILLED: ("isfilled",),
    SIMULATED: ("simulated",),
}
_CDD_HINT = "cryptodatadownload"


@dataclass(frozen=True)
class Recognised:
    """`columns`: position by field (`WIRE_DTYPES` without `unused`, `symbol`, `is_filled`, `simulated`). `names`: how the file
    calls them. `ignored`: the other columns. `notes`: what a person should know about the choice, one clause each."""

    kind: str
    columns: Mapping[str, int]
    names: Mapping[str, str]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def from_header(
    header: Sequence[str], mapping: Mapping[str, str], symbol: str, banner: Sequence[str] = (), kind: str | None = None
) -> Recognised:
    """The columns of a file with a header. `symbol` is a slug: `Volume BTC` is the volume of BTC-USD, `Volume USD` its quote
    volume. `BadInput` for a mapping to a column that is not there, and for a needed column that is not found."""
    header = [name.strip().lstrip("\ufeff") for name in header]
    columns = {field: _position_of(header, field, name) for field, name in mapping.items()}
    notes = []
    for field, synonyms in _with_symbol(symbol).items():
        if field in columns:
            continue
        found = [at for name in synonyms for at, given in enumerate(header) if _plain(given) == name]
        found = [at for at in found if at not in columns.values()]
        if found:
            columns[field] = found[0]
            rivals = [header[at] for at in found[1:]]
            if rivals and field != "ts":
                notes.append(f"of several columns for {field} the one named {header[found[0]]!r} nearest the start is read")
    _refuse_missing(columns, header)
    ignored = tuple(name for at, name in enumerate(header) if at not in columns.values())
    names = {field: header[at] for field, at in columns.items()}
    return Recognised(kind or _kind(header, banner), columns, names, ignored, tuple(notes))


def from_first_row(row: Sequence[str], mapping: Mapping[str, str]) -> Recognised:
    """The columns of a file without a header: those that `mapping` gives as numbers from 1, or by the shape of a row: 12 fields
    of Binance, 7 of Kraken, 8 or 9 of CryptoDataDownload, 6 or 5 of plain bars. `BadInput` for any other."""
    if mapping:
        columns = {field: _number_of(field, text, len(row)) for field, text in mapping.items()}
        _refuse_missing(columns, [str(n) for n in range(1, len(row) + 1)])
        return _by_position("mapped by number", columns, len(row))
    texts = [at for at, value in enumerate(row) if not is_number(value)]
    if len(row) == 12 and not texts:
        fields = [name for name in WIRE_DTYPES if name != "unused"]
        return _by_position("Binance klines", {name: at for at, name in enumerate(fields)}, len(row))
    if len(row) == 7 and not texts:
        return _by_position("Kraken OHLCVT", {n: at for at, n in enumerate(("ts", *OHLCV, "trades"))}, len(row))
    if len(row) in (8, 9) and texts == [1, 2]:
        columns = {"ts": 0, SYMBOL: 2, **{name: at for at, name in enumerate(OHLCV, 3)}}
        return _by_position("CryptoDataDownload", columns, len(row))
    if len(row) in (5, 6) and set(texts) <= {0}:
        kind = tradingview_csv.SEED if tradingview_csv.is_seed(row) else "plain bars"
        return _by_position(kind, {name: at for at, name in enumerate(("ts", *OHLCV)[: len(row)])}, len(row))
    raise BadInput(
        f"there is no header, and a row of {len(row)} fields is of no known shape; accepted: a header, or --map with the"
        " numbers of the columns, such as ts=1,open=2,high=3,low=4,close=5,volume=6"
    )


def looks_like_header(row: Sequence[str]) -> bool:
    """Whether a first row of a file names columns: fewer than four of its fields are numbers."""
    return sum(is_number(value) for value in row) < 4


def parse_mapping(text: str | None) -> dict[str, str]:
    """`ts=Date,open=Open` as column names by field; `BadInput` names what is malformed."""
    mapping: dict[str, str] = {}
    for part in (text or "").split(",") if text else ():
        field, separator, name = part.partition("=")
        field, name = field.strip(), name.strip()
        if not separator or not name or field not in MAPPABLE:
            raise BadInput(f"--map {part!r} is not FIELD=COLUMN; accepted fields: {' '.join(MAPPABLE)}")
        if field in mapping or name in mapping.values():
            raise BadInput(f"--map names {field if field in mapping else name!r} twice; accepted: each field and column once")
        mapping[field] = name
    return mapping


def _with_symbol(symbol: str) -> dict[str, tuple[str, ...]]:
    base, quote = (part.casefold() for part in symbol.split("-"))
    return _SYNONYMS | {
        "volume": (*_SYNONYMS["volume"], f"volume{base}"),
        "quote_volume": (*_SYNONYMS["quote_volume"], f"volume{quote}"),
    }


def _position_of(header: Sequence[str], field: str, name: str) -> int:
    exact = [at for at, given in enumerate(header) if given == name]
    loose = [at for at, given in enumerate(header) if given.casefold() == name.casefold()]
    found = exact or loose
    if len(found) != 1:
        how = "no column" if not found else f"{len(found)} columns"
        raise BadInput(f"--map {field}={name}: the file has {how} of that name; accepted: one of {_listed(header)}")
    return found[0]


def _number_of(field: str, text: str, width: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= width:
        raise BadInput(f"--map {field}={text}: the file has no header; accepted: a column number from 1 to {width}")
    return int(text) - 1


def _refuse_missing(columns: Mapping[str, int], header: Sequence[str]) -> None:
    missing = [field for field in NEEDED if field not in columns]
    if missing:
        raise BadInput(
            f"there is no column for {' '.join(missing)} among {_listed(header)};"
            f" accepted: a usual name, or --map {missing[0]}=NAME"
        )


def _by_position(kind: str, columns: Mapping[str, int], width: int) -> Recognised:
    names = {field: f"column {at + 1}" for field, at in columns.items()}
    ignored = tuple(f"column {at + 1}" for at in range(width) if at not in columns.values())
    return Recognised(kind, columns, names, ignored, ("the file has no header; its columns are told by their place",))


def _kind(header: Sequence[str], banner: Sequence[str]) -> str:
    if any(_CDD_HINT in _plain(line) for line in banner):
        return "CryptoDataDownload"
    if tradingview_csv.is_export(header):
        return tradingview_csv.EXPORT
    if [name.casefold() for name in header] == ["date", *OHLCV]:
        return "freqtrade"
    if header[:6] == ["ts", *OHLCV]:
        return "CryptAI recording"
    if len(header) == 12 and _plain(header[0]) == "opentime":
        return "Binance klines"
    return "bars with a header"


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _listed(names: Sequence[str]) -> str:
    shown = [name[:40] for name in names[:20]]
    return ", ".join(repr(name) for name in shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
