"""Pipelines that the tests of the command line run, in this process and in others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any

import anyio
import sniffio

from conveyor import batch_task, get_current_context, single_task


@single_task
def same(item: Any) -> Any:
    return item


@single_task
def number(item: Any) -> int:
    return int(item)


@single_task
def invert(item: float) -> float:
    return 1 / item


numbers = number | invert


@single_task
async def last_first(item: int) -> int:
    """Item 0 waits for item 2."""
    context = get_current_context()
    assert context is not None
    done = context.data.setdefault("done", anyio.Event())
    if item == 2:
        done.set()
    elif item == 0:
        await done.wait()
    return item


@single_task
async def surroundings(item: Any) -> dict[str, Any]:
    context = get_current_context()
    assert context is not None
    backend = sniffio.current_async_library()
    loop = type(asyncio.get_running_loop()).__module__ if backend == "asyncio" else None
    return {
        "data": context.data,
        "max_parallelism": context.max_parallelism,
        "mode": str(context.execution_mode),
        "backend": backend,
        "loop": None if loop is None else loop.partition(".")[0],
    }


tuned = surroundings.with_context(max_parallelism=7, colour="red", size=1)


@single_task
def loud(item: Any) -> Any:
    print("printed", item)  # noqa: T201 - what is tested
    os.write(1, b"written\n")
    subprocess.run([sys.executable, "-S", "-c", "print('by a child')"], check=True)
    return item


@single_task
def weird(item: Any) -> Any:
    """Give what JSON cannot hold for item 2."""
    return {"price": Decimal(item), "odd": [b""]} if item == 2 else {"price": Decimal(item)}


@single_task
def change_and_fail(item: dict[str, Any]) -> Any:
    item["changed"] = True
    raise LookupError("no luck\nat all")


@single_task
def words(line: str) -> list[str]:
    return line.split()


@single_task(retry_attempts=3, retry_delay=0)
def strict(word: str) -> str:
    if not word.isalpha():
        raise ValueError(f"{word!r} is no word")
    return word.upper()


@batch_task(max_size=3)
def join(many: list[str]) -> str:
    if "BAD" in many:
        raise ValueError("bad batch")
    return "-".join(many)


@batch_task(max_size=3, on_error="skip_batch")
def join_or_skip(many: list[str]) -> str:
    return join.func(many)


@single_task
def refuse(item: Any) -> Any:
    raise ValueError(f"refused: {item}")


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


@single_task
def mute(item: Any) -> Any:
    raise MuteError


text = words | strict | join
batches = words | join_or_skip
after_batches = join_or_skip | refuse
emitting = number.with_options(on_error="emit_failure") | invert
skipping = number.with_options(on_error="skip_item") | invert
limited = number.with_options(on_error="skip_item", max_failures=1)


@single_task
def exits(item: Any) -> Any:
    raise SystemExit(7)


# For the tests with signals, which tell it through pipes when to go on.


@single_task(concurrency_limit=2)
async def held(item: Any) -> Any:
    """Say that it has begun, and go on when there is something in the pipe."""
    sys.stderr.write(f"begun {json.dumps(item)}\n")
    sys.stderr.flush()
    gate = os.dup(int(os.environ["GATE"]))  # only one at a time may wait for each
    try:
        await anyio.wait_readable(gate)
    finally:
        os.close(gate)
    return item


@single_task
async def signals(item: Any) -> Any:
    """Raise the signal that the item names, and go on when it has been heard."""
    if isinstance(item, str):
        signal.raise_signal(signal.Signals[item])
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        if item == "SIGINT":
            await anyio.sleep_forever()
    return item


@single_task
def megabyte(item: Any) -> str:
    return "x" * 1_000_000


@single_task
async def some_fail(item: dict[str, Any]) -> Any:
    if item["n"] % 10 == 0:
        raise ValueError("every tenth")
    if item["n"] % 10 == 1:
        return None
    if item["n"] % 100 == 2:
        await anyio.lowlevel.checkpoint()
    return item


many = same | some_fail
