"""What an input may look like: packed, in another encoding, an array, or several files."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor._cli import reading, tables, unpacking
from conveyor._cli.decoding import checked_encoding
from conveyor._cli.lines import BadLineError, Read, Unread, UnreadableError
from conveyor._cli.messages import ReportedError
from conveyor._cli.reading import guess_format, parser_for
from conveyor._cli.tables import checked_delimiter
from conveyor._cli.unpacking import Unpacker, packer_for

HINT = "; --encoding names another encoding"


def cut(raw: bytes, data: st.DataObject) -> list[bytes]:
    """Return the bytes in pieces of any size."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    return [raw[i:j] for i, j in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def singly(raw: bytes) -> Iterator[bytes]:
    return (raw[i : i + 1] for i in range(len(raw)))


def parse(
    kind: str, pieces: Iterable[bytes], encoding: str | None = None, delimiter: str | None = None
) -> list[Any]:
    """Return items with their lines, messages for bad lines, and what it ends in, if it does."""
    parser = parser_for(kind, "in", encoding, delimiter)
    found: list[Any] = []

    def note(each: Any) -> None:
        found.append((each.line, each.item) if isinstance(each, Read) else str(each))

    try:
        for piece in pieces:
            for each in parser.feed(piece):
                note(each)
        for each in parser.end():
            note(each)
    except UnreadableError as error:
        found.append(f"! {error}")
    return found


# --- packed


def pack_gzip_old(data: bytes) -> bytes:
    """With a name and a time in front, as the program does it."""
    file = io.BytesIO()
    with gzip.GzipFile("name", "wb", fileobj=file, mtime=1) as packed:
        packed.write(data)
    return file.getvalue()


PACKINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", pack_gzip_old),
    ("bzip2", bz2.compress),
    ("xz", lzma.compress),
]
every_packing = pytest.mark.parametrize(
    ("kind", "pack"), PACKINGS, ids=[kind for kind, _ in PACKINGS]
)


def unpack(pieces: Iterable[bytes]) -> bytes:
    unpacker = Unpacker("in")
    found = b""
    for piece in pieces:
        found += b"".join(unpacker.feed(piece))
    return found + b"".join(unpacker.end())


@every_packing
def test_packed_data_is_unpacked_however_it_comes(
    kind: str, pack: Callable[[bytes], bytes]
) -> None:
    data = random.Random(1).randbytes(1000) + b"x" * 300_000
    raw = pack(data)
    assert unpack([raw]) == unpack(singly(raw)) == data
    assert unpack([pack(b"")]) == b""
    # Several in a row are one, and tapes are padded with zeros.
    assert unpack([raw + pack(b"more") + bytes(100)]) == data + b"more"
    assert unpack(singly(pack(b"a") + pack(b"b"))) == b"ab"


@every_packing
def test_packed_data_that_breaks_off_or_is_damaged_says_so(
    kind: str, pack: Callable[[bytes], bytes]
) -> None:
    raw = pack(b"line\n" * 10_000)
    with pytest.raises(ReportedError, match=f"cannot read all of in: its {kind} data breaks off"):
        unpack([raw[:-5]])
    with pytest.raises(ReportedError, match=f"cannot read in: its {kind} data is damaged: "):
        unpack([raw[:20] + b"\xff" * 20 + raw[40:]])
    with pytest.raises(ReportedError, match=f"its {kind} data is damaged: "):
        unpack([raw + b"rubbish behind it that is longer than a header"])


@every_packing
def test_what_is_in_front_of_the_damage_is_out_before_it(
    kind: str, pack: Callable[[bytes], bytes]
) -> None:
    unpacker = Unpacker("in")
    pieces = unpacker.feed(pack(b"whole\n") + pack(b"not whole\n" * 1000)[:-30])
    assert next(pieces) == b"whole\n"


@pytest.mark.parametrize("text", [b"", b"B", b"BZh", b"BZh9 is text", b"PK", b"1\n", b"\x1f", b"P"])
def test_what_is_not_packed_stays_as_it_is(text: bytes) -> None:
    assert unpack([text]) == unpack(singly(text)) == text


def test_a_first_line_is_not_held_back() -> None:
    assert list(Unpacker("in").feed(b"1\n")) == [b"1\n"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"PK\x03\x04", "it is a zip archive: unpack it first"),
        pytest.param(
            b"\x28\xb5\x2f\xfd",
            "it is packed with zstd, which needs Python 3.14 or later: pass it on with zstd -dc",
            marks=pytest.mark.skipif(
                "zstd" in unpacking._DECOMPRESSORS, reason="this Python has it"
            ),
        ),
    ],
)
def test_what_cannot_be_unpacked_says_what_to_do(head: bytes, message: str) -> None:
    with pytest.raises(ReportedError, match=f"cannot read in: {message}"):
        unpack([head + b"more of it"])


