"""Programs with worker processes end in silence wherever they do, and leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

BACKENDS = ["asyncio", "uvloop", "trio"]

backends = pytest.mark.parametrize("backend", BACKENDS)

PROGRAM = """
    import os, signal, sys, threading, time
    import anyio
    from conveyor import single_task

    _, way, backend, folder = sys.argv

    def touch(name):
        open(os.path.join(folder, name), "w").close()

    def wait_for(name):
        while not os.path.exists(os.path.join(folder, name)):
            time.sleep(0.005)

    def work(number):
        touch(f"pid-{os.getpid()}")
        if way == "error" and number == 1:
            touch("go")  # as the run waits for the other call before it ends in the error
            raise ValueError(number)
        if number:
            touch(f"begun-{number}")
            wait_for("go")
        touch(f"ended-{number}")
        return number

    options = {"concurrency_limit": 2, "abandon_on_cancel": way == "abandon"}
    work = single_task(executor="process", **options)(work)

    def forever():
        number = 0
        while True:
            yield number
            number += 1

    async def begun(number):
        while not os.path.exists(os.path.join(folder, f"begun-{number}")):
            await anyio.sleep(0.005)

    async def main():
        if way == "interrupt":
            async for number in work(forever()):
                print("got", number, flush=True)
            return
        stream = work(forever())
        if way == "starting":  # the workers have not even been started
            with anyio.move_on_after(float(os.environ.get("AFTER", 0))):
                await anext(stream)
            touch("go")
            return
        try:
            async for number in stream:
                print("got", number)
                if way in ("break", "abandon"):
                    await begun(1)
                    break
                if way == "abort":
                    await begun(1)
                    stream.abort(KeyError("aborted"))
                    touch("go")
                if way == "timeout":
                    await begun(1)
                    threading.Timer(0.1, touch, ["go"]).start()  # until then it is waited for
                    with anyio.move_on_after(0.01):
                        await anext(stream)
                    break
        except (ValueError, KeyError) as error:
            print(repr(error))
        print("end of main")
        if way != "abandon":
            touch("go")

    if __name__ == "__main__":
        # A job in the background ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        options = {"use_uvloop": True} if backend == "uvloop" else {}
        loop = "trio" if backend == "trio" else "asyncio"
        try:
            anyio.run(main, backend=loop, backend_options=options)
        except KeyboardInterrupt:
            print("interrupted")
"""
EXPECTED = {
    "break": ["got 0", "end of main"],
    "abandon": ["got 0", "end of main"],
    "timeout": ["got 0", "end of main"],
    "abort": ["got 0", "KeyError('aborted')", "end of main"],
    "error": ["got 0", "ValueError(1)", "end of main"],
    "starting": [],
}


def command(tmp_path: Path, way: str, backend: str) -> list[str]:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    options = ["-W", "error", "-X", "faulthandler"]
    return [sys.executable, *options, str(program), way, backend, str(tmp_path)]


def assert_workers_are_gone(tmp_path: Path, *, most: int = 2) -> None:
    pids = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    assert len(pids) <= most
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@backends
@pytest.mark.parametrize("way", [way for way in EXPECTED if way != "starting"])
def test_a_program_ends_after_a_run_that_has_not(way: str, backend: str, tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path, way, backend), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.stdout.splitlines()) == ("", EXPECTED[way])
    assert done.returncode == 0
    assert_workers_are_gone(tmp_path)
    # What had begun has ended, unless it was to be abandoned: nothing was killed in the middle.
    for path in tmp_path.glob("begun-*"):
        ended = (tmp_path / path.name.replace("begun", "ended")).exists()
        assert ended == (way != "abandon")


@pytest.mark.slow
@backends
def test_and_while_its_workers_start(backend: str, tmp_path: Path) -> None:
    # From before the first one is started until after both have begun.
    def run(milliseconds: int) -> tuple[str, str, int]:
        folder = tmp_path / str(milliseconds)
        folder.mkdir()
        done = subprocess.run(
            command(folder, "starting", backend),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "AFTER": str(milliseconds / 1000)},
        )
        assert_workers_are_gone(folder)
        return done.stdout, done.stderr, done.returncode

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(run, range(0, 300, 25)))
    assert outcomes == [("", "", 0)] * 12


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no Ctrl-C for a group of processes")
@backends
@pytest.mark.parametrize("to", ["all", "parent"])
def test_ctrl_c_ends_a_program_with_workers(backend: str, to: str, tmp_path: Path) -> None:
    # Often, since each time it comes at another moment.
    def run(number: int) -> tuple[list[str], str]:
        folder = tmp_path / str(number)
        folder.mkdir()
        process = subprocess.Popen(
            command(folder, "interrupt", backend),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            assert process.stdout is not None
            first = process.stdout.readline()
            while number % 2 and not all((folder / f"begun-{each}").exists() for each in (1, 2)):
                assert process.poll() is None  # wait until the functions are in the middle
                time.sleep(0.005)
            if to == "all":  # as a terminal does
                os.killpg(process.pid, signal.SIGINT)
            else:
                os.kill(process.pid, signal.SIGINT)
            if to == "parent" or number % 2 == 0:  # else they would have gone on for ever
                (folder / "go").touch()
            out, errors = process.communicate(timeout=60)
        assert_workers_are_gone(folder)
        lines = [line for line in (first + out).splitlines() if not line.startswith("got")]
        return lines, errors

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(run, range(30 if to == "all" else 6)))
    assert outcomes == [(["interrupted"], "")] * len(outcomes)


GRACEFUL = """
    import os, signal, sys, time
    import anyio
    from conveyor import single_task, stop_on_signals

    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, backend, folder = sys.argv

    @single_task(executor="process", concurrency_limit=1)
    def work(number):
        open(os.path.join(folder, f"begun-{number}"), "w").close()
        while number and not os.path.exists(os.path.join(folder, "go")):
            time.sleep(0.005)
        return number

    async def main():
        async with stop_on_signals(work(range(2))) as stream:
            async for number in stream:
                print("got", number, flush=True)

    if __name__ == "__main__":
        anyio.run(main, backend=backend)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no Ctrl-C for a group of processes")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_that_stops_on_ctrl_c_has_its_workers_finish(
    backend: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(GRACEFUL))
    with subprocess.Popen(
        [sys.executable, "-W", "error", program, backend, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "got 0\n"
        while not (tmp_path / "begun-1").exists():
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        (tmp_path / "go").touch()
        assert process.communicate(timeout=60) == ("got 1\n", "")
    assert process.returncode == 0


THREADS = """
    import sys, threading
    from contextlib import asynccontextmanager
    import anyio
    from conveyor import resource, single_task

    released = threading.Event()

    @asynccontextmanager
    async def connection():
        try:
            yield "connection"
        finally:
            print("closed")

    @single_task(executor="thread", concurrency_limit=1)
    def work(number, connection):
        if number:
            released.wait()
            print("used")
        return number

    def numbers():
        yield 0
        yield 1

    async def main():
        async for number in work.with_inputs(resource(connection))(numbers()):
            await anyio.sleep(0.05)  # meanwhile the next call begins
            break
        threading.Timer(0.1, released.set).start()

    options = {"use_uvloop": True} if sys.argv[1] == "uvloop" else {}
    loop = "trio" if sys.argv[1] == "trio" else "asyncio"
    anyio.run(main, backend=loop, backend_options=options)
"""


@backends
def test_a_thread_is_waited_for_when_the_program_ends(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(THREADS), backend],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.stdout.splitlines()) == ("", ["used", "closed"])
