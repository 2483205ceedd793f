"""`conveyor run` over everyday files, and what becomes of what cannot be read or written."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conveyor.__main__ import main

TESTS = Path(__file__).parents[1]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Done]

on_each_backend = pytest.mark.parametrize(
    "backend", [[], ["--uvloop"], ["--backend", "trio"]], ids=["asyncio", "uvloop", "trio"]
)


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Run the command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(target: str, *args: str) -> Done:
        capfd.readouterr()
        code = main(["run", f"_cli_pipes:{target}", *args])
        return Done(code, *capfd.readouterr())

    return call


def write(name: str, *lines: Any) -> str:
    """Write a file in the current directory: strings as they are, the rest as JSON."""
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    Path(name).write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return name


def rows(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def read(name: str) -> list[Any]:
    return rows(Path(name).read_text("utf-8"))


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


PEOPLE = [{"id": "1", "name": "Ada"}, {"id": "2", "name": "Zoë"}]


# --- packed


@on_each_backend
@pytest.mark.parametrize(
    ("ending", "pack", "unpack"),
    [
        (".gz", gzip.compress, gzip.decompress),
        (".bz2", bz2.compress, bz2.decompress),
        (".xz", lzma.compress, lzma.decompress),
    ],
)
def test_packed_files_are_read_and_written(
    call: Call,
    ending: str,
    pack: Callable[[bytes], bytes],
    unpack: Callable[[bytes], bytes],
    backend: list[str],
) -> None:
    raw = "id,name\n1,Ada\n2,Zoë\n".encode()
    Path(f"in.csv{ending}").write_bytes(pack(raw))
    done = call("same", f"in.csv{ending}", "-o", f"out.csv{ending}", *backend)
    assert done == (0, "", "")
    assert unpack(Path(f"out.csv{ending}").read_bytes()) == raw
    assert rows(call("same", f"out.csv{ending}", *backend).out) == PEOPLE


def test_a_packed_file_needs_no_name_that_says_so(call: Call) -> None:
    Path("in.jsonl").write_bytes(gzip.compress(b'"packed"\n'))
    Path("in.jsonl.gz").write_bytes(b'"not packed"\n')
    assert call("same", "in.jsonl", "in.jsonl.gz") == (0, '"packed"\n"not packed"\n', "")


def test_packed_standard_input_is_unpacked() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "conveyor", "run", "_cli_pipes:same"],
        input=gzip.compress(b"1\n2\n"),
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n2\n", b"")


def test_a_packed_file_may_hold_much(call: Call) -> None:
    numbers = [{"n": n, "text": "x" * 100} for n in range(30_000)]
    with gzip.open("in.jsonl.gz", "wt") as file:
        file.writelines(f"{json.dumps(number)}\n" for number in numbers)
    assert call("same", "in.jsonl.gz", "-o", "out.jsonl.gz") == (0, "", "")
    with gzip.open("out.jsonl.gz", "rt") as file:
        assert [json.loads(line) for line in file] == numbers


def test_nothing_is_packed_as_nothing(call: Call) -> None:
    write("in.jsonl")
    done = call("same", "in.jsonl", "-o", "out.jsonl.gz", "--failures", "bad.failures.gz")
    assert done == (0, "", "")
    assert gzip.decompress(Path("out.jsonl.gz").read_bytes()) == b""
    assert gzip.decompress(Path("bad.failures.gz").read_bytes()) == b""
    assert call("same", "out.jsonl.gz", "bad.failures.gz") == (0, "", "")


def test_failures_can_be_packed_and_fed_back_in(call: Call) -> None:
    write("in.txt", "1", "x", "y")
    done = call("number", "in.txt", "--failures", "bad.failures.gz")
    assert done == (3, "1\n", "2 items failed, see bad.failures.gz\n")
    done = call("number", "bad.failures.gz", "--failures", "bad.failures.gz")
    assert (done.code, done.out) == (3, "")
    assert call("same", "bad.failures.gz") == (0, '"x"\n"y"\n', "")


def test_a_packed_file_that_breaks_off_ends_the_run_behind_what_is_whole(call: Call) -> None:
    raw = gzip.compress(b"1\n2\n") + gzip.compress(b"3\n")[:-6]
    Path("in.jsonl.gz").write_bytes(raw)
    done = call("same", "in.jsonl.gz", "--on-bad-line", "skip")
    assert done.out.startswith("1\n2\n")
    assert done.code == 1
    assert done.err == (
        "Error: cannot read all of in.jsonl.gz: its gzip data breaks off, as in a file that was "
        "not copied to its end\n"
    )


# --- tables, encodings, arrays


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("in.tsv", "id\tname\n1\tAda\n2\tZoë\n", []),
        ("in.tab", "id\tname\n1\tAda\n2\tZoë\n", []),
        ("in.csv", "id;name\n1;Ada\n2;Zoë\n", ["--delimiter", ";"]),
        ("in.txt", "id\tname\n1\tAda\n2\tZoë\n", ["--delimiter", r"\t"]),
        ("in", "id|name\n1|Ada\n2|Zoë\n", ["--delimiter", "|"]),
        ("in.txt", "id\tname\n1\tAda\n2\tZoë\n", ["--input-format", "tsv"]),
        ("in.json", json.dumps(PEOPLE), []),
        ("in.json", json.dumps(PEOPLE, indent=4), []),
        ("in.json", "".join(f"{json.dumps(each)}\n" for each in PEOPLE), []),
        ("in", json.dumps(PEOPLE), ["--input-format", "json"]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_files_as_they_come(
    call: Call, name: str, text: str, options: list[str], encoding: str
) -> None:
    Path(name).write_bytes(text.encode(encoding))
    named = ["--encoding", "latin-1"] if encoding == "latin-1" else []
    done = call("same", name, *options, *named)
    assert (done.code, rows(done.out), done.err) == (0, PEOPLE, "")
    # What comes out is UTF-8, whatever has come in.
    assert call("same", name, *options, *named, "-o", "out.jsonl").code == 0
    assert "Zoë" in Path("out.jsonl").read_bytes().decode("utf-8")


def test_a_wrong_encoding_says_what_to_do(call: Call) -> None:
    Path("in.csv").write_bytes("id,name\n1,Zoë\n".encode("latin-1"))
    done = call("same", "in.csv")
    assert done.code == 1
    assert done.err == (
        "Error: in.csv:2: not UTF-8: invalid continuation byte at byte 5; --encoding names another "
        "encoding\n"
    )


def test_results_in_tables_and_arrays(call: Call) -> None:
    write("in.jsonl", {"a": 1, "b": "x;y\tz"}, {"a": 2, "b": "ä"})
    assert call("same", "in.jsonl", "-o", "out.tsv") == (0, "", "")
    assert Path("out.tsv").read_text("utf-8") == 'a\tb\n1\t"x;y\tz"\n2\tä\n'
    done = call("same", "in.jsonl", "--output-format", "csv", "--output-delimiter", ";")
    assert done == (0, 'a;b\n1;"x;y\tz"\n2;ä\n', "")
    done = call("same", "in.jsonl", "-o", "out.csv", "--output-delimiter", r"\t")
    assert Path("out.csv").read_text("utf-8") == 'a\tb\n1\t"x;y\tz"\n2\tä\n'
    assert call("same", "in.jsonl", "-o", "out.json") == (0, "", "")
    assert json.loads(Path("out.json").read_text("utf-8")) == read("in.jsonl")
    assert call("same", "out.json", "--limit", "0", "-o", "none.json") == (0, "", "")
    assert Path("none.json").read_text() == "[]\n"
    done = call("same", "out.json", "--output-format", "json")
    assert done == (0, Path("out.json").read_text("utf-8"), "")


def test_an_array_that_breaks_off_gives_what_it_has(call: Call) -> None:
    Path("in.json").write_text('[\n{"n": 1},\n{"n": 2},\n{"n":')
    done = call("same", "in.json")
    message = "the array does not end, as in a file that was not copied to its end"
    assert done == (1, '{"n":1}\n{"n":2}\n', f"Error: in.json:4: {message}\n")
    done = call("same", "in.json", "--on-bad-line", "skip", "--failures", "bad.failures")
    assert (done.code, rows(done.out)) == (3, [{"n": 1}, {"n": 2}])
    (bad,) = read("bad.failures")
    assert (bad["lines"], bad["text"]) == ([4], '{"n":')


def test_elements_that_fail_are_written_down_in_one_line(call: Call) -> None:
    Path("in.json").write_text(json.dumps([{"n": 1, "fail": True}, {"n": 2}], indent=2))
    done = call("named", "in.json", "--failures", "bad.failures")
    assert (done.code, rows(done.out)) == (3, [{"n": 2}])
    (bad,) = read("bad.failures")
    assert (bad["lines"], bad["inputs"]) == ([2], [{"n": 1, "fail": True}])


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", '{"x": [1e999]}'])
@pytest.mark.parametrize("name", ["in.jsonl", "in.json"])
def test_numbers_that_cannot_be_held_are_bad_lines(call: Call, name: str, number: str) -> None:
    Path(name).write_text(f"[{number},\n1]" if name == "in.json" else f"{number}\n1\n")
    done = call("same", name)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"Error: {name}:1: no JSON: ")
    done = call("same", name, "--on-bad-line", "skip", "--failures", "bad.failures")
    assert (done.code, done.out) == (3, "1\n")
    assert read("bad.failures")[0]["text"] == number


def test_settings_are_json_too(call: Call) -> None:
    write("in.jsonl", 0)
    done = call("surroundings", "in.jsonl", "--set", "a=NaN", "--set", "b=1e400", "--set", "c=1e3")
    assert rows(done.out)[0]["data"] == {"a": "NaN", "b": "1e400", "c": 1000.0}


# --- several files


@on_each_backend
def test_several_files_are_one_input(call: Call, backend: list[str]) -> None:
    write("a.jsonl", {"n": 1}, {"n": 2})
    Path("b.csv").write_text("n\n3\n")
    Path("c.json.gz").write_bytes(gzip.compress(b'[{"n": 4}, {"n": 5}]'))
    Path("d.jsonl").write_text("")
    Path("e.jsonl").write_text('{"n": 6}')  # without the end of its line
    Path("f.csv").write_text("m,n\nx,7\n")  # each file has a header of its own
    files = ["a.jsonl", "b.csv", "c.json.gz", "d.jsonl", "e.jsonl", "f.csv"]
    expected = [{"n": 1}, {"n": 2}, {"n": "3"}, {"n": 4}, {"n": 5}, {"n": 6}, {"m": "x", "n": "7"}]
    done = call("same", *files, *backend)
    assert (done.code, rows(done.out), done.err) == (0, expected, "")
    done = call("same", *files, "--limit", "4", *backend)
    assert (done.code, rows(done.out), done.err) == (0, expected[:4], "")


def test_of_several_files_it_is_said_which_is_meant(call: Call) -> None:
    write("a.jsonl", {"n": 1, "fail": True}, "oops", {"n": 2})
    write("b.jsonl", {"n": 3}, "oops", {"n": 4, "fail": True})
    options = ["--on-bad-line", "skip", "--failures", "bad.failures"]
    done = call("named", "a.jsonl", "b.jsonl", *options)
    assert (done.code, rows(done.out)) == (3, [{"n": 2}, {"n": 3}])
    why = "no JSON: Expecting value at character 1: skipped"
    assert done.err.splitlines() == [
        f"Warning: a.jsonl:2: {why}",
        f"Warning: b.jsonl:2: {why}",
        "2 items failed, see bad.failures",
    ]
    places = sorted((bad["files"], bad["lines"]) for bad in read("bad.failures"))
    assert places == [
        (["a.jsonl"], [1]),
        (["a.jsonl"], [2]),
        (["b.jsonl"], [2]),
        (["b.jsonl"], [3]),
    ]
    done = call("named", "a.jsonl", "b.jsonl")
    assert done.err == "Error: ValueError: item 1 [stage 'named' (1 of 1), item 0]\n"


def test_a_batch_may_be_of_several_files(call: Call) -> None:
    write("a.txt", "a b")
    write("b.txt", "BAD")
    done = call("batches", "a.txt", "b.txt", "--failures", "bad.failures")
    assert done.code == 3
    (bad,) = read("bad.failures")
    assert (bad["files"], bad["lines"]) == (["a.txt", "b.txt"], [1, 1])
    assert bad["inputs"] == ["a b", "BAD"]


def test_files_that_cannot_be_read_are_found_out_before_anything_runs(call: Call) -> None:
    write("a.jsonl", 1)
    Path("folder").mkdir()
    for missing, why in ("b.jsonl", "No such file or directory"), ("folder", "Is a directory"):
        done = call("same", "a.jsonl", missing, "-o", "out.jsonl")
        assert done == (2, "", f"Error: cannot read {missing}: {why}\n")
    done = call("same", "-", "a.jsonl", "-")
    assert done == (2, "", "Error: standard input can be read once, and '-' is there twice\n")
    assert names() == ["a.jsonl", "folder"]


def test_a_file_that_has_gone_meanwhile_ends_the_run(call: Call) -> None:
    write("a.jsonl", 1)
    write("b.jsonl", 2)
    done = call("without_b", "a.jsonl", "b.jsonl")
    assert done == (1, "1\n", "Error: cannot read b.jsonl: No such file or directory\n")


@on_each_backend
@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of Unix")
def test_standard_input_and_pipes_may_be_among_them(tmp_path: Path, backend: list[str]) -> None:
    (tmp_path / "a.jsonl").write_text("1\n")
    command = f"{sys.executable} -m conveyor run _cli_pipes:same {' '.join(backend)}"
    done = subprocess.run(
        ["bash", "-c", f"{command} a.jsonl - <(echo 3; echo 4) <(gzip -c a.jsonl)"],
        input="2\n",
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n2\n3\n4\n1\n", "")


# --- wrong use


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--delimiter", ";"], "--delimiter is for CSV, and no input is: see --input-format"),
        (["--delimiter", ";;"], "--delimiter takes one character, such as ';' or '\\t' for a tab"),
        (
            ["--output-delimiter", ";", "-o", "out.jsonl"],
            "--output-delimiter is for CSV: see --output-format",
        ),
        (["--output-delimiter", ""], "--output-delimiter takes one character"),
        (["--encoding", "klingon"], "--encoding takes the name of an encoding, such as latin-1"),
        (["--encoding", "hex"], "--encoding takes the name of an encoding, such as latin-1"),
        (["--keep-partial"], "--keep-partial is for what goes into a file: see --output"),
        (
            ["--failures", "in.jsonl"],
            "--failures would replace the input in.jsonl, which is not a file of failures",
        ),
        (["--trace", "in.jsonl"], "--trace would replace the input in.jsonl"),
        (
            ["-o", "in.jsonl", "--limit", "1"],
            "--limit would leave out the rest of in.jsonl, which --output replaces",
        ),
    ],
)
def test_wrong_use_is_one_line_and_code_2(call: Call, args: list[str], message: str) -> None:
    write("in.jsonl", 1)
    done = call("same", "in.jsonl", *args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"Error: {message}")
    assert done.err.count("\n") == 1
    assert Path("in.jsonl").read_text() == "1\n"
    assert names() == ["in.jsonl"]


def test_a_link_to_an_input_is_that_input(call: Call) -> None:
    write("in.jsonl", 1)
    Path("other").hardlink_to("in.jsonl")
    Path("link").symlink_to("in.jsonl")
    for name in "other", "link":
        done = call("same", "in.jsonl", "--failures", name)
        assert done.code == 2
        assert "would replace the input" in done.err


# --- results that cannot be written


@on_each_backend
@pytest.mark.parametrize("mode", [[], ["--as-completed"]])
@pytest.mark.parametrize("target", ["score", "scored"])
def test_a_result_that_cannot_be_written_is_a_failure(
    call: Call, backend: list[str], mode: list[str], target: str
) -> None:
    write("in.jsonl", *({"id": n, "bad": n % 10 == 3} for n in range(50)))
    options = ["-o", "out.jsonl", "--failures", "bad.failures", *backend, *mode]
    done = call(target, "in.jsonl", *options)
    assert done == (3, "", "5 items failed, see bad.failures\n")
    good = [n for n in range(50) if n % 10 != 3]
    assert sorted(row["id"] for row in read("out.jsonl")) == good
    bad = read("bad.failures")
    assert [each["error"] for each in bad] == [
        {"type": "UnwritableResult", "message": "nan is no number of JSON's, at .score"}
    ] * 5
    assert {each["stage"] for each in bad} == {"score" if target == "score" else "scores"}
    # Of a batch, that may be any of its inputs.
    inputs = {item["id"] for each in bad for item in each["inputs"]}
    assert inputs >= {3, 13, 23, 33, 43}
    assert target == "scored" or inputs == {3, 13, 23, 33, 43}
    done = call("same", "bad.failures")
    assert {row["id"] for row in rows(done.out)} == inputs


@pytest.mark.parametrize("mode", [[], ["--as-completed"]])
def test_emitted_failures_and_results_that_cannot_be_written_keep_apart(
    call: Call, mode: list[str]
) -> None:
    items = [{"n": n, "fail": n % 3 == 0, "bad": n % 5 == 0} for n in range(60)]
    write("in.jsonl", *items)
    done = call("emitted", "in.jsonl", "-o", "out.jsonl", "--failures", "bad.failures", *mode)
    assert done.code == 3
    assert sorted(row["n"] for row in read("out.jsonl")) == [
        n for n in range(60) if n % 3 and n % 5
    ]
    kinds: dict[str, list[int]] = {"ValueError": [], "UnwritableResult": []}
    for bad in read("bad.failures"):
        (item,) = bad["inputs"]
        assert bad["lines"] == [item["n"] + 1]
        kinds[bad["error"]["type"]].append(item["n"])
    assert sorted(kinds["ValueError"]) == [n for n in range(60) if n % 3 == 0]
    assert sorted(kinds["UnwritableResult"]) == [n for n in range(60) if n % 3 and n % 5 == 0]


def test_a_result_of_other_fields_is_a_failure_with_the_result(call: Call) -> None:
    write("in.jsonl", "[1]", {"a": 1}, {"b": 2}, "[3]", {"a": 4})
    done = call("same", "in.jsonl", "-o", "out.csv", "--failures", "bad.failures")
    assert (done.code, done.err) == (3, "3 items failed, see bad.failures\n")
    assert Path("out.csv").read_text() == "a\n1\n4\n"
    assert [(bad["lines"], bad["result"]) for bad in read("bad.failures")] == [
        ([1], [1]),
        ([3], {"b": 2}),
        ([4], [3]),
    ]


def test_a_string_of_several_lines_is_a_failure_in_text(call: Call) -> None:
    write("in.jsonl", '"one"', '"two\\nlines"', '"three"')
    done = call("same", "in.jsonl", "-o", "out.txt", "--failures", "bad.failures")
    assert done.code == 3
    assert Path("out.txt").read_text() == "one\nthree\n"
    (bad,) = read("bad.failures")
    assert (bad["inputs"], bad["result"]) == (["two\nlines"], "two\nlines")


def test_an_array_has_what_can_be_written(call: Call) -> None:
    write("in.jsonl", {"bad": True}, {"n": 1}, {"bad": True}, {"n": 2})
    done = call("score", "in.jsonl", "-o", "out.json", "--failures", "bad.failures")
    assert done.code == 3
    assert [row["n"] for row in json.loads(Path("out.json").read_text())] == [1, 2]


def test_whatever_a_result_does_when_it_is_written_is_a_failure(call: Call) -> None:
    write("in.jsonl", 0, 1, "1" + "0" * 4299, 2)
    done = call("lazily", "in.jsonl", "-o", "out.jsonl", "--failures", "bad.failures")
    assert done.code == 3
    (bad,) = read("bad.failures")
    assert bad["error"]["message"] == "LookupError: cannot be loaded"
    assert read("out.jsonl")[0::2] == [0, 2]


def test_without_a_file_for_it_such_a_result_ends_the_run(call: Call) -> None:
    write("in.jsonl", {"id": 1}, {"id": 2, "bad": True}, {"id": 3})
    done = call("score", "in.jsonl")
    assert (done.code, rows(done.out)) == (1, [{"id": 1, "score": 0.5}])
    assert done.err == (
        "Error: result 1 of stage 'score' (counted from 0) cannot be written: nan is no number of "
        "JSON's, at .score\n"
    )


# --- failures that are fed back into the same file


def test_lines_that_could_not_be_read_stay_until_they_are_mended(call: Call) -> None:
    write("in.jsonl", {"id": 1}, '{"id":2,')
    options = ["--on-bad-line", "skip", "--failures", "todo.failures"]
    assert call("same", "in.jsonl", *options).code == 3
    before = Path("todo.failures").read_text()
    assert json.loads(before)["text"] == '{"id":2,'
    for _ in range(2):
        done = call("same", "todo.failures", "--failures", "todo.failures")
        assert (done.code, done.out) == (3, "")
        assert done.err == (
            "Warning: todo.failures:1: a line without inputs (no JSON: Expecting property name "
            "enclosed in double quotes at character 9): kept\n"
        )
        assert Path("todo.failures").read_text() == before
    done = call("same", "todo.failures")
    assert (done.code, done.out) == (3, "")
    assert done.err.endswith(": skipped\n")
    # Mended, it is an input like others.
    write("todo.failures", {**json.loads(before), "inputs": [{"id": 2}]})
    done = call("same", "todo.failures", "--failures", "todo.failures")
    assert done == (0, '{"id":2}\n', "")
    assert Path("todo.failures").read_text() == ""


def test_a_torn_line_of_failures_keeps_its_text(call: Call) -> None:
    write("todo.failures", {"inputs": [1]}, '{"inputs": [2')
    options = ["--on-bad-line", "skip", "--failures", "todo.failures"]
    assert call("same", "todo.failures", *options).code == 3
    (bad,) = read("todo.failures")
    assert bad["text"] == '{"inputs": [2'


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_what_is_behind_the_limit_stays_in_the_file(call: Call, ending: str) -> None:
    file = f"todo.failures{ending}"
    records = [
        {"inputs": [{"n": 1}, {"n": 2}], "kept": "this"},
        {"inputs": []},
        {"inputs": [{"n": 3, "fail": True}, {"n": 4}, {"n": 5}], "kept": "that"},
        "torn",
        {"inputs": [], "text": "oops"},
        {"inputs": [{"n": 6}]},
    ]
    write("todo.failures", *records)
    if ending:
        Path(file).write_bytes(gzip.compress(Path("todo.failures").read_bytes()))
    done = call("named", file, "--limit", "4", "--failures", file)
    assert (done.code, [row["n"] for row in rows(done.out)]) == (3, [1, 2, 4])
    raw = Path(file).read_bytes()
    failed, rest, *others = (gzip.decompress(raw) if ending else raw).decode().splitlines()
    assert json.loads(failed)["inputs"] == [{"n": 3, "fail": True}]
    assert json.loads(rest) == {"inputs": [{"n": 5}], "kept": "that"}
    texts = [each if isinstance(each, str) else json.dumps(each) for each in records]
    assert others == texts[3:]


def test_failures_among_several_files_keep_what_nobody_has_come_to(call: Call) -> None:
    write("a.jsonl", {"n": 1}, {"n": 2})
    write("todo.failures", {"inputs": [{"n": 3}]}, {"inputs": [{"n": 4}]})
    write("b.jsonl", {"n": 5})
    files = ["a.jsonl", "todo.failures", "b.jsonl"]
    done = call("named", *files, "--limit", "1", "--failures", "todo.failures")
    assert done == (0, '{"n":1}\n', "")
    assert read("todo.failures") == [{"inputs": [{"n": 3}]}, {"inputs": [{"n": 4}]}]
    done = call("named", *files, "--limit", "3", "--failures", "todo.failures")
    assert done.code == 0
    assert read("todo.failures") == [{"inputs": [{"n": 4}]}]
    done = call("named", *files, "--failures", "todo.failures")
    assert done.code == 0
    assert read("todo.failures") == []


@on_each_backend
def test_a_run_that_is_stopped_leaves_the_rest_of_the_failures(
    call: Call, backend: list[str]
) -> None:
    lines = [{"inputs": [n]} for n in range(2000)]
    write("todo.failures", {"inputs": ["SIGTERM"]}, *lines)
    done = call("signals", "todo.failures", "--failures", "todo.failures", *backend)
    assert done.code == 130
    results = rows(done.out)
    assert results[0] == "SIGTERM"
    assert 0 < len(results) < 2000
    assert read("todo.failures") == lines[len(results) - 1 :]


@on_each_backend
def test_a_file_is_not_replaced_by_the_results_of_a_part_of_it(
    call: Call, backend: list[str]
) -> None:
    before = [1, 2, "SIGTERM", *range(2000)]
    write("data.jsonl", *map(json.dumps, before))
    done = call("signals", "data.jsonl", "-o", "data.jsonl", *backend)
    assert (done.code, done.out) == (130, "")
    assert read("data.jsonl") == before
    results = read("data.partial.jsonl")
    assert results == before[: len(results)]
    assert done.err.splitlines() == [
        "Stopping on SIGTERM: what is inside is finished. Again to abort.",
        "data.jsonl is as it was: not all of it was read",
        f"{len(results)} results kept in data.partial.jsonl",
    ]
    assert names() == ["data.jsonl", "data.partial.jsonl"]


def test_a_file_is_replaced_if_all_of_it_was_read(call: Call) -> None:
    write("data.jsonl", 1, '"SIGTERM"')
    done = call("signals", "data.jsonl", "-o", "data.jsonl")
    assert done.code == 130
    assert read("data.jsonl") == [1, "SIGTERM"]
    assert names() == ["data.jsonl"]