def test_a_small_file_that_holds_a_large_one_is_unpacked_in_pieces() -> None:
    raw = zlib.compress(bytes(100_000_000), wbits=31)
    tracemalloc.start()
    size = largest = 0
    for start in range(0, len(raw), 65536):
        if not start:
            unpacker = Unpacker("in")
        for piece in unpacker.feed(raw[start : start + 65536]):
            size += len(piece)
            largest = max(largest, len(piece))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 100_000_000
    assert largest <= unpacking.PIECE
    assert peak < 2_000_000


@given(st.lists(st.binary(max_size=300), max_size=5), st.data())
def test_blocks_one_after_another_are_a_file(blocks: list[bytes], data: st.DataObject) -> None:
    for ending, whole in (
        (".gz", gzip.decompress),
        (".bz2", bz2.decompress),
        (".xz", lzma.decompress),
    ):
        pack = packer_for(f"results.jsonl{ending}")
        assert pack is not None
        raw = b"".join(map(pack, blocks))
        assert unpack(cut(raw, data)) == b"".join(blocks)
        assert not blocks or whole(raw) == b"".join(blocks)


def test_a_file_is_packed_if_its_name_says_so() -> None:
    assert packer_for("results.jsonl") is None
    assert packer_for("A.JSONL.GZ") is not None
    if "zstd" not in unpacking._DECOMPRESSORS:
        with pytest.raises(ValueError, match=r"zstd, which needs Python 3\.14"):
            packer_for("a.zst")


# --- encodings

SENTENCES = ["Zoë", "naïve café", "plain", ""]


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        ("a\nä\n".encode(), None),
        (codecs.BOM_UTF8 + "a\nä\n".encode(), None),
        (codecs.BOM_UTF8 + "a\nä\n".encode(), "utf-8"),
        (codecs.BOM_UTF8 + "a\nä\n".encode(), "utf-8-sig"),
        ("a\nä\n".encode("utf-16"), None),
        ("a\nä\n".encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + "a\nä\n".encode("utf-16-be"), None),
        (codecs.BOM_UTF16_BE + "a\nä\n".encode("utf-16-be"), "utf-16"),
        ("a\nä\n".encode("utf-16-le"), "utf-16"),
        ("a\nä\n".encode("utf-16-le"), "utf-16-le"),
        ("a\nä\n".encode("utf-32"), None),
        (codecs.BOM_UTF32_BE + "a\nä\n".encode("utf-32-be"), "utf-32"),
        ("a\nä\n".encode("latin-1"), "latin-1"),
        ("a\nä\n".encode("cp1252"), "windows-1252"),
        ("a\nä\n".encode("utf-7"), "utf-7"),
        ("a\nä\n".encode("cp037"), "cp037"),  # where the end of a line is another byte
    ],
)
def test_text_in_any_encoding(raw: bytes, encoding: str | None) -> None:
    encoding = None if encoding is None else checked_encoding(encoding)
    expected = [(1, "a"), (2, "ä")]
    assert parse("lines", [raw], encoding) == expected
    assert parse("lines", singly(raw), encoding) == expected


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8")), max_size=5),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]),
    st.data(),
)
def test_wide_characters_are_not_taken_for_ends_of_lines(
    lines: list[str], encoding: str, data: st.DataObject
) -> None:
    # U+0A0A, U+0D0A and their like have the byte of a line's end in them.
    text = "".join(f"{line}\n" for line in ["\u0a0a\u0a00\u000b\u010a", *lines])
    raw = text.encode(encoding)
    expected = [*enumerate(text.removesuffix("\n").split("\n"), start=1)]
    if lines and lines[0].startswith("\ufeff"):
        return
    assert parse("lines", cut(raw, data), encoding) == expected


