"""`conveyor run` as a process among others: pipes, signals, and what is left when it ends.

Nothing here sleeps: the processes tell each other through pipes how far they are.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import IO, Any

import pytest

from _helpers import without_slow_callbacks

pty = pytest.importorskip("pty", reason="terminals of Unix")

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of Unix")

on_each_backend = pytest.mark.parametrize(
    "backend", [[], ["--uvloop"], ["--backend", "trio"]], ids=["asyncio", "uvloop", "trio"]
)

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command in a directory of its own. What is still running in the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str, **options: Any) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "error"}
        env.pop("PYTEST_CURRENT_TEST", None)
        env.update(options.pop("env", {}))
        checks = ["-X", "dev"] if options.pop("careful", True) else []
        pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
        process = subprocess.Popen(
            [sys.executable, *checks, "-m", "conveyor", "run", *args],
            env=env,
            cwd=tmp_path,
            **{**pipes, "bufsize": 0, **options},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in process.stdin, process.stdout, process.stderr:
            if pipe is not None:
                pipe.close()


@pytest.fixture
def gate() -> Iterator[tuple[int, int]]:
    """A pipe through which a test lets functions of the process go on."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def put(process: subprocess.Popen[bytes], *items: Any) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(f"{json.dumps(item)}\n" for item in items).encode())


def line(pipe: IO[bytes] | None) -> str:
    """Return the next line of the process's own."""
    assert pipe is not None
    while (read := pipe.readline().decode()) and not without_slow_callbacks(read):
        pass
    return read.rstrip("\n")


def rest(pipe: IO[bytes] | None) -> str:
    assert pipe is not None
    return without_slow_callbacks(pipe.read().decode())


def code(process: subprocess.Popen[bytes]) -> int:
    return process.wait(timeout=30)


STOPPING = "Stopping on {}: what is inside is finished. Again to abort."


# --- pipes


@on_each_backend
def test_a_slow_producer_gets_each_result_at_once(start: Start, backend: list[str]) -> None:
    process = start("_cli_pipes:same", *backend)
    for item in ["first", {"second": 2}]:
        put(process, item)
        assert json.loads(line(process.stdout)) == item
    assert process.stdin is not None
    process.stdin.write(b'"half')
    process.stdin.write(b' a line"')
    process.stdin.close()
    assert line(process.stdout) == '"half a line"'
    assert (rest(process.stdout), rest(process.stderr), code(process)) == ("", "", 0)


@on_each_backend
def test_a_reader_that_leaves_ends_it_quietly(start: Start, backend: list[str]) -> None:
    # The input has no end.
    producer = subprocess.Popen(["yes", '{"a": 1}'], stdout=subprocess.PIPE)
    with producer:
        process = start("_cli_pipes:same", *backend, stdin=producer.stdout)
        assert producer.stdout is not None
        producer.stdout.close()
        assert line(process.stdout) == '{"a":1}'
        assert process.stdout is not None
        process.stdout.close()
        assert (rest(process.stderr), code(process)) == ("", 141)
        assert producer.wait(timeout=30) == -signal.SIGPIPE


def test_in_a_shell_head_gets_its_line(tmp_path: Path) -> None:
    script = (
        f"set -o pipefail; {quote(sys.executable)} -m conveyor run _cli_pipes:same numbers.jsonl "
        "--failures failed.jsonl -o >(cat) | head -1"
    )
    numbers = tmp_path / "numbers.jsonl"
    numbers.write_text("".join(f"{n}\n" for n in range(100_000)))
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "0\n", "")
    assert list(tmp_path.iterdir()) == [numbers]


def test_the_limit_does_not_wait_for_more_input(start: Start) -> None:
    process = start("_cli_pipes:same", "--limit", "1")
    put(process, "first")
    assert (line(process.stdout), code(process)) == ('"first"', 0)


