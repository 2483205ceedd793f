"""What the tests stand on: backends, virtual time, shuffled schedules, the check for leaks."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers import without_slow_callbacks
from _virtual import ShuffledLoop, VirtualTimeLoop

pytest_plugins = ["pytester"]

HERE = Path(__file__).parents[1]
DAY = 24 * 60 * 60


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Any:
    """Run tests, given as text, in a process of their own, with this conftest and configuration."""
    for file in ("conftest.py", "_virtual.py"):
        pytester.path.joinpath(file).write_text((HERE / file).read_text())

    def run(text: str, *launcher: str) -> pytest.RunResult:
        path = pytester.makepyfile(
            "import asyncio, gc, anyio, pytest, trio\n"
            "from anyio.lowlevel import checkpoint\n" + text
        )
        config = HERE.parent / "pyproject.toml"
        command = ["-m", "pytest", "-c", config, "--rootdir", pytester.path, "-v", path]
        return pytester.run(sys.executable, *launcher, *command)

    return run


# --- which backends


def test_the_marks_choose_the_backends(suite: Any) -> None:
    result = suite("""
async def test_plain(): pass

@pytest.mark.virtual_time
async def test_virtual(): pass

@pytest.mark.real_time
async def test_real(): pass

@pytest.mark.backends("asyncio-shuffled", "trio")
async def test_named(): pass

class TestClass:
    async def test_method(self): pass

def test_sync(): pass
""")
    result.assert_outcomes(passed=14)
    ran = {line.split("::", 1)[1].split()[0] for line in result.outlines if " PASSED" in line}
    assert ran == {
        "test_plain[asyncio]",
        "test_plain[uvloop]",
        "test_plain[trio]",
        "test_virtual[asyncio]",
        "test_virtual[trio]",
        "test_real[asyncio-real]",
        "test_real[uvloop]",
        "test_real[trio-real]",
        "test_named[asyncio-shuffled]",
        "test_named[trio]",
        "TestClass::test_method[asyncio]",
        "TestClass::test_method[uvloop]",
        "TestClass::test_method[trio]",
        "test_sync",
    }


def test_a_backend_that_does_not_exist_is_refused(suite: Any) -> None:
    result = suite("""
@pytest.mark.backends("curio")
async def test_it(): pass
""")
    assert result.ret != 0
    assert "no such backend: curio" in result.stdout.str()


# --- surroundings


def test_tests_and_their_children_write_plainly_wherever_they_are_started(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    test = """
import subprocess, sys

SCRIPT = "import rich.console as c; made = c.Console(); print(made.color_system, made.width)"

def test_child():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("", "None 80\\n")
"""
    suite(test).assert_outcomes(passed=1)


DEAF = """
import os, signal, sys
for number in signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_tests_and_their_children_heed_signals_wherever_they_are_started(suite: Any) -> None:
    test = """
import os, signal, subprocess, sys

def test_here():
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)

@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_child(name):
    script = f"import signal; signal.raise_signal(signal.{name}); print('it went on')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == -signal.Signals[name]
    assert done.stdout == b""
"""
    suite(test, "-c", DEAF).assert_outcomes(passed=4)