def test_bytes_that_are_not_in_the_encoding_say_so() -> None:
    assert parse("jsonl", ['{"n":"Zoë"}\n1'.encode("latin-1")]) == [
        f"in:1: not UTF-8: invalid continuation byte at byte 9{HINT}",
        (2, 1),
    ]
    assert parse("lines", ["ë\na".encode()], "ascii") == [
        "in:1: not ascii: ordinal not in range(128) at byte 1",
        (2, "a"),
    ]
    half = "a\n".encode("utf-16-le") + b"\x00\xd8\n\x00b\x00"
    assert parse("lines", [half], "utf-16-le") == [
        (1, "a"),
        "in:2: not UTF-16-LE: illegal UTF-16 surrogate at byte 1",
        (3, "b"),
    ]
    assert parse("lines", [b"a\x00b"], "utf-16-le") == [
        "in:1: not UTF-16-LE: truncated data at byte 3"
    ]
    assert parse("json", ['[1,\n"ë"]'.encode("latin-1")]) == [
        (1, 1),
        f"! in:2: not UTF-8: invalid continuation byte{HINT}",
    ]


def test_utf_16_without_a_mark_is_suspected() -> None:
    message = "there are NUL characters in it: for UTF-16 give --encoding utf-16"
    (found,) = parse("jsonl", ['{"a":1}\n'.encode("utf-16-le")[:-1]])
    assert found.endswith(message)
    (found,) = parse("csv", ["a,b\n".encode("utf-16-le")[:-1]])
    assert found == f"! in:1: no CSV; {message}"


@pytest.mark.parametrize("name", ["klingon", "hex", "rot13", "undefined", ""])
def test_an_encoding_has_to_be_one(name: str) -> None:
    with pytest.raises((LookupError, UnicodeError)):
        checked_encoding(name)


# --- tables


def test_tabs_and_other_delimiters_separate_fields() -> None:
    assert parse("tsv", [b"a\tb\n1,5\t2\n"]) == [(2, {"a": "1,5", "b": "2"})]
    assert parse("csv", [b'a;b\n"1;2";3\n'], None, ";") == [(2, {"a": "1;2", "b": "3"})]
    assert parse("tsv", [b"a|b\n1|2\n"], None, "|") == [(2, {"a": "1", "b": "2"})]


@pytest.mark.parametrize(
    ("kind", "header", "words", "one", "other"),
    [
        ("csv", b"id;name", "a semicolon", "';'", "','"),
        ("csv", b"id\tname", "a tab", r"'\t'", "','"),
        ("csv", b"id|name", "a bar", "'|'", "','"),
        ("tsv", b"id,name", "a comma", "','", r"'\t'"),
    ],
)
def test_a_header_of_one_field_that_looks_like_several_is_refused(
    kind: str, header: bytes, words: str, one: str, other: str
) -> None:
    message = (
        f"! in:1: the header has one field, with {words} in it: if that separates the fields, "
        f"give --delimiter {one}, else {other}"
    )
    assert parse(kind, [header + b"\n1\n"]) == [message]
    usual = "," if kind == "csv" else "\t"
    assert parse(kind, [header + b"\n1\n"], None, usual) == [(2, {header.decode(): "1"})]
    assert parse(kind, [b"id\n1\n"]) == [(2, {"id": "1"})]


@pytest.mark.parametrize("text", ["", ";;", '"', "\n", "\r", "\0", "\\n", "tab"])
def test_a_delimiter_is_one_character(text: str) -> None:
    with pytest.raises(ValueError, match="one character"):
        checked_delimiter(text)


def test_a_tab_may_be_written_as_a_shell_has_it() -> None:
    assert checked_delimiter(r"\t") == checked_delimiter("\t") == "\t"


def test_a_field_may_be_long() -> None:
    wide = "x" * 3_000_000
    assert parse("csv", [f"a,b\n{wide},1\n".encode()]) == [(2, {"a": wide, "b": "1"})]
    lines = "line with quotes\n" * 100_000
    quoted = lines.replace('"', '""')
    (row,) = parse("csv", [f'a\n"{quoted}"\n'.encode()])
    assert row == (2, {"a": lines})


def test_a_long_field_with_quotes_in_its_lines_is_read_once_or_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Were it begun anew with every line, this would be some 4,000 times the characters.
    read = 0
    original = tables.csv.reader

    def counting(lines: Iterator[str], **options: Any) -> Any:
        class Lines:
            def __iter__(self) -> Any:
                return self

            def __next__(self) -> str:
                nonlocal read
                line = next(lines)
                read += len(line)
                return line

        return original(Lines(), **options)

    monkeypatch.setattr(tables.csv, "reader", counting)
    text = 'a\n"' + 'say ""yes""\n' * 8000 + '"\n'
    (row,) = parse("csv", [text.encode()])
    assert row == (2, {"a": 'say "yes"\n' * 8000})
    assert read < 3 * len(text)


