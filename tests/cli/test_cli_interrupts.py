"""Signals to `conveyor run`, whenever they come, and what is left on the disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of Unix")

on_each_backend = pytest.mark.parametrize(
    "backend", [[], ["--uvloop"], ["--backend", "trio"]], ids=["asyncio", "uvloop", "trio"]
)
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] if sys.platform != "win32" else []
each_signal = pytest.mark.parametrize("sent", SIGNALS)

STOPPING = "Stopping on {}: what is inside is finished. Again to abort."

Start = Callable[..., "subprocess.Popen[str]"]


def as_at_a_terminal() -> None:
    """Undo what a shell does to processes in the background, of which this may be a child."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command in a directory of its own. What is still running in the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, **options: Any) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "error"}
        pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
        process = subprocess.Popen(
            [sys.executable, "-m", "conveyor", "run", *args],
            env=env | options.pop("env", {}),
            cwd=tmp_path,
            text=True,
            **{**pipes, "preexec_fn": as_at_a_terminal, **options},
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


def put(process: subprocess.Popen[str], *items: Any) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(f"{json.dumps(item)}\n" for item in items))
    process.stdin.flush()


def line(pipe: IO[str] | None) -> str:
    assert pipe is not None
    return pipe.readline().rstrip("\n")


def rest(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit code, and what is left on standard output and standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(timeout=60), out, err


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".py")


def read(path: Path) -> list[Any]:
    return [json.loads(each) for each in path.read_text("utf-8").splitlines()]


# --- before the run

SLOW = """
import os, sys
{wait}
from conveyor import single_task

@single_task
def same(item):
    return item
"""
SAYS = "print('importing', file=sys.stderr, flush=True)"
FILES = ["-o", "out.jsonl", "--failures", "bad.failures", "--trace", "trace.json"]


@each_signal
@pytest.mark.parametrize("keep", [[], ["--keep-partial"]])
def test_a_signal_during_the_import_leaves_nothing(
    start: Start,
    gate: tuple[int, int],
    tmp_path: Path,
    sent: signal.Signals,
    keep: list[str],
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.format(wait=f"{SAYS}; os.read({gate[0]}, 1)"))
    (tmp_path / "out.jsonl").write_text("old\n")
    process = start("slow:same", *FILES, *keep, pass_fds=[gate[0]])
    assert line(process.stderr) == "importing"
    process.send_signal(sent)
    message = f"Interrupted by {sent.name} before anything was run.\n"
    assert rest(process) == (130, "", message)
    assert names(tmp_path) == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old\n"


def test_a_module_that_catches_everything_does_not_go_on(
    start: Start, gate: tuple[int, int], tmp_path: Path
) -> None:
    wait = f"try: {SAYS}; os.read({gate[0]}, 1)\nexcept: print('caught', file=sys.stderr)"
    (tmp_path / "slow.py").write_text(SLOW.format(wait=wait))
    process = start("slow:same", *FILES, pass_fds=[gate[0]])
    assert line(process.stderr) == "importing"
    process.send_signal(signal.SIGTERM)
    message = "caught\nInterrupted by SIGTERM before anything was run.\n"
    assert rest(process) == (130, "", message)
    assert names(tmp_path) == []


def test_a_module_that_does_not_let_go_is_left_after_the_third(
    start: Start, gate: tuple[int, int], tmp_path: Path
) -> None:
    wait = (
        "while True:\n"
        f"    try: {SAYS}; os.read({gate[0]}, 1)\n"
        "    except: print('caught', file=sys.stderr, flush=True)"
    )
    (tmp_path / "slow.py").write_text(SLOW.format(wait=wait))
    process = start("slow:same", *FILES, pass_fds=[gate[0]])
    assert line(process.stderr) == "importing"
    process.send_signal(signal.SIGINT)
    assert [line(process.stderr), line(process.stderr)] == ["caught", "importing"]
    for sent in signal.SIGTERM, signal.SIGHUP:
        process.send_signal(sent)
    assert rest(process) == (130, "", "")
    assert names(tmp_path) == []


# --- during the run


@on_each_backend
def test_a_hangup_finishes_what_is_inside(
    start: Start, gate: tuple[int, int], tmp_path: Path, backend: list[str]
) -> None:
    process = start(
        *("_cli_pipes:held", "-o", "out.jsonl", "--keep-partial", *backend),
        env={"GATE": str(gate[0])},
        pass_fds=[gate[0]],
    )
    put(process, 1)
    assert line(process.stderr) == "begun 1"
    process.send_signal(signal.SIGHUP)
    assert line(process.stderr) == STOPPING.format("SIGHUP")
    os.write(gate[1], b".")
    assert rest(process) == (130, "", "")
    assert names(tmp_path) == ["out.jsonl"]


@on_each_backend
def test_a_named_pipe_is_waited_for(start: Start, tmp_path: Path, backend: list[str]) -> None:
    (tmp_path / "a.jsonl").write_text("1\n")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = start("_cli_pipes:same", "a.jsonl", "fifo", "a.jsonl", *backend)
    assert line(process.stdout) == "1"
    with fifo.open("w") as writer:
        for item in "2", "3":
            writer.write(f"{item}\n")
            writer.flush()
            assert line(process.stdout) == item
    assert rest(process) == (0, "1\n", "")


