"""Calling the user's function: try, time out, wait, try again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from enum import Enum
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from anyio import Semaphore, fail_after, sleep

from ..._model.awaiting import is_awaitable, makes_awaitables, makes_handles
from ..._model.errors import BatchError
from ..._model.spec import BatchSpec, SingleSpec, Spec
from ..books.times import Times
from ..log import NOWHERE, Log
from ..loop.cleanup import Cleanup, close_iterator
from ..loop.leftover import absorb
from ..rates.meter import Meter
from ..rates.waits import Waits
from ..signals import Failed
from .backoff import asked_delay, deserves_retry, retry_delay

if TYPE_CHECKING:
    from random import Random

    from ..books.watch import Seat

END = object()
GENERATORS = frozenset({GeneratorType, AsyncGeneratorType})


class Kind(Enum):
    """What is to be done with a result; a plain one, the usual, has no kind."""

    FILTER = "filter"
    SPREAD = "spread"
    GENERATOR = "generator"
    STARTED = "started"
    FAILED = "failed"
    AWAIT = "await"


class Kinds(dict[type, Kind | None]):
    """Result type → kind. Subclasses are judged once each, when they first appear.

    Args:
        spread: Whether lists are unpacked.
        awaited: Whether results have been awaited already, where they could be. They are awaited
            again only if they are of no use as they are: an open connection is.

    Attributes:
        plain: The types, of those that have appeared, that have no kind. A set is found faster.
    """

    def __init__(self, *, spread: bool, awaited: bool) -> None:
        super().__init__()
        self._spread = spread
        self._awaited = awaited
        self.plain: set[type] = set() if spread else {list}
        self[type(None)] = Kind.FILTER
        self[list] = Kind.SPREAD if spread else None
        self[GeneratorType] = self[AsyncGeneratorType] = Kind.GENERATOR
        self[Failed] = Kind.FAILED
        self[Started] = Kind.STARTED

    def __missing__(self, cls: type) -> Kind | None:
        kind: Kind | None = None
        if issubclass(cls, list) and self._spread:
            kind = Kind.SPREAD
        elif issubclass(cls, Generator | AsyncGenerator):
            kind = Kind.GENERATOR
        elif makes_awaitables(cls) and not (self._awaited and makes_handles(cls)):
            kind = Kind.AWAIT
        if kind is None:
            self.plain.add(cls)
        self[cls] = kind
        return kind


class Started:
    """A generator that a call returned, with the tries that it took to get it."""

    __slots__ = ("generator", "tries")

    def __init__(self, generator: Any, tries: Tries) -> None:
        self.generator = generator
        self.tries = tries


class Tries:
    """The tries of one unit: an item, or a batch.

    `number` is the try that is on, counted from 1; `seat` where its worker sits, if it is watched.
    `item` returns the number of the item, or of the first of the batch.
    """

    __slots__ = ("_caller", "_item", "_unit", "number", "seat")

    def __init__(
        self, caller: Caller, unit: Any, seat: Seat | None, item: Callable[[], int]
    ) -> None:
        self._caller = caller
        self._item = item
        self._unit = unit
        self.number = 1
        self.seat = seat

    async def result(self) -> Any:
        """Call the function until a try returns; `Failed` when the tries are used up."""
        while True:
            try:
                result = await self._caller.attempt(self._unit, self)
            except Exception as error:
                await absorb()
                if failed := await self.again(error):
                    return failed
            else:
                if isinstance(result, Generator | AsyncGenerator):
                    return Started(result, self)
                return result

    async def again(self, error: Exception) -> Failed | None:
        """Wait for the next try, or return how the last one failed if there is none."""
        spec = self._caller.spec
        if isinstance(error, BatchError) and isinstance(spec, BatchSpec):
            return Failed(error, self.number)  # only the items that it names are tried again
        try:
            if self.number >= spec.retry_attempts or not deserves_retry(spec, error):
                return Failed(error, self.number)
        except Exception as broken:  # retry_on is the user's as well
            keep_context(broken, error)
            return Failed(broken, self.number)
        await self.pause(error)
        return None

    async def pause(self, error: Exception, named: Iterable[Exception] | None = None) -> None:
        """Wait for the next try, which there is to be after `error`.

        `named` are the errors of a `BatchError` that are to have one; ``None`` means all.
        """
        caller = self._caller
        delay = retry_delay(caller.spec, self.number, caller.random)
        asked = asked_delay(error, named)
        wait = max(delay, asked)
        if caller.log.debugs:
            message = "task %r, item %d: try %d failed with %s, the next is in %.3f s"
            item, kind = self._item(), type(error).__name__
            caller.log.debug(message, caller.spec.name, item, self.number, kind, wait, item=item)
        waits = caller.paused if asked else caller.delayed
        waits.begin(caller.clock())
        try:
            # A rate limit has been paused for as long as was asked for, and is waited for in turn:
            # what came to it meanwhile stays behind this try.
            await sleep(wait if caller.meter is None else delay)
        finally:
            waits.end(caller.clock())
        self.number += 1
        caller.retried += 1

    async def stream(
        self, generator: Any, give: Callable[[Any], Awaitable[None]]
    ) -> tuple[Failed | None, bool]:
        """Hand every value to `give`, one after another, and close the generator.

        Returns:
            The failure, if it ended in one, and whether it has given a value.
        """
        ended: tuple[Failed | None, bool] | None = None
        self._caller.generators += 1
        log, item = self._caller.log, self._item()
        with Cleanup(f"a generator of task {self._caller.spec.name!r}", log, item) as cleanup:
            try:
                with cleanup.work():
                    ended = await self._values(generator, give)
            finally:
                await close_iterator(generator, "a generator", log, item)  # noqa: ASYNC102 - shielded and bounded since the work is over
        assert ended is not None
        return ended

    async def _values(
        self, generator: Any, give: Callable[[Any], Awaitable[None]]
    ) -> tuple[Failed | None, bool]:
        given = False
        advance = anext if hasattr(generator, "__anext__") else next
        while True:
            try:
                value = await self._caller.step(lambda: advance(generator, END), self)
            except Exception as error:
                return Failed(error, self.number), given
            await absorb()
            if value is END:
                return None, given
            given = given or value is not None
            await give(value)


class Caller:
    """A stage's function with all that is put around one call of it.

    Args:
        spec: The task.
        slots: What bounds the calls of the whole run; ``None`` if nothing does.
        clock: What durations are measured with.
        times: Where the stage's time goes; ``None`` if that is not measured.
        log: Where the stage logs.

    Attributes:
        retried: How many tries there were after a first one.
        generators: How many generators there were whose values were handed on.
        crowded: How long tries have waited for a slot of the run's, at no rate.
        delayed: How long units have waited for their next try.
        paused: The same, where the error asked for that.
    """

    __slots__ = (
        "_random",
        "_slots",
        "clock",
        "crowded",
        "delayed",
        "func",
        "generators",
        "log",
        "meter",
        "paused",
        "retried",
        "spec",
        "times",
    )

    def __init__(
        self,
        spec: Spec,
        slots: Semaphore | None,
        clock: Callable[[], float],
        times: Times | None,
        log: Log = NOWHERE,
    ) -> None:
        self.spec = spec
        self.func = self._own(spec.func)
        self.log = log
        self.retried = 0
        self.generators = 0
        self.crowded = Waits()
        self.delayed = Waits()
        self.paused = Waits()
        self.clock = clock
        self.times = times
        self.meter = None if spec.rate_limit is None else Meter(spec, slots, clock)
        self._random: Random | None = None
        self._slots = slots

    @property
    def waiting(self) -> int:
        """How many calls wait for their rate."""
        return 0 if self.meter is None else self.meter.waiting

    @property
    def throttled_for(self) -> float:
        """For how many seconds calls have waited for their rate, but for pauses."""
        return 0.0 if self.meter is None or self.times is None else self.meter.throttled_for

    @property
    def crowded_for(self) -> float:
        """For how many seconds calls have waited for a slot of the run's."""
        if self.times is None:
            return 0.0
        crowded = self.crowded if self.meter is None else self.meter.crowded
        return crowded.total(self.clock())

    @property
    def paused_for(self) -> float:
        """For how many seconds calls have waited since a service had asked for that."""
        if self.times is None:
            return 0.0
        at_limit = 0.0 if self.meter is None else self.meter.paused_for
        return at_limit + self.paused.total(self.clock())

    @property
    def delayed_for(self) -> float:
        """For how many seconds units have waited for their next try, but for such pauses."""
        return 0.0 if self.times is None else self.delayed.total(self.clock())

    def random(self) -> float:
        """Return a number from 0 to 1, from our own generator: a user's is not ours to use up."""
        if self._random is None:
            from random import Random  # few runs need it, and all would wait for the import

            self._random = Random()
        return self._random.random()

    @property
    def needs_binding(self) -> bool:
        spec = self.spec
        return bool(spec.args or spec.kwargs) or spec.executor is not None

    async def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Set what the function gets after the item, and where it runs.

        Raises:
            Exception: If it cannot run there.
        """
        func = self.spec.func
        if self.spec.executor is not None:
            # Few runs need it, and all would wait for the import.
            from ..offload.executors import offloaded

            self.func = self._own(await offloaded(self.spec, args, kwargs))
        elif args or kwargs:
            self.func = self._own(lambda item: func(item, *args, **kwargs))

    def _own(self, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return what calls the function of a batch task with a list of its own.

        It may well work off its list. Another try, the halves of the batch, its `Failure` and the
        `error_handler` are to have all of the items.
        """
        return (lambda items: func([*items])) if isinstance(self.spec, BatchSpec) else func

    @property
    def is_bare(self) -> bool:
        """Whether there is nothing around the function: who calls it notes how long it took."""
        return (
            self.spec.retry_attempts == 1
            and self.spec.timeout is None
            and self._slots is None
            and self.meter is None
        )

    def plan(
        self, seat: Seat | None = None, item: Callable[[], int] = lambda: 0
    ) -> Callable[[Any], Any]:
        """Return what a worker calls for each unit: the bare function, if nothing is around it.

        `item` returns the number of the item that is then in hand, of a batch that of the first.
        """
        if seat is None and self.is_bare:
            return self.func
        return lambda unit: Tries(self, unit, seat, item).result()

    async def attempt(self, unit: Any, tries: Tries) -> Any:
        """Run one try, at its rate if there is one."""
        meter = self.meter
        if meter is None:
            return await self.step(lambda: self.func(unit), tries)
        cost = meter.cost(unit)
        result = await self.step(lambda: self.func(unit), tries, cost)
        meter.settle(cost, unit, result)
        return result

    async def step(self, start: Callable[[], Any], tries: Tries, cost: float | None = None) -> Any:
        """Run one call, or one step of a generator, within the slots and the time-out.

        With a `cost` it waits for the rate as well.
        """
        meter, clock = self.meter, self.clock
        if meter is not None and cost is not None:
            await meter.enter(cost)
        elif self._slots is not None:
            self.crowded.begin(clock())
            try:
                await self._slots.acquire()
            finally:
                self.crowded.end(clock())
        began = clock()
        try:
            timeout = self.spec.timeout
            if timeout is None:
                result = start()
                if is_awaitable(result):
                    result = await result
            else:
                with fail_after(timeout):  # noqa: ASYNC912 - a plain function has none
                    result = start()
                    if is_awaitable(result):
                        result = await result
        except Exception as error:
            self._tried(tries, clock() - began, error)
            if meter is not None:
                meter.failed(error)
            raise
        finally:
            if self._slots is not None:
                self._slots.release()
        # To make a generator is no work, and neither is to learn that there are no more values.
        if result is not END and type(result) not in GENERATORS:
            self._tried(tries, clock() - began, None)
        return result

    def _tried(self, tries: Tries, seconds: float, error: Exception | None) -> None:
        if self.times is not None:
            self.times.latency.add(seconds)
        seat = tries.seat
        if seat is not None:
            seat.watch.tried(seat, tries.number, seconds, error)


def keep_context(broken: Exception, error: Exception) -> None:
    """Let an error in handling another one tell of it, as it would in an ``except`` block."""
    if broken.__context__ is None and broken is not error:
        # Past a `__setattr__` of its own: frozen dataclasses refuse.
        BaseException.__setattr__(broken, "__context__", error)


def kinds_for(spec: Spec, *, last: bool, awaited: bool) -> Kinds:
    """Return how a stage treats results: which lists are unpacked depends on its place."""
    spread = True
    if isinstance(spec, SingleSpec):
        spread = not last if spec.spread is None else spec.spread
    return Kinds(spread=spread, awaited=awaited)
