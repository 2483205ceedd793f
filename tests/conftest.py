"""Backends, clocks, surroundings and the check after every test. Nothing else is global.

Every `async def` test runs on three backends: asyncio and trio with virtual clocks, and uvloop,
whose clock cannot be virtual. So a test that lets time pass carries `virtual_time`, which leaves
uvloop out, and one that works with threads carries `real_time`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from inspect import iscoroutinefunction
from random import Random
from typing import Any

import hypothesis
import pytest
import trio
import trio.testing
from anyio.lowlevel import checkpoint

from _virtual import ShuffledLoop, VirtualTimeLoop, all_trio_tasks, unless_stuck

# Without a deadline, since the first example pays for imports, and random. The thorough one is for
# whoever has changed the engine:
# HYPOTHESIS_PROFILE=thorough make test ARGS="-k properties --timeout 0"
hypothesis.settings.register_profile("usual", deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.register_profile(
    "thorough",
    hypothesis.settings.get_profile("usual"),
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "3000")),
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))

# The schedules of ShuffledLoop. Hypothesis knows of it, as it does of trio's, so a test that draws
# `st.random_module()` tries many schedules and names the seed of one that fails.
schedule = Random()
hypothesis.register_random(schedule)

# Each makes what anyio's plugin takes. A clock serves a single run, hence functions.
BACKENDS: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
    "asyncio": lambda: ("asyncio", {"loop_factory": VirtualTimeLoop}),
    "asyncio-shuffled": lambda: ("asyncio", {"loop_factory": lambda: ShuffledLoop(schedule)}),
    "asyncio-real": lambda: ("asyncio", {}),
    "uvloop": lambda: ("asyncio", {"use_uvloop": True}),
    "trio": lambda: ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}),
    "trio-real": lambda: ("trio", {}),
}
if sys.platform == "win32":
    del BACKENDS["uvloop"]

BY_DEFAULT = ("asyncio", "uvloop", "trio")
VIRTUAL_TIME = ("asyncio", "trio")
REAL_TIME = ("asyncio-real", "uvloop", "trio-real")


def coroutine_of(test: Any) -> Any:
    """Return the test's own function, which under `@given` is not the one that pytest sees."""
    return test.hypothesis.inner_test if hasattr(test, "hypothesis") else test


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> None:
    # What `anyio_mode = "auto"` does, which the oldest anyio that we support does not know.
    if collector.istestfunction(obj, name) and iscoroutinefunction(coroutine_of(obj)):
        pytest.mark.usefixtures("anyio_backend")(obj)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker
    if named := mark("backends"):
        names = named.args
    elif mark("real_time"):
        names = REAL_TIME
    elif mark("virtual_time"):
        names = VIRTUAL_TIME
    else:
        names = BY_DEFAULT
    if unknown := set(names) - BACKENDS.keys() - {"uvloop"}:
        raise pytest.UsageError(f"no such backend: {', '.join(sorted(unknown))}")
    here = [name for name in names if name in BACKENDS]
    metafunc.parametrize("anyio_backend", here, indirect=True)


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return BACKENDS[request.param]()


@pytest.fixture(scope="module")
def anyio_backend_name(anyio_backend: tuple[str, dict[str, Any]]) -> str:
    # As the plugin's own, but for the module, since Hypothesis refuses what is made for each test.
    return anyio_backend[0]


@pytest.fixture(scope="session", autouse=True)
def heeded_signals() -> Generator[None, None, None]:
    """Heed what tests send, however they were started, and so do the processes that they start.

    What is ignored or blocked is inherited, and a shell starts its background jobs deaf to Ctrl-C.
    Not SIGHUP, which no test sends: tests under `nohup` are to outlive their terminal.
    """
    heeded = {signal.SIGINT, signal.SIGTERM}
    if sys.platform != "win32":
        heeded |= {signal.SIGCHLD, signal.SIGQUIT, signal.SIGUSR1}
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
    ignored = {number for number in heeded if signal.getsignal(number) is signal.SIG_IGN}
    for number in ignored:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


