"""What is exported is imported, byte for byte."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.archive_files import NotAnExport, rows_of, writer
from processors.persistence import rules
from processors.persistence.rules import Row
from schemas.entry import Entry

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.builds(
    lambda stream, at, seq, entry, erased: rules.row(stream, f"{at}-{seq}", entry)._replace(erased=erased),
    TEXT,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.builds(
        Entry,
        id=TEXT,
        type=TEXT,
        v=st.integers(0, 2**63 - 1),
        ts=st.integers(-(2**63), 2**63 - 1),
        data=st.one_of(st.binary(max_size=40), TEXT.map(str.encode), st.just(b'{"a":"\\u0000"}')),
        topic=TEXT,
        session=TEXT,
        user=TEXT,
        gateway=TEXT,
        ct=TEXT,
        traceparent=TEXT,
        cause=TEXT,
    ),
    st.none() | st.integers(0, 2**63 - 1),
)


def written(rows: list[Row], *, parquet: bool) -> bytes:
    file = io.BytesIO()
    with writer(file, parquet=parquet) as out:
        out.write(rows)
        out.write(rows[:1])
    return file.getvalue()


def read(raw: bytes, *, parquet: bool) -> list[Row]:
    return [row for batch in rows_of(io.BytesIO(raw), parquet=parquet) for row in batch]


@pytest.mark.parametrize("parquet", [False, True])
@settings(deadline=None)
@given(rows=st.lists(ROWS, max_size=5))
def test_what_was_written_is_read(rows: list[Row], parquet: bool) -> None:
    """Every field of every row comes back as it was, whatever it holds."""
    assert read(written(rows, parquet=parquet), parquet=parquet) == [*rows, *rows[:1]]


def test_lines_can_be_read_by_people() -> None:
    """JSON payloads are text; what is not UTF-8 says so."""
    entry = Entry(id="a", type="t", v=1, ts=5, data=b'{"n":1}')
    rows = [
        rules.row("hg:{in:0}", "7-0", entry),
        rules.row("s", "7-1", Entry(id="b", type="t", v=1, ts=5, data=b"\xff")),
    ]
    first, second = map(json.loads, written(rows, parquet=False).splitlines()[:2])
    assert (first["data"], first["stream_id"], second["data"]) == ('{"n":1}', "7-0", {"base64": "/w=="})
    assert "erased" not in first


GOOD = json.loads(written([rules.row("s", "7-0", Entry(id="a", type="t", v=1, ts=5, data=b"x"))], parquet=False)
                  .splitlines()[0])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"v": "1"}, "v is no number"),
        ({"v": True}, "v is no number"),
        ({"ts": 2**63}, "ts is no number"),
        ({"user": None}, "user is no text"),
        ({"stream_id": "7"}, "stream_id"),
        ({"data": {"base64": "*"}}, "data"),
        ({"data": 5}, "data"),
        ({"erased": "yes"}, "erased"),
    ],
)
def test_what_is_no_entry_is_refused_with_its_number(change: dict[str, object], words: str) -> None:
    """An import says which entry it stopped at, and why."""
    raw = b"\n".join(json.dumps(one).encode() for one in (GOOD, GOOD | change))
    with pytest.raises(NotAnExport, match=f"entry 2 .*{words}"):
        read(raw, parquet=False)


@pytest.mark.parametrize("raw", [b"{", b"[]\n", b"secret"])
def test_what_is_no_export_is_refused_without_its_text(raw: bytes) -> None:
    """The words of the refusal hold nothing of the file."""
    with pytest.raises(NotAnExport) as refused:
        read(raw, parquet=False)
    assert "secret" not in str(refused.value)
    with pytest.raises(NotAnExport):
        read(raw, parquet=True)
