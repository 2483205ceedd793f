"""Pipelines that the tests of the command line run, in this process and in others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import sniffio

from conveyor import batch_task, get_current_context, single_task
from conveyor._cli.blocks import Blocks


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
    """Raise the signals that the item names, each when the last has been heard.

    After SIGINT it does not go on.
    """
    if isinstance(item, str):
        for name in item.split():
            signal.raise_signal(signal.Signals[name])
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            if name == "SIGINT":
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


@single_task
async def score(item: dict[str, Any]) -> dict[str, Any]:
    """Give what no format can hold where the item says so."""
    await anyio.lowlevel.checkpoint()
    return {**item, "score": float("nan") if item.get("bad") else 0.5}


@batch_task(max_size=2)
def scores(many: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "score": float("nan") if item.get("bad") else 0.5} for item in many]


scored = same | scores


@dataclass
class Lazy:
    loaded: Any = None

    def __getattribute__(self, name: str) -> Any:
        if name == "loaded":
            raise LookupError("cannot be loaded")
        return super().__getattribute__(name)


@single_task
def lazily(item: Any) -> Any:
    return Lazy() if item == 1 else item


@single_task
async def named(item: dict[str, Any]) -> Any:
    if item.get("fail"):
        raise ValueError(f"item {item['n']}")
    await anyio.lowlevel.checkpoint()
    return item


@single_task
def blocking(item: Any) -> Any:
    """Say that it has begun, and hold up the event loop for ever."""
    os.write(2, b"begun\n")
    while True:
        pass


@single_task(executor="thread")
def stuck(item: Any) -> Any:
    """Say that it has begun, and hold up a thread for ever."""
    os.write(2, b"begun\n")
    threading.Event().wait()
    return item


def without_b() -> Any:
    """Remove a file, after the command has looked for it."""
    os.unlink("b.jsonl")  # noqa: PTH108 - short
    return same


@single_task(concurrency_limit=1)
async def exits_at_last(item: Any) -> Any:
    """End the program at the item "exit", once those before it are written."""
    if item == "exit":
        for _ in range(1000):
            await anyio.lowlevel.checkpoint()
        raise SystemExit(7)
    return item


@single_task
async def twice_signalled(item: Any) -> Any:
    """Raise the signals that an item names, at once."""
    if isinstance(item, list):
        for name in item:
            signal.raise_signal(signal.Signals[name])
        await anyio.sleep_forever()
    return item


@single_task
async def partly_held(item: Any) -> Any:
    """Fail at the item "fail"; at "hold", say so and go on when there is something in the pipe.

    At "block", say so and hold up the event loop for ever.
    """
    if item == "fail":
        raise ValueError(item)
    if item == "block":
        blocking.func(item)
    if item == "hold":
        os.write(2, b"begun\n")
        await anyio.wait_readable(int(os.environ["GATE"]))
    return item


def telling() -> Any:
    """Have it told what is written, as soon as it is."""
    wrote = Blocks.wrote

    def tell(self: Blocks) -> None:
        wrote(self)
        os.write(2, f"written: {self.whole}\n".encode())

    Blocks.wrote = tell  # type: ignore[method-assign]  # in a process of its own
    return partly_held


@single_task
async def shielded(item: Any) -> Any:
    """Say that it has begun, and do not let itself be cancelled."""
    os.write(2, b"begun\n")
    with anyio.CancelScope(shield=True):
        await anyio.sleep_forever()
    return item


@single_task
def forks(name: str) -> Any:
    """Return how a process that was forked off ends, or what it tells, after this signal."""
    child = os.fork()
    if not child:
        try:
            for _ in range(3):
                os.kill(os.getpid(), signal.Signals[name])
        except KeyboardInterrupt:
            os._exit(1)
        os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "KeyboardInterrupt" if status == 1 else status


emitted = named.with_options(on_error="emit_failure") | score