@given(
    st.lists(
        st.lists(st.text(st.sampled_from('ab",;\n \t'), max_size=8), min_size=2, max_size=2),
        max_size=4,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.data(),
)
def test_quotes_over_many_lines_are_read_as_the_csv_module_reads_them(
    rows: list[list[str]], delimiter: str, quoting: Any, data: st.DataObject
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter, quoting=quoting)
    writer.writerows([["x", "y"], *rows])
    found = parse("csv", cut(text.getvalue().encode(), data), None, delimiter)
    assert [item for _, item in found] == [{"x": x, "y": y} for x, y in rows]


# --- arrays


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b" \n", []),
        (b"[]", []),
        (b" [ ]\n\n", []),
        (b"[1]", [(1, 1)]),
        (b'[\n  {"id": "1"},\n\n  {"id": [2, {}]}\n]\n', [(2, {"id": "1"}), (4, {"id": [2, {}]})]),
        (b'["a]", "\\"[,", [[]], {"x": "}"}]', [(1, "a]"), (1, '"[,'), (1, [[]]), (1, {"x": "}"})]),
        (codecs.BOM_UTF8 + b"[null]", [(1, None)]),
        ('["ä"]'.encode("utf-16"), [(1, "ä")]),
        # What is no array.
        (b'{"a": [1]}\n{"a": 2}\n', [(1, {"a": [1]}), (2, {"a": 2})]),
        (b'\n{"a": 1}', [(2, {"a": 1})]),
        (b'{\n  "a": 1\n}\n', [(1, {"a": 1})]),
        (b'{\n  "a": 1\n}\n\n{\n  "b": "}"\n}', [(1, {"a": 1}), (5, {"b": "}"})]),
        (b"1\n2\n", [(1, 1), (2, 2)]),
    ],
)
def test_elements_are_items(raw: bytes, expected: list[Any]) -> None:
    assert parse("json", [raw]) == parse("json", singly(raw)) == expected


FOLLOWED = (
    "! {}: something follows the array: '{}'; if there is an item in every line, "
    "give --input-format jsonl"
)
BREAKS_OFF = "the array does not end, as in a file that was not copied to its end"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"[1,\n2", [(1, 1), f"in:2: {BREAKS_OFF}"]),
        (b"[1,\n", [(1, 1), f"in:2: {BREAKS_OFF}"]),
        (b"[1,]", [(1, 1), "in:1: no JSON: Expecting value at character 1"]),
        (b"[,1]", ["in:1: no JSON: Expecting value at character 1", (1, 1)]),
        (b"[1,\noops,2]", [(1, 1), "in:2: no JSON: Expecting value at character 1", (2, 2)]),
        (b"[NaN,1]", ["in:1: no JSON: NaN is no number of JSON's", (1, 1)]),
        (b"[1 2,3]", ["in:1: no JSON: Extra data at character 3", (1, 3)]),
        (
            b"[1]\n[2]",
            [
                (1, 1),
                FOLLOWED.format("in:2", "[2]"),
            ],
        ),
        (b"oops", ["in:1: no JSON: Expecting value at character 1"]),
        (b"1\n\xff\n2", [(1, 1), f"in:2: not UTF-8: invalid start byte at byte 1{HINT}", (3, 2)]),
    ],
)
def test_what_is_wrong_in_an_array(raw: bytes, expected: list[Any]) -> None:
    assert parse("json", [raw]) == expected
    if b"follows" not in str(expected).encode():  # it shows what it has by then
        assert parse("json", singly(raw)) == expected


def test_an_array_in_lines_is_recognised() -> None:
    assert parse("jsonl", [b"[\n1,\n2\n]\n"])[0] == (
        "in:1: no JSON: Expecting value at character 2; for an array of items give "
        "--input-format json"
    )


def test_an_element_that_will_never_end_is_found_out_without_reading_everything() -> None:
    parser = parser_for("json", "in")
    fed = 0

    def feed() -> None:
        nonlocal fed
        list(parser.feed(b'[{"a": 1},\n{"a": "x},\n'))
        while fed < 50_000_000:
            piece = b'{"a": "yes", "b": 2},\n' * 3000
            fed += len(piece)
            list(parser.feed(piece))

    with pytest.raises(UnreadableError, match=r"^in:2: no JSON: Invalid control character at$"):
        feed()
    assert fed < 3_000_000


def test_a_long_element_is_an_item() -> None:
    item = {"x": "y" * 3_000_000, "z": ['"[{', "\\"] * 1000}
    raw = json.dumps([1, item, 2]).encode()
    pieces = [raw[i : i + 65536] for i in range(0, len(raw), 65536)]
    assert [each for _, each in parse("json", pieces)] == [1, item, 2]


