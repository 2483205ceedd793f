"""What becomes of a result that is not plain: filtered, unpacked, streamed, or an error."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .._errors import ErrorHandler
from .._failure import Failure
from .._spec import BatchSpec
from .call import Kind, Started, keep_context
from .log import annotate, logger
from .signals import Bypass, Failed

if TYPE_CHECKING:
    from .stage import Stage


class Delivery:
    """Gives what comes of one unit to its stage, in the unit's position.

    What is known at once is collected in `_values` and settled at the end. A generator's values
    go out one by one, each as soon as it may: then the delivery waits for its turn first.

    Args:
        stage: The stage whose unit it is.
        position: Of the unit, in the order of the results.
        number: Of the item, or of the batch's first item, among those the stage received.
    """

    __slots__ = ("_number", "_plain", "_position", "_stage", "_values")

    def __init__(self, stage: Stage, position: int, number: int) -> None:
        self._stage = stage
        self._position = position
        self._number = number
        self._values: list[Any] = []
        self._plain = True  # whether there is no failure among them

    async def deliver(self, unit: Any, result: Any) -> None:
        """Deliver what the function made of `unit`."""
        if await self._resolve(unit, result):
            self._stage.outlet.settle(self._position, self._values, plain=self._plain)

    async def _resolve(self, unit: Any, result: Any) -> bool:
        """Collect or stream `result`; false if it ends the run, and nothing comes after it."""
        stage = self._stage
        while True:  # noqa: ASYNC913 - it goes round once a try
            match stage.kinds[type(result)]:
                case Kind.AWAIT:
                    result = await stage.attempt(result)
                case Kind.GENERATOR:
                    result = Started(result, stage.tries(unit))
                case Kind.STARTED:
                    tries = result.tries
                    failed, given = await tries.stream(result.generator, self._give)
                    if failed is None:
                        return True
                    if given:
                        return await self._failed(unit, failed, given=True)
                    result = await tries.again(failed.error) or await tries.result()
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
            await outlet.turn_of(self._position)
            for earlier in self._values:
                outlet.put(earlier)
            self._values.clear()
            await outlet.give(value)
        await stage.breathe(self)

    # Errors

    async def _failed(self, unit: Any, failed: Failed, *, given: bool) -> bool:
        stage, spec = self._stage, self._stage.spec
        size = len(unit) if isinstance(spec, BatchSpec) else 1
        error = failed.error
        handler = spec.error_handler
        if handler is not None:
            try:
                carry_on, value = await self._ask(handler, unit, failed)
            except Exception as broken:
                keep_context(broken, error)
                error = broken
            else:
                if carry_on:
                    stage.counts.failed += size
                    if value is None:
                        self._skip(unit, error, size)
                        return True
                    return await self._resolve(unit, value)
        if spec.on_error == "skip_item" and size > 1 and not given:
            return await self._halve(unit)
        stage.counts.failed += size
        match spec.on_error:
            case "fail":
                annotate(error, self._where(size))
                stage.fail(self._position, error)
                return False
            case "emit_failure":
                failure = Failure(unit, error, spec.name, failed.attempts)
                self._values.append(Bypass(failure=failure))
                self._plain = False
            case _:
                self._skip(unit, error, size)
        return True

    async def _halve(self, unit: list[Any]) -> bool:
        """Try the halves of a batch one after the other, until the bad items stand alone."""
        middle = len(unit) // 2
        number = self._number
        for start, half in (0, unit[:middle]), (middle, unit[middle:]):
            self._number = number + start
            if not await self._resolve(half, await self._stage.call(half)):
                return False
        return True

    async def _ask(self, handler: Any, unit: Any, failed: Failed) -> tuple[bool, Any]:
        decide = handler.handle_error if isinstance(handler, ErrorHandler) else handler
        answer = decide(failed.error, unit, self._stage.spec.name, failed.attempts)
        if inspect.isawaitable(answer):
            answer = await answer
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], bool)):
            raise TypeError(
                f"the error_handler of task {self._stage.spec.name!r} must return "
                f"(carry_on, value) with a bool in front, not {answer!r}"
            ) from failed.error
        return answer

    def _skip(self, unit: Any, error: Exception, size: int) -> None:
        self._stage.counts.skipped += size
        logger.warning("%s: skipped", self._where(size), exc_info=error)

    def _where(self, size: int) -> str:
        if size == 1:
            return f"{self._stage}, item {self._number}"
        return f"{self._stage}, batch of items {self._number} to {self._number + size - 1}"
