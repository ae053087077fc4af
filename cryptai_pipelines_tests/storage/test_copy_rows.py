"""Binary COPY gives back what was put in, for every type and its extremes, and refuses what does not fit exactly."""

from __future__ import annotations

import datetime as dt
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.storage.copy_rows import copy_rows
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.tables import TABLES, Table

_TYPES = {
    "f8": "float8", "f8n": "float8?", "f4": "float4", "i8": "int8", "i8n": "int8?", "i4": "int4", "i2": "int2",
    "flag": "bool", "flagn": "bool?", "at": "timestamptz", "atn": "timestamptz?", "day": "date", "word": "text",
    "wordn": "text?", "same": "text", "position": "int4",
}  # fmt: skip
_TABLE = Table("every_type", _TYPES, ("i8",))
_DAY_MS = 86_400_000

_INT = {bits: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64)}
_TIME = st.integers(-210_866_803_200_000, 9_224_318_015_999_999)
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_ROW = st.tuples(
    st.floats(), st.floats(), st.floats(width=32), _INT[64], st.none() | _INT[64], _INT[32], _INT[16], st.booleans(),
    st.none() | st.booleans(), _TIME, st.none() | _TIME, st.integers(-2_000_000, 2_000_000).map(lambda n: n * _DAY_MS),
    _TEXT, st.none() | _TEXT,
)  # fmt: skip
_DTYPES = ["float64", "float64", "float32", "int64", "int64", "int32", "int16", "bool", "bool", "int64", "int64", "int64"]


@pytest.fixture(scope="module")
def scratch(database_per_module: Database) -> Database:
    columns = ", ".join(f"{name} {kind.rstrip('?')}" for name, kind in _TYPES.items())
    with database_per_module.transaction() as cursor:
        cursor.execute(f"CREATE TABLE every_type ({columns})")
    return database_per_module


def _column(values: list, dtype: str) -> np.ndarray:
    missing = [value is None for value in values]
    filled = np.array([False if value is None else value for value in values]).astype(dtype)
    return np.ma.array(filled, mask=missing) if any(missing) else filled


def _bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack(">d", value) if value == value else b"nan"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_ROW, min_size=1, max_size=8), same=_TEXT)
def test_every_type_comes_back_bit_for_bit(scratch: Database, rows: list, same: str) -> None:
    columns = list(zip(*rows, strict=True))
    values = {name: _column(list(column), dtype) for name, column, dtype in zip(_TYPES, columns, _DTYPES, strict=False)}
    values |= {"word": np.array(columns[12], dtype=object), "wordn": np.array(columns[13], dtype=object), "same": same}
    values["position"] = np.arange(len(rows), dtype="int32")
    with scratch.transaction() as cursor:
        cursor.execute("TRUNCATE every_type")
        assert copy_rows(cursor, _TABLE, values, len(rows)) == len(rows)
        millis = "(extract(epoch FROM {0}) * 1000)::bigint"
        plain = [name for name in _TYPES if name not in ("at", "atn", "day", "position")]
        selected = [*plain, *(millis.format(name) for name in ("at", "atn")), "day - date '1970-01-01'"]
        cursor.execute(f"SELECT {', '.join(selected)} FROM every_type ORDER BY position")
        stored = [dict(zip([*plain, "at", "atn", "day"], row, strict=True)) for row in cursor.fetchall()]
    for row, kept in zip(rows, stored, strict=True):
        expected = dict(zip(_TYPES, (*row, same, None), strict=True))
        expected["day"] = expected["day"] // _DAY_MS
        del expected["position"]
        if expected["f8n"] != expected["f8n"]:
            expected["f8n"] = None
        # The driver reads a real as its shortest decimal text.
        kept["f4"] = float(np.float32(kept["f4"]))
        for name in ("f8", "f8n", "f4"):
            assert _bits(kept.pop(name)) == _bits(expected.pop(name)), name
        assert kept == expected


