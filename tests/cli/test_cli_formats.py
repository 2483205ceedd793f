"""The formats of the command line: bytes to items, and results to text."""

from __future__ import annotations

import csv
import io
import json
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor._cli import reading, writing
from conveyor._cli.lines import BadLineError, Read, UnreadableError
from conveyor._cli.reading import PARSERS
from conveyor._cli.writing import WRITERS, UnwritableError, to_json

HINT = "; --encoding names another encoding"

# --- reading


def parse(kind: str, *pieces: bytes) -> list[Any]:
    """Return what comes of the pieces: items with their lines, and for a bad line its message."""
    parser = PARSERS[kind]("in")
    found: list[Any] = []
    for piece in pieces:
        found += parser.feed(piece)
    found += parser.end()
    return [(read.line, read.item) if isinstance(read, Read) else str(read) for read in found]


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("jsonl", b"", []),
        ("jsonl", b'{"a": 1}\n[2]\n', [(1, {"a": 1}), (2, [2])]),
        ("jsonl", b"1\n\n \r\nnull", [(1, 1), (4, None)]),
        ("jsonl", b'\xef\xbb\xbf"\xc3\xa4"\r\n', [(1, "ä")]),
        ("lines", b"", []),
        ("lines", b"one\n\n two \r\nthree", [(1, "one"), (2, ""), (3, " two "), (4, "three")]),
        ("lines", b"a\rb\x0cc\xe2\x80\xa8d\n", [(1, "a\rb\x0cc\u2028d")]),
        ("csv", b"", []),
        ("csv", b"a,b\n", []),
        (
            "csv",
            b'a,b\r\n1,\n\n"x,""y",2',
            [(2, {"a": "1", "b": ""}), (4, {"a": 'x,"y', "b": "2"})],
        ),
        ("csv", b'a\n"1\n2"\n3\n', [(2, {"a": "1\n2"}), (4, {"a": "3"})]),
        ("csv", b'\xef\xbb\xbfa\n5" disk\n', [(2, {"a": '5" disk'})]),
        (
            "failures",
            b'{"inputs": [1, [2]], "lines": [3, 4]}\n\n{"inputs": []}\n',
            [(1, 1), (1, [2])],
        ),
    ],
)
def test_items_and_their_lines(kind: str, data: bytes, expected: list[Any]) -> None:
    assert parse(kind, data) == expected
    assert parse(kind, *(data[i : i + 1] for i in range(len(data)))) == expected


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (
            "jsonl",
            b"1\n{\n2",
            [
                (1, 1),
                "in:2: no JSON: Expecting property name enclosed in double quotes at character 2",
                (3, 2),
            ],
        ),
        ("jsonl", b"NaN", ["in:1: no JSON: NaN is no number of JSON's"]),
        ("jsonl", b"[" * 100_000, ["in:1: no JSON: nested too deep"]),
        (
            "jsonl",
            b"1\n\xff2\n3",
            [(1, 1), f"in:2: not UTF-8: invalid start byte at byte 1{HINT}", (3, 3)],
        ),
        ("lines", b"ab\xc3", [f"in:1: not UTF-8: unexpected end of data at byte 3{HINT}"]),
        (
            "csv",
            b"a,b\n1\n1,2\n1,2,3",
            [
                "in:2: 1 field, and the header names 2",
                (3, {"a": "1", "b": "2"}),
                "in:4: 3 fields, and the header names 2",
            ],
        ),
        ("csv", b'a\n"1"2\n3\n', ["in:2: no CSV: ',' expected after '\"'", (3, {"a": "3"})]),
        ("csv", b'a\n1\n"2\n3\n', [(2, {"a": "1"}), "in:3: no CSV: unexpected end of data"]),
        (
            "csv",
            b"a\n\xff\n3",
            [f"in:2: not UTF-8: invalid start byte at byte 1{HINT}", (3, {"a": "3"})],
        ),
        (
            "failures",
            b'{"input": 1}\n[]\n{',
            [
                'in:1: no line of --failures: it has no list of "inputs"',
                'in:2: no line of --failures: it has no list of "inputs"',
                "in:3: no JSON: Expecting property name enclosed in double quotes at character 2",
            ],
        ),
    ],
)
def test_bad_lines_are_named_and_the_rest_is_read(
    kind: str, data: bytes, expected: list[Any]
) -> None:
    assert parse(kind, data) == expected
    if len(data) < 100:
        assert parse(kind, *(data[i : i + 1] for i in range(len(data)))) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b,a\n1,2,3\n", "in:1: the header names 'a' more than once"),
        (b'"a"b\n', "in:1: no CSV: ',' expected after '\"'"),
        (b"\xff\n", f"in:1: not UTF-8: invalid start byte at byte 1{HINT}"),
    ],
)
def test_a_bad_header_cannot_be_left_out(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        parse("csv", data)
    assert str(caught.value) == message


def test_what_is_before_a_bad_line_is_out_before_it() -> None:
    found = PARSERS["jsonl"]("in").feed(b"1\n?\n2\n")
    assert next(found) == Read(1, 1, "1")
    assert isinstance(next(found), BadLineError)
    assert next(found) == Read(3, 2, "2")


def test_quotes_that_do_not_end_are_found_out_without_reading_everything() -> None:
    rows = PARSERS["csv"]("in")
    list(rows.feed(b'a\n"begin\n'))
    lines = 0
    found: list[Any] = []
    while not found and lines < 200:
        lines += 1
        found = list(rows.feed(b"1" * 99_999 + b"\n"))
    message = "in:2: no CSV: quotes that do not end within 16,777,216 characters"
    assert [str(read) for read in found] == [message]
    assert lines == 168
    assert [read.item for read in rows.feed(b"1\n") if isinstance(read, Read)] == [{"a": "1"}]


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_characters="\r\0", codec="utf-8")), min_size=2, max_size=2
        )
    ),
    st.data(),
)
def test_csv_is_read_as_the_csv_module_reads_it(rows: list[list[str]], data: st.DataObject) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([["a", "b"], *rows])
    raw = text.getvalue().encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)))))
    pieces = [raw[i:j] for i, j in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    items = [item for _, item in parse("csv", *pieces)]
    assert items == [{"a": a, "b": b} for a, b in rows]


@given(
    st.lists(
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda s: st.lists(s) | st.dictionaries(st.text(), s),
        )
    ),
    st.data(),
)
def test_json_lines_come_back_however_they_are_cut(items: list[Any], data: st.DataObject) -> None:
    raw = "".join(map(WRITERS["jsonl"]().encode, items)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)))))
    pieces = [raw[i:j] for i, j in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert parse("jsonl", *pieces) == [(n, item) for n, item in enumerate(items, start=1)]


@pytest.mark.parametrize(
    ("path", "read", "written"),
    [
        ("-", "jsonl", "jsonl"),
        ("a.jsonl", "jsonl", "jsonl"),
        ("A.CSV", "csv", "csv"),
        ("a.txt", "lines", "lines"),
        ("access.log", "lines", "lines"),
        ("a.failures.jsonl", "failures", "jsonl"),
        ("a.failures", "failures", "jsonl"),
        ("csv", "jsonl", "jsonl"),
    ],
)
def test_the_name_of_a_file_tells_its_format(path: str, read: str, written: str) -> None:
    assert (reading.guess_format(path), writing.guess_format(path)) == (read, written)


# --- writing


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Kind(StrEnum):
    BIG = "big"


@dataclass
class Point:
    x: float
    tags: frozenset[str]


class Pair(NamedTuple):
    left: Any
    right: Any


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True, "ä"]}, '{"a":[1,2.5,null,true,"ä"]}'),
        ((1, (2,)), "[1,[2]]"),
        ({1: 2, None: 3}, '{"1":2,"null":3}'),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (Point(0.5, frozenset("cab")), '{"x":0.5,"tags":["a","b","c"]}'),
        ([Pair(1, Pair(2, 3))], '[{"left":1,"right":{"left":2,"right":3}}]'),
        ({Pair(1, 2): 0}, None),
        ({3, 1, 2}, "[1,2,3]"),
        ({"a", 1}, '["a",1]'),
        (deque([1]), "[1]"),
        (range(3), "[0,1,2]"),
        (PurePosixPath("a/b"), '"a/b"'),
        (datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), '"2024-05-06T07:08:09+00:00"'),
        (date(2024, 5, 6), '"2024-05-06"'),
        (time(7, 8), '"07:08:00"'),
        (timedelta(minutes=1.5), "90.0"),
        (Decimal("1.10"), '"1.10"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ([Colour.RED, Level.LOW, Kind.BIG], '["red",1,"big"]'),
        ({Colour.RED: 1, Kind.BIG: 2, date(2024, 5, 6): 3}, '{"red":1,"big":2,"2024-05-06":3}'),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_what_json_cannot_hold_becomes_what_it_can(value: Any, text: str | None) -> None:
    if text is None:
        with pytest.raises(UnwritableError):
            to_json(value)
    else:
        assert to_json(value) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "nothing that JSON holds: bytes"),
        ({"a": [1, {"b": object()}]}, "nothing that JSON holds: object, at .a[1].b"),
        ({"a": float("nan")}, "nan is no number of JSON's, at .a"),
        (Point(float("inf"), frozenset()), "inf is no number of JSON's, at .x"),
        (Point, "nothing that JSON holds: type"),
        ({(1, 2): 3}, "a key that is no string: tuple"),
        ([1j], "nothing that JSON holds: complex, at [0]"),
        (pytest, "nothing that JSON holds: module"),
        (iter(()), "nothing that JSON holds: tuple_iterator"),
    ],
)
def test_what_json_cannot_hold_is_named_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(UnwritableError) as caught:
        to_json(value)
    assert str(caught.value) == message


