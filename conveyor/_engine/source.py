"""The input of a run: one adapter for every kind of it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from .cleanup import Cleanup, close_iterator
from .log import annotate
from .signals import Bypass

if TYPE_CHECKING:
    from .._spec import Spec
    from .link import Link
    from .run import Shared

_NOTHING = object()


def check_source(data: object, specs: Sequence[Spec] = ()) -> None:
    """Refuse what a pipeline of these tasks cannot read.

    Raises:
        TypeError: If `data` is a string, or nothing that can be iterated.
    """
    kind = type(data).__name__
    if isinstance(data, str | bytes | bytearray):
        raise TypeError(
            f"a pipeline reads an iterable of items, and a {kind} would be taken apart: "
            f"wrap it in a list, as in pipeline([data]), if it is one item{_or_call(specs)}"
        )
    if hasattr(type(data), "__aiter__") or hasattr(type(data), "__iter__"):
        return
    if hasattr(type(data), "__getitem__") and not isinstance(data, type):
        return
    hint = ""
    if inspect.iscoroutine(data):
        data.close()  # it would warn of a missing await, and the error says that better
        hint = ": await it first, and give the pipeline what it returns"
    elif inspect.isasyncgenfunction(data) or inspect.isgeneratorfunction(data):
        hint = f": call it, as in pipeline({data.__name__}())"
    raise TypeError(
        f"a pipeline reads an iterable or an async iterable, not {kind} {_short(data)}"
        f"{hint or _or_call(specs)}"
    )


def _or_call(specs: Sequence[Spec]) -> str:
    """Say how the function of a task is called: the task may have been taken for it."""
    if len(specs) != 1:
        return ""
    return f"; to call the function of the task itself, write {specs[0].written}.func(item)"


def length_of(data: Any) -> int | None:
    """Return how many items there are, if the input says."""
    try:
        return len(data)
    except Exception:  # it has no length, or cannot tell
        return None


def _short(data: object) -> str:
    text = repr(data)
    return text if len(text) <= 80 else f"{text[:77]}..."


class Source:
    """Reads the input into the first link, only when there is room.

    An item that was read is never lost: `_in_hand` holds it until it is in the link. `_reading` is
    what `stop` cancels, around an async input: the others never wait.

    Attributes:
        read: How many items were read.
        waited: Seconds in which the input was waited for; what a built-in container takes is not
            worth measuring.
    """

    def __init__(self, data: Any, link: Link, shared: Shared) -> None:
        self._data = data
        self._link = link
        self._shared = shared
        self._turn = shared.turn
        self._scope = CancelScope()
        self._reading: CancelScope | None = None
        self._waiting = False  # for the input, with nothing in hand
        self._stopped = False
        self._in_hand: Any = _NOTHING
        self._clock = shared.stopwatch
        self.read = 0
        self.waited = 0.0

    @property
    def total(self) -> int | None:
        """How many items the input has, if it says."""
        return length_of(self._data)

    @property
    def holds(self) -> bool:
        """Whether an item was read that is not in the link yet."""
        return self._in_hand is not _NOTHING

    def cancel(self) -> None:
        """Read no further; what is in hand is given up."""
        self._scope.cancel()

    def stop(self) -> None:
        """Read no further; what is in hand is sent."""
        self._stopped = True
        if self._waiting and self._reading is not None:
            self._reading.cancel()

    async def run(self) -> None:
        """Read to the end, then close the link. An error in reading is the last thing sent."""
        try:
            with self._scope:
                try:
                    await self._run()
                except BaseException as error:  # noqa: ASYNC103 - raised on, or handed to the consumer
                    self._shared.leave(error)
        finally:
            self._link.close_sender()

    async def _run(self) -> None:
        failure = await self._until_stopped()
        if self._in_hand is not _NOTHING:  # stopped in the middle
            await self._send(self._in_hand)
        if failure is not None:
            annotate(failure, f"input, item {self.read}")
            self._shared.input_failed(failure)
            self._link.bypasses += 1
            await self._send(Bypass(error=failure))

    async def _until_stopped(self) -> Exception | None:
        data: Any = self._data
        self._turn.begin(self)
        try:
            if hasattr(type(data), "__aiter__"):
                self._reading = CancelScope()
                with self._reading:
                    iterator = aiter(data)
                    await self._closing(iterator, self._read_async, hasattr(iterator, "aclose"))
            elif type(data) in (list, tuple, range, set, frozenset, dict):
                await self._read_ready(iter(data))
            else:
                iterator = iter(data)
                await self._closing(iterator, self._read_sync, isinstance(iterator, Generator))
        except Exception as error:
            return error
        return None

    async def _closing(
        self, iterator: Any, read: Callable[[Any], Awaitable[None]], closes: bool
    ) -> None:
        if not closes:
            await read(iterator)
            return
        log = self._shared.log
        with Cleanup("the input", log) as cleanup:
            try:
                await read(iterator)
            finally:
                if self._in_hand is _NOTHING and not isinstance(sys.exception(), Exception):
                    self._link.close_sender()  # what waits for more need not wait for the closing
                cleanup.begin()
                await close_iterator(iterator, "the input", log)  # noqa: ASYNC102 - shielded and bounded since begin()

    async def _read_async(self, iterator: Any) -> None:
        send, clock = self._link.send_nowait, self._clock
        while not self._stopped:
            self._waiting = True
            began = clock()
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                return
            finally:
                self._waiting = False
                self.waited += clock() - began
            self.read += 1
            if not send(item):
                await self._send(item)
            if self._is_turn_over():
                await self._turn.give_way()

    async def _read_sync(self, iterator: Iterable[Any]) -> None:
        send, clock = self._link.send_nowait, self._clock
        began = clock()
        for item in iterator:
            self.waited += clock() - began
            self.read += 1
            if not send(item):
                await self._send(item)
            if self._is_turn_over():
                await self._turn.give_way()
            if self._stopped:
                return
            began = clock()

    async def _read_ready(self, iterator: Iterator[Any]) -> None:
        # To read a built-in container runs no code of anybody's: it cannot be slow.
        link = self._link
        more = True
        while more and not self._stopped:  # noqa: ASYNC913 - ends where there is no more
            try:
                more = link.fill(iterator)
            finally:
                self.read = link.sent
            if more:
                await link.wait_room()

    def _is_turn_over(self) -> bool:
        # The first item must not wait for the second to be read, nor any for a slow one.
        return self._turn.is_over(self) or self.read == 1

    async def _send(self, item: Any) -> None:
        self._in_hand = item
        await self._link.wait_room()
        self._link.send_nowait(item)
        self._in_hand = _NOTHING