def test_an_array_is_never_in_memory_as_a_whole() -> None:
    element = json.dumps({"name": "x" * 1000, "list": [1, 2, 3]}).encode()
    parser = parser_for("json", "in")
    tracemalloc.start()
    count = sum(1 for _ in parser.feed(b"["))
    for _ in range(300):
        count += sum(1 for _ in parser.feed((element + b", ") * 60))
    count += sum(1 for _ in parser.feed(b"0]"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 300 * 60 + 1
    assert peak < 1_000_000  # of an array of 18 MB


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('ab"\\[]{},:\n ä\U0001f600')),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
)


@given(st.lists(values, max_size=6), st.sampled_from([None, 0, 2]), st.booleans(), st.data())
def test_arrays_are_read_as_the_json_module_reads_them(
    items: list[Any], indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    raw = json.dumps(items, indent=indent, ensure_ascii=ascii_only).encode()
    assert [item for _, item in parse("json", cut(raw, data))] == items
    for encoding in "utf-16", "utf-32-be":
        wide = raw.decode().encode(encoding)
        assert [item for _, item in parse("json", cut(wide, data), encoding)] == items


@given(st.text(st.sampled_from('[]{},:"\\1a \n'), max_size=20), st.data())
def test_no_text_is_read_otherwise_when_it_is_cut_otherwise(text: str, data: st.DataObject) -> None:
    def shape(found: list[Any]) -> list[Any]:
        return [each if isinstance(each, tuple) else each[:1] for each in found]

    raw = text.encode()
    assert shape(parse("json", cut(raw, data))) == shape(parse("json", [raw]))


# --- numbers, and failures


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 400 + ".0", "[0.5, 1E+999]"])
def test_a_number_beyond_the_floats_is_a_bad_line(number: str) -> None:
    (found, good) = parse("jsonl", [f"{number}\n1.5e300\n".encode()])
    assert found.startswith("in:1: no JSON: ")
    assert found.endswith("is too large for a float")
    assert len(found) < 80
    assert good == (2, 1.5e300)


def test_a_failure_without_an_input_is_told_apart() -> None:
    parser = parser_for("failures", "in")
    lines = [
        '{"inputs": [], "text": "{oops", "error": {"type": "BadLine", "message": "why"}}',
        '{"inputs": [1], "text": "{oops"}',  # mended
        '{"inputs": []}',  # of an input that stands in another line
        '{"inputs": [], "text": 1, "error": []}',
        "{torn",
    ]
    found = list(parser.feed("".join(f"{line}\n" for line in lines).encode()))
    assert found[0] == Unread(1, "why", lines[0])
    assert found[1] == Read(2, 1, record=lines[1])
    assert found[2] == Unread(4, "it says not why", lines[3])
    assert isinstance(found[3], BadLineError)
    assert found[3].text == "{torn"


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        ("jsonl", b'{"id":2,\n', '{"id":2,'),
        ("jsonl", b'{"n":"Zo\xeb"}\r\n', '{"n":"Zo\\xeb"}\r'),
        ("csv", b'a,b\n"1\n2"\n', '"1\n2"'),
        ("csv", b'a\n"1"2\r\n', '"1"2'),
        ("json", b'[\n  {"x":\n  oops} ]', '{"x":\n  oops}'),
        ("json", b"[ 12", "12"),
    ],
)
def test_a_bad_line_has_its_text(kind: str, raw: bytes, text: str) -> None:
    parser = parser_for(kind, "in")
    (found,) = [*parser.feed(raw), *parser.end()]
    assert isinstance(found, BadLineError)
    assert found.text == text


# --- names


@pytest.mark.parametrize(
    ("path", "form", "separated"),
    [
        ("a.json", "json", "json"),
        ("a.JSON.gz", "json", "json"),
        ("a.ndjson.xz", "jsonl", "jsonl"),
        ("a.csv.bz2", "csv", "csv"),
        ("a.tsv", "tsv", "csv"),
        ("a.txt.gz", "lines", "csv"),
        ("a.failures.jsonl.gz", "failures", "failures"),
        ("a.gz", "jsonl", "csv"),
        ("-", "jsonl", "csv"),
    ],
)
def test_names_tell_formats(path: str, form: str, separated: str) -> None:
    assert guess_format(path) == form
    assert guess_format(path, delimiter=True) == separated
    assert form in reading.FORMATS
