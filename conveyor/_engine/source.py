"""The input of a run: one adapter for every kind of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from .log import annotate
from .loop.cleanup import Cleanup, close_iterator
from .loop.drive import drive
from .signals import Bypass

if TYPE_CHECKING:
    from .._model.spec import Spec
    from .link import Link
    from .supervisor import Supervisor

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
        is_over: Whether it has read to the end, or until it was told to stop or failed.
    """

    def __init__(self, data: Any, link: Link, supervisor: Supervisor) -> None:
        self._data = data
        self._total: int | None = None  # once `_data` is gone
        self._link = link
        self._supervisor = supervisor
        self._turn = supervisor.turn
        self._scope = CancelScope()
        self._reading: CancelScope | None = None
        self._waiting = False  # for the input, with nothing in hand
        self._stopped = False
        self._in_hand: Any = _NOTHING
        self._clock = supervisor.stopwatch
        self.read = 0
        self.waited = 0.0
        self.is_over = False
        self._freed = 0.0  # of these, in reads that let others run meanwhile
        self._suspended = False  # whether it has been, since the last read began

    @property
    def total(self) -> int | None:
        """How many items the input has, if it says."""
        return length_of(self._data) if self._data is not None else self._total

    def forget(self) -> None:
        """Let go of the input and of what is in hand."""
        self._let_go()
        self._in_hand = _NOTHING

    def _let_go(self) -> None:
        if self._data is not None:
            self._total = length_of(self._data)
            self._data = None

    @property
    def held(self) -> float:
        """How many seconds, of those waited, nothing else could run: it was not suspended."""
        return max(self.waited - self._freed, 0.0)

    @property
    def holds(self) -> bool:
        """Whether an item was read that is not in the link yet."""
        return self._in_hand is not _NOTHING

    def cancel(self) -> None:
        """Read no further; what is in hand is given up."""
        self._scope.cancel()

    def stop(self, *, interrupt: bool) -> None:
        """Read no further; what is in hand is sent.

        A read that is under way is cancelled, or without `interrupt` finished.
        """
        self._stopped = True
        if interrupt and self._waiting and self._reading is not None:
            self._reading.cancel()

    async def run(self) -> None:
        """Read to the end, then close the link. An error in reading is the last thing sent."""
        try:
            with self._scope:
                try:
                    await self._run()
                except BaseException as error:  # noqa: ASYNC103 - raised on, or handed to the consumer
                    self._supervisor.leave(error, "the input")
                else:
                    self.is_over = True
        finally:
            self._link.close_sender()
            self._let_go()

    async def _run(self) -> None:
        failure = await self._until_stopped()
        try:
            if self._in_hand is not _NOTHING:  # stopped in the middle
                await self._send(self._in_hand)
            if failure is not None:
                annotate(failure, f"input, item {self.read}")
                self._supervisor.input_failed(failure)
                self._link.bypasses += 1
                await self._send(Bypass(error=failure))
        finally:
            del failure  # frames of the input know this one: a reference cycle

    async def _until_stopped(self) -> Exception | None:
        data: Any = self._data
        self._turn.begin(self)
        try:
            if hasattr(type(data), "__aiter__"):
                self._reading = CancelScope()
                with self._reading:
                    iterator = aiter(data)
                    await self._closing(iterator, self._drive_async, hasattr(iterator, "aclose"))
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
        log = self._supervisor.log
        with Cleanup("the input", log) as cleanup:
            try:
                with cleanup.work():
                    await read(iterator)
            finally:
                if self._in_hand is _NOTHING and not isinstance(cleanup.pending, Exception):
                    self._link.close_sender()  # what waits for more need not wait for the closing
                await close_iterator(iterator, "the input", log)  # noqa: ASYNC102 - shielded and bounded since the work is over

    async def _drive_async(self, iterator: Any) -> None:
        await drive(self._read_async(iterator), self._note_suspended)

    def _note_suspended(self, _: object) -> None:
        self._suspended = True

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
                seconds = clock() - began
                self.waited += seconds
                if self._suspended:
                    self._freed += seconds
                    self._suspended = False
            self.read += 1
            if not send(item):
                await self._send(item)
                self._suspended = False
            item = None  # it may be long before the next is there
            if self._is_turn_over():
                await self._turn.give_way()
                self._suspended = False

    async def _read_sync(self, iterator: Iterator[Any]) -> None:
        send, clock = self._link.send_nowait, self._clock
        while not self._stopped:
            began = clock()
            item = next(iterator, _NOTHING)
            self.waited += clock() - began
            if item is _NOTHING:
                return
            self.read += 1
            if not send(item):
                await self._send(item)
            item = None  # it may be long before the next is there
            if self._is_turn_over():
                await self._turn.give_way()

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
