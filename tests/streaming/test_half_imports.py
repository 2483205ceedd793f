"""A module that another thread is just importing stands in `sys.modules`, and has only some names.

What is looked up there, since whoever uses it must have imported it, has to bear with that.
"""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import ModuleType
from typing import Any

import anyio
import pytest

from conveyor import PipelineContext, RateLimit, single_task


@single_task(rate_limit=RateLimit(100_000, burst=1000), executor="thread")
def double(number: int) -> int:
    return 2 * number


def half_imported(name: str, *path: str) -> ModuleType:
    """Return a module of this name that has one submodule, which has another, and so on."""
    module = ModuleType(name)
    if path:
        setattr(module, path[0], half_imported(f"{name}.{path[0]}", *path[1:]))
    return module


@pytest.fixture(params=["trio", "trio.lowlevel", "sniffio"])
def half(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *path = request.param.split(".")
    monkeypatch.setitem(sys.modules, name, half_imported(name, *path))


@pytest.mark.usefixtures("half")
def test_a_run_on_asyncio_bears_with_it() -> None:
    async def main() -> None:
        stream = double([1, 2, 3])
        assert "not started" in repr(stream)
        assert [number async for number in stream] == [2, 4, 6]
        assert stream.statistics().delivered == 3
        async with double([1]) as stream:
            assert await anext(stream) == 2
        assert await double([1, 2]).collect() == [2, 4]

    asyncio.run(main())


@pytest.mark.usefixtures("half")
def test_so_do_runs_without_a_loop() -> None:
    assert double.run([1]) == [2]
    assert list(double.iterate([1])) == [2]


@pytest.mark.usefixtures("half")
def test_and_a_stream_that_is_read_without_a_loop() -> None:
    stream = double([1])
    with pytest.raises(RuntimeError, match="a stream runs in an event loop"):
        anext(stream).__await__().send(None)
    with pytest.raises(RuntimeError, match="a stream runs in an event loop"):
        stream.__aenter__().send(None)


def test_no_trio_is_the_same_as_none_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)  # as it is where importing it is forbidden
    assert double.run([1]) == [2]


@pytest.mark.parametrize("name", ["concurrent.futures", "fractions"])
def test_options_are_checked_all_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    wrong: Any = 5
    with pytest.raises(TypeError, match="executor must be 'thread'"):
        single_task(executor=wrong)(abs)
    assert PipelineContext(max_failures=3).max_failures == 3
    with pytest.raises(TypeError, match="max_failures must be a whole number"):
        PipelineContext(max_failures=0.5)  # type: ignore[arg-type]  # as named


def test_what_is_whole_is_known() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert single_task(executor=pool)(abs).run([-1]) == [1]
    assert PipelineContext(max_failures=Fraction("0.5")).max_failures == Fraction(1, 2)


@pytest.mark.parametrize("module", ["trio", "fractions, concurrent.futures"])
def test_a_real_import_in_another_thread(module: str) -> None:
    program = f"""
        import asyncio
        import sys
        import threading

        from conveyor import RateLimit, single_task

        @single_task(rate_limit=RateLimit(1_000_000, burst=1000))
        async def work(number):
            return number

        def load():
            import {module}

        async def main():
            thread = threading.Thread(target=load)
            thread.start()
            runs = 0
            while thread.is_alive() or runs < 10:
                runs += 1
                await work.with_options(on_error="skip_item", max_failures=5)(range(10)).drain()

        sys.setswitchinterval(1e-5)  # the interpreter turns to the other thread that often
        asyncio.run(main())
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)


# --- which loop runs here is told by another variable of the context


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("way", ["run", "iterate"])
def test_a_thread_with_the_variables_of_a_loop_may_have_one_of_its_own(
    way: str, backend: str
) -> None:
    def work() -> list[int]:
        return list(getattr(double, way)([1, 2], backend=backend))

    async def main() -> None:
        context = contextvars.copy_context()  # as asyncio.to_thread has it
        assert await anyio.to_thread.run_sync(context.run, work) == [2, 4]

    anyio.run(main)
    anyio.run(main, backend="trio")