@on_each_backend
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of a pipe comes first")
def test_a_named_pipe_that_nobody_writes_to_does_not_hold_it(
    start: Start, tmp_path: Path, backend: list[str]
) -> None:
    (tmp_path / "a.jsonl").write_text("1\n")
    os.mkfifo(tmp_path / "fifo")
    process = start("_cli_pipes:same", "a.jsonl", "fifo", *backend)
    assert line(process.stdout) == "1"
    process.send_signal(signal.SIGINT)
    assert rest(process) == (130, "", f"{STOPPING.format('SIGINT')}\n")


def test_a_hangup_that_is_ignored_stays_so(
    start: Start, gate: tuple[int, int], tmp_path: Path
) -> None:
    def with_nohup() -> None:
        as_at_a_terminal()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(
        *("_cli_pipes:held", "-o", "out.jsonl"),
        env={"GATE": str(gate[0])},
        pass_fds=[gate[0]],
        preexec_fn=with_nohup,
    )
    put(process, 1)
    assert line(process.stderr) == "begun 1"
    process.send_signal(signal.SIGHUP)
    os.write(gate[1], b".")
    assert process.stdin is not None
    process.stdin.close()
    assert rest(process) == (0, "", "")
    assert read(tmp_path / "out.jsonl") == [1]


KEPT = ["2 results kept in out.partial.jsonl", "1 failure kept in bad.partial.failures"]


def begin(start: Start, gate: tuple[int, int], *options: str) -> subprocess.Popen[str]:
    """Start a run that has written two results and a failure, and waits for what it is given."""
    process = start(
        *("_cli_pipes:telling", "-o", "out.jsonl", "--failures", "bad.failures"),
        *("--keep-partial", *options),
        env={"GATE": str(gate[0])},
        pass_fds=[gate[0]],
    )
    for item, count in (1, 1), ("fail", 1), (2, 2):
        put(process, item)
        assert line(process.stderr) == f"written: {count}"
    put(process, "hold")
    assert line(process.stderr) == "begun"
    return process


@on_each_backend
def test_a_second_signal_aborts_and_keeps_what_there_is(
    start: Start, gate: tuple[int, int], tmp_path: Path, backend: list[str]
) -> None:
    process = begin(start, gate, *backend)
    process.send_signal(signal.SIGINT)
    assert line(process.stderr) == STOPPING.format("SIGINT")
    process.send_signal(signal.SIGTERM)
    code, out, err = rest(process)
    assert (code, out) == (130, "")
    assert [each for each in err.splitlines() if not each.startswith("written")] == KEPT
    check_kept(tmp_path)


@on_each_backend
def test_what_was_delivered_is_there_after_a_kill(
    start: Start, gate: tuple[int, int], tmp_path: Path, backend: list[str]
) -> None:
    process = begin(start, gate, *backend)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    check_kept(tmp_path)


def check_kept(folder: Path) -> None:
    assert read(folder / "out.partial.jsonl") == [1, 2]
    assert [bad["inputs"] for bad in read(folder / "bad.partial.failures")] == [["fail"]]
    assert names(folder) == ["bad.partial.failures", "out.partial.jsonl"]


@on_each_backend
@pytest.mark.parametrize("target", ["blocking", "stuck", "shielded"])
def test_a_third_signal_ends_what_nothing_else_ends(
    start: Start, tmp_path: Path, backend: list[str], target: str
) -> None:
    options = ["-o", "out.jsonl", *backend]
    process = start(f"_cli_pipes:{target}", *options)
    put(process, 1)
    assert line(process.stderr) == "begun"
    for sent in SIGNALS:  # of one kind, several may become one
        process.send_signal(sent)
    code, out, err = rest(process)
    assert (code, out) == (130, "")
    assert err in ("", *(f"{STOPPING.format(sent.name)}\n" for sent in SIGNALS))
    assert names(tmp_path) == []


@on_each_backend
def test_a_third_signal_leaves_what_there_is(
    start: Start, gate: tuple[int, int], tmp_path: Path, backend: list[str]
) -> None:
    process = begin(start, gate, *backend)
    put(process, "block")
    assert line(process.stderr) == "begun"
    for sent in SIGNALS:
        process.send_signal(sent)
    code, out, err = rest(process)
    assert (code, out) == (130, "")
    assert [each for each in err.splitlines() if "kept" in each] == KEPT
    check_kept(tmp_path)


@on_each_backend
@pytest.mark.parametrize("sent", ["SIGINT SIGINT SIGINT", "SIGTERM SIGINT SIGTERM SIGINT SIGHUP"])
def test_signals_within_no_time_print_nothing_of_python(
    start: Start, tmp_path: Path, backend: list[str], sent: str
) -> None:
    process = start("_cli_pipes:twice_signalled", "-o", "out.jsonl", *backend)
    put(process, 1, sent.split())
    code, out, err = rest(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert "Group" not in err
    assert names(tmp_path) == []


@on_each_backend
def test_two_signals_within_no_time_abort(start: Start, tmp_path: Path, backend: list[str]) -> None:
    process = start("_cli_pipes:twice_signalled", "-o", "out.jsonl", *backend)
    put(process, 1, ["SIGINT", "SIGTERM"])
    assert rest(process) == (130, "", f"{STOPPING.format('SIGINT')}\n")
    assert names(tmp_path) == []


def test_a_process_that_was_forked_off_leaves_the_files_alone(start: Start, tmp_path: Path) -> None:
    process = start("_cli_pipes:forks", "-o", "out.jsonl", "--keep-partial")
    put(process, "SIGINT", "SIGTERM")
    assert process.stdin is not None
    process.stdin.close()
    assert rest(process) == (0, "", "")
    assert read(tmp_path / "out.jsonl") == ["KeyboardInterrupt", -signal.SIGTERM]