def test_many_chunks_with_and_without_nulls(scratch: Database) -> None:
    count = 100_003
    ordinals = np.arange(count, dtype="int64")
    holes = np.where(ordinals % 3 == 0, np.nan, ordinals * 0.5)
    with scratch.transaction() as cursor:
        cursor.execute("TRUNCATE every_type")
        copy_rows(cursor, _TABLE, {"i8": ordinals, "f8n": holes, "same": "x"}, count)
        cursor.execute("SELECT count(*), count(DISTINCT i8), count(f8n), sum(f8n), min(same) FROM every_type")
        assert cursor.fetchone() == (count, count, count - 33_335, float(np.nansum(holes)), "x")


_I8 = np.arange(3, dtype="int64")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("f8", _I8, "float64, not int64"),
        ("f8", _I8.astype("float32"), "float64, not float32"),
        ("i8", _I8.astype("float64"), "int64, not float64"),
        ("i8", _I8.astype("int32"), "int64, not int32"),
        ("i8", _I8.astype("uint64"), "int64, not uint64"),
        ("i8", _I8.astype(">i8"), "int64, not >i8"),
        ("flag", _I8, "bool, not int64"),
        ("at", _I8.view("datetime64[ms]"), "int64, not datetime64"),
        ("at", np.array([0, 2**62, 0]), "cannot hold 4611686018427387904"),
        ("day", np.array([0, 1, 0]), "start of a day"),
        ("word", _I8, "takes one text or an array of 3 texts"),
        ("word", np.array(["a", None, "b"], dtype=object), "may not be missing, but row 1 is"),
        ("word", np.array(["a", 5, "b"], dtype=object), "takes text, not 5"),
        ("word", "nul\0nul", "NUL"),
        ("word", "half \ud800", "not valid Unicode"),
        ("i8", np.arange(4, dtype="int64"), "shape (4,)"),
        ("i8", np.ma.array(_I8, mask=[False, True, False]), "may not be missing, but row 1 is"),
        ("i2", 70_000, "int16, not 70000"),
        ("i8", 1.5, "int64, not 1.5"),
        ("i8", True, "int64, not True"),
        ("flag", 1, "bool, not 1"),
        ("f8", "1.0", "float64, not '1.0'"),
        ("nowhere", _I8, "has no column 'nowhere'"),
    ],
)
def test_what_does_not_fit_exactly_is_refused(scratch: Database, name: str, value: object, words: str) -> None:
    with pytest.raises(BadInput) as refused, scratch.transaction() as cursor:
        copy_rows(cursor, _TABLE, {"i4": np.arange(3, dtype="int32"), name: value}, 3)
    assert words in str(refused.value) and "every_type" in str(refused.value) and "\n" not in str(refused.value)


def test_declared_types_are_those_of_the_database(database_per_module: Database) -> None:
    for table in TABLES.values():
        rows = database_per_module.rows(
            "SELECT column_name, udt_name, is_nullable FROM information_schema.columns WHERE table_name = %s", (table.name,)
        )
        stored = {name: kind + "?" * (nullable == "YES") for name, kind, nullable in rows}
        assert table.types == stored, table.name
        key = database_per_module.rows(
            "SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(n, o), pg_attribute a"
            " WHERE i.indrelid = %s::regclass AND i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY k.o",
            (table.name,),
        )
        assert table.key == tuple(name for (name,) in key), table.name


def test_dates_are_days_in_utc(scratch: Database) -> None:
    with scratch.transaction() as cursor:
        cursor.execute("TRUNCATE every_type")
        copy_rows(cursor, _TABLE, {"day": np.array([1_709_164_800_000]), "at": np.array([1_709_164_800_123])}, 1)
        cursor.execute("SELECT day, at FROM every_type")
        moment = dt.datetime(2024, 2, 29, 0, 0, 0, 123_000, tzinfo=dt.UTC)
        assert cursor.fetchone() == (dt.date(2024, 2, 29), moment)
