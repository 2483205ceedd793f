"""Ctrl-C reaches the caller as a plain `KeyboardInterrupt`, wherever it finds the run."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from _helpers import without_slow_callbacks

SCRIPT = """
    import signal
    import anyio
    from conveyor import single_task

    log = []

    @single_task
    async def work(item):
        try:
            if item == {item}:
                signal.raise_signal(signal.SIGINT)
            await anyio.sleep(0)
            return item
        finally:
            log.append("task")

    async def source():
        try:
            for item in range(100_000):
                if item == {item} + 300:
                    raise AssertionError("interrupted, it went on")
                yield item
        finally:
            log.append("source")

    async def iterate(stream):
        async for item in stream:
            pass

    async def block(stream):
        async with stream:
            async for item in stream:
                pass

    async def leave(stream):
        async with stream:
            await anext(stream)
            signal.raise_signal(signal.SIGINT)

    async def main():
        await {way}((work | work)(source()))

    try:
        anyio.run(main, backend={backend!r}, backend_options={options})
    except BaseException as error:
        print(repr(error))
    print("task" in log, log.count("source"))
"""


@pytest.mark.parametrize("way", ["iterate", "block", "leave"])
@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_ctrl_c(way: str, backend: str) -> None:
    script = textwrap.dedent(SCRIPT).format(
        way=way,
        item=500 if way != "leave" else -1,
        backend="trio" if backend == "trio" else "asyncio",
        options={"use_uvloop": True} if backend == "uvloop" else {},
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert without_slow_callbacks(done.stderr) == ""
    assert done.stdout.splitlines() == ["KeyboardInterrupt()", "True 1"]
