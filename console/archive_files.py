"""Files of archived entries: JSON lines, or Parquet where the file's name ends so.

Both hold the fields of a row but `at` and `seq`, which `stream_id` says. `data` is the payload byte for byte: in JSON
lines a string where it is UTF-8, else `{"base64": …}`; in Parquet binary.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any, Final, Protocol

import orjson

from processors.persistence import rules
from processors.persistence.rules import Row
from schemas.entry import Entry
from schemas.errors import ConfigurationError, HeadgateError

SUFFIX: Final = ".parquet"
#: Rows that are read or written at a time.
BATCH: Final = 1000
_FIELDS: Final = tuple(name for name in Row._fields if name not in ("at", "seq"))
_NUMBERS: Final = ("v", "ts", "erased")
#: They are signed and have 64 bits.
_MOST: Final = 1 << 63
_STREAM_ID: Final = re.compile(r"\d{1,20}-\d{1,20}\Z")
#: No line of an export is longer: frames are far below it.
_LONGEST_LINE: Final = 64 * 1024 * 1024


class NotAnExport(HeadgateError):
    """The operator's: a file that is to be imported is not what an export writes, or was cut short."""


class Writer(Protocol):
    """Takes rows in order."""

    def write(self, rows: list[Row]) -> None:
        """Write some."""


class _JsonWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, rows: list[Row]) -> None:
        self._file.writelines(orjson.dumps(_plain(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


class _ParquetWriter:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer = writer
        self._schema = schema

    def write(self, rows: list[Row]) -> None:
        arrow = _pyarrow()
        columns = {name: [getattr(row, name) for row in rows] for name in _FIELDS}
        self._writer.write_table(arrow.table(columns, schema=self._schema))


@contextmanager
def writer(file: IO[bytes], *, parquet: bool) -> Iterator[Writer]:
    """Writes rows to `file`, which is whole when the block ends. Raises ConfigurationError without pyarrow."""
    if not parquet:
        yield _JsonWriter(file)
        return
    arrow = _pyarrow()
    schema = arrow.schema([arrow.field(name, _type(arrow, name), nullable=name == "erased") for name in _FIELDS])
    with arrow.parquet.ParquetWriter(file, schema, compression="zstd") as made:
        yield _ParquetWriter(made, schema)


def rows_of(file: IO[bytes], *, parquet: bool) -> Iterator[list[Row]]:
    """The rows of `file`, some at a time. Raises NotAnExport with the number of the entry that is none."""
    entries = _of_parquet(file) if parquet else _of_json(file)
    while batch := list(islice(entries, BATCH)):
        yield batch


def _of_json(file: IO[bytes]) -> Iterator[Row]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        try:
            yield _row(orjson.loads(line))
        except ValueError as error:
            raise _wrong(number, error) from error


def _of_parquet(file: IO[bytes]) -> Iterator[Row]:
    arrow = _pyarrow()
    number = 0
    try:
        opened = arrow.parquet.ParquetFile(file)
        for batch in opened.iter_batches(batch_size=BATCH):
            for record in batch.to_pylist():
                number += 1
                try:
                    yield _row(record)
                except ValueError as error:
                    raise _wrong(number, error) from error
    except arrow.ArrowInvalid as error:
        raise NotAnExport("this is no Parquet file, or a part of one") from error


def _wrong(number: int, error: ValueError) -> NotAnExport:
    # The text of an error of orjson may hold what clients sent.
    words = "it is no JSON" if isinstance(error, orjson.JSONDecodeError) else str(error)
    return NotAnExport(f"entry {number} is not what `headgate archive export` writes: {words}")


def _plain(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS}
    try:
        plain["data"] = row.data.decode()
    except UnicodeDecodeError:
        plain["data"] = {"base64": base64.b64encode(row.data).decode()}
    if row.erased is None:
        del plain["erased"]
    return plain


def _row(record: Any) -> Row:
    """Raises ValueError with what is wrong."""
    if not isinstance(record, Mapping):
        raise ValueError("it is no object")
    fields: dict[str, Any] = {name: record.get(name) for name in _FIELDS}
    fields["data"] = _bytes(fields["data"])
    for name, value in fields.items():
        if name in _NUMBERS:
            if name == "erased" and value is None:
                continue
            if type(value) is not int or not -_MOST <= value < _MOST:
                raise ValueError(f"{name} is no number that fits")
        elif name != "data" and not isinstance(value, str):
            raise ValueError(f"{name} is no text")
    stream, stream_id, erased = fields.pop("stream"), fields.pop("stream_id"), fields.pop("erased")
    if not _STREAM_ID.match(stream_id):
        raise ValueError("stream_id is none")
    return rules.row(stream, stream_id, Entry(**fields))._replace(erased=erased)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Mapping) and isinstance(text := value.get("base64"), str):
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            pass
    raise ValueError("data is neither text nor base64")


def _type(arrow: Any, name: str) -> Any:
    if name == "data":
        return arrow.binary()
    return arrow.int64() if name in _NUMBERS else arrow.string()


def _pyarrow() -> Any:
    """Imported where it is needed: it is large, and an extra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Parquet needs a package more: pip install 'headgate[parquet]' ({error})") from error
    return pyarrow
