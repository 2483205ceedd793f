"""Functions that raise in workers, which import this module: so it imports little."""

# ruff: noqa: N818 - they are named after what is odd about them

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from conveyor import BatchError, batch_task, single_task


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Keyword(Exception):
    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


class HoldsLock(Exception):
    def __init__(self, text: object) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.detail = {"since": 3}


class Prefixed(Exception):
    """Which pickle gives another message."""

    def __init__(self, text: str) -> None:
        super().__init__(f"disk: {text}")


class OwnText(Exception):
    def __init__(self) -> None:
        super().__init__()
        self.where = lambda: None

    def __str__(self) -> str:
        return f"code 7 at {self.where.__name__}"


class Refuses(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("I am not to be pickled")


class Slots(Exception):
    __slots__ = ("extra",)

    def __init__(self, text: str, extra: int) -> None:
        super().__init__(text)
        self.extra = extra


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("I have no text")


class Unreadable:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return refuse, ()


def refuse() -> None:
    raise ValueError("it cannot be read")


def deeper(number: int) -> int:
    return number // 0


def recurse(number: int) -> int:
    return recurse(number + 1)


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def chain() -> None:
    try:
        try:
            deeper(1)
        except ZeroDivisionError:
            raise HoldsLock("inner")  # noqa: B904 - it is to have a context, not a cause
    except HoldsLock as error:
        outer = TwoArguments(1, "outer")
        outer.add_note("a note of its own")
        raise outer from error


@single_task
def work(kind: str) -> Any:
    class Local(TwoArguments):
        pass

    ring = ValueError("ring")
    ring.__cause__ = ValueError("of two")
    ring.__cause__.__cause__ = ring
    errors: dict[str, Any] = {
        "two": lambda: TwoArguments(7, "the disk is full"),
        "keyword": lambda: Keyword(reason="it is late"),
        "lock": lambda: HoldsLock("the lock is held"),
        "lock as argument": lambda: HoldsLock(threading.Lock()),
        "prefixed": lambda: Prefixed("full"),
        "own text": OwnText,
        "refuses": lambda: Refuses("no pickle"),
        "slots": lambda: Slots("slotted", 1),
        "os": lambda: FileNotFoundError(2, "No such file", "x"),
        "key": lambda: KeyError("x"),
        "no text": NoText,
        "local": lambda: Local(8, "it is local"),
        "ring": lambda: ring,
        "group": lambda: ExceptionGroup("some", [TwoArguments(1, "one"), HoldsLock("two")]),
        "deep argument": lambda: ValueError(nested()),
    }
    if kind in errors:
        raise errors[kind]()
    if kind == "deep":
        return deeper(1)
    if kind == "deep recursion":
        return recurse(1)
    if kind == "chain":
        return chain()
    if kind == "unicode":
        return b"\xff".decode()
    if kind == "exit":
        sys.exit(3)
    assert kind == "hidden"
    try:
        return deeper(1)
    except ZeroDivisionError:
        raise TwoArguments(2, "hidden") from None


@single_task
def counted(job: tuple[str, str]) -> None:
    """Add a letter to a file, and raise."""
    kind, path = job
    with Path(path).open("a") as file:
        file.write("x")
    work.func(kind)


@batch_task(max_size=3)
def batch(items: list[int]) -> list[int]:
    raise BatchError({1: TwoArguments(2, "even"), 2: HoldsLock("odd")}, results=[10 * items[0]])


@single_task
def result(kind: Any) -> Any:
    results = {
        "lock": threading.Lock(),
        "unreadable": Unreadable(),
    }
    return results.get(kind, kind)