def test_what_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(UnwritableError, match="holds itself"):
        to_json(value)


def encode(kind: str, results: Iterable[Any]) -> str:
    return "".join(map(WRITERS[kind]().encode, results))


def test_lines_are_strings_as_they_are_and_the_rest_as_json() -> None:
    assert encode("lines", ["a b", "", 1, None, {"a": "x\ny"}]) == 'a b\n\n1\nnull\n{"a":"x\\ny"}\n'
    for wrong in "a\nb", "a\r", "\ud800":
        with pytest.raises(UnwritableError):
            encode("lines", [wrong])


def test_csv_has_a_header_and_json_where_it_has_to() -> None:
    results = [
        {"a": 'x,"y"', "b": None, "c": 1.5},
        {"c": True, "b": [1, "z"], "a": "two\nlines"},
        {"a": Decimal("1.10"), "b": {"k": 1}, "c": Colour.RED},
    ]
    assert encode("csv", results) == (
        'a,b,c\n"x,""y""",,1.5\n"two\nlines","[1,""z""]",true\n1.10,"{""k"":1}",red\n'
    )
    assert encode("csv", [Pair(1, 2)]) == "left,right\n1,2\n"
    assert encode("csv", []) == ""


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([[1]], "a dict, a dataclass or a named tuple, not list"),
        ([{"a": 1}, {"b": 1}], "other fields than the first result's: without 'a' and with 'b'"),
        ([{"a": 1}, {"a": 1, "b": 1}], "other fields than the first result's: with 'b'"),
        ([{"a": "\ud800"}], "a string that UTF-8 cannot hold, at .a"),
    ],
)
def test_what_csv_cannot_hold(results: list[Any], message: str) -> None:
    with pytest.raises(UnwritableError) as caught:
        encode("csv", results)
    assert str(caught.value).endswith(message)


def test_a_row_that_cannot_be_written_leaves_nothing_behind() -> None:
    rows = WRITERS["csv"]()
    rows.encode({"a": 1})
    with pytest.raises(UnwritableError):
        rows.encode({"a": "\ud800"})
    assert rows.encode({"a": 2}) == "2\n"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_plain_values_are_written_as_the_json_module_does(value: Any) -> None:
    assert json.loads(to_json(value)) == value
    assert "\n" not in to_json(value)
