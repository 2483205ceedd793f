"""What becomes of a result that is not plain: filtered, unpacked, streamed, or an error."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import current_time, sleep_until

from ..._model.awaiting import makes_awaitables, makes_handles
from ..._model.batch_info import narrow
from ..._model.errors import BatchError, ErrorHandler, TooManyFailures
from ..._model.failure import Failure
from ..._model.handlers import asked_about
from ..._model.spec import BatchSpec
from ..calls.backoff import asked_delay, deserves_retry
from ..calls.caller import Kind, Started, keep_context
from ..frames import release
from ..intake.batches import Unit
from ..log import annotate, first_of
from ..loop.leftover import absorb
from ..signals import Bypass, Failed

if TYPE_CHECKING:
    from ..books.watch import Seat
    from ..stage import Stage


class Delivery:
    """Gives what comes of one unit to its stage, in the unit's position.

    What is known at once is collected in `_values` and settled at the end. A generator's values
    go out one by one, each as soon as it may: then the delivery waits for its turn first.

    Args:
        stage: The stage whose unit it is.
        position: Of the unit, in the order of the results.
        number: Of the item, or of each of the batch's items, among those the stage received.
        seat: Where the worker sits, if it is watched.
    """

    __slots__ = ("_asked", "_number", "_plain", "_position", "_seat", "_stage", "_values")

    def __init__(
        self, stage: Stage, position: int, number: int | Sequence[int], seat: Seat | None
    ) -> None:
        self._seat = seat
        self._stage = stage
        self._position = position
        self._number: Any = number
        self._values: list[Any] = []
        self._asked = -math.inf  # when the function may be called again, as its errors have asked
        self._plain = True  # whether there is no failure among them

    async def deliver(self, unit: Any, result: Any) -> None:
        """Deliver what the function made of `unit`."""
        if type(unit) is Unit:
            if unit.failed is not None:
                goes_on = await self._failed(unit.items, unit.failed, given=False, alone=True)
            else:
                goes_on = await self._resolve(unit.items, result)
        else:
            goes_on = await self._resolve(unit, result)
        outlet = self._stage.outlet
        if goes_on:
            outlet.settle(self._position, self._values, plain=self._plain)
        elif self._values:
            # They come before the error. The position is not settled, or what is behind it could
            # go out, from a function that did not let itself be cancelled.
            outlet.leave(self._position, self._values)
        self._values = []  # frames of the function know this one: see `Failed`

    async def _resolve(self, unit: Any, result: Any) -> bool:
        """Collect or stream `result`; false if it ends the run, and nothing comes after it."""
        stage = self._stage
        while True:  # noqa: ASYNC913 - it goes round once a try
            match stage.kinds[type(result)]:
                case Kind.AWAIT:
                    result = await stage.attempt(partial(identity, result))
                    kind = type(result)
                    if makes_awaitables(kind) and makes_handles(kind):  # it is awaited once
                        self._values.append(result)
                        return True
                case Kind.GENERATOR:
                    result = Started(result, stage.tries(unit, self._seat, first_of(self._number)))
                case Kind.STARTED:
                    tries = result.tries
                    failed, given = await tries.stream(result.generator, self._give)
                    if failed is None:
                        return True
                    if given:
                        return await self._failed(unit, failed, given=True)
                    try:
                        again = await tries.again(failed.error)
                    finally:
                        failed.forget()
                    result = again or await tries.result()
                case Kind.FAILED:
                    return await self._failed(unit, result, given=False)
                case Kind.FILTER:
                    stage.counts.filtered += 1
                    return True
                case Kind.SPREAD:
                    values = [value for value in result if value is not None]
                    stage.counts.filtered += len(result) - len(values)
                    self._values += values
                    return True
                case None:
                    self._values.append(result)
                    return True

    async def _give(self, value: Any) -> None:
        stage = self._stage
        if value is None:
            stage.counts.filtered += 1
        else:
            outlet = stage.outlet
            if self._values:
                outlet.leave(self._position, self._values)
                self._values = []
            await outlet.give(self._position, value)
        await stage.breathe(self)

    # Errors

    async def _failed(self, unit: Any, failed: Failed, *, given: bool, alone: bool = False) -> bool:
        """Do what the policy says of a unit, or of the one item in it that failed `alone`."""
        try:
            return await self._decide(unit, failed, given=given, alone=alone)
        finally:
            failed.forget()

    async def _decide(self, unit: Any, failed: Failed, *, given: bool, alone: bool) -> bool:
        stage, spec = self._stage, self._stage.spec
        size = len(unit) if isinstance(spec, BatchSpec) else 1
        error = failed.error
        try:

            def what() -> Any:
                """Return the item, or the batch as a list that is the receiver's own."""
                if alone:
                    return unit[0]
                return [*unit] if isinstance(spec, BatchSpec) else unit

            if isinstance(error, BatchError) and isinstance(spec, BatchSpec) and not alone:
                if (wrong := misfit(error, size)) is None:
                    return await self._named(unit, failed, given=given)
                annotate(wrong, f"in the BatchError that task {spec.name!r} raised")
                keep_context(wrong, error)
                error, failed = wrong, Failed(wrong, failed.attempts)
            handler = spec.error_handler
            if handler is not None:
                try:
                    carry_on, value = await self._ask(handler, what(), failed)
                except Exception as broken:
                    keep_context(broken, error)
                    release(broken)
                    await absorb()
                    error = broken
                else:
                    if carry_on:
                        stage.counts.failed += size
                        if value is None:
                            self._tell(what(), failed)
                            return self._survives(error, size) and self._skip(error, size)
                        return await self._resolve(unit, value)
            if spec.on_error == "skip_item" and size > 1 and not given:
                return await self._halve(unit, error)
            stage.counts.failed += size
            self._tell(what(), Failed(error, failed.attempts))
            if spec.on_error == "fail":
                return self._end(error, size)
            if not self._survives(error, size):
                return False
            if spec.on_error != "emit_failure":
                return self._skip(error, size)
            # Not in a variable: see `Failed`.
            self._values.append(Bypass(failure=Failure(what(), error, spec.name, failed.attempts)))
            self._plain = False
            return True
        finally:
            del error  # see `Failed`

    def _tell(self, what: Any, failed: Failed) -> None:
        """Tell who watches that what is in hand gives no result."""
        if self._seat is not None:
            numbers = (self._number,) if isinstance(self._number, int) else self._number
            self._seat.watch.failed(numbers, what, failed.error, failed.attempts)

    def _sit(self, numbers: Sequence[int]) -> None:
        """Say with which items the function is called next."""
        if self._seat is not None:
            self._seat.tried = numbers

    def _end(self, error: Exception, size: int) -> bool:
        annotate(error, self._where(size))
        self._stage.fail(self._position, error)
        return False

    def _survives(self, error: Exception, size: int) -> bool:
        """Count items that are to be done without; false if that ends the run."""
        too_many: TooManyFailures | None = None
        for what, failures, received in self._stage.failures:
            came = received()
            if failures.add(size, came) and too_many is None:
                too_many = TooManyFailures(what, failures.count, came, failures.allowed)
                too_many.__cause__ = error
        return too_many is None or self._end(too_many, size)

    async def _halve(self, unit: list[Any], error: Exception) -> bool:
        """Try the halves of a batch one after the other, until the bad items stand alone.

        To the service that is called each of them is another try.
        """
        middle = len(unit) // 2
        numbers = self._number
        self._heed(error)
        for part in slice(middle), slice(middle, None):
            half, self._number = unit[part], numbers[part]
            narrow(len(half))
            self._sit(self._number)
            if self._asked > current_time():
                await sleep_until(self._asked)
            result = await self._stage.call(half, self._seat, self._number[0])
            if type(result) is Failed:
                self._heed(result.error)
            if not await self._resolve(half, result):
                return False
        return True

    def _heed(self, error: Exception) -> None:
        """Note when the function may be called again, if `error` asks for a pause.

        A rate limit has noted it already.
        """
        if self._stage.spec.rate_limit is None and (seconds := asked_delay(error)):
            self._asked = max(self._asked, current_time() + seconds)

    async def _named(self, unit: list[Any], result: Any, *, given: bool) -> bool:
        """Go on where the function has named the items that failed.

        Those are tried again, without the others, for as long as there are tries. What then comes
        of each item is delivered in the order of the items.
        """
        stage, numbers = self._stage, self._number
        outcomes: list[Any] = [None] * len(unit)
        tried: Sequence[int] = range(len(unit))  # the places of the items in the last call
        error: BatchError | None = None
        try:
            while (error := naming(result, len(tried))) is not None:
                attempts = result.attempts
                if error.results is None:
                    stage.counts.filtered += len(error.errors) < len(tried)
                results = iter(error.results or ())
                for place, index in enumerate(tried):
                    outcomes[index] = (
                        Failed(error.errors[place], attempts)
                        if place in error.errors
                        else next(results, SILENT)
                    )
                tried = [] if given else self._to_try_again(outcomes, tried)
                if not tried:
                    break
                again = [unit[index] for index in tried]
                narrow(len(again))
                self._sit([numbers[index] for index in tried])
                tries = stage.tries(again, self._seat, numbers[tried[0]])
                tries.number = attempts
                await tries.pause(error, [outcomes[index].error for index in tried])
                result = await tries.result()
            if stage.kinds[type(result)] is Kind.SPREAD and len(result) == len(tried):
                for index, outcome in zip(tried, result, strict=True):
                    outcomes[index] = outcome
                tried = []

            rest = set(tried)
            for index, outcome in enumerate(outcomes):
                if index in rest:
                    if index > tried[0]:
                        continue
                    # What came of them together stands in the place of the first.
                    self._number = [numbers[index] for index in tried]
                    goes_on = await self._resolve([unit[index] for index in tried], result)
                elif type(outcome) is Failed:
                    self._number = (numbers[index],)
                    goes_on = await self._failed([unit[index]], outcome, given=given, alone=True)
                else:
                    goes_on = True
                    if outcome is None:
                        stage.counts.filtered += 1
                    elif outcome is not SILENT:
                        self._values.append(outcome)
                if not goes_on:
                    return False
            return True
        finally:
            del error  # see `Failed`
            outcomes.clear()
            if type(result) is Failed:
                result.forget()

    def _to_try_again(self, outcomes: list[Any], tried: Sequence[int]) -> list[int]:
        """Return the places of the items that failed and deserve another try."""
        spec = self._stage.spec
        again: list[int] = []
        for index in tried:
            failed = outcomes[index]
            if type(failed) is not Failed:
                continue
            try:
                deserving = failed.attempts < spec.retry_attempts and deserves_retry(
                    spec, failed.error
                )
            except Exception as broken:  # retry_on is the user's as well
                keep_context(broken, failed.error)
                outcomes[index] = Failed(broken, failed.attempts)
                deserving = False
            if deserving:
                again.append(index)
            elif spec.on_error == "fail" and spec.error_handler is None:
                break  # it ends the run, and nothing that is behind it counts
        return again

    async def _ask(self, handler: Any, unit: Any, failed: Failed) -> tuple[bool, Any]:
        decide = handler.handle_error if isinstance(handler, ErrorHandler) else handler
        token = asked_about.set(first_of(self._number))
        try:
            answer = decide(failed.error, unit, self._stage.spec.name, failed.attempts)
            if inspect.isawaitable(answer):
                answer = await answer
        finally:
            asked_about.reset(token)
        await absorb()
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], bool)):
            raise TypeError(
                f"the error_handler of task {self._stage.spec.name!r} must return "
                f"(carry_on, value) with a bool in front, not {answer!r}"
            ) from failed.error
        return answer

    def _skip(self, error: Exception, size: int) -> bool:
        self._stage.counts.skipped += size
        first = first_of(self._number)
        self._stage.log.warning("%s: skipped", self._where(size), item=first, error=error)
        return True

    def _where(self, size: int) -> str:
        numbers = (self._number,) if isinstance(self._number, int) else self._number
        first, last = numbers[0], numbers[-1]
        if size == 1:
            return f"{self._stage}, item {first}"
        if last - first >= size:
            return f"{self._stage}, batch of {size} of the items {first} to {last}"
        return f"{self._stage}, batch of items {first} to {last}"


def identity(value: Any) -> Any:
    return value


SILENT: Any = object()  # what an item gives where a batch gives nothing


def naming(result: Any, size: int) -> BatchError | None:
    """Return the error that names items of a batch of this size, if a call has ended in one."""
    error = result.error if type(result) is Failed else None
    return error if isinstance(error, BatchError) and misfit(error, size) is None else None


def misfit(error: BatchError, size: int) -> Exception | None:
    """Return what is wrong with an error that is to be about a batch of this size."""
    last = max(error.errors)
    if last >= size:
        return ValueError(
            f"a BatchError names item {last} of a batch of {size}: they are counted from 0"
        )
    good = size - len(error.errors)
    if error.results is not None and len(error.results) != good:
        return ValueError(
            f"a BatchError has {len(error.results)} results for {good} items that have not "
            "failed: results must be a list with one for each, or None"
        )
    return None