# --- a loaded machine


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_that_a_callback_took_long_is_left_out_of_what_a_process_says(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = pytest.importorskip(name)

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = -1  # as if the machine were loaded
        await checkpoint()

    with asyncio.Runner(debug=True, loop_factory=module.new_event_loop) as runner:
        runner.run(main())
    slow = [f"{record.getMessage()}\n" for record in caplog.records if record.levelname != "DEBUG"]
    assert any("<Task" in line for line in slow)
    assert without_slow_callbacks("".join(slow)) == ""
    assert without_slow_callbacks("".join(["before\n", *slow, "after"])) == "before\nafter"


@pytest.mark.backends("asyncio")
async def test_that_a_callback_took_long_fails_no_test(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.set_debug(True)
    await checkpoint()
    loop.jump(1)
    await checkpoint()
    loop.set_debug(False)
    assert caplog.records == []


# --- what is left behind


def test_a_task_left_behind_fails_its_test_on_every_backend(suite: Any) -> None:
    result = suite("""
async def leak(name):
    if name == "trio":
        trio.lowlevel.spawn_system_task(trio.sleep_forever, name="forgotten")
    else:
        keep.append(asyncio.create_task(asyncio.sleep(3600), name="forgotten"))

keep = []

async def test_leaks(anyio_backend_name):
    await leak(anyio_backend_name)

async def test_is_clean_again():
    await checkpoint()

async def test_ends_soon_after(anyio_backend_name):
    async def wind_down():
        for _ in range(10):
            await checkpoint()
    if anyio_backend_name == "trio":
        trio.lowlevel.spawn_system_task(wind_down)
    else:
        keep.append(asyncio.create_task(wind_down()))
""")
    result.assert_outcomes(passed=6, failed=3)
    for backend in ("asyncio", "uvloop", "trio"):
        assert f"test_leaks[{backend}] FAILED" in result.stdout.str()
    reports = [line for line in result.outlines if line.startswith("E ")]
    assert len(reports) == 3
    assert all("tasks left behind: <" in line and "forgotten" in line for line in reports)


def test_a_task_left_behind_by_an_example_fails_its_test(suite: Any) -> None:
    result = suite("""
from hypothesis import given, strategies as st

keep = []

@given(st.integers(0, 100))
async def test_leaks(anyio_backend_name, number):
    if number > 50:
        if anyio_backend_name == "trio":
            trio.lowlevel.spawn_system_task(trio.sleep_forever)
        else:
            keep.append(asyncio.create_task(asyncio.sleep(3600)))
""")
    result.assert_outcomes(failed=3)
    assert "number=51" in result.stdout.str()


def test_what_warns_when_it_is_collected_fails_its_test(suite: Any) -> None:
    result = suite("""
async def test_unclosed_stream():
    send, receive = anyio.create_memory_object_stream(1)
    loop = [send, receive]
    loop.append(loop)

async def test_coroutine_never_awaited():
    checkpoint()

async def test_is_clean_again():
    await checkpoint()
""")
    result.assert_outcomes(passed=3, failed=6)
    assert "Unclosed <MemoryObjectSendStream" in result.stdout.str()
    assert "was never awaited" in result.stdout.str()


def test_what_the_loop_logs_fails_the_test(suite: Any) -> None:
    result = suite("""
@pytest.mark.backends("asyncio", "uvloop")
async def test_destroyed():
    async def wait():
        await asyncio.get_running_loop().create_future()
    task = asyncio.create_task(wait())
    await checkpoint()
    del task
    gc.collect()

@pytest.mark.backends("asyncio", "uvloop")
async def test_never_retrieved():
    async def fail():
        raise ValueError("nobody asked")
    task = asyncio.create_task(fail())
    await checkpoint()
""")
    result.assert_outcomes(failed=4)
    assert "complained: Task was destroyed but it is pending" in result.stdout.str()
    assert "ValueError: nobody asked" in result.stdout.str()


def test_a_failure_stays_itself(suite: Any) -> None:
    result = suite("""
keep = []

@pytest.mark.backends("asyncio", "uvloop")
async def test_fails():
    keep.append(asyncio.create_task(asyncio.sleep(3600)))
    raise KeyError("mine")
""")
    result.assert_outcomes(failed=2)
    assert "KeyError: 'mine'" in result.stdout.str()
    assert "left behind" not in result.stdout.str()


def test_what_a_failing_test_holds_does_not_fail_the_next(suite: Any) -> None:
    result = suite("""
async def test_fails():
    streams = anyio.create_memory_object_stream(1)
    raise KeyError("mine")

async def test_next():
    await checkpoint()
""")
    result.assert_outcomes(passed=3, failed=3)


# --- virtual time


@pytest.mark.virtual_time
async def test_days_pass_at_once() -> None:
    # Were this real, the limit of a minute per test would end it.
    started = anyio.current_time()
    async with anyio.create_task_group() as group:
        for days in (1, 2, 4):
            group.start_soon(anyio.sleep, days * DAY)
    assert anyio.current_time() - started == 4 * DAY


@pytest.mark.virtual_time
async def test_every_test_has_a_clock_of_its_own() -> None:
    assert anyio.current_time() == 0
    await anyio.sleep(1)


@pytest.mark.virtual_time
@settings(max_examples=10)
@given(seconds=st.floats(0.5, 1e6))
async def test_every_example_has_a_clock_of_its_own(seconds: float) -> None:
    assert anyio.current_time() == 0
    await anyio.sleep(seconds)
    assert anyio.current_time() == seconds


@pytest.mark.virtual_time
async def test_timers_fire_in_order_at_their_times() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append((name, anyio.current_time()))

    with anyio.move_on_after(2) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(sleeper, "late", 1.5)
            group.start_soon(sleeper, "early", 0.25)
            group.start_soon(sleeper, "never", 3)
    assert woken == [("early", 0.25), ("late", 1.5)]
    assert scope.cancelled_caught
    assert anyio.current_time() == 2


def test_the_virtual_clock_shows_exactly_the_time_of_the_timer() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await asyncio.sleep(0.1)
        return loop.time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(main()) == 0.1 + 0.1 + 0.1


@pytest.mark.backends("asyncio")
async def test_a_virtual_loop_still_hears_of_threads() -> None:
    assert await anyio.to_thread.run_sync(lambda: "answer") == "answer"


@pytest.mark.real_time
async def test_real_time_is_real() -> None:
    await anyio.sleep(0.001)
    assert anyio.current_time() != 0.001


# --- deadlocks


def test_a_deadlock_fails_its_test_at_once(suite: Any) -> None:
    result = suite("""
async def wait():
    await anyio.Event().wait()

@pytest.mark.virtual_time
async def test_alone():
    await anyio.sleep(5)
    await wait()

@pytest.mark.virtual_time
async def test_in_a_group():
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.sleep(5)

@pytest.mark.virtual_time
async def test_one_ends_with_its_errors_hidden():
    try:
        await wait()
    finally:
        raise ValueError("in the way")

@pytest.mark.virtual_time
async def test_next():
    await anyio.wait_all_tasks_blocked()
    await anyio.sleep(5)
""")
    result.assert_outcomes(passed=2, failed=6)
    assert result.stdout.str().count("DeadlockError: all tasks wait:") >= 6
    assert "wait (test_a_deadlock_fails_its_test_at_once.py:5)" in result.stdout.str()


def test_hypothesis_finds_a_deadlock(suite: Any) -> None:
    result = suite("""
from hypothesis import given, strategies as st

@pytest.mark.virtual_time
@given(st.integers(0, 100))
async def test_waits(number):
    await anyio.sleep(number)
    if number > 50:
        await anyio.Event().wait()
""")
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("number=51") >= 2  # again in the summary, where CI is set


# --- schedules


async def finishing_order() -> tuple[int, ...]:
    order: list[int] = []

    async def task(number: int) -> None:
        await checkpoint()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(task, number)
    return tuple(order)


def shuffled(seed: int) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=lambda: ShuffledLoop(Random(seed)))


def order_for(seed: int) -> tuple[int, ...]:
    with shuffled(seed) as runner:
        return runner.run(finishing_order())


def test_a_shuffled_loop_reaches_every_order_and_repeats_itself() -> None:
    assert {order_for(seed) for seed in range(100)} == set(itertools.permutations(range(3)))
    assert order_for(7) == order_for(7)


@given(st.integers(0, 2**16))
def test_a_shuffled_loop_runs_what_anyio_is_made_of(seed: int) -> None:
    async def main() -> None:
        got: list[int] = []
        cleaned_up: list[int] = []
        send, receive = anyio.create_memory_object_stream[int](2)
        gate = anyio.Semaphore(2, fast_acquire=True)

        async def producer(start: int, mine: MemoryObjectSendStream[int]) -> None:
            async with gate, mine:
                for number in range(start, start + 10):
                    await mine.send(number)
                    await anyio.sleep(number % 3)

        async def consumer(mine: MemoryObjectReceiveStream[int]) -> None:
            with mine:
                got.extend([number async for number in mine])

        async def cancelled(number: int) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1)
                    cleaned_up.append(number)

        async with anyio.create_task_group() as group:
            for start in (0, 10, 20):
                group.start_soon(producer, start, send.clone())
            for _ in range(2):
                group.start_soon(consumer, receive.clone())
            send.close()
            receive.close()
        assert sorted(got) == list(range(30))

        with anyio.move_on_after(5) as scope:
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(cancelled, number)
        assert scope.cancelled_caught
        assert sorted(cleaned_up) == [0, 1, 2]

        async def fails() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(cancelled, 3)
                await checkpoint()
                raise KeyError("mine")

        with pytest.RaisesGroup(pytest.RaisesExc(KeyError, match="mine")):
            await fails()
        # It may have been cancelled before its first step.
        assert sorted(cleaned_up) in ([0, 1, 2], [0, 1, 2, 3])

    with shuffled(seed) as runner:
        runner.run(main())


def test_callbacks_keep_their_order_on_a_shuffled_loop() -> None:
    async def main() -> list[int]:
        ran: list[int] = []
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(asyncio.sleep(0)) for _ in range(3)]
        for number in range(20):
            loop.call_soon(ran.append, number)
        await asyncio.gather(*tasks)
        return ran

    with shuffled(1) as runner:
        assert runner.run(main()) == list(range(20))


def test_hypothesis_finds_the_schedule_that_breaks_a_test(suite: Any) -> None:
    result = suite("""
from hypothesis import given, strategies as st

@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
@given(st.random_module())
async def test_first_come_first_served(random):
    order = []
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(task, number, order)
    assert order == [0, 1, 2]

async def task(number, order):
    await checkpoint()
    order.append(number)
""")
    result.assert_outcomes(passed=1, failed=2)
    assert "test_first_come_first_served[asyncio] PASSED" in result.stdout.str()
    assert "RandomSeeder(" in result.stdout.str()
