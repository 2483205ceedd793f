"""One run of a pipeline for the command line: results out, failures aside, and how it ended."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import Any

from .._failure import Failure
from .._pipeline import Pipeline
from .._stream import Stream
from .failures import DeadLetters
from .input import Items
from .messages import ReportedError, describe, say
from .output import Output
from .stopping import Stopping
from .writing import UnwritableError, Writer


class Work:
    """Runs a pipeline once.

    Args:
        pipeline: The pipeline.
        items: Its input.
        output: Where results go.
        writer: What makes text of them.
        letters: Who writes down what fails; ``None`` to tell of it on standard error.
        progress: Whether to show the run as it goes.

    Attributes:
        stream: The run.
        signal: The signal that has stopped it; ``None`` if there was none.
    """

    def __init__(
        self,
        pipeline: Pipeline[Any, Any],
        items: Items,
        output: Output,
        writer: Writer,
        *,
        letters: DeadLetters | None,
        progress: bool,
    ) -> None:
        stream: Any = pipeline(items)
        stream._give_on()  # if the command fails before it is read, that is said already
        self.stream: Stream[Any] = stream
        self.signal: int | None = None
        self._output = output
        self._writer = writer
        self._letters = letters
        self._progress = progress
        self._last = pipeline.stages[-1].name
        self._written = 0
        self._failures = 0

    @property
    def failed(self) -> int:
        """How many items have failed and were left out."""
        return self._failures + sum(stage.skipped for stage in self.stream.statistics().stages)

    async def run(self) -> None:
        """Run it to its end.

        Raises:
            AbortedError: If a second signal has ended it.
            ClosedOutputError: If nobody reads the output any more.
            ReportedError: If input or output is in trouble.
            Exception: What the pipeline failed with.
        """
        stream = self.stream
        if self._letters is not None:
            self._letters.failed = stream.abort
            stream.add_instrument(self._letters.watch)
        async with AsyncExitStack() as stack:
            stopping = Stopping(stream, self._output.give_up)
            with suppress(NotImplementedError):  # asyncio on Windows knows no signals
                await stack.enter_async_context(stopping)
            if self._progress:
                from .._live import live

                await stack.enter_async_context(live(stream))
            await stack.enter_async_context(stream)
            try:
                await self._write(stream)
            finally:
                self.signal = stopping.signal

    async def _write(self, stream: Any) -> None:
        while results := await stream._ready():  # all that are there: one at least
            texts: list[str] = []
            unwritable: UnwritableError | None = None
            for result in results:
                if isinstance(result, Failure):
                    self._tell(result)
                    continue
                try:
                    texts.append(self._writer.encode(result))
                except UnwritableError as error:
                    unwritable = error
                    break
                self._written += 1
            if texts:
                await self._output.write("".join(texts).encode())
            if unwritable is not None:
                raise ReportedError(
                    f"result {self._written} of stage {self._last!r} (counted from 0) cannot be "
                    f"written: {unwritable}"
                )
        await self._output.flush()

    def _tell(self, failure: Failure[Any]) -> None:
        self._failures += 1
        if self._letters is None:
            tries = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
            say(f"Failed: stage {failure.task_name!r}, {tries}: {describe(failure.error)}")
