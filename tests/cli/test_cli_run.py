"""`conveyor run`: what it reads, writes and says, and its exit codes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import conveyor
from conveyor.__main__ import main

ROOT = Path(conveyor.__file__).parents[1]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Run the command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*args: str) -> Done:
        capfd.readouterr()
        code = main(args)
        return Done(code, *capfd.readouterr())

    return call


def write(name: str, *lines: Any) -> str:
    """Write a file in the current directory: strings as they are, the rest as JSON."""
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    Path(name).write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return name


def rows(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def failures(name: str = "failed.jsonl") -> list[Any]:
    return rows(Path(name).read_text("utf-8"))


# --- in and out


def test_json_lines_go_in_and_come_out(call: Call) -> None:
    write("in.jsonl", {"a": "ä"}, [1, 2], "", "null")
    assert call("run", "_cli_pipes:same", "in.jsonl") == (0, '{"a":"ä"}\n[1,2]\n', "")


def test_formats_are_told_by_names_and_by_options(call: Call) -> None:
    write("in.csv", "name,size", "a,1", '"b,c",2')
    done = call("run", "_cli_pipes:same", "in.csv", "--output", "out.csv")
    assert done == (0, "", "")
    assert Path("out.csv").read_text() == 'name,size\na,1\n"b,c",2\n'

    done = call("run", "_cli_pipes:same", "in.csv", "--input-format", "lines", "--limit", "2")
    assert done == (0, '"name,size"\n"a,1"\n', "")

    done = call("run", "_cli_pipes:same", "in.csv", "-o", "-", "--output-format", "csv")
    assert done == (0, 'name,size\na,1\n"b,c",2\n', "")

    write("in.txt", "one", "", "two")
    done = call("run", "_cli_pipes:same", "in.txt", "-o", "out.txt")
    assert done == (0, "", "")
    assert Path("out.txt").read_text() == "one\n\ntwo\n"


def test_an_empty_input_gives_nothing(call: Call) -> None:
    write("in.jsonl")
    assert call("run", "_cli_pipes:numbers", "in.jsonl", "-o", "out.jsonl") == (0, "", "")
    assert Path("out.jsonl").read_text() == ""


@pytest.mark.parametrize(("limit", "out"), [("0", ""), ("2", "0\n1\n"), ("9", "0\n1\n2\n")])
def test_limit_bounds_what_is_read(call: Call, limit: str, out: str) -> None:
    write("in.jsonl", 0, 1, 2)
    assert call("run", "_cli_pipes:same", "in.jsonl", "--limit", limit) == (0, out, "")


def test_what_is_behind_the_limit_is_not_looked_at(call: Call) -> None:
    write("in.jsonl", 0, "no JSON")
    assert call("run", "_cli_pipes:same", "in.jsonl", "--limit", "1") == (0, "0\n", "")


def test_the_order_is_that_of_the_input_or_of_the_ends(call: Call) -> None:
    write("in.jsonl", 0, 1, 2)
    assert call("run", "_cli_pipes:last_first", "in.jsonl").out == "0\n1\n2\n"
    done = call("run", "_cli_pipes:last_first", "in.jsonl", "--as-completed")
    assert (done.code, done.out) == (0, "1\n2\n0\n")


def test_settings_reach_the_functions(call: Call) -> None:
    write("in.jsonl", 0)
    sets = ["size=2", "name=a=b", 'list=["x", null]', "empty=", "word=true story", "yes=true"]
    options = [part for each in sets for part in ("--set", each)]
    (seen,) = rows(call("run", "_cli_pipes:tuned", "in.jsonl", *options).out)
    assert seen["data"] == {
        "colour": "red",
        "size": 2,
        "name": "a=b",
        "list": ["x", None],
        "empty": "",
        "word": "true story",
        "yes": True,
    }
    assert (seen["max_parallelism"], seen["mode"]) == (7, "ordered")
    options = ["--max-parallelism", "3", "--as-completed", "--set", "max_parallelism=9"]
    (seen,) = rows(call("run", "_cli_pipes:tuned", "in.jsonl", *options).out)
    assert (seen["max_parallelism"], seen["mode"]) == (3, "as_completed")
    assert seen["data"] == {"colour": "red", "size": 1, "max_parallelism": 9}


@pytest.mark.parametrize(
    ("options", "backend", "loop"),
    [
        ([], "asyncio", "asyncio"),
        (["--backend", "asyncio"], "asyncio", "asyncio"),
        (["--uvloop"], "asyncio", "uvloop"),
        (["--backend", "trio"], "trio", None),
    ],
)
def test_it_runs_where_it_is_told_to(
    call: Call, options: list[str], backend: str, loop: str | None
) -> None:
    write("in.jsonl", 0)
    (seen,) = rows(call("run", "_cli_pipes:surroundings", "in.jsonl", *options).out)
    assert (seen["backend"], seen["loop"]) == (backend, loop)


def test_what_functions_print_is_not_among_the_results(call: Call) -> None:
    write("in.jsonl", 5)
    done = call("run", "_cli_pipes:loud", "in.jsonl")
    assert (done.code, done.out) == (0, "5\n")
    assert sorted(done.err.splitlines()) == ["by a child", "printed 5", "written"]
    os.write(1, b"again\n")
    assert Path("/dev/fd/1").exists()


def test_a_file_can_be_replaced_by_its_results(call: Call) -> None:
    write("data.jsonl", 1, 2, 4)
    assert call("run", "_cli_pipes:numbers", "data.jsonl", "-o", "data.jsonl") == (0, "", "")
    assert Path("data.jsonl").read_text() == "1.0\n0.5\n0.25\n"


# --- what goes wrong


def test_an_error_is_one_line_with_its_place(call: Call) -> None:
    write("in.jsonl", 1, 2, 0, 4)
    done = call("run", "_cli_pipes:numbers", "in.jsonl")
    message = "ZeroDivisionError: division by zero [stage 'invert' (2 of 2), item 2]"
    assert done == (1, "1.0\n0.5\n", f"Error: {message}\n")


def test_an_error_comes_with_its_traceback_if_that_is_wanted(call: Call) -> None:
    write("in.jsonl", 0)
    done = call("run", "_cli_pipes:numbers", "in.jsonl", "--traceback")
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("return 1 / item" in line for line in lines)
    assert lines[-1].startswith("Error: ZeroDivisionError: division by zero [stage")


def test_a_message_of_several_lines_is_put_into_one(call: Call) -> None:
    write("in.jsonl", {})
    done = call("run", "_cli_pipes:change_and_fail", "in.jsonl")
    assert done.err == (
        "Error: LookupError: no luck at all [stage 'change_and_fail' (1 of 1), item 0]\n"
    )


def test_a_run_that_fails_leaves_the_files_as_they_were(call: Call) -> None:
    write("in.jsonl", 1, 0)
    write("out.jsonl", "old")
    done = call("run", "_cli_pipes:numbers", "in.jsonl", "-o", "out.jsonl")
    assert (done.code, done.out) == (1, "")
    assert Path("out.jsonl").read_text() == "old\n"
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "out.jsonl"]


def test_an_exit_of_a_function_ends_the_command_with_its_code(call: Call) -> None:
    write("in.jsonl", 1)
    with pytest.raises(SystemExit) as caught:
        call("run", "_cli_pipes:exits", "in.jsonl")
    assert caught.value.code == 7


def test_a_bad_line_ends_the_run_behind_what_was_before_it(call: Call) -> None:
    write("in.jsonl", 1, 2, "{oops", 4)
    done = call("run", "_cli_pipes:numbers", "in.jsonl")
    assert (done.code, done.out) == (1, "1.0\n0.5\n")
    message = "no JSON: Expecting property name enclosed in double quotes at character 2"
    assert done.err == f"Error: in.jsonl:3: {message}\n"


def test_bad_lines_are_left_out_if_that_is_wanted(call: Call) -> None:
    write("in.csv", "a,b", "1,2", "3", "4,5", "6,7,8")
    done = call("run", "_cli_pipes:same", "in.csv", "--on-bad-line", "skip")
    assert (done.code, rows(done.out)) == (3, [{"a": "1", "b": "2"}, {"a": "4", "b": "5"}])
    assert done.err.splitlines() == [
        "Warning: in.csv:3: 1 field, and the header names 2: skipped",
        "Warning: in.csv:5: 3 fields, and the header names 2: skipped",
    ]


def test_a_header_cannot_be_left_out(call: Call) -> None:
    write("in.csv", "a,a", "1,2")
    done = call("run", "_cli_pipes:same", "in.csv", "--on-bad-line", "skip")
    assert done == (1, "", "Error: in.csv:1: the header names 'a' more than once\n")


def test_a_result_that_cannot_be_written_is_named(call: Call) -> None:
    write("in.jsonl", 0, 1, 2, 3)
    done = call("run", "_cli_pipes:weird", "in.jsonl")
    assert (done.code, rows(done.out)) == (1, [{"price": "0"}, {"price": "1"}])
    assert done.err == (
        "Error: result 2 of stage 'weird' (counted from 0) cannot be written: nothing that JSON "
        "holds: bytes, at .odd[0]\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["_cli_pipes:same", "missing.jsonl"], "cannot read missing.jsonl: No such file"),
        (["_cli_pipes:same", "."], "cannot read .: Is a directory"),
        (["_cli_pipes:same", "in.jsonl", "-o", "no/out"], "cannot write no/out: No such file"),
        (["_cli_pipes:same", "in.jsonl", "-o", "."], "cannot write .: Is a directory"),
        (["_cli_pipes:same", "in.jsonl", "--failures", "no/f"], "cannot write no/f: No such file"),
        (["_cli_pipes:same", "in.jsonl", "--trace", "no/t"], "cannot write no/t: No such file"),
        (["_cli_pipes:same", "in.jsonl", "--failures", "-"], "--failures takes the name of a file"),
        (
            ["_cli_pipes:same", "in.jsonl", "-o", "out", "--failures", "./out"],
            "--failures and --output are the same file: ./out",
        ),
        (["_cli_pipes:same", "in.jsonl", "--set", "x"], "--set takes KEY=VALUE, not 'x'"),
        (["_cli_pipes:same", "in.jsonl", "--set", "=x"], "--set takes KEY=VALUE, not '=x'"),
        (["_cli_pipes:same", "in.jsonl", "--limit", "-1"], "Invalid value for '--limit'"),
        (["_cli_pipes:same", "in.jsonl", "--max-parallelism", "0"], "Invalid value for"),
        (["_cli_pipes:same", "in.jsonl", "--input-format", "xml"], "Invalid value for"),
        (["_cli_pipes:same", "in.jsonl", "--backend", "curio"], "Invalid value for '--backend'"),
        (["_cli_pipes:same", "in.jsonl", "--backend", "trio", "--uvloop"], "--uvloop is for"),
        (["_cli_pipes:same", "in.jsonl", "more"], "cannot read more: No such file"),
        (["_cli_pipes:same", "--bogus"], "No such option"),
        (["no_such_module_here:same", "in.jsonl"], "no_such_module_here"),
        (["_cli_pipes:nothing", "in.jsonl"], "nothing"),
        (["_cli_pipes:json", "in.jsonl"], "json"),
        ([], "Missing argument 'MODULE:PIPELINE'"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(call: Call, args: list[str], message: str) -> None:
    write("in.jsonl", 1)
    done = call("run", *args)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith("Error: ")
    assert message in done.err
    assert [path.name for path in Path().iterdir()] == ["in.jsonl"]


def test_a_missing_package_says_what_to_install(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("in.jsonl", 1)
    monkeypatch.setattr("conveyor._cli.options.find_spec", lambda name: None)
    for option, extra in (
        (["--backend", "trio"], "trio"),
        (["--uvloop"], "uvloop"),
        (["--progress"], "rich"),
    ):
        done = call("run", "_cli_pipes:same", "in.jsonl", *option)
        message = f"Error: {extra} is not installed: pip install 'conveyor[{extra}]'\n"
        assert done == (2, "", message)


@pytest.mark.parametrize(
    "backend", [[], ["--uvloop"], ["--backend", "trio"]], ids=["asyncio", "uvloop", "trio"]
)
def test_signals_end_it_in_peace_and_then_at_once(call: Call, backend: list[str]) -> None:
    write("in.jsonl", 1, 2, '"SIGTERM"', 3, *range(1000))
    done = call("run", "_cli_pipes:signals", "in.jsonl", "-o", "out.jsonl", *backend)
    assert done == (130, "", "Stopping on SIGTERM: what is inside is finished. Again to abort.\n")
    results = rows(Path("out.jsonl").read_text())
    assert results == [1, 2, "SIGTERM", 3, *range(1000)][: len(results)]
    assert 3 <= len(results) < 1000  # how many had been read is up to the thread that reads
    write("in.jsonl", 1, '"SIGTERM SIGINT"', 2, *range(1000))
    done = call("run", "_cli_pipes:signals", "in.jsonl", "-o", "new.jsonl", *backend)
    assert done == (130, "", "Stopping on SIGTERM: what is inside is finished. Again to abort.\n")
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "out.jsonl"]


# --- items that fail


def test_what_the_tasks_let_pass_is_told_and_makes_code_3(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    write("in.txt", "1", "x", "4")
    done = call("run", "_cli_pipes:skipping", "in.txt")
    assert (done.code, done.out) == (3, "1.0\n0.25\n")
    error = "ValueError: invalid literal for int() with base 10: 'x'"
    assert done.err.splitlines() == [
        f"Warning: stage 'number' (1 of 2), item 1: skipped: {error}",
        "1 item failed",
    ]
    done = call("run", "_cli_pipes:emitting", "in.txt")
    assert (done.code, done.out) == (3, "1.0\n0.25\n")
    assert done.err.splitlines() == [
        f"Failed: stage 'number', 1 attempt: {error}",
        "1 item failed",
    ]


def test_skipped_items_are_told_with_tracebacks_or_not_at_all(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    write("in.txt", "x")
    done = call("run", "_cli_pipes:skipping", "in.txt", "--traceback")
    assert done.err.startswith("Traceback (most recent call last):\n")
    assert "return int(item)" in done.err
    done = call("run", "_cli_pipes:skipping", "in.txt", "--failures", "failed.jsonl")
    assert done.err == "1 item failed, see failed.jsonl\n"
    # A program that has seen to its logs gets them, once.
    records: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: records.append(record.getMessage()))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    assert call("run", "_cli_pipes:skipping", "in.txt").err == "1 item failed\n"
    assert records == ["stage 'number' (1 of 2), item 0: skipped"]
    assert logging.getLogger("conveyor").handlers == []


def test_failures_are_written_with_their_inputs(call: Call) -> None:
    write("in.txt", "4", "x", "0", "2")
    done = call("run", "_cli_pipes:numbers", "in.txt", "--failures", "failed.jsonl")
    assert done == (3, "0.25\n0.5\n", "2 items failed, see failed.jsonl\n")
    message = "invalid literal for int() with base 10: 'x'"
    assert failures() == [
        {
            "lines": [2],
            "inputs": ["x"],
            "stage": "number",
            "given": "x",
            "error": {"type": "ValueError", "message": message},
            "attempts": 1,
        },
        {
            "lines": [3],
            "inputs": ["0"],
            "stage": "invert",
            "given": 0,
            "error": {"type": "ZeroDivisionError", "message": "division by zero"},
            "attempts": 1,
        },
    ]


def test_failures_can_be_fed_back_in(call: Call) -> None:
    write("in.csv", "n", "1", "x", "2", '"y\nz"')
    done = call("run", "_cli_pipes:numbers", "in.csv", "--failures", "all.failures.jsonl")
    assert (done.code, done.out) == (3, "")
    assert [failure["lines"] for failure in failures("all.failures.jsonl")] == [[2], [3], [4], [5]]
    done = call("run", "_cli_pipes:same", "all.failures.jsonl")
    inputs = [{"n": "1"}, {"n": "x"}, {"n": "2"}, {"n": "y\nz"}]
    assert (done.code, rows(done.out)) == (0, inputs)

    # What fails again makes another such file, of the same inputs.
    done = call(
        *("run", "_cli_pipes:numbers", "all.failures.jsonl", "--limit", "2"),
        *("--failures", "again.jsonl"),
    )
    assert (done.code, done.out) == (3, "")
    done = call("run", "_cli_pipes:same", "again.jsonl", "--input-format", "failures")
    assert (done.code, rows(done.out)) == (0, inputs[:2])


def test_failures_can_be_tried_again_in_place(call: Call) -> None:
    write("in.txt", "1", "x", "y")
    call("run", "_cli_pipes:number", "in.txt", "--failures", "todo.failures")
    done = call("run", "_cli_pipes:number", "todo.failures", "--failures", "todo.failures")
    assert done == (3, "", "2 items failed, see todo.failures\n")
    assert [failure["inputs"] for failure in failures("todo.failures")] == [["x"], ["y"]]
    done = call("run", "_cli_pipes:same", "todo.failures", "--failures", "todo.failures")
    assert done == (0, '"x"\n"y"\n', "")
    assert failures("todo.failures") == []


def test_an_input_is_written_as_it_was_before_the_pipeline_changed_it(call: Call) -> None:
    write("in.jsonl", '{"a": 1.50}')
    done = call("run", "_cli_pipes:change_and_fail", "in.jsonl", "--failures", "failed.jsonl")
    assert done.code == 3
    text = Path("failed.jsonl").read_text()
    assert '"inputs":[{"a": 1.50}],' in text
    (failure,) = failures()
    assert failure["given"] == {"a": 1.5, "changed": True}
    assert failure["error"] == {"type": "LookupError", "message": "no luck\nat all"}


@pytest.mark.parametrize("mode", [[], ["--as-completed"]])
def test_an_input_of_which_several_items_fail_is_written_once(call: Call, mode: list[str]) -> None:
    write("in.txt", "a b", "c 1 2", "bad d e", "f")
    done = call("run", "_cli_pipes:text", "in.txt", "--failures", "failed.jsonl", *mode)
    # The words are A B C | BAD D E | F: of the second batch, BAD alone is left out.
    assert done.code == 3
    assert rows(done.out) == ["A-B-C", "D-E", "F"]
    found = [(f["lines"], f["inputs"], f["given"], f["attempts"]) for f in failures()]
    assert sorted(found, key=str) == [
        ([2], ["c 1 2"], "1", 3),
        ([2], [], "2", 3),
        ([3], ["bad d e"], ["BAD"], 1),
    ]
    done = call("run", "_cli_pipes:same", "failed.jsonl", "--input-format", "failures")
    assert rows(done.out) == ["c 1 2", "bad d e"]


def test_a_batch_that_fails_has_several_inputs(call: Call) -> None:
    write("in.txt", "a b", "BAD", "c d")
    done = call("run", "_cli_pipes:batches", "in.txt", "--failures", "failed.jsonl")
    assert (done.code, rows(done.out)) == (3, ["c-d"])
    (failure,) = failures()
    assert (failure["lines"], failure["inputs"]) == ([1, 2], ["a b", "BAD"])
    assert failure["given"] == ["a", "b", "BAD"]


def test_what_comes_of_a_batch_has_all_its_inputs(call: Call) -> None:
    write("in.txt", "a", "b", "c", "d")
    done = call("run", "_cli_pipes:after_batches", "in.txt", "--failures", "failed.jsonl")
    assert (done.code, done.out) == (3, "")
    assert [(f["lines"], f["inputs"], f["given"]) for f in failures()] == [
        ([1, 2, 3], ["a", "b", "c"], "a-b-c"),
        ([4], ["d"], "d"),
    ]


def test_failures_of_tasks_with_a_policy_of_their_own_are_written_too(call: Call) -> None:
    write("in.txt", "1", "x", "0", "2")
    for target in "_cli_pipes:emitting", "_cli_pipes:skipping":
        done = call("run", target, "in.txt", "--failures", "failed.jsonl")
        assert done == (3, "1.0\n0.5\n", "2 items failed, see failed.jsonl\n")
        assert [(f["lines"], f["stage"]) for f in failures()] == [([2], "number"), ([3], "invert")]


def test_an_error_that_cannot_be_shown_is_written_all_the_same(call: Call) -> None:
    write("in.failures", '{"inputs": ["ä"]}')
    done = call("run", "_cli_pipes:mute", "in.failures", "--failures", "failed.jsonl")
    assert done.code == 3
    error = {"type": "_cli_pipes.MuteError", "message": "(an error whose message cannot be shown)"}
    (line,) = Path("failed.jsonl").read_text("utf-8").splitlines()
    assert '"inputs":["ä"],"stage":"mute","given":"ä"' in line
    assert json.loads(line)["error"] == error
    message = "Error: MuteError: (an error whose message cannot be shown) [stage 'mute' (1 of 1)"
    assert call("run", "_cli_pipes:mute", "in.failures").err.startswith(message)


def test_where_nothing_failed_the_file_is_empty(call: Call) -> None:
    write("in.txt", "1")
    write("failed.jsonl", "of an earlier run")
    done = call("run", "_cli_pipes:numbers", "in.txt", "--failures", "failed.jsonl")
    assert done == (0, "1.0\n", "")
    assert failures() == []


def test_lines_that_are_left_out_are_among_the_failures(call: Call) -> None:
    write("in.jsonl", 1, "oops", 0)
    options = ["--on-bad-line", "skip", "--failures", "failed.jsonl"]
    done = call("run", "_cli_pipes:numbers", "in.jsonl", *options)
    assert (done.code, done.out) == (3, "1.0\n")
    assert failures() == [
        {
            "lines": [2],
            "inputs": [],
            "text": "oops",
            "error": {"type": "BadLine", "message": "no JSON: Expecting value at character 1"},
        },
        {**failures()[1], "lines": [3], "inputs": [0]},
    ]


def test_too_many_failures_end_the_run(call: Call) -> None:
    write("in.txt", "x", "1", "y")
    write("failed.jsonl", "of an earlier run")
    done = call("run", "_cli_pipes:limited", "in.txt", "--failures", "failed.jsonl")
    assert (done.code, done.out) == (1, "1\n")
    assert done.err.startswith("Error: TooManyFailures: stage 'number' (1 of 1): 2 of 3 items")
    assert Path("failed.jsonl").read_text() == "of an earlier run\n"


def test_a_file_of_failures_that_cannot_be_written_ends_the_run(call: Call) -> None:
    write("in.txt", *(["x" * 1000] * 100))
    done = call("run", "_cli_pipes:number", "in.txt", "--failures", "/dev/full")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == "Error: cannot write /dev/full: No space left on device"


def test_a_file_that_cannot_be_finished_is_an_error(call: Call) -> None:
    write("in.txt", "x")
    done = call("run", "_cli_pipes:number", "in.txt", "--failures", "/dev/full")
    assert done == (1, "", "Error: cannot write /dev/full: No space left on device\n")


def test_output_that_cannot_be_written_ends_the_run(call: Call) -> None:
    write("in.txt", "1")
    done = call("run", "_cli_pipes:number", "in.txt", "-o", "/dev/full")
    assert done == (1, "", "Error: cannot write /dev/full: No space left on device\n")


# --- reports


def test_the_report_goes_to_standard_error(call: Call) -> None:
    write("in.jsonl", 1, 2)
    done = call("run", "_cli_pipes:numbers", "in.jsonl", "--report")
    assert (done.code, done.out) == (0, "1.0\n0.5\n")
    assert "number" in done.err
    assert "2 delivered" in done.err
    write("in.jsonl", 0)
    done = call("run", "_cli_pipes:numbers", "in.jsonl", "--report")
    assert done.code == 1
    assert "stage" in done.err.splitlines()[2]
    assert done.err.splitlines()[-1].startswith("Error: ZeroDivisionError")


def test_a_trace_is_written(call: Call) -> None:
    write("in.jsonl", 1, 2)
    done = call("run", "_cli_pipes:numbers", "in.jsonl", "--trace", "trace.json")
    assert done == (0, "1.0\n0.5\n", "")
    events = json.loads(Path("trace.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) >= 4


def test_progress_goes_to_standard_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    write("in.jsonl", 1, 2)
    done = call("run", "_cli_pipes:numbers", "in.jsonl", "--progress")
    assert (done.code, done.out) == (0, "1.0\n0.5\n")
    assert "invert" in done.err
    assert call("run", "_cli_pipes:numbers", "in.jsonl", "--no-progress").err == ""
    assert call("run", "_cli_pipes:numbers", "in.jsonl").err == ""  # it is no terminal


# --- the command itself


def test_it_tells_its_version_and_its_options(call: Call) -> None:
    done = call("--version")
    assert done.code == 0
    assert done.out.startswith("conveyor 0.")
    done = call("run", "--help")
    assert done.code == 0
    for text in "Examples:", "Exit codes:", "tail -f", "--on-bad-line", "Ctrl-C or SIGTERM":
        assert text in done.out
    done = call()
    assert (done.code, done.out) == (2, "")
    assert "Usage: conveyor" in done.err
    done = call("walk")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: No such command 'walk'.")
    assert done.err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    # Without site-packages there is neither click nor anyio.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "conveyor", "run", "x:y"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    message = "Error: the command line needs more packages: pip install 'conveyor[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_the_script_finds_pipelines_in_the_current_directory(tmp_path: Path) -> None:
    pipeline = "from conveyor import single_task\n\n@single_task\ndef twice(x): return 2 * x\n"
    (tmp_path / "here.py").write_text(pipeline)
    script = Path(sys.executable).with_name("conveyor")
    done = subprocess.run(
        [script, "run", "here:twice"],
        input='1\n"a"\n',
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '2\n"aa"\n', "")