# What tells programs how to write and for how wide a terminal: whole CIs are set to colours.
STEERING = (
    *("COLUMNS", "LINES"),
    *("FORCE_COLOR", "NO_COLOR", "PYTHON_COLORS"),
    *("TTY_COMPATIBLE", "TTY_INTERACTIVE"),
)


@pytest.fixture(scope="session", autouse=True)
def plain_surroundings() -> Generator[None, None, None]:
    """Write as to a file, unless a test says otherwise, and so do the processes that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in STEERING:
            patch.delenv(name, raising=False)
        yield


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    # The collection after a test looks at what the test made, and at nothing older: so it is quick,
    # and what a failing test leaves in its traceback does not fail the next one.
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Put the check around every async test, or under `@given` around every example."""
    __tracebackhide__ = True
    function = pyfuncitem.obj
    coroutine = coroutine_of(function)
    if not iscoroutinefunction(coroutine):
        return (yield)

    name = pyfuncitem.callspec.params["anyio_backend"]
    options = pyfuncitem.funcargs["anyio_backend"][1]
    schedule.seed(pyfuncitem.nodeid)  # the same schedule every time, unless Hypothesis seeds anew
    given = coroutine is not function

    @functools.wraps(coroutine)
    async def checked(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        try:
            test = unless_stuck(coroutine(*args, **kwargs))
            await leaving_nothing(test, thorough=not given)
        finally:
            # The next example has a loop of its own, and is to have a clock of its own.
            options.update(BACKENDS[name]()[1])

    if not given:
        pyfuncitem.obj = checked
        try:
            return (yield)
        finally:
            pyfuncitem.obj = function

    function.hypothesis.inner_test = checked
    try:
        return (yield)
    finally:
        function.hypothesis.inner_test = coroutine  # anyio's plugin put its own there
        gc.collect()


# How often the loop may turn before a task that has not ended counts as left behind: a run that is
# dropped is cancelled through the loop, and then ends from its innermost task group outwards.
TURNS = 30


async def leaving_nothing(test: Awaitable[None], *, thorough: bool) -> None:
    """Await the test, then fail it if it left a task or a complaint of the loop behind.

    What is collected as garbage meanwhile may warn: pytest makes that a failure of the same test.
    """
    __tracebackhide__ = True
    if not trio.lowlevel.in_trio_run():
        # In debug mode it tells of callbacks that took long: on a loaded machine they all do.
        asyncio.get_running_loop().slow_callback_duration = math.inf
    before = tasks()
    with Complaints() as complaints:
        await test
        if thorough:  # for each of a hundred examples it would take too long
            gc.collect()  # in the loop, where a stream or a generator that was dropped cleans up
        left = await settle(before)
        if left and not thorough:
            gc.collect()
            left = await settle(before)
    if left:
        raise AssertionError("tasks left behind: " + ", ".join(sorted(map(repr, left))))
    if complaints:
        raise AssertionError("the event loop complained: " + "; ".join(complaints))


async def settle(before: set[object]) -> set[object]:
    """Let the loop turn until only tasks of `before` are left; return what else is, at last."""
    for _ in range(TURNS):
        if not tasks() - before:
            break
        await checkpoint()
    return tasks() - before


def tasks() -> set[object]:
    """Return all tasks of the running loop."""
    if not trio.lowlevel.in_trio_run():
        return set(asyncio.all_tasks())
    return set(all_trio_tasks())


class Complaints(logging.Handler):
    """While entered, lists what the loops log: exceptions that nobody received and the like."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())

    def __enter__(self) -> list[str]:
        for name in ("asyncio", "trio"):
            logging.getLogger(name).addHandler(self)
        return self._texts

    def __exit__(self, *exc_info: object) -> None:
        for name in ("asyncio", "trio"):
            logging.getLogger(name).removeHandler(self)
