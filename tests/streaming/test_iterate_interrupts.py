"""Ctrl-C in `iterate`, at every point of our code where the interpreter may raise it.

Signals are handled between two instructions: where a function begins, after a call, and where a
loop begins anew; or inside of a call that waits. A trace function raises at each such point, one in
every run, until a run has no more of them.
"""

from __future__ import annotations

import dis
import functools
import itertools
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from _helpers import threads_at_exit
from conveyor import _blocking, _loop_thread, single_task

on_both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])
every_loop = pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
only_where_it_can_be_sent = pytest.mark.skipif(
    sys.platform == "win32", reason="signals are others there"
)

FILES = {_blocking.__file__, _loop_thread.__file__, threading.__file__}


CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX"}
OTHERS = {"RESUME", "JUMP_BACKWARD", "BEFORE_WITH"}


@functools.cache
def instructions(code: CodeType) -> dict[int, str]:
    return {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}


class Interruption:
    """Raises `KeyboardInterrupt` in this thread, at the point of this number.

    Attributes:
        place: Where that was; empty if there are fewer points.
    """

    def __init__(self, number: int) -> None:
        self.place = ""
        self._left = number
        self._before: dict[FrameType, str] = {}  # what was executed last

    def __enter__(self) -> Interruption:
        self._others = sys.gettrace()
        # Python 3.12 asks when the tracing begins whether any frame wants to be traced like that.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._begin)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(self._others)
        self._before.clear()

    def _begin(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        return self._trace

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            name = instructions(frame.f_code)[frame.f_lasti]
            before, self._before[frame] = self._before.get(frame, ""), name
            if before in CALLS or name in CALLS or name in OTHERS:
                self._left -= 1
                if not self._left:
                    self.place = f"{frame.f_code.co_name}:{frame.f_lineno}, {before} | {name}"
                    raise KeyboardInterrupt  # and python ends the tracing
        return self._trace


class Watched:
    """A task and an input that note how often they were begun and left."""

    def __init__(self) -> None:
        self.open = 0

    def iterate(self, backend: Any) -> Generator[int, None, None]:
        @single_task
        async def double(number: int) -> int:
            with self:
                await anyio.lowlevel.checkpoint()
                return 2 * number

        return double.iterate(self.source(), backend=backend)

    async def source(self) -> AsyncIterator[int]:
        with self:
            for number in range(3):
                yield number  # noqa: ASYNC119 - a run closes its input

    def __enter__(self) -> None:
        self.open += 1

    def __exit__(self, *exc_info: object) -> None:
        self.open -= 1


def read_to_the_end(results: Generator[int, None, None]) -> None:
    assert list(results) == [0, 2, 4]


def close_it(results: Generator[int, None, None]) -> None:
    assert next(results) == 0
    results.close()


def drop_it(results: Generator[int, None, None]) -> None:
    assert next(results) == 0


def threads() -> set[threading.Thread]:
    """Return those that are not kept for the next call by anyio and trio."""
    kept = "Trio thread", "AnyIO worker"
    return {thread for thread in threading.enumerate() if not thread.name.startswith(kept)}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A job in the background may have been started with its interruptions ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@on_both_backends
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("use", [read_to_the_end, close_it, drop_it])
def test_an_interruption_at_any_point_ends_the_run_and_comes_out_once(
    use: Callable[[Generator[int, None, None]], None], backend: str
) -> None:
    before = threads()
    for number in itertools.count(1):
        watched = Watched()
        results = [watched.iterate(backend)]
        came_out: BaseException | None = None  # and with it its traceback, and what that holds
        interruption = Interruption(number)
        try:
            with interruption:
                use(results.pop())
            if interruption.place:
                threading.Event().wait(20)  # for one that could not be raised where it came
        except KeyboardInterrupt as interrupted:
            came_out = interrupted
        if not interruption.place:
            assert number > 30
            break
        assert came_out is not None, interruption.place
        while late := threads() - before:  # started, and about to see that it is too late
            for thread in late:
                with suppress(RuntimeError):  # not started yet
                    thread.join()
        assert watched.open == 0, interruption.place
        del came_out


# --- real ones

PREPARED = """
import os
import signal
import sys
import threading

import anyio
from conveyor import single_task

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
LOOP = {{"backend": {backend!r}, "backend_options": {options}}}

def say(word):
    sys.stdout.write(f"{{word}}\\n")
    sys.stdout.flush()

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

"""


def run(program: str, loop: str) -> list[str]:
    """Run a program, and return the lines that it printed."""
    backend = "trio" if loop == "trio" else "asyncio"
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c"),
            PREPARED.format(backend=backend, options=options) + textwrap.dedent(program),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


@only_where_it_can_be_sent
@every_loop
def test_ctrl_c_while_the_loop_starts(loop: str) -> None:
    program = """
        from conveyor._engine.loop import host

        soon = host.soon

        def interrupted():  # in the loop's thread, before anyone can reach it
            host.soon = soon
            interrupt()
            return soon()

        host.soon = interrupted
        try:
            list(single_task(abs).iterate(range(3), **LOOP))
        except KeyboardInterrupt:
            say(f"interrupted, {threading.active_count()} thread")
    """
    assert run(program, loop) == ["interrupted, 1 thread"]


@only_where_it_can_be_sent
@every_loop
def test_ctrl_c_while_a_loop_over_the_results_is_left(loop: str) -> None:
    program = """
        @single_task
        async def stuck(number):
            try:
                if number:
                    began.set()
                    await anyio.sleep_forever()
                return number
            finally:
                if number:
                    interrupt()
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.1)
                    say("left")

        began = threading.Event()
        try:
            for result in stuck.iterate([0, 1], **LOOP):
                began.wait()
                break
            threading.Event().wait(20)
        except KeyboardInterrupt:
            say(f"interrupted, {threading.active_count()} thread")
    """
    assert run(program, loop) == ["left", "interrupted, 1 thread"]


@only_where_it_can_be_sent
@threads_at_exit
@every_loop
def test_a_second_ctrl_c_does_not_wait(loop: str) -> None:
    program = """
        @single_task
        async def stuck(number):
            try:
                interrupt()
                await anyio.sleep_forever()
            finally:
                interrupt()
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(out.wait)
                say("left")

        out = threading.Event()
        try:
            list(stuck.iterate([0], **LOOP))
        except KeyboardInterrupt:
            say("interrupted")
            out.set()
    """
    assert run(program, loop) == ["interrupted", "left"]
