"""Whatever becomes of the generator that `iterate` returns, the run is cleaned up and Python exits.

Each case is a program of its own. Its run has an input and a task that take a while to clean up;
nothing may be printed but what the program prints.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import pytest

from _helpers import threads_at_exit
from conveyor import _loop_thread, single_task

on_both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])
only_where_processes_fork = pytest.mark.skipif(sys.platform == "win32", reason="it has no fork")

PREPARED = """
import sys
import threading
import warnings

import anyio
from conveyor import single_task

warnings.filterwarnings("ignore", message=".*fork")  # beside threads: from 3.12 on
BACKEND = {backend!r}

def say(word):
    sys.stdout.write(f"{{word}}\\n")  # at once, since several threads may
    sys.stdout.flush()

stuck = threading.Event()

async def source():
    try:
        for number in range(1000):
            yield number
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(say, "input left")

@single_task(concurrency_limit=1)
async def double(number):
    try:
        if number == 1:
            stuck.set()
            await anyio.sleep_forever()
        return 2 * number
    finally:
        if number == 1:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(say, "task left")

def rows():
    return double.iterate(source(), backend=BACKEND)

def first(results):
    result = next(results)
    stuck.wait()
    return result

"""
CLEAN = ["input left", "task left"]


def run(program: str, backend: str, *, fails: bool = False) -> tuple[list[str], str]:
    """Run a program, and return the lines that it printed, and its errors."""
    script = PREPARED.format(backend=backend) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if not fails:
        assert done.stderr == ""
    assert done.returncode == (1 if fails else 0)
    return done.stdout.splitlines(), done.stderr


LEFT_OPEN = {
    "held by the module": """
        kept = rows()
        say(first(kept))
    """,
    "in a cycle": """
        class Loader:
            def __init__(self):
                self.on_row = self.log
                self.rows = rows()

            def log(self, row): ...

        import gc
        gc.disable()
        say(first(Loader().rows))
    """,
    "in a cycle with its own input": """
        class Loader:
            def __init__(self):
                self.rows = double.iterate(self.source(), backend=BACKEND)

            async def source(self):
                try:
                    for number in range(1000):
                        yield number
                finally:
                    say("input left")

        say(first(Loader().rows))
    """,
    "held by a traceback": """
        def fail():
            kept = rows()
            say(first(kept))
            raise ValueError

        try:
            fail()
        except ValueError as error:
            kept = error
    """,
    "left by sys.exit": """
        for row in rows():
            say(row)
            stuck.wait()
            sys.exit()
    """,
    "held, and left by sys.exit": """
        kept = rows()
        for row in kept:
            say(row)
            stuck.wait()
            sys.exit()
    """,
    "read in a thread that is over": """
        kept = rows()
        thread = threading.Thread(target=lambda: say(first(kept)))
        thread.start()
        thread.join()
    """,
    "read in the last thread": """
        def read():
            global kept
            threading.main_thread().join()
            kept = rows()
            say(first(kept))

        threading.Thread(target=read).start()
    """,
    "held while the program ends with a function that is called at its exit": """
        import atexit

        @atexit.register
        def at_exit():
            say("at exit")

        kept = rows()
        say(first(kept))
    """,
}


@on_both_backends
@pytest.mark.parametrize("program", LEFT_OPEN.values(), ids=LEFT_OPEN)
@threads_at_exit
def test_the_interpreter_ends_a_run_that_is_left_open(program: str, backend: str) -> None:
    lines, _ = run(program, backend)
    if "at exit" in program:
        assert lines.pop() == "at exit"
    assert lines[0] == "0"
    assert sorted(lines[1:]) == CLEAN


@on_both_backends
@threads_at_exit
def test_an_error_of_the_program_is_all_that_is_printed(backend: str) -> None:
    lines, errors = run(
        """
        kept = rows()
        for row in kept:
            stuck.wait()
            raise KeyError("mine")
        """,
        backend,
        fails=True,
    )
    assert sorted(lines) == CLEAN
    assert errors.count("Traceback") == 1
    assert errors.splitlines()[-1] == "KeyError: 'mine'"


@on_both_backends
def test_one_that_was_never_begun_leaves_nothing(backend: str) -> None:
    assert run("kept = rows(); rows(); rows().close()", backend)[0] == []


@on_both_backends
def test_worker_threads_that_wait_for_more_do_not_keep_the_interpreter(backend: str) -> None:
    program = """
        kept = single_task(abs, executor="thread").iterate(range(1000), backend=BACKEND)
        say(next(kept))
    """
    assert run(program, backend)[0] == ["0"]


def test_what_uses_the_threads_of_asyncio_cleans_up_as_well() -> None:
    program = """
        import asyncio

        @single_task
        async def work(number):
            if number:
                try:
                    await asyncio.to_thread(say, "works")
                    stuck.set()
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await asyncio.to_thread(say, "left")
            return number

        kept = work.iterate(range(2))
        say(first(kept))
    """
    assert run(program, "asyncio")[0] == ["works", "0", "left"]


# --- other threads


@on_both_backends
@threads_at_exit
def test_a_thread_that_the_interpreter_waits_for_reads_on(backend: str) -> None:
    program = """
        def read():
            results = single_task(abs, executor="thread").iterate(range(1000), backend=BACKEND)
            next(results)
            stuck.set()
            threading.main_thread().join()
            say(sum(results))

        threading.Thread(target=read).start()
        stuck.wait()
    """
    assert run(program, backend)[0] == [str(sum(range(1000)))]


def test_where_no_thread_can_be_started_any_more_the_run_ends_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    read, go_on = threading.Event(), threading.Event()
    errors: list[str] = []

    def reading() -> None:
        results = single_task(str).iterate(range(1000))
        next(results)
        read.set()
        go_on.wait()
        try:
            list(results)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=reading)
    thread.start()
    read.wait()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        _loop_thread._end_all()
    go_on.set()
    thread.join()
    assert errors == ["the run was ended, since the interpreter exits"]


@on_both_backends
@threads_at_exit
def test_a_worker_thread_that_is_kept_for_more_work_does_not_read_on(backend: str) -> None:
    program = """
        from concurrent.futures import ThreadPoolExecutor

        kept = rows()
        pool = ThreadPoolExecutor()
        say(pool.submit(first, kept).result())
    """
    lines, _ = run(program, backend)
    assert lines[0] == "0"
    assert sorted(lines[1:]) == CLEAN


@on_both_backends
@threads_at_exit
def test_a_thread_that_is_stopped_with_the_interpreter_says_nothing(backend: str) -> None:
    program = """
        def read():
            for row in rows():
                say(row)

        threading.Thread(target=read, daemon=True).start()
        stuck.wait()
    """
    lines, _ = run(program, backend)
    assert sorted(lines) == ["0", *CLEAN]


@on_both_backends
@threads_at_exit
def test_reading_on_at_the_interpreters_exit_is_refused(backend: str) -> None:
    program = """
        import atexit

        @atexit.register
        def at_exit():
            for _ in range(2):
                try:
                    say(first(kept))
                except RuntimeError as error:
                    say(error)
                except StopIteration:
                    say("over")
            say(double.run([7])[0])

        kept = rows()
        say(first(kept))
    """
    lines, _ = run(program, backend)
    assert lines[0] == "0"
    assert sorted(lines[1:3]) == CLEAN
    assert lines[3:] == ["the run was ended, since the interpreter exits", "over", "14"]


@on_both_backends
def test_one_that_is_read_in_a_task_of_another(backend: str) -> None:
    program = """
        @single_task(executor="thread")
        def inner(number):
            results = rows()
            try:
                return first(results)
            finally:
                say("inner left")

        kept = inner.iterate([1], backend=BACKEND)
        say(first(kept))
    """
    lines, _ = run(program, backend)
    assert sorted(lines) == ["0", "inner left", *CLEAN]


# --- the garbage collector


@on_both_backends
def test_the_collector_ends_a_run_and_does_not_wait_for_it(backend: str) -> None:
    # What is to be cleaned up needs a lock that is held where the collector is at work.
    program = """
        import gc
        gc.disable()
        lock = threading.Lock()

        @single_task
        async def locked(number):
            try:
                if number:
                    await anyio.sleep_forever()
                return number
            finally:
                if number:
                    with lock:
                        say("task left")

        def forget():
            cycle = [locked.iterate([0, 1], backend=BACKEND)]
            cycle.append(cycle)
            return next(cycle[0])

        say(forget())
        with lock:
            gc.collect()
            say("collected")
        [thread.join() for thread in threading.enumerate() if thread.name == "conveyor run"]
        say("over")
    """
    assert run(program, backend)[0] == ["0", "collected", "task left", "over"]


@on_both_backends
def test_the_collector_may_be_at_work_in_the_thread_of_the_run(backend: str) -> None:
    program = """
        import gc
        gc.disable()
        forgotten = threading.Event()

        @single_task
        async def collecting(number):
            if number:
                await anyio.to_thread.run_sync(forgotten.wait)
                gc.collect()
                say("collected")
                await anyio.sleep_forever()
            return number

        def forget():
            cycle = [collecting.iterate([0, 1], backend=BACKEND)]
            cycle.append(cycle)
            return next(cycle[0])

        say(forget())
        forgotten.set()
        [thread.join() for thread in threading.enumerate() if thread.name == "conveyor run"]
        say("over")
    """
    assert run(program, backend)[0] == ["0", "collected", "over"]


# --- processes


@only_where_processes_fork
@on_both_backends
@pytest.mark.parametrize("leave", ["sys.exit()", "break", "raise SystemExit", "kept.close()"])
@threads_at_exit
def test_a_forked_process_leaves_the_run_to_its_parent(leave: str, backend: str) -> None:
    program = f"""
        import os

        kept = rows()
        for row in kept:
            if os.fork() == 0:
                {leave}
                break
            say(os.wait()[1])
            stuck.wait()
            break
    """
    lines, _ = run(program, backend)
    assert lines[0] == "0"
    assert sorted(lines[1:]) == CLEAN


@only_where_processes_fork
@on_both_backends
@threads_at_exit
def test_a_forked_process_cannot_read_on_but_begin_anew(backend: str) -> None:
    program = """
        import os

        kept = rows()
        say(first(kept))
        if os.fork() == 0:
            try:
                say(next(kept))
            except RuntimeError as error:
                say(error)
            anew = double.iterate([5], backend=BACKEND)
            say(next(anew))
        else:
            os.wait()
    """
    lines, _ = run(program, backend)
    assert lines[0] == "0"
    assert lines[1].startswith("this run was begun by the process that this one was forked from")
    assert lines[2] == "10"
    assert sorted(lines[3:]) == CLEAN


@only_where_processes_fork
@on_both_backends
def test_one_that_was_not_begun_may_be_read_in_a_forked_process(backend: str) -> None:
    program = """
        import multiprocessing

        def work():
            say(first(kept[0]))

        kept = [rows()]
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        say(process.exitcode)
        """
    lines, _ = run(program, backend)
    assert (lines[0], lines[-1]) == ("0", "0")
    assert sorted(lines[1:-1]) == CLEAN
