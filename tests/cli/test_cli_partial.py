"""What is left of a run that does not come to its end, and what a full disk costs."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conveyor.__main__ import main
from conveyor._files import WholeFile, partial_name


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
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    Path(name).write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return name


def read(name: str | Path) -> list[Any]:
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]


def names(folder: str = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# --- names


@pytest.mark.parametrize(
    ("name", "partial"),
    [
        ("results.jsonl", "results.partial.jsonl"),
        ("results.v2.csv", "results.v2.partial.csv"),
        ("results", "results.partial"),
        ("results.jsonl.gz", "results.partial.jsonl.gz"),
        ("results.gz", "results.partial.gz"),
        ("bad.failures", "bad.partial.failures"),
        ("bad.failures.jsonl", "bad.partial.failures.jsonl"),
        ("bad.failures.jsonl.xz", "bad.partial.failures.jsonl.xz"),
        (".jsonl", ".jsonl.partial"),
        (".gz", ".gz.partial"),
    ],
)
def test_the_name_tells_that_it_is_a_part_and_what_is_in_it(name: str, partial: str) -> None:
    assert partial_name(name) == partial
    assert partial_name(name, 2) == partial.replace("partial", "partial-2")


@pytest.mark.parametrize("from_the_start", [False, True])
def test_what_is_kept_replaces_nothing(tmp_path: Path, from_the_start: bool) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    for number in range(3):
        file = WholeFile(target, partial=from_the_start)
        file.open().write(f"{number}")
        visible = [name for name in names(str(tmp_path)) if not name.startswith(".")]
        assert len(visible) == 1 + number + from_the_start
        kept = file.keep()
        assert kept is not None
        assert kept.read_text() == f"{number}"
        assert file.keep() is None
        file.discard()
    kept_ones = ["out.partial-2.jsonl", "out.partial-3.jsonl", "out.partial.jsonl"]
    assert names(str(tmp_path)) == ["out.jsonl", *kept_ones]
    assert target.read_text() == "old"


@pytest.mark.parametrize("from_the_start", [False, True])
def test_what_is_complete_leaves_no_part(tmp_path: Path, from_the_start: bool) -> None:
    target = tmp_path / "out.jsonl"
    with WholeFile(target, "wb", partial=from_the_start) as file:
        file.write(b"1")
    assert names(str(tmp_path)) == ["out.jsonl"]
    with pytest.raises(ValueError, match="why"), WholeFile(target, partial=from_the_start):
        raise ValueError("why")
    assert names(str(tmp_path)) == ["out.jsonl"]


def test_several_files_are_put_in_place_when_all_are_written(tmp_path: Path) -> None:
    one, two = WholeFile(tmp_path / "one"), WholeFile(tmp_path / "two")
    for file in one, two:
        file.open().write("1")
        file.seal()
        file.seal()
        assert not (tmp_path / "one").exists()
    for file in one, two:
        file.commit()
    assert names(str(tmp_path)) == ["one", "two"]


# --- a run that fails


@on_each_backend
def test_a_run_that_fails_leaves_nothing_or_what_it_has(call: Call, backend: list[str]) -> None:
    write("in.jsonl", 1, 2, 0, 4)
    write("out.jsonl", "old")
    error = "Error: ZeroDivisionError: division by zero [stage 'invert' (2 of 2), item 2]\n"
    done = call("numbers", "in.jsonl", "-o", "out.jsonl", *backend)
    assert done == (1, "", error)
    assert names() == ["in.jsonl", "out.jsonl"]
    done = call("numbers", "in.jsonl", "-o", "out.jsonl", "--keep-partial", *backend)
    assert done == (1, "", f"{error}2 results kept in out.partial.jsonl\n")
    assert read("out.partial.jsonl") == [1.0, 0.5]
    assert Path("out.jsonl").read_text() == "old\n"
    # An hour's work is not overwritten by the next attempt.
    done = call("numbers", "in.jsonl", "-o", "out.jsonl", "--keep-partial", *backend)
    assert done.err == f"{error}2 results kept in out.partial-2.jsonl\n"
    kept = ["out.partial-2.jsonl", "out.partial.jsonl"]
    assert names() == ["in.jsonl", "out.jsonl", *kept]


@on_each_backend
def test_what_is_kept_is_whole_in_every_format(call: Call, backend: list[str]) -> None:
    items = [{"n": n, "text": "x,\n"} for n in range(300)]
    write("in.jsonl", *items, {"n": 300, "fail": True})

    def kept(name: str) -> bytes:
        done = call("named", "in.jsonl", "-o", f"out.{name}", "--keep-partial", *backend)
        message = f"300 results kept in out.partial.{name}"
        assert (done.code, done.err.splitlines()[1:]) == (1, [message])
        return Path(f"out.partial.{name}").read_bytes()

    lines = "".join(json.dumps(item, separators=(",", ":")) + "\n" for item in items).encode()
    assert kept("jsonl") == lines
    assert gzip.decompress(kept("jsonl.gz")) == lines
    assert bz2.decompress(kept("jsonl.bz2")) == lines
    assert json.loads(kept("json")) == items
    assert kept("csv").count(b"\n") == 601
    # All of them can be read again.
    for name in "jsonl", "jsonl.gz", "json", "csv":
        done = call("same", f"out.partial.{name}")
        assert (done.code, done.out.count("\n"), done.err) == (0, 300, "")


def test_failures_are_kept_as_well(call: Call) -> None:
    write("in.txt", "1", "x", "2", "y", "3", "z")
    options = ["-o", "out.jsonl", "--failures", "bad.failures", "--keep-partial"]
    done = call("limited", "in.txt", *options)
    assert done.code == 1
    assert done.err.splitlines()[1:] == [
        "2 results kept in out.partial.jsonl",
        "2 failures kept in bad.partial.failures",
    ]
    assert [bad["inputs"] for bad in read("bad.partial.failures")] == [["x"], ["y"]]
    assert call("same", "bad.partial.failures").out == '"x"\n"y"\n'
    assert names() == ["bad.partial.failures", "in.txt", "out.partial.jsonl"]


@pytest.mark.parametrize("line", ["oops", "0"])
def test_where_there_is_nothing_nothing_is_kept(call: Call, line: str) -> None:
    write("in.jsonl", line)
    options = ["-o", "out.jsonl", "--failures", "bad.failures.gz", "--keep-partial"]
    if line == "0":
        options = ["-o", "out.json", "--keep-partial"]
    done = call("numbers", "in.jsonl", *options)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert names() == ["in.jsonl"]


def test_a_run_that_ends_well_has_nothing_to_keep(call: Call) -> None:
    write("in.jsonl", 1, 2)
    options = ["-o", "out.jsonl", "--failures", "bad.failures", "--keep-partial"]
    assert call("numbers", "in.jsonl", *options) == (0, "", "")
    assert names() == ["bad.failures", "in.jsonl", "out.jsonl"]
    assert read("out.jsonl") == [1.0, 0.5]


def test_wrong_use_leaves_nothing(call: Call) -> None:
    write("in.jsonl", 1)
    done = call("nothing", "in.jsonl", "-o", "out.jsonl", "--keep-partial")
    assert done.code == 2
    assert names() == ["in.jsonl"]


def test_an_exit_of_a_function_keeps_it_too(call: Call) -> None:
    write("in.jsonl", 1, 2, '"exit"')
    with pytest.raises(SystemExit):
        call("exits_at_last", "in.jsonl", "-o", "out.jsonl", "--keep-partial")
    assert read("out.partial.jsonl") == [1, 2]


# --- full disks

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is a device here")


@full
@on_each_backend
def test_a_trace_that_cannot_be_written_costs_no_results(call: Call, backend: list[str]) -> None:
    write("in.jsonl", *range(1, 1001))
    done = call(
        *("numbers", "in.jsonl", "-o", "out.jsonl", "--failures", "bad.failures"),
        *("--trace", "/dev/full", *backend),
    )
    assert done == (1, "", "Error: cannot write /dev/full: No space left on device\n")
    assert read("out.jsonl") == [1 / n for n in range(1, 1001)]
    assert read("bad.failures") == []
    # If something has failed as well, that is not hidden.
    write("in.jsonl", 1, 0)
    done = call("numbers", "in.jsonl", "-o", "new.jsonl", "--trace", "/dev/full", *backend)
    assert done.code == 1
    assert "ZeroDivisionError" in done.err
    assert not Path("new.jsonl").exists()


@full
def test_failures_that_cannot_be_written_leave_no_results_without_them(call: Call) -> None:
    write("in.jsonl", 1, 0)
    done = call("numbers", "in.jsonl", "-o", "out.jsonl", "--failures", "/dev/full")
    assert done == (1, "", "Error: cannot write /dev/full: No space left on device\n")
    assert names() == ["in.jsonl"]
    options = ["-o", "out.jsonl", "--failures", "/dev/full", "--keep-partial"]
    done = call("numbers", "in.jsonl", *options)
    assert done.code == 1
    assert done.err.splitlines()[0] == "Error: cannot write /dev/full: No space left on device"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


FULL = "No space left on device"


@on_each_backend
@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.jsonl.gz"])
def test_a_full_disk_leaves_nothing_or_what_there_is_room_for(
    call: Call, small_disk: Path, name: str, backend: list[str]
) -> None:
    # It cannot be packed into less.
    items = [{"n": n, "x": os.urandom(500).hex()} for n in range(5000)]
    write("in.jsonl", *items)
    done = call("same", "in.jsonl", "-o", f"disk/{name}", *backend)
    assert done == (1, "", f"Error: cannot write disk/{name}: {FULL}\n")
    assert names("disk") == []
    done = call("same", "in.jsonl", "-o", f"disk/{name}", "--keep-partial", *backend)
    assert done.code == 1
    error, *kept = done.err.splitlines()
    assert error == f"Error: cannot write disk/{name}: {FULL}"
    if name.endswith(".gz") and not kept:
        return  # packed, a block is a megabyte
    partial = f"disk/{partial_name(name)}"
    found = call("same", partial)
    assert (found.code, found.err) == (0, "")
    results = [json.loads(line) for line in found.out.splitlines()]
    assert kept == [f"{len(results)} results kept in {partial}"]
    assert results == items[: len(results)]
    assert len(results) > 50
    assert names("disk") == [partial_name(name)]


@on_each_backend
def test_a_trace_that_fills_the_disk_makes_room_for_the_results(
    call: Call, small_disk: Path, backend: list[str]
) -> None:
    numbers = [n + 0.5 for n in range(1, 5001)]
    write("in.jsonl", *numbers)
    done = call(
        *("numbers", "in.jsonl", "-o", "disk/out.jsonl", "--failures", "disk/bad.failures"),
        *("--trace", "disk/trace.json", *backend),
    )
    assert done == (1, "", f"Error: cannot write disk/trace.json: {FULL}\n")
    assert len(read("disk/out.jsonl")) == 5000
    assert names("disk") == ["bad.failures", "out.jsonl"]


def test_a_disk_that_is_full_with_failures_ends_the_run(call: Call, small_disk: Path) -> None:
    write("in.jsonl", *({"n": n, "fail": True, "x": "x" * 1000} for n in range(500)))
    options = ["--failures", "disk/bad.failures", "--keep-partial"]
    done = call("named", "in.jsonl", *options)
    assert done.code == 1
    error, kept = done.err.splitlines()
    assert error == f"Error: cannot write disk/bad.failures: {FULL}"
    bad = read("disk/bad.partial.failures")
    assert kept == f"{len(bad)} failures kept in disk/bad.partial.failures"
    assert [each["lines"] for each in bad] == [[n + 1] for n in range(len(bad))]
    assert len(bad) > 50