def test_an_output_that_is_a_pipe_gets_results_as_they_come(start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = start("_cli_pipes:same", "-o", "fifo")
    with fifo.open("rb", buffering=0) as results:
        for item in ["first", "second"]:
            put(process, item)
            assert json.loads(line(results)) == item
        assert process.stdin is not None
        process.stdin.close()
        assert (results.read(), rest(process.stdout), code(process)) == (b"", "", 0)


def test_closed_pipes_are_usage_or_nothing(tmp_path: Path) -> None:
    def run(redirections: str) -> tuple[int, str]:
        command = f"{quote(sys.executable)} -m conveyor run _cli_pipes:same {redirections}"
        done = subprocess.run(
            ["bash", "-c", f"echo 1 | {command}"],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout

    assert run("<&-") == (2, "Error: cannot read standard input: it is closed\n")
    assert run(">&-") == (2, "Error: cannot write standard output: it is closed\n")
    assert run("2>&-") == (0, "1\n")
    assert run("-o out.jsonl >&- 2>&-") == (0, "")
    assert (tmp_path / "out.jsonl").read_text() == "1\n"
    assert run("< /dev/null") == (0, "")


# --- much of it


def feed(pipe: IO[bytes], lines: Iterable[bytes]) -> threading.Thread:
    def write() -> None:
        with pipe:
            for each in lines:
                pipe.write(each)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("target", "options", "share", "lines"),
    [
        ("_cli_pipes:same", [], 10, 100_000),
        # A tenth fails, and another tenth is filtered.
        ("_cli_pipes:many", ["--failures", "failed.jsonl"], 8, 20_000),
    ],
)
def test_memory_does_not_grow_with_the_input(
    start: Start, target: str, options: list[str], share: int, lines: int
) -> None:
    def run(count: int) -> int:
        """Return the largest size that the process had, in bytes."""
        process = start(target, *options, careful=False)
        assert process.stdin is not None
        assert process.stdout is not None
        chunks = (
            b"".join(b'{"n": %d, "fill": "%s"}\n' % (n, b"x" * 500) for n in range(i, i + 100))
            for i in range(0, count, 100)
        )
        thread = feed(process.stdin, chunks)
        with process.stdout as results:
            received = sum(data.count(b"\n") for data in iter(lambda: results.read(65536), b""))
        thread.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert (process.returncode, received) == (3 if options else 0, count * share // 10)
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    small = run(1000)
    assert run(lines) < small + 5_000_000  # of an input of 10 or 50 MB


# --- signals


@on_each_backend
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_what_is_inside(
    start: Start,
    gate: tuple[int, int],
    tmp_path: Path,
    backend: list[str],
    sent: signal.Signals,
) -> None:
    options = [*backend, "-o", "out.jsonl", "--failures", "failed.jsonl"]
    process = start("_cli_pipes:held", *options, env={"GATE": str(gate[0])}, pass_fds=[gate[0]])
    put(process, 1, 2)
    assert [line(process.stderr), line(process.stderr)] == ["begun 1", "begun 2"]
    process.send_signal(sent)  # while standard input has not ended
    assert line(process.stderr) == STOPPING.format(sent.name)
    assert not (tmp_path / "out.jsonl").exists()
    os.write(gate[1], b".")
    assert (rest(process.stdout), rest(process.stderr), code(process)) == ("", "", 130)
    assert (tmp_path / "out.jsonl").read_text() == "1\n2\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failed.jsonl", "out.jsonl"]


@on_each_backend
def test_a_second_signal_aborts(
    start: Start, gate: tuple[int, int], tmp_path: Path, backend: list[str]
) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    process = start(
        *("_cli_pipes:held", *backend, "-o", "out.jsonl", "--failures", "failed.jsonl"),
        env={"GATE": str(gate[0])},
        pass_fds=[gate[0]],
    )
    put(process, 1)
    assert line(process.stderr) == "begun 1"
    process.send_signal(signal.SIGINT)
    assert line(process.stderr) == STOPPING.format("SIGINT")
    process.send_signal(signal.SIGTERM)
    assert (rest(process.stdout), rest(process.stderr), code(process)) == ("", "", 130)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"


@on_each_backend
def test_signals_are_heard_while_nobody_reads_the_results(start: Start, backend: list[str]) -> None:
    process = start("_cli_pipes:megabyte", *backend)
    put(process, 1)
    assert process.stdout is not None
    select.select([process.stdout], [], [])  # it writes, and not all of it fits
    process.send_signal(signal.SIGINT)
    assert line(process.stderr) == STOPPING.format("SIGINT")
    process.send_signal(signal.SIGINT)
    assert (rest(process.stderr), code(process)) == ("", 130)


@on_each_backend
def test_an_idle_input_does_not_hold_it(start: Start, backend: list[str]) -> None:
    process = start("_cli_pipes:same", *backend)
    put(process, 1)
    assert line(process.stdout) == "1"
    process.send_signal(signal.SIGINT)
    assert line(process.stderr) == STOPPING.format("SIGINT")
    assert (rest(process.stdout), rest(process.stderr), code(process)) == ("", "", 130)


def test_a_process_that_is_killed_leaves_the_old_output(
    start: Start, gate: tuple[int, int], tmp_path: Path
) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    process = start(
        *("_cli_pipes:held", "-o", "out.jsonl"), env={"GATE": str(gate[0])}, pass_fds=[gate[0]]
    )
    put(process, 1)
    assert line(process.stderr) == "begun 1"
    process.kill()
    assert code(process) == -signal.SIGKILL
    assert (tmp_path / "out.jsonl").read_text() == "old"


# --- terminals


def test_at_a_terminal_the_run_is_shown_beside_the_results(start: Start) -> None:
    ours, theirs = pty.openpty()
    env = {"TERM": "xterm-256color", "COLUMNS": "100"}
    process = start("_cli_pipes:numbers", stderr=theirs, env=env)
    os.close(theirs)
    put(process, 1, 2)
    assert [line(process.stdout), line(process.stdout)] == ["1.0", "0.5"]
    assert process.stdin is not None
    process.stdin.close()
    shown = until_end(ours)
    assert (rest(process.stdout), code(process)) == ("", 0)
    assert "invert" in shown
    assert "\x1b[" in shown


def test_results_at_a_terminal_are_left_alone_or_go_above_the_picture(start: Start) -> None:
    for option, picture in ([], False), (["--progress"], True):
        ours, theirs = pty.openpty()
        env = {"TERM": "xterm-256color", "COLUMNS": "100"}
        process = start("_cli_pipes:numbers", *option, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        put(process, 1, 2)
        assert process.stdin is not None
        process.stdin.close()
        shown = until_end(ours)
        assert code(process) == 0
        assert ("invert" in shown) == picture
        lines = [each.strip() for each in shown.splitlines()]
        assert any(each.endswith("1.0") for each in lines)
        assert any(each.endswith("0.5") for each in lines)


@on_each_backend
def test_a_terminal_that_goes_away_ends_no_run(
    start: Start, backend: list[str], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    env = {"TERM": "xterm-256color", "COLUMNS": "100"}
    options = ["-o", "out.jsonl", "--progress", "--report", *backend]
    process = start("_cli_pipes:numbers", *options, stderr=theirs, env=env)
    os.close(theirs)
    put(process, 1, 2)
    assert os.read(ours, 1)  # there is a picture
    os.close(ours)
    put(process, 4)
    assert process.stdin is not None
    process.stdin.close()
    assert code(process) == 0
    assert (tmp_path / "out.jsonl").read_text() == "1.0\n0.5\n0.25\n"


def until_end(terminal: int) -> str:
    shown = b""
    with open(terminal, "rb", buffering=0) as file:
        while True:
            try:
                data = file.read(4096)
            except OSError:  # how Linux tells that the other side is closed
                break
            if not data:
                break
            shown += data
    return shown.decode()
